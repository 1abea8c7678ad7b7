"""How far a runtime's answers are from torch's, and how far they may be."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from export.evaluation import BATCH, ImageFiles
from export.onnx import Outputs, Runner
from zoo.bundle import BundleError
from zoo.models.pixels import PixelModel

TOLERANCES = {"float32": 1e-5, "float16": 2e-3}
"""Largest difference of an embedding's coordinate from torch's, over golden and random images."""

TOP1_LOSS = 0.01
"""What int8 may lose of the share of right answers."""

_RANDOM_IMAGES = 24


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


@dataclass(frozen=True)
class Measured:
    """What a runtime gives with one ONNX file, beside torch.

    Attributes:
        what: runtime and file.
        precision: "float32", "float16" or "int8".
        embeddings, cosines: largest absolute differences over golden and random images.
        agreement: share of the evaluation's images to which both give the same class; None without an evaluation.
        accuracy: share of its images to which the right class is given; None without labels.
    """

    what: str
    precision: str
    embeddings: float
    cosines: float
    agreement: float | None
    accuracy: float | None


class Reference:
    """Torch's answers, and what others give beside them.

    Args:
        model: on the CPU, in float32.
        golden: uint8 (n, H, W, 3); random images are added.
        files: the evaluation, if there is one.
    """

    def __init__(self, model: PixelModel, golden: NDArray[np.uint8], files: ImageFiles | None) -> None:
        random = np.random.default_rng(0).integers(0, 256, (_RANDOM_IMAGES, *golden.shape[1:]), dtype=np.uint8)
        self.images = np.concatenate([golden, random])
        self.files = files
        self.temperature, self.offsets = model.temperature, model.offsets.numpy()
        run = torch_runner(model)
        self.outputs = run(self.images)
        self.answers = None if files is None else self._answers(run, files)
        self.accuracy = self._accuracy(self.answers)

    def measure(self, run: Runner, what: str, precision: str) -> Measured:
        """Run what torch ran."""
        answers = None if self.files is None else self._answers(run, self.files)
        agreement = None if answers is None else float(np.mean(answers == self.answers))
        apart = difference(what, run(self.images), self.outputs)
        return Measured(what, precision, apart.embeddings, apart.cosines, agreement, self._accuracy(answers))

    def check(self, measured: Measured) -> None:
        """Refuse what is too far away; int8 without an evaluation is never.

        Raises:
            BundleError: with the figure, and what is allowed.
        """
        allowed = TOLERANCES.get(measured.precision)
        if allowed is not None:
            # Written so that a NaN is not small.
            if not measured.embeddings <= allowed:
                raise BundleError(
                    f"{measured.what}: the embeddings differ from torch's by {measured.embeddings:.1e}, {allowed:.0e} "
                    f"is allowed in {measured.precision}: leave {measured.precision} out, or export the model again"
                )
        elif measured.accuracy is not None and self.accuracy is not None:
            # In whole images, since 0.51 - 0.50 is more than 0.01.
            if round((self.accuracy - measured.accuracy) * 1e6) > TOP1_LOSS * 1e6:
                raise BundleError(
                    f"{measured.what}: of {100 * self.accuracy:.2f} % right answers {100 * measured.accuracy:.2f} % "
                    f"are left, {100 * TOP1_LOSS:g} point may be lost: calibrate with other images, or leave int8 out"
                )
        elif measured.agreement is not None and round(measured.agreement * 1e6) < (1 - TOP1_LOSS) * 1e6:
            raise BundleError(
                f"{measured.what}: {100 * measured.agreement:.2f} % of the images get the class that torch gives, "
                f"{100 * (1 - TOP1_LOSS):g} % are needed where the right classes are not known: give --data, a folder "
                "of labelled images, or leave int8 out"
            )

    def _answers(self, run: Runner, files: ImageFiles) -> NDArray[np.int64]:
        answers: NDArray[np.int64] = (files.cosines(run) / self.temperature + self.offsets).argmax(axis=1)
        return answers

    def _accuracy(self, answers: NDArray[np.int64] | None) -> float | None:
        if answers is None or self.files is None or self.files.labels is None:
            return None
        return float(np.mean(answers == self.files.labels))


def torch_runner(model: PixelModel) -> Runner:
    """The model itself, on the device where it is."""

    def run(images: NDArray[np.uint8]) -> Outputs:
        with torch.inference_mode():
            embeddings, cosines, *_ = model(torch.from_numpy(images).to(model.mean.device))
        return embeddings.cpu().numpy(), cosines.cpu().numpy()

    return run


def difference(what: str, a: Outputs, b: Outputs) -> Difference:
    """Compare two sets of answers.

    Raises:
        BundleError: they differ in shape.
    """
    if a[0].shape != b[0].shape or a[1].shape != b[1].shape:
        raise BundleError(f"{what}: outputs of shapes {a[0].shape}, {a[1].shape} and {b[0].shape}, {b[1].shape}")
    return Difference(what, float(np.abs(a[0] - b[0]).max()), float(np.abs(a[1] - b[1]).max()))


def images_per_second(run: Runner, images: NDArray[np.uint8], seconds: float = 0.5) -> float:
    """Speed of a runtime on one batch, after two runs to warm up."""
    run(images)
    run(images)
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        run(images)
        count += len(images)
    return count / (time.perf_counter() - began)


def a_batch(size: int, count: int = BATCH) -> NDArray[np.uint8]:
    """Noise to time a runtime with, uint8 (count, size, size, 3)."""
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
