"""The ONNX graph of a bundle: written by torch, run by ONNX Runtime."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from export.check import OPSET, check_graph
from zoo.errors import ProtozooError
from zoo.models.pixels import PixelModel

Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Embeddings (N, d) and cosines (N, K)."""

Runner = Callable[[NDArray[np.uint8]], Outputs]
"""A runtime with a model in it: uint8 images (N, H, W, 3) -> outputs."""


def write_onnx(model: PixelModel, size: int, path: Path, metadata: Mapping[str, object]) -> None:
    """Write the graph: ``images`` uint8 (N, H, W, 3) -> ``embeddings`` (N, d), ``cosines`` (N, K) float32.

    A model whose readout has offsets also gives ``logits`` (N, K): cosines / temperature + ``offsets``.

    Args:
        model: on the CPU, in float32.
        size: H = W of the input.
        path: file to write.
        metadata: see :func:`save_onnx`.

    Raises:
        ProtozooError: the exporter did not keep prototypes or offsets as an initialiser of their name and shape, or
            wrote what :func:`export.check.check_graph` refuses.
    """
    proto = _exported(model, size)
    shapes = {initializer.name: tuple(initializer.dims) for initializer in proto.graph.initializer}
    wanted = {"prototypes": model.prototypes, **({"offsets": model.offsets} if model.bayes else {})}
    for name, tensor in wanted.items():
        if shapes.get(name) != tuple(tensor.shape):
            raise ProtozooError(
                f"this torch ({torch.__version__}) does not export the {name} as an initialiser of their own: use "
                "another version"
            )
    for node in (*proto.graph.node, *proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        # Stack traces with paths of the exporting machine, and half of the file.
        del node.metadata_props[:]
        node.doc_string = ""
    save_onnx(proto, path, metadata, precision="float32")


def _exported(model: PixelModel, size: int) -> onnx.ModelProto:
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    with warnings.catch_warnings(), _quiet_exporter():
        warnings.simplefilter("ignore")  # the exporter warns of its own deprecations
        program = torch.onnx.export(
            model,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["embeddings", "cosines", *(["logits"] if model.bayes else [])],
            dynamic_shapes={"images": {0: torch.export.Dim("batch", min=1)}},
            verbose=False,
        )
    if program is None:
        raise ProtozooError("torch's ONNX exporter returned nothing")
    return program.model_proto


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep the exporter's progress lines off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def save_onnx(proto: onnx.ModelProto, path: Path, metadata: Mapping[str, object], *, precision: str) -> None:
    """Check a graph and write it: the same bytes for the same graph.

    Args:
        proto: the graph; its metadata are replaced.
        path: file to write.
        metadata: written as JSON values, with the graph's own ``protozoo.precision``, ``protozoo.opset``,
            ``protozoo.inputs`` and ``protozoo.outputs`` (name -> type and shape) beside them.
        precision: of the weights; inputs and outputs are the same in all.
    """
    described = {
        **metadata,
        "protozoo.precision": precision,
        "protozoo.opset": OPSET,
        "protozoo.inputs": {value.name: _described(value) for value in proto.graph.input},
        "protozoo.outputs": {value.name: _described(value) for value in proto.graph.output},
    }
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, {key: json.dumps(value) for key, value in described.items()})
    path.write_bytes(proto.SerializeToString(deterministic=True))
    check_graph(path)


def graph_outputs(path: Path) -> list[str]:
    """Names of the outputs of an ONNX file."""
    return [output.name for output in onnx.load(path, load_external_data=False).graph.output]


def _described(value: onnx.ValueInfoProto) -> dict[str, Any]:
    tensor = value.type.tensor_type
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name
    return {"type": kind, "shape": [size.dim_param or size.dim_value for size in tensor.shape.dim]}


def onnx_runner(
    path: Path, device: str = "cpu", threads: int = 0, outputs: tuple[str, str] = ("embeddings", "cosines")
) -> Runner:
    """Open an ONNX file in ONNX Runtime.

    Args:
        path: the file.
        device: "cpu" or "cuda".
        threads: on the CPU; 0: one for each core.
        outputs: what the runner returns.

    Raises:
        ProtozooError: ONNX Runtime cannot compute on the device here, or the graph lacks an output.
    """
    import onnxruntime

    # TensorFloat-32 rounds to 10 bits: a GPU would be another model than the one that is compared with.
    provider = ("CUDAExecutionProvider", {"use_tf32": "0"}) if device == "cuda" else ("CPUExecutionProvider", {})
    if device == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # it warns of what a provider leaves to the CPU
    if provider[0] in onnxruntime.get_available_providers():
        session = onnxruntime.InferenceSession(str(path), options, providers=[provider])
        if session.get_providers()[0] == provider[0]:
            if lacking := sorted(set(outputs) - {output.name for output in session.get_outputs()}):
                raise ProtozooError(f"{path} has no output {lacking[0]!r}: export the model again")
            return lambda images: tuple(session.run(outputs, {"images": images}))
    raise ProtozooError(
        f"ONNX Runtime cannot compute on {device} here: it needs an NVIDIA driver and "
        "`pip install 'onnxruntime-gpu[cuda,cudnn]'`; or leave --device out"
    )


def run_onnx(path: Path, images: NDArray[np.uint8]) -> Outputs:
    """Embeddings and cosines of ``images`` by ONNX Runtime on the CPU."""
    return onnx_runner(path)(images)
