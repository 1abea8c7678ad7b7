"""Objectives of hyperspherical classifiers: pure functions, and over each a module without parameters.

What all of them share: labels are integers and negative ones are left out of everything; the result is a scalar, the
mean over the valid samples of the (global) batch, computed in at least float32 (float64 stays float64), also under
autocast; a batch that leaves nothing to compare gives a zero that is connected to the graph.
"""

from training.losses.accumulation import AccumulatedLoss, accumulate
from training.losses.classifier import (
    NONL,
    NTCE,
    CrossEntropy,
    DecoupledNormFace,
    NormFace,
    cross_entropy,
    decoupled_normface,
    nonl,
    normface,
    ntce,
    present_classes,
)
from training.losses.contrastive import (
    SCL,
    PrototypeContrast,
    SCLWithPrototypes,
    prototype_contrast,
    scl,
    scl_with_prototypes,
)
from training.losses.regression import DotRegression, dot_regression
from training.losses.running import RunningDenominators

__all__ = [
    "NONL",
    "NTCE",
    "SCL",
    "AccumulatedLoss",
    "CrossEntropy",
    "DecoupledNormFace",
    "DotRegression",
    "NormFace",
    "PrototypeContrast",
    "RunningDenominators",
    "SCLWithPrototypes",
    "accumulate",
    "cross_entropy",
    "decoupled_normface",
    "dot_regression",
    "nonl",
    "normface",
    "ntce",
    "present_classes",
    "prototype_contrast",
    "scl",
    "scl_with_prototypes",
]
