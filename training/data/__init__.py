"""Data to train on: named sets, folders and the Hub's, decoded once into memory or batch by batch from the disk."""

from training.data.batches import (
    epoch_order,
    evaluation_batches,
    steps_per_epoch,
    to_input,
    to_tensor,
    training_batches,
)
from training.data.digits import digits_split
from training.data.load import OnBadImage, Storage, load_data
from training.data.splits import DataError, ImageData, Split, StoredSplit

__all__ = [
    "DataError",
    "ImageData",
    "OnBadImage",
    "Split",
    "Storage",
    "StoredSplit",
    "digits_split",
    "epoch_order",
    "evaluation_batches",
    "load_data",
    "steps_per_epoch",
    "to_input",
    "to_tensor",
    "training_batches",
]
