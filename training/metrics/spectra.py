r"""Effective ranks and matrix entropies: what the spectra of covariances and Gram matrices say about collapse.

``convention="corrected"`` computes the published formulas; ``"reference"`` adds the constants of the released code of
"Neural Collapse by Design" (arXiv 2605.20302), for comparison with its tables.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Convention = Literal["corrected", "reference"]

_RELATIVE_ZERO = 1e-12
_REFERENCE_SHARE = 1e-7
_REFERENCE_EIGENVALUE = 1e-10
# Beside the scale of the features, a squared distance in float64 that is rounding alone.
SQUARED_ROUNDING = 1e-24


def check_convention(convention: str) -> None:
    """Refuse a name that is not a :data:`Convention`."""
    if convention not in get_args(Convention):
        raise ValueError(f"convention must be one of {', '.join(get_args(Convention))}, not {convention!r}")


def effective_ranks(spectra: Tensor, *, scale: float | Tensor = 1.0, convention: Convention = "corrected") -> Tensor:
    r"""exp(entropy) of each spectrum scaled to sum 1; 0 where its sum is nothing beside ``scale``.

    .. math:: \exp\Big(-\sum_i p_i \log p_i\Big),\quad p_i = \sigma_i / \sum_j \sigma_j

    With ``convention="reference"``, 1e-7 is added to every share and the shares are scaled to sum 1 again. The released
    code does not return for a spectrum of zeros; here its rank is 0 by either convention.

    Args:
        spectra: (..., d) eigenvalues of covariances, zero eigenvalues included.
        scale: what a variance is compared with.
        convention: whose formula.

    Returns:
        (...) ranks, 0 or in [1, d].

    Source: Roy & Vetterli 2007.
    """
    spectra = spectra.clamp_min(0)
    total = spectra.sum(-1)
    nothing = total <= _RELATIVE_ZERO * scale
    shares = spectra / total.where(~nothing, 1).unsqueeze(-1)
    if convention == "reference":
        shares = shares + _REFERENCE_SHARE
        shares = shares / shares.sum(-1, keepdim=True)
    else:
        shares = _without_rounding(shares)
    return _entropy(shares).exp().where(~nothing, 0)


def effective_rank(covariance: Tensor, *, scale: float = 1.0, convention: Convention = "corrected") -> float:
    """:func:`effective_ranks` of the spectrum of a covariance (d, d).

    At exact collapse K - 1 for the covariance of the class means or of the prototypes, and 0 for that of a class. The
    rank of a class says nothing about its size: read it beside tr(S_W) / tr(S_B) or the CDNV.

    Source: Roy & Vetterli 2007.
    """
    check_convention(convention)
    return float(effective_ranks(torch.linalg.eigvalsh(covariance), scale=scale, convention=convention))


def covariance_spectrum(centred: Tensor) -> Tensor:
    """(d,) eigenvalues of the covariance (divided by n) of centred rows (n, d), from the smaller Gram matrix."""
    count, dim = centred.shape
    gram = centred @ centred.T if count < dim else centred.T @ centred
    spectrum = torch.linalg.eigvalsh(gram) / count
    return torch.nn.functional.pad(spectrum, (dim - len(spectrum), 0))


def mutual_information_ratio(
    gram_weights: Tensor, gram_means: Tensor, *, convention: Convention = "corrected"
) -> Tensor:
    r"""Matrix mutual information ratio of two Gram matrices (K, K) of unit rows.

    .. math:: \frac{H(G_W) + H(G_M) - H(G_W \odot G_M)}{\min\{H(G_W), H(G_M)\}}

    with H the entropy of the eigenvalues of G / K; 0 where one entropy is. At exact collapse, where both are the Gram
    matrix of a simplex, it is :math:`1/(K-1) + (K-2)\log(K-2) / ((K-1)\log(K-1))`: 0.952 at K = 10, and not 1.

    Source: Song et al. 2024; section 5.2 of "Neural Collapse by Design" (arXiv 2605.20302), whose limit of 1 is wrong.
    """
    of_weights, of_means, of_both = (
        _matrix_entropy(gram, convention) for gram in (gram_weights, gram_means, gram_weights * gram_means)
    )
    mutual, least = of_weights + of_means - of_both, torch.minimum(of_weights, of_means)
    return ratio(mutual.where((mutual.abs() > _RELATIVE_ZERO) & (least > _RELATIVE_ZERO), 0), least)


def entropy_difference_ratio(
    gram_weights: Tensor, gram_means: Tensor, *, convention: Convention = "corrected"
) -> Tensor:
    r"""Matrix entropy difference ratio of two Gram matrices (K, K) of unit rows; at exact collapse 0.

    .. math:: \frac{|H(G_W) - H(G_M)|}{\max\{H(G_W), H(G_M)\}}

    Source: Song et al. 2024.
    """
    of_weights, of_means = (_matrix_entropy(gram, convention) for gram in (gram_weights, gram_means))
    return ratio((of_weights - of_means).abs(), torch.maximum(of_weights, of_means))


def _matrix_entropy(gram: Tensor, convention: Convention) -> Tensor:
    """Entropy (nats) of the eigenvalues of G / K; the reference lifts each to 1e-10 at least."""
    shares = torch.linalg.eigvalsh(gram) / len(gram)
    if convention == "reference":
        return _entropy(shares.clamp_min(_REFERENCE_EIGENVALUE))
    return _entropy(_without_rounding(shares))


def _entropy(shares: Tensor) -> Tensor:
    entropy: Tensor = torch.special.entr(shares).sum(-1)
    return entropy


def _without_rounding(shares: Tensor) -> Tensor:
    # What rounding leaves of a zero eigenvalue would make the ratios of two vanishing entropies (K = 2) arbitrary.
    shares = shares.where(shares > _RELATIVE_ZERO, 0)
    return shares / shares.sum(-1, keepdim=True).clamp_min(_RELATIVE_ZERO)


def ratio(numerator: Tensor, denominator: Tensor, *, zero: float | Tensor = 0.0) -> Tensor:
    """Elementwise quotient; up to ``zero`` counts as 0, and 0/0 is 0: both sides vanish where nothing varies."""
    vanishing = torch.where(numerator <= zero, 0.0, torch.inf).to(numerator)
    return torch.where(denominator > zero, numerator / denominator.where(denominator > zero, 1), vanishing)
