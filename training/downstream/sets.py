"""The data sets to measure transfer on, opened before any work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from training.data import DataError, ImageData, load_data
from training.downstream.voc import VOC2007, voc2007
from training.few_shot import with_shots
from zoo.bundle import Preprocessing
from zoo.errors import ProtozooError

TABLE4 = ("food101", "cifar10", "cifar100", "cars", "dtd", "pets", "flowers102", VOC2007)
"""The data sets of table 4 of "Neural Collapse by Design" (arXiv 2605.20302), in its order.

VOC 2007 is classified here, as in the protocol that the paper follows (Khosla et al. 2020, Kornblith et al. 2019); the
paper itself speaks of a detection head.
"""


def open_sets(
    specs: Sequence[str], preprocessing: Preprocessing, *, shots: int | None = None, seed: int = 0
) -> list[ImageData]:
    """Open data sets without decoding their images, which one pass needs once.

    Args:
        specs: each "voc2007" or as for :func:`training.data.load_data`.
        preprocessing: of the model.
        shots: training images of each class; None: all.
        seed: of their choice.

    Returns:
        The sets, in the order of ``specs``; labels are (N,), or (N, K) as :func:`training.downstream.voc.voc2007` has
        them.

    Raises:
        DataError: data sets that cannot be had, all of which are named, or two of the same name.
    """
    opened, missing = [], []
    for spec in specs:
        try:
            opened.append(_open(spec, preprocessing, shots, seed))
        except ProtozooError as error:
            missing.append(str(error))
    if missing:
        raise DataError(f"{len(missing)} of {len(specs)} data sets cannot be used: {'; '.join(missing)}")
    name, times = Counter(data.name for data in opened).most_common(1)[0]
    if times > 1:
        raise DataError(f"{times} of the data sets are called {name}: give each once, under a name of its own")
    return opened


def _open(spec: str, preprocessing: Preprocessing, shots: int | None, seed: int) -> ImageData:
    if spec != VOC2007:
        return with_shots(load_data(spec, preprocessing, storage="disk").warn_left_out(), shots, seed=seed)
    if shots is not None:
        raise DataError(f"{VOC2007} has several classes an image and takes no --shots: name the others with --data")
    return voc2007()
