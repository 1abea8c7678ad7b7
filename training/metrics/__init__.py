r"""How far embeddings and prototypes have collapsed, by definitions that hold at the collapse itself.

At exact neural collapse with K classes: every class is one point, the class means are a simplex, and the prototypes
are the means. :class:`NeuralCollapse` says next to each figure what it then is.
"""

from training.metrics.collapse import NeuralCollapse, collapse_optimum
from training.metrics.geometry import cdnv, etf_cosine_error, gram_distance
from training.metrics.measure import IntraPolicy, NeuralCollapseAccumulator, neural_collapse
from training.metrics.spectra import Convention, effective_rank

__all__ = [
    "Convention",
    "IntraPolicy",
    "NeuralCollapse",
    "NeuralCollapseAccumulator",
    "cdnv",
    "collapse_optimum",
    "effective_rank",
    "etf_cosine_error",
    "gram_distance",
    "neural_collapse",
]
