"""What an ONNX file of a bundle may contain: known arithmetic on data that are inside the file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx

from zoo.errors import BundleError

# 18 is what the exporter writes natively (no version conversion) and every runtime of the last years reads.
OPSET = 18

# Arithmetic on tensors, of the standard domain. No control flow, whose bodies are graphs of their own, no random
# numbers, no text, no sequences, and nothing of other domains, which a runtime would load from libraries.
OPERATORS = frozenset(
    """
    Abs Add And ArgMax AveragePool BatchNormalization Cast CastLike Ceil Clip Concat Constant ConstantOfShape Conv
    ConvTranspose Cos CumSum DepthToSpace DequantizeLinear Div Einsum Elu Equal Erf Exp Expand Flatten Floor Gather
    GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization
    HardSigmoid HardSwish Identity InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
    LpNormalization MatMul Max MaxPool Min Mish Mod Mul Neg Not Or PRelu Pad Pow QuantizeLinear Range Reciprocal
    ReduceL2 ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round ScatterND
    Selu Shape Sigmoid Sign Sin Slice Softmax Softplus SpaceToDepth Split Sqrt Squeeze Sub Sum Tanh Tile TopK Transpose
    Trilu Unsqueeze Where
    """.split()  # noqa: SIM905
)


def check_graph(path: Path) -> None:
    """Refuse an ONNX file that is more than a graph of known operators with its numbers inside.

    Raises:
        BundleError: it is damaged or invalid, keeps numbers in other files, has functions or another opset, or uses an
            operator that is not in :data:`OPERATORS`; what it is, is named.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf's classes differ between its implementations
        raise BundleError(f"{path} cannot be read as ONNX: export the model again") from error
    for refused in _refused(model):
        raise BundleError(f"{path} {refused}: export the model again, and do not run it")
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BundleError(f"{path} is no valid ONNX graph ({str(error).splitlines()[0]})") from error


def _refused(model: onnx.ModelProto) -> Iterator[str]:
    for tensor in _tensors(model.graph):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            yield f"keeps the numbers of {tensor.name!r} in another file"
    if model.functions:
        yield f"has a function of its own, {model.functions[0].name!r}"
    for node in model.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in OPERATORS:
            yield f"uses the operator {node.domain or 'ai.onnx'}.{node.op_type}, which no bundle may"
    for entry in model.opset_import:
        if entry.domain not in ("", "ai.onnx") or entry.version != OPSET:
            yield f"needs opset {entry.version} of {entry.domain or 'ai.onnx'} where bundles have {OPSET} of ai.onnx"


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors, attribute.sparse_tensor.values)
