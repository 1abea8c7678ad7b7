"""What one needs for an image: a model with its preprocessing and labels."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from zoo.bundle import Bundle, find
from zoo.errors import ProtozooError
from zoo.loading import load_bundle
from zoo.models.base import PrototypeModel
from zoo.models.heads import unit
from zoo.models.pixels import PixelModel

ImageLike = str | os.PathLike[str] | Image.Image
_BATCH = 64
_LONG = 512


@dataclass(frozen=True)
class Prediction:
    """One candidate class of an image.

    Attributes:
        label: its name.
        index: its row among the prototypes.
        cosine: of the embedding to its prototype, in [-1, 1].
        probability: softmax over all classes of cosine / temperature (+ offset, where the model has a readout of them).
    """

    label: str
    index: int
    cosine: float
    probability: float


class Classifier:
    """A pretrained model for images of any mode and size. Make one with :func:`load`.

    An image is resized and cropped as the weights expect it, and converted to RGB (an alpha channel is dropped). Its
    EXIF orientation is not applied: see :mod:`zoo.bundle.images` for why, and ``PIL.ImageOps.exif_transpose`` to apply
    it yourself.

    Attributes:
        bundle: its files and record.
        labels: class names, in the order of the prototypes.
        device: where it computes.
    """

    def __init__(self, bundle: Bundle, device: str | torch.device | None = None) -> None:
        self.bundle = bundle
        self.labels = bundle.labels
        self._pixels = PixelModel(load_bundle(bundle), bundle.preprocessing)
        self.to(device or "cpu")

    def to(self, device: str | torch.device) -> Classifier:
        """Move the model to a torch device; returns the classifier itself.

        Raises:
            ProtozooError: there is no such device.
        """
        try:
            self._pixels.to(torch.device(device))
        except (RuntimeError, AssertionError) as error:
            raise ProtozooError(f"device {str(device)!r} cannot be used: {str(error).splitlines()[0]}") from error
        self.device = torch.device(device)
        return self

    @property
    def model(self) -> PrototypeModel:
        """The torch model. What is changed in it, its prototypes too, holds for what is asked after that.

        :meth:`predict` and :meth:`embed` put it into evaluation mode.
        """
        return self._pixels.model

    @overload
    def predict(self, images: ImageLike, k: int = 5) -> list[Prediction]: ...  # type: ignore[overload-overlap]
    @overload
    def predict(self, images: Sequence[ImageLike], k: int = 5) -> list[list[Prediction]]: ...
    def predict(self, images: ImageLike | Sequence[ImageLike], k: int = 5) -> list[Prediction] | list[list[Prediction]]:
        """The k best classes, best first: the nearest prototypes, or with a readout of offsets the most probable.

        Args:
            images: a path, a PIL image, or a list of them.
            k: how many; all classes where there are fewer.

        Returns:
            A list of predictions for one image, a list of such lists for a list.

        Raises:
            ImageError: a file is missing or is not an image; it is named.
            TypeError: what is given is neither a path nor a PIL image.
            ValueError: k < 1, or the model has been given other classes than there are labels for.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        several = _is_list(images)
        prototypes, offsets = self._classes()
        answers: list[list[Prediction]] = []
        for embeddings in self._run(images if several else [images]):  # type: ignore[arg-type, list-item]
            # Of unit rows a product rounds to as much as 1 + 1e-7, of which there is no angle.
            cosines = F.linear(embeddings, prototypes).cpu().clamp(-1, 1)
            logits = cosines / self.model.temperature + offsets
            probabilities = logits.softmax(1)
            best = logits.argsort(dim=1, descending=True, stable=True)[:, :k]
            for row, indices in enumerate(best.tolist()):
                answers.append(
                    [
                        Prediction(self.labels[i], i, float(cosines[row, i]), float(probabilities[row, i]))
                        for i in indices
                    ]
                )
        return answers if several else answers[0]

    def embed(self, images: ImageLike | Sequence[ImageLike]) -> NDArray[np.float32]:
        """Unit embeddings, float32 (N, d); N = 1 for one image that is not in a list.

        Raises:
            ImageError: a file is missing or is not an image; it is named.
            TypeError: what is given is neither a path nor a PIL image.
        """
        several = _is_list(images)
        batches = [rows.cpu().numpy() for rows in self._run(images if several else [images])]  # type: ignore[arg-type, list-item]
        if not batches:
            return np.empty((0, self.model.head_hidden_size), np.float32)
        return np.concatenate(batches)

    @torch.inference_mode()
    def _classes(self) -> tuple[Tensor, Tensor]:
        """The model's prototypes, where it computes, and its offsets, on the CPU."""
        prototypes = unit(self.model.prototypes)
        if len(prototypes) != len(self.labels):
            raise ValueError(
                f"the model has {len(prototypes)} prototypes and the classifier {len(self.labels)} labels: give it "
                "those of the new classes, classifier.labels = (...)"
            )
        return prototypes, self.model.offsets.cpu()

    @torch.inference_mode()
    def _run(self, images: Sequence[ImageLike]) -> Iterator[Tensor]:
        # In training mode BatchNorm would compare the images of a batch, and remember them.
        self.model.eval()
        # Shown on a terminal alone, and not for what takes a moment.
        with tqdm(total=len(images), unit="image", disable=True if len(images) < _LONG else None) as bar:
            for start in range(0, len(images), _BATCH):
                pixels = np.stack([self._read(image) for image in images[start : start + _BATCH]])
                embeddings = self._pixels.embed(torch.from_numpy(pixels).to(self.device))
                bar.update(len(pixels))
                yield embeddings

    def _read(self, image: ImageLike) -> NDArray[np.uint8]:
        if isinstance(image, Image.Image):
            return self.bundle.preprocessing.pixels(image)
        if not isinstance(image, (str, os.PathLike)):
            raise _no_image(image)
        return self.bundle.preprocessing.read(image, os.fspath(image))


def _is_list(images: object) -> bool:
    return isinstance(images, Sequence) and not isinstance(images, (str, bytes))


def _no_image(given: object) -> TypeError:
    kind, dtype = type(given).__name__, getattr(given, "dtype", None)
    # Not the numbers of a picture, be they an array's or a tensor's, and not the bytes of a file.
    several = isinstance(given, Iterable) if dtype is None else getattr(dtype, "kind", "") in ("O", "S", "U")
    if several and not isinstance(given, (bytes, bytearray, memoryview)):
        return TypeError(f"several images are a list, not of type {kind}: list(images) makes one")
    return TypeError(
        f"an image is a path or a PIL image, not of type {kind}: PIL.Image.fromarray(array) makes one of a uint8 array "
        "(H, W, 3), PIL.Image.open(io.BytesIO(data)) of a file's bytes"
    )


def load(name_or_path: str | os.PathLike[str], device: str | torch.device | None = None) -> Classifier:
    """Load a model with its preprocessing and labels.

    Args:
        name_or_path: a name of the zoo (``architecture.tag``), the folder of a bundle, or
            ``hf-hub:owner/name[@revision]``.
        device: torch device; the CPU by default.

    Raises:
        BundleError: there is no such model, or its files are damaged.
    """
    return Classifier(Bundle.open(find(name_or_path)), device)
