"""The ONNX graph of a bundle."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from zoo.errors import ProtozooError
from zoo.models.pixels import PixelModel

# 18 is what the exporter writes natively (no version conversion) and every runtime of the last years reads.
OPSET = 18


def write_onnx(model: PixelModel, size: int, path: Path, metadata: Mapping[str, object]) -> None:
    """Write the graph: ``images`` uint8 (N, H, W, 3) -> ``embeddings`` (N, d), ``cosines`` (N, K) float32.

    A model whose readout has offsets also gives ``logits`` (N, K): cosines / temperature + ``offsets``.

    Args:
        model: on the CPU, in float32.
        size: H = W of the input.
        path: file to write.
        metadata: written as JSON values into the model's metadata.

    Raises:
        ProtozooError: the exporter did not keep prototypes or offsets as an initialiser of their name and shape.
    """
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
    proto = program.model_proto
    shapes = {initializer.name: tuple(initializer.dims) for initializer in proto.graph.initializer}
    wanted = {"prototypes": model.prototypes, **({"offsets": model.offsets} if model.bayes else {})}
    for name, tensor in wanted.items():
        if shapes.get(name) != tuple(tensor.shape):
            raise ProtozooError(
                f"this torch ({torch.__version__}) does not export the {name} as an initialiser of their own: use "
                "another version"
            )
    del proto.metadata_props[:]
    for node in (*proto.graph.node, *proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        # Stack traces with paths of the exporting machine, and half of the file.
        del node.metadata_props[:]
        node.doc_string = ""
    onnx.helper.set_model_props(proto, {key: json.dumps(value) for key, value in metadata.items()})
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString(deterministic=True))


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


def run_onnx(path: Path, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Embeddings and cosines of ``images`` by ONNX Runtime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    embeddings, cosines = session.run(["embeddings", "cosines"], {"images": images})
    return embeddings, cosines
