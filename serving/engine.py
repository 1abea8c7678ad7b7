"""The model: ONNX Runtime on the device that was asked for, or an error."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from serving.lane import EngineError, Lane, Outputs, Run
from zoo.bundle import Bundle, BundleError, ProtozooError
from zoo.cores import available_cores

GPU_SIZES = (1, 2, 4, 8, 16, 32)
"""Batch sizes that a GPU sees: each costs a search for kernels, so others are padded."""

_CPU_IMAGES = 8
# No image of 224 pixels is faster in company, small ones are; what the largest batch needed stays with the session.
_CPU_PIXELS = 2 * 224 * 224

_MOST_LANES = 16
_MOST_WEIGHTS = 256 << 20
"""Bytes of a model with lanes: they take a second copy."""

TOLERANCE = 1e-3
"""Largest difference from the golden outputs: a device rounds differently, another model does not."""

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_OPTIONS = {
    "cpu": {},
    # EXHAUSTIVE searches anew at every size, and the default arena doubles and never gives memory back.
    "cuda": {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"},
}


class Engine:
    """A bundle's model in memory, checked against the bundle's golden outputs.

    Args:
        bundle: what to run.
        device: "cpu" or "cuda".
        gpu: which one, counted from 0 among those that are visible.
        lanes: make lanes, where the device has some.

    Attributes:
        max_batch: how many images the device takes at a time; more are run in parts.

    Raises:
        BundleError: the model cannot be loaded, or does not give the outputs that were recorded at export.
        ProtozooError: the device cannot be used; the message says what to install.
    """

    def __init__(self, bundle: Bundle, device: str = "cpu", gpu: int = 0, *, lanes: bool = False) -> None:
        size, cores = bundle.preprocessing.size, available_cores()
        sizes = GPU_SIZES if device == "cuda" else _cpu_sizes(size)

        def lane(session: Any) -> Lane:
            return Lane(session, sizes, (size, size, 3), device=device, gpu=gpu)

        # Left to itself, ONNX Runtime has a thread for each of the machine's physical cores.
        session = _session(bundle, device, gpu, threads=0 if cores == os.cpu_count() else cores)
        self.max_batch = sizes[-1]
        self._whole = lane(session)
        self._check_signature(bundle, session)
        self._replay(bundle)
        small = bundle.onnx_path.stat().st_size <= _MOST_WEIGHTS
        self._lanes: list[Lane] = []
        if lanes and small and device == "cpu" and 1 < cores <= _MOST_LANES:
            shared = _session(bundle, device, gpu, threads=1)
            self._lanes = [lane(shared) for _ in range(cores)]

    @property
    def lanes(self) -> tuple[Run, ...]:
        """Each as :meth:`run`, but on one core; they may work beside each other and beside ``run``.

        Threads that share an operator wait for the slowest of them, again and again: lanes do more, where every one has
        an image. There are none of a GPU, of one core or more than 16, and of a model of more than 256 MiB.
        """
        return tuple(lane.run for lane in self._lanes)

    @property
    def provider(self) -> str:
        """ONNX Runtime's name of what computes."""
        return self._whole.provider

    def warm_up(self) -> None:
        """Run what must have been run once, so that no request pays for a first time; the golden images were a part."""
        for lane in (self._whole, *self._lanes[:1]):  # lanes share a session
            lane.warm_up()

    def run(self, images: Sequence[NDArray[np.uint8]]) -> Outputs:
        """Embed images, each uint8 (H, W, 3), one or more. Not for two threads at a time.

        Raises:
            EngineError: the device failed, or an output is NaN or infinite.
        """
        return self._whole.run(images)

    def _check_signature(self, bundle: Bundle, session: Any) -> None:
        size = bundle.preprocessing.size
        inputs = [(node.name, node.type, list(node.shape[1:])) for node in session.get_inputs()]
        outputs = {node.name for node in session.get_outputs()}
        if inputs != [("images", "tensor(uint8)", [size, size, 3])] or not {"embeddings", "cosines"} <= outputs:
            raise BundleError(
                f"{bundle.onnx_path} must take uint8 `images` (N, {size}, {size}, 3) and give `embeddings` and "
                f"`cosines`; it takes {inputs} and gives {sorted(outputs)}: export the model again"
            )

    def _replay(self, bundle: Bundle) -> None:
        golden = bundle.golden
        try:
            outputs = self.run(list(golden.images))
        except EngineError as error:
            raise BundleError(f"{bundle.onnx_path} cannot run the bundle's golden images: {error}") from error
        for name, given, recorded in (
            ("embeddings", outputs.embeddings, golden.embeddings),
            ("cosines", outputs.cosines, golden.cosines),
            # Answers name prototypes of model.safetensors by the cosines of model.onnx: both must hold the same.
            ("cosines with the prototypes", outputs.embeddings @ bundle.prototypes.T, outputs.cosines),
        ):
            difference = _largest_difference(given, recorded)
            if difference > TOLERANCE:
                raise BundleError(
                    f"{bundle.onnx_path} does not give the bundle's golden outputs on {self.provider}: its {name} "
                    f"differ by up to {difference:.3g} (allowed: {TOLERANCE:g}); export the model again"
                )


def _largest_difference(given: NDArray[np.float32], recorded: NDArray[np.float32]) -> float:
    if given.shape != recorded.shape:
        return float("inf")
    difference = float(np.max(np.abs(given - recorded), initial=0.0))
    return float("inf") if np.isnan(difference) else difference  # NaN would compare as small


def _cpu_sizes(side: int) -> tuple[int, ...]:
    return tuple(range(1, min(_CPU_IMAGES, max(1, _CPU_PIXELS // side**2)) + 1))


def _session(bundle: Bundle, device: str, gpu: int, *, threads: int) -> Any:
    if device == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = False  # or every batch size would reserve what it needs, for itself
    # Spinning threads would take the cores from decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if device == "cuda" and _PROVIDERS[device] not in onnxruntime.get_available_providers():
        raise _no_cuda("this ONNX Runtime was built without CUDA")
    chosen = _OPTIONS[device] | ({"device_id": str(gpu)} if device == "cuda" else {})
    try:
        session = onnxruntime.InferenceSession(str(bundle.onnx_path), options, providers=[(_PROVIDERS[device], chosen)])
    except Exception as error:  # ONNX Runtime's own classes have no public common base
        raise BundleError(f"{bundle.onnx_path} cannot be loaded by ONNX Runtime: {_first_line(error)}") from error
    if session.get_providers()[0] != _PROVIDERS[device]:
        # ONNX Runtime only logs where CUDA is missing, and goes on some fifty times slower.
        raise _no_cuda(f"ONNX Runtime cannot start CUDA here on GPU {gpu}, counted from 0")
    return session


def _no_cuda(reason: str) -> ProtozooError:
    return ProtozooError(
        f"the device cuda was asked for, but {reason}: it needs an NVIDIA driver and "
        "`pip install 'onnxruntime-gpu[cuda,cudnn]'` (in place of onnxruntime); or serve with --device cpu "
        "(PROTOZOO_DEVICE=cpu)"
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
