"""The model: ONNX Runtime on the device that was asked for, or an error."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from serving.bound import BoundBatch
from zoo.bundle import Bundle, BundleError, ProtozooError

GPU_SIZES = (1, 2, 4, 8, 16, 32)
"""Batch sizes that a GPU sees: each costs a search for kernels, so others are padded."""

_CPU_IMAGES = 8
# No image is much faster in company, and what a larger batch holds goes back to the system after every run, to be
# brought in again page by page: a ResNet-18 loses by it at eight images of 224 pixels, and not at two.
_CPU_PIXELS = 2 * 224 * 224

TOLERANCE = 1e-3
"""Largest difference from the golden outputs: a device rounds differently, another model does not."""

_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_OPTIONS = {
    "cpu": {},
    # EXHAUSTIVE searches anew at every size, and the default arena doubles and never gives memory back.
    "cuda": {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"},
}


class EngineError(Exception):
    """The device failed or gave numbers that are none: it cannot be trusted with the next batch either."""


@dataclass(frozen=True)
class Outputs:
    """What the model says of a batch.

    Attributes:
        embeddings: float32 (N, d), unit rows.
        cosines: float32 (N, K), with every prototype.
    """

    embeddings: NDArray[np.float32]
    cosines: NDArray[np.float32]


class Engine:
    """A bundle's model in memory, checked against the bundle's golden outputs. Not for use by two threads at once.

    Args:
        bundle: what to run.
        device: "cpu" or "cuda".
        gpu: which one, counted from 0 among those that are visible.

    Raises:
        BundleError: the model cannot be loaded, or does not give the outputs that were recorded at export.
        ProtozooError: the device cannot be used; the message says what to install.
    """

    def __init__(self, bundle: Bundle, device: str = "cpu", gpu: int = 0) -> None:
        size = bundle.preprocessing.size
        self._shape = (size, size, 3)
        self._device, self._gpu = device, gpu
        self._sizes = GPU_SIZES if device == "cuda" else _cpu_sizes(size)
        self._session = _session(bundle, device, gpu)
        self._batches: dict[int, BoundBatch] = {}
        self._check_signature(bundle)
        self._replay(bundle)

    @property
    def provider(self) -> str:
        """ONNX Runtime's name of what computes."""
        name: str = self._session.get_providers()[0]
        return name

    @property
    def max_batch(self) -> int:
        """How many images the device takes at a time; more are run in parts."""
        return self._sizes[-1]

    def warm_up(self) -> None:
        """Run what must have been run once, so that no request pays for a first time; the golden images were a part."""
        # The CPU searches for nothing; the largest size makes its memory grow to where it will be.
        sizes = (1, self.max_batch) if self._device == "cpu" else self._sizes
        for size in sizes:
            if size not in self._batches:
                self.run([np.zeros(self._shape, np.uint8)] * size)

    def run(self, images: Sequence[NDArray[np.uint8]]) -> Outputs:
        """Embed images, each uint8 (H, W, 3), one or more. Not for two threads at a time.

        Raises:
            EngineError: the device failed, or an output is NaN or infinite.
        """
        parts = [self._run_part(part) for part in _chunks(images, self.max_batch)]
        return Outputs(
            np.concatenate([part.embeddings for part in parts]), np.concatenate([part.cosines for part in parts])
        )

    def _run_part(self, images: Sequence[NDArray[np.uint8]]) -> Outputs:
        size = next(size for size in self._sizes if size >= len(images))
        try:
            embeddings, cosines = self._bound(size).run(images)
        except Exception as error:  # ONNX Runtime's own classes have no public common base
            raise EngineError(f"ONNX Runtime failed on {self.provider}: {error}") from error
        if not (np.isfinite(embeddings).all() and np.isfinite(cosines).all()):
            raise EngineError(f"the model gave NaN or infinite numbers on {self.provider}")
        return Outputs(embeddings, cosines)

    def _bound(self, size: int) -> BoundBatch:
        if size not in self._batches:
            self._batches[size] = BoundBatch(self._session, size, self._shape, device=self._device, gpu=self._gpu)
        return self._batches[size]

    def _check_signature(self, bundle: Bundle) -> None:
        size = bundle.preprocessing.size
        inputs = [(node.name, node.type, list(node.shape[1:])) for node in self._session.get_inputs()]
        outputs = {node.name for node in self._session.get_outputs()}
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


def _chunks(images: Sequence[NDArray[np.uint8]], largest: int) -> Iterator[Sequence[NDArray[np.uint8]]]:
    for start in range(0, len(images), largest):
        yield images[start : start + largest]


def _session(bundle: Bundle, device: str, gpu: int) -> Any:
    if device == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena = False  # it keeps what the largest batch once needed
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
