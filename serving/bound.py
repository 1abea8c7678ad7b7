"""A batch size with its buffers, which ONNX Runtime is bound to once and not anew for every batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

Shape = tuple[int, int, int]


class BoundBatch:
    """Runs batches of one size. Not for two threads at a time: there is one set of buffers.

    Args:
        session: with the input `images` and the outputs `embeddings` and `cosines`.
        size: how many images the device sees, whatever number there is.
        shape: (H, W, 3) of an image.
        device: "cpu" or "cuda".
        gpu: which of the GPUs.
    """

    def __init__(self, session: Any, size: int, shape: Shape, *, device: str, gpu: int) -> None:
        self._session = session
        self._input = onnxruntime.OrtValue.ortvalue_from_shape_and_type((size, *shape), np.uint8, device, gpu)
        # On the CPU the model reads what is written here; a GPU's copy is made from it.
        self._staging = self._input.numpy() if device == "cpu" else _page_locked((size, *shape), gpu)
        self._staging[:] = 0
        self._copies = device != "cpu"
        self._binding = session.io_binding()
        self._binding.bind_ortvalue_input("images", self._input)
        for name in ("embeddings", "cosines"):
            self._binding.bind_output(name, "cpu")

    def run(self, images: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Embeddings (n, d) and cosines (n, K) of n images (H, W, 3), at most ``size``."""
        count = len(images)
        np.stack(images, out=self._staging[:count])  # after them stands what stood there before
        if self._copies:
            self._input.update_inplace(self._staging)
        self._session.run_with_iobinding(self._binding)
        embeddings, cosines = self._binding.copy_outputs_to_cpu()
        return embeddings[:count], cosines[:count]


def _page_locked(shape: tuple[int, ...], gpu: int) -> NDArray[np.uint8]:
    """Memory that a GPU reads without the driver's own copy, where ONNX Runtime has some to give, else any."""
    for found in onnxruntime.get_ep_devices():
        memory = found.memory_info(onnxruntime.OrtDeviceMemoryType.HOST_ACCESSIBLE)
        if memory is not None and found.ep_name == "CUDAExecutionProvider" and memory.device_id == gpu:
            value = onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, np.uint8, memory_info=memory)
            array: NDArray[np.uint8] = value.numpy()
            return array
    return np.empty(shape, np.uint8)
