"""Bundles in OpenVINO, from their ONNX files: for Intel's processors, without ONNX Runtime."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.onnx import Outputs, Runner


def has_openvino() -> bool:
    """Whether the extra ``openvino`` is installed."""
    return find_spec("openvino") is not None


def openvino_runner(path: Path, threads: int = 0) -> Runner:
    """Open an ONNX file in OpenVINO on the CPU, in float32 where the file is; 0 threads are one for each core."""
    import openvino

    # Processors with AMX would compute in bfloat16 unasked.
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    compiled = openvino.Core().compile_model(str(path), "CPU", options)

    def run(images: NDArray[np.uint8]) -> Outputs:
        outputs = compiled(images)
        return np.array(outputs["embeddings"]), np.array(outputs["cosines"])

    return run
