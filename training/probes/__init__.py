"""Ways from a trained encoder to a classifier, beside what they cost: fixed prototypes and linear probes.

Fixed prototypes read the class means off one forward pass. The probes that they are compared with train a classifier on
the frozen encoder, by the protocols of "Neural Collapse by Design" (arXiv 2605.20302, appendix E.2).
"""

from training.pretrained import Pretrained, open_pretrained
from training.probes.classifiers import Classifier, CosineClassifier, LinearClassifier, WhitenedClassifier, fit_linear
from training.probes.closed_form import ClosedForm, FixedFeatures, closed_form, whitening
from training.probes.features import Features, FrozenEncoder
from training.probes.probing import Cost, Probe, fixed_prototypes, probe_cached, probe_linear, top1_accuracy
from training.probes.protocols import PROTOCOLS, probe_recipe

__all__ = [
    "PROTOCOLS",
    "Classifier",
    "ClosedForm",
    "CosineClassifier",
    "Cost",
    "Features",
    "FixedFeatures",
    "FrozenEncoder",
    "LinearClassifier",
    "Pretrained",
    "Probe",
    "WhitenedClassifier",
    "closed_form",
    "fit_linear",
    "fixed_prototypes",
    "open_pretrained",
    "probe_cached",
    "probe_linear",
    "probe_recipe",
    "top1_accuracy",
    "whitening",
]
