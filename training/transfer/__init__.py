"""From a model of the zoo to a classifier of other images: prototypes in one pass, or further training."""

from training.transfer.finetune import finetune
from training.transfer.fit import fit

__all__ = ["finetune", "fit"]
