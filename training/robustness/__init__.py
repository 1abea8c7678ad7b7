"""Errors on corrupted images, made here or read from ImageNet-C's folders."""

from training.robustness.conditions import Condition, corrupted_images, read_conditions
from training.robustness.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from training.robustness.errors import corruption_errors, summary, with_baseline
from training.robustness.record import record_corruptions
from training.robustness.saved_images import SavedImages

__all__ = [
    "CORRUPTIONS",
    "SEVERITIES",
    "Condition",
    "SavedImages",
    "corrupt",
    "corrupted_images",
    "corruption_errors",
    "read_conditions",
    "record_corruptions",
    "summary",
    "with_baseline",
]
