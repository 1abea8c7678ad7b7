"""Ways from a trained encoder to a classifier, beside what they cost: fixed prototypes and linear probes.

Fixed prototypes read the class means off one forward pass. The probes that they are compared with train a classifier on
the frozen encoder, by the protocols of "Neural Collapse by Design" (arXiv 2605.20302, appendix E.2).
"""

from training.probes.classifiers import Classifier, CosineClassifier, LinearClassifier, fit_linear
from training.probes.features import Features
from training.probes.pretrained import Pretrained, open_pretrained
from training.probes.probing import Cost, Probe, fixed_prototypes, probe_cached, probe_linear, top1_accuracy
from training.probes.protocols import PROTOCOLS, probe_recipe

__all__ = [
    "PROTOCOLS",
    "Classifier",
    "CosineClassifier",
    "Cost",
    "Features",
    "LinearClassifier",
    "Pretrained",
    "Probe",
    "fit_linear",
    "fixed_prototypes",
    "open_pretrained",
    "probe_cached",
    "probe_linear",
    "probe_recipe",
    "top1_accuracy",
]
