"""The servers that benchmarks/serving.py compares with: the same bundle, decoding and model, answered by others.

Each is a module to be run with the folder of a bundle and a port, computes in one process, decodes exactly, and answers
a form with one image with its five nearest classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from serving.decoder import Decoder
from serving.settings import Settings
from zoo.bundle import Bundle


def nearest(labels: tuple[str, ...], cosines: np.ndarray) -> list[dict[str, Any]]:
    """The five nearest classes."""
    return [{"label": labels[at], "cosine": float(cosines[at])} for at in np.argsort(-cosines, kind="stable")[:5]]


def decoder_of(bundle: Bundle) -> Decoder:
    """As the service has it."""
    own = Settings(str(bundle.path))
    return Decoder(
        bundle.preprocessing, max_pixels=own.max_pixels, threads=own.decode_threads, max_pending=own.max_queue
    )
