"""A session of ONNX Runtime with its buffers: what one thread at a time computes with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.bound import BoundBatch, Shape


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


Run = Callable[[Sequence[NDArray[np.uint8]]], Outputs]
"""From images, each uint8 (H, W, 3), to what the model says of them."""


class Lane:
    """Runs batches of any size. Not for two threads at a time; lanes of one session may run beside each other.

    Args:
        session: see :class:`BoundBatch`.
        sizes: batch sizes that the device sees, ascending; others are padded, and larger ones run in parts.
        shape: (H, W, 3) of an image.
        device: "cpu" or "cuda".
        gpu: which of the GPUs.
    """

    def __init__(self, session: Any, sizes: Sequence[int], shape: Shape, *, device: str, gpu: int) -> None:
        self._session, self._sizes, self._shape = session, tuple(sizes), shape
        self._device, self._gpu = device, gpu
        self._batches: dict[int, BoundBatch] = {}

    @property
    def provider(self) -> str:
        """ONNX Runtime's name of what computes."""
        name: str = self._session.get_providers()[0]
        return name

    def warm_up(self) -> None:
        """Run what must have been run once, so that no request pays for a first time."""
        # The CPU searches for nothing; the largest size makes its memory grow to where it will be.
        sizes = (1, self._sizes[-1]) if self._device == "cpu" else self._sizes
        for size in sizes:
            if size not in self._batches:
                self.run([np.zeros(self._shape, np.uint8)] * size)

    def run(self, images: Sequence[NDArray[np.uint8]]) -> Outputs:
        """Embed images, each uint8 (H, W, 3), one or more.

        Raises:
            EngineError: the device failed, or an output is NaN or infinite.
        """
        parts = [self._run_part(part) for part in _chunks(images, self._sizes[-1])]
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


def _chunks(images: Sequence[NDArray[np.uint8]], largest: int) -> Iterator[Sequence[NDArray[np.uint8]]]:
    for start in range(0, len(images), largest):
        yield images[start : start + largest]
