"""Prototypes out of data: class means, and which class takes which of a set of fixed prototypes."""

from __future__ import annotations

from training.prototypes.assignment import ClassRepresentatives, PrototypeAssignment, assign
from training.prototypes.means import ClassMeans, class_means, ema_class_means

__all__ = [
    "ClassMeans",
    "ClassRepresentatives",
    "PrototypeAssignment",
    "assign",
    "class_means",
    "ema_class_means",
]
