"""The model: ONNX Runtime on the device that was asked for, or an error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from zoo.bundle import Bundle, BundleError, ProtozooError

BUCKETS = (1, 2, 4, 8, 16, 32)
"""Batch sizes that the device sees: every new size would cost it a search for kernels, so others are padded."""

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

    Raises:
        BundleError: the model cannot be loaded, or does not give the outputs that were recorded at export.
        ProtozooError: the device cannot be used; the message says what to install.
    """

    def __init__(self, bundle: Bundle, device: str = "cpu") -> None:
        self._session = _session(bundle, device)
        self._check_signature(bundle)
        self._replay(bundle)

    @property
    def provider(self) -> str:
        """ONNX Runtime's name of what computes."""
        name: str = self._session.get_providers()[0]
        return name

    def warm_up(self) -> None:
        """Run every batch size once, so that no request pays for a first time."""
        _, height, width, channels = self._session.get_inputs()[0].shape
        for size in BUCKETS:
            self.run(np.zeros((size, height, width, channels), np.uint8))

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Embed a batch, uint8 (N, H, W, 3); N may be any number from 1.

        Raises:
            EngineError: the device failed, or an output is NaN or infinite.
        """
        parts = [self._run_bucket(part) for part in _chunks(images)]
        return Outputs(
            np.concatenate([part.embeddings for part in parts]), np.concatenate([part.cosines for part in parts])
        )

    def _run_bucket(self, images: NDArray[np.uint8]) -> Outputs:
        count = len(images)
        size = next(bucket for bucket in BUCKETS if bucket >= count)
        if size > count:
            images = np.concatenate([images, np.zeros((size - count, *images.shape[1:]), np.uint8)])
        try:
            embeddings, cosines = self._session.run(["embeddings", "cosines"], {"images": images})
        except Exception as error:  # ONNX Runtime's own classes have no public common base
            raise EngineError(f"ONNX Runtime failed on {self.provider}: {error}") from error
        embeddings, cosines = embeddings[:count], cosines[:count]
        if not (np.isfinite(embeddings).all() and np.isfinite(cosines).all()):
            raise EngineError(f"the model gave NaN or infinite numbers on {self.provider}")
        return Outputs(embeddings, cosines)

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
            outputs = self.run(golden.images)
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


def _chunks(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    for start in range(0, len(images), BUCKETS[-1]):
        yield images[start : start + BUCKETS[-1]]


def _session(bundle: Bundle, device: str) -> Any:
    if device == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    options = onnxruntime.SessionOptions()
    # Spinning threads would take the cores from decoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if device == "cuda" and _PROVIDERS[device] not in onnxruntime.get_available_providers():
        raise _no_cuda("this ONNX Runtime was built without CUDA")
    try:
        session = onnxruntime.InferenceSession(
            str(bundle.onnx_path), options, providers=[(_PROVIDERS[device], _OPTIONS[device])]
        )
    except Exception as error:  # ONNX Runtime's own classes have no public common base
        raise BundleError(f"{bundle.onnx_path} cannot be loaded by ONNX Runtime: {_first_line(error)}") from error
    if session.get_providers()[0] != _PROVIDERS[device]:
        # ONNX Runtime only logs where CUDA is missing, and goes on some fifty times slower.
        raise _no_cuda("ONNX Runtime cannot start CUDA here")
    return session


def _no_cuda(reason: str) -> ProtozooError:
    return ProtozooError(
        f"the device cuda was asked for, but {reason}: it needs an NVIDIA driver and "
        "`pip install 'onnxruntime-gpu[cuda,cudnn]'` (in place of onnxruntime); or serve with --device cpu "
        "(PROTOZOO_DEVICE=cpu)"
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
