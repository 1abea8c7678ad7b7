"""Does a bundle still give the answers that it was exported with, in every runtime?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from export.onnx import run_onnx
from zoo.bundle import Bundle, BundleError
from zoo.loading import create_model
from zoo.models.base import PrototypeModel, timm_model
from zoo.models.pixels import PixelModel

TOLERANCE = 1e-5

_Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Difference:
    """Largest absolute differences between two sets of answers.

    Attributes:
        what: which two.
        embeddings, cosines: the differences.
    """

    what: str
    embeddings: float
    cosines: float

    @property
    def small(self) -> bool:
        """Whether both are within :data:`TOLERANCE`."""
        # Written so that a NaN is not small.
        return self.embeddings <= TOLERANCE and self.cosines <= TOLERANCE


def verify_bundle(bundle: Bundle) -> list[Difference]:
    """Replay the golden inputs through torch, plain timm and ONNX Runtime.

    Args:
        bundle: opened, so that its digests agree already.

    Returns:
        The differences, all small.

    Raises:
        BundleError: one is not; the runtime and the difference are named.
    """
    golden = bundle.golden
    expected = (golden.embeddings, golden.cosines)
    by_torch = _run_torch(create_model(f"local-dir:{bundle.path}"), bundle)
    by_timm = _run_torch(timm_model(f"local-dir:{bundle.path}", pretrained=True), bundle)
    by_onnx = run_onnx(bundle.onnx_path, golden.images)
    one_by_one = [run_onnx(bundle.onnx_path, image[None]) for image in golden.images]
    singly = (np.concatenate([e for e, _ in one_by_one]), np.concatenate([c for _, c in one_by_one]))
    differences = [
        _difference("torch, golden", by_torch, expected),
        _difference("plain timm, golden", by_timm, expected),
        _difference("ONNX Runtime, golden", by_onnx, expected),
        _difference("ONNX Runtime, torch", by_onnx, by_torch),
        _difference("ONNX Runtime, one by one", singly, by_onnx),
    ]
    for difference in differences:
        if not difference.small:
            raise BundleError(
                f"{bundle.path}: {difference.what} differ by {difference.embeddings:.1e} in embeddings and "
                f"{difference.cosines:.1e} in cosines, {TOLERANCE:.0e} is allowed: export the model again"
            )
    return differences


def _run_torch(model: PrototypeModel, bundle: Bundle) -> _Outputs:
    with torch.inference_mode():
        embeddings, cosines, *_ = PixelModel(model, bundle.preprocessing)(torch.from_numpy(bundle.golden.images))
    return embeddings.numpy(), cosines.numpy()


def _difference(what: str, a: _Outputs, b: _Outputs) -> Difference:
    if a[0].shape != b[0].shape or a[1].shape != b[1].shape:
        raise BundleError(f"{what}: outputs of shapes {a[0].shape}, {a[1].shape} and {b[0].shape}, {b[1].shape}")
    return Difference(what, float(np.abs(a[0] - b[0]).max()), float(np.abs(a[1] - b[1]).max()))
