"""The float32 graph in float16 and in int8. Inputs, outputs, the unit norm and the cosines stay what they are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from zoo.errors import ProtozooError

FILES = {"float32": "model.onnx", "float16": "model.fp16.onnx", "int8": "model.int8.onnx"}
"""Precision -> file of a bundle."""

_BATCH = 32


def to_float16(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights and activations in float16; from the features on, the normalisation and the cosines, all in float32.

    Raises:
        ProtozooError: the graph does not end in a division by the norm.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16

    features, head = _head(model.graph)
    trunk = _trunk(model, features, head)
    shared = {tensor.name for tensor in trunk.graph.initializer}
    half: onnx.ModelProto = convert_float_to_float16(trunk, keep_io_types=True)
    # The converter can keep nodes in float32 itself, but rounds what passes between two of them.
    for node in head:
        half.graph.node.add().CopyFrom(node)
        inputs = [f"head.{name}" if name in shared else name for name in node.input]
        half.graph.node[-1].input[:] = inputs
    needed = {name for node in half.graph.node[-len(head) :] for name in node.input}
    for tensor in model.graph.initializer:
        name = f"head.{tensor.name}" if tensor.name in shared else tensor.name
        if name in needed:
            half.graph.initializer.add().CopyFrom(tensor)
            half.graph.initializer[-1].name = name
    del half.graph.output[:], half.graph.value_info[:]
    half.graph.output.extend(model.graph.output)
    return half


def to_int8(path: Path, images: NDArray[np.uint8]) -> onnx.ModelProto:
    """Static quantisation by ONNX Runtime: QuantizeLinear and DequantizeLinear around the trunk's layers.

    Weights are int8 per channel, of 7 bits: x86 processors without VNNI add products of 8 bits up to 16 with
    saturation. Activations are uint8, in the range that they have on ``images``.

    Args:
        path: the float32 graph.
        images: uint8 (N, H, W, 3), as the model is to see them.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    _, head = _head(onnx.load(path).graph)
    shaped, written = path.with_name("shaped.onnx"), path.with_name("quantized.onnx")
    try:
        quant_pre_process(path, shaped, skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            shaped,
            written,
            _calibration(images),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[node.name for node in head],
        )
        return onnx.load(written)
    finally:
        shaped.unlink(missing_ok=True)
        written.unlink(missing_ok=True)


def _calibration(images: NDArray[np.uint8]) -> object:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):
        """Batches of the images, once."""

        def __init__(self) -> None:
            self.batches: Iterator[NDArray[np.uint8]] = (
                images[start : start + _BATCH] for start in range(0, len(images), _BATCH)
            )

        def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch}

    return Reader()


def _head(graph: onnx.GraphProto) -> tuple[str, list[onnx.NodeProto]]:
    """The value that is normalised to the embeddings, and the nodes that it does not depend on: norm and cosines."""
    producers = {output: node for node in graph.node for output in node.output}
    division = producers["embeddings"]
    if division.op_type != "Div":
        raise ProtozooError(
            f"the embeddings of this graph are made by {division.op_type}, not by a division by their norm: it can be "
            "written in float32 only"
        )
    features, before, waiting = division.input[0], set(), [division.input[0]]
    while waiting:
        name = waiting.pop()
        if name in producers and name not in before:
            before.update(producers[name].output)
            waiting.extend(producers[name].input)
    return features, [node for node in graph.node if before.isdisjoint(node.output)]


def _trunk(model: onnx.ModelProto, features: str, head: Sequence[onnx.NodeProto]) -> onnx.ModelProto:
    """The graph without its head: images -> features."""
    trunk = onnx.ModelProto()
    trunk.CopyFrom(model)
    names = {node.name for node in head}
    nodes = [node for node in model.graph.node if node.name not in names]
    used = {name for node in nodes for name in node.input}
    del trunk.graph.node[:], trunk.graph.initializer[:], trunk.graph.output[:], trunk.graph.value_info[:]
    trunk.graph.node.extend(nodes)
    trunk.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in used)
    trunk.graph.output.append(onnx.helper.make_tensor_value_info(features, onnx.TensorProto.FLOAT, None))
    return trunk
