"""PASCAL VOC 2007 for classification: which of twenty classes of objects an image shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from training.data import DataError, ImageData, StoredSplit
from training.data.folder import Files
from training.data.source import data_folder
from training.data.torchvision_sets import open_dataset

VOC2007 = "voc2007"
CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


def voc2007() -> ImageData:
    """The data set, as ``torchvision.datasets.VOCDetection`` lays it out: "trainval" to train on, "test" to test.

    Returns:
        Labels of both splits are int64 (N, 20): 1 where an object of the class is in the image, 0 where there is none,
        and -1 where all of them are marked difficult, which the VOC devkit counts neither way.

    Raises:
        DataError: it is not in the cache and cannot be downloaded, or an annotation cannot be read.
    """
    train, test = (_split(name) for name in ("trainval", "test"))
    return ImageData("PASCAL VOC 2007", "Flickr's terms of use", CLASSES, train, test)


def _split(image_set: str) -> StoredSplit:
    # Asked to download, torchvision unpacks the archives each time.
    listed = data_folder() / VOC2007 / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main" / f"{image_set}.txt"
    options = {"year": "2007", "image_set": image_set, "download": not listed.is_file()}
    dataset = open_dataset(VOC2007, "VOCDetection", options)
    labels = np.stack([labels_of(Path(path)) for path in dataset.annotations])
    return StoredSplit(Files(np.array(dataset.images)), np.arange(len(labels)), labels)


def labels_of(annotation: Path) -> NDArray[np.int64]:
    """The labels (20,) of an image, from its annotation in XML.

    Raises:
        DataError: the file cannot be read, or an object is of no known class.
    """
    try:
        root = ElementTree.parse(annotation).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise DataError(f"{annotation} cannot be read as XML ({error}): copy {VOC2007} again") from error
    objects = [(found.findtext("name", ""), found.findtext("difficult", "0")) for found in root.iter("object")]
    unknown = [name for name, _ in objects if name not in CLASSES]
    if unknown:
        raise DataError(f"{annotation} has an object {unknown[0]!r}, which is no class of {VOC2007}")
    return _labels(objects)


def _labels(objects: Sequence[tuple[str, str]]) -> NDArray[np.int64]:
    labels = np.zeros(len(CLASSES), np.int64)
    # Last, so that they win, those that are not difficult.
    for name, difficult in sorted(objects, key=lambda found: found[1], reverse=True):
        labels[CLASSES.index(name)] = -1 if difficult == "1" else 1
    return labels
