r"""Objectives over logits = cosine / temperature: drop-ins for ``torch.nn.functional.cross_entropy(logits, labels)``.

Every function takes ``logits`` (M, K) and ``labels`` (M,) int64, leaves out the samples whose label is negative,
computes in at least float32 (float64 stays float64) and returns the mean over the remaining samples; without any, a
zero that is connected to the graph. Over each stands an ``nn.Module`` without parameters: the prototypes belong to the
model.

NTCE and NONL are written over classes and not over pairs of samples: with :math:`s_{jc}` the logit of sample j for
class c, the denominator of every sample of class c is the same column-wise log-sum-exp, so that an M x K matrix does
what the papers' formulas write as M x M.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def _valid(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Check the shapes, drop samples with a negative label, and go to at least float32."""
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ValueError(f"logits must be (M, K) and labels (M,), not {tuple(logits.shape)} and {tuple(labels.shape)}")
    if labels.is_floating_point():
        raise ValueError(f"labels must be class indices of an integer type, not {labels.dtype}")
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    kept = labels >= 0
    return logits[kept], labels[kept].long()


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    r"""Plain cross-entropy: mean_i [ log sum_c exp(s_ic) - s_{i,y_i} ].

    Eq. 1 of "Neural Collapse by Design" with the logits of a linear classifier with bias, eq. 3 (:func:`normface`)
    with cosines divided by a temperature.
    """
    logits, labels = _valid(logits, labels)
    if not len(labels):
        return logits.sum()
    return F.cross_entropy(logits, labels)


def normface(logits: Tensor, labels: Tensor) -> Tensor:
    r"""Normalised softmax: cross-entropy over logits = cosine / temperature.

    .. math:: L = \frac1M \sum_i \Big[\log\sum_{c=1}^K e^{s_{ic}} - s_{i,y_i}\Big]

    Each sample contrasts with the K prototypes.

    Args:
        logits: (M, K), cosine / temperature.
        labels: (M,) int64; negative ones are left out.

    Returns:
        Scalar >= 0.

    Raises:
        ValueError: shapes that do not fit.

    Source: Wang et al. 2017; eq. 3 of "Neural Collapse by Design" (arXiv 2605.20302).
    """
    return cross_entropy(logits, labels)


def ntce(logits: Tensor, labels: Tensor) -> Tensor:
    r"""Normalised temperature-scaled cross-entropy: each prototype contrasts with the M samples of the batch.

    .. math:: L = \frac1M \sum_i \Big[\log\sum_{j=1}^M e^{s_{j,y_i}} - s_{i,y_i}\Big]

    The denominator holds the sample itself and its class: at collapse the loss tends to the log of the class's count.

    Args:
        logits: (M, K), cosine / temperature.
        labels: (M,) int64; negative ones are left out.

    Returns:
        Scalar >= 0; 0 for one sample.

    Raises:
        ValueError: shapes that do not fit.

    Source: eq. 4 of "Neural Collapse by Design" (arXiv 2605.20302).
    """
    return _column_loss(logits, labels, negatives_only=False)


def nonl(logits: Tensor, labels: Tensor) -> Tensor:
    r"""Negatives-only normalisation loss: NTCE without a sample's own class in the denominator.

    .. math:: L = \frac1M \sum_i \Big[\log\sum_{j:\,y_j \ne y_i} e^{s_{j,y_i}} - s_{i,y_i}\Big]

    Alignment (the second term) and uniformity (the first) no longer pull at the same pairs. The loss can be negative;
    it is bounded below by -2 / temperature + log(M - n).

    Args:
        logits: (M, K), cosine / temperature.
        labels: (M,) int64; negative ones are left out.

    Returns:
        Scalar; 0 with zero gradients where the batch holds a single class, which has no negatives (warned once).

    Raises:
        ValueError: shapes that do not fit.

    Source: eqs. 5 and 9 of "Neural Collapse by Design" (arXiv 2605.20302).
    """
    return _column_loss(logits, labels, negatives_only=True)


def _column_loss(logits: Tensor, labels: Tensor, *, negatives_only: bool) -> Tensor:
    logits, labels = _valid(logits, labels)
    if len(labels) < logits.shape[1]:
        # The columns of absent classes carry no weight: computing only the others is exact.
        present, labels = labels.unique(return_inverse=True)
        logits = logits[:, present]
    positives = logits.gather(1, labels[:, None])[:, 0]
    if negatives_only:
        if not len(labels) or bool((labels == labels[0]).all()):
            if len(labels):
                warnings.warn("a batch of one class has no negatives: its NONL is 0", stacklevel=3)
            return logits.sum() * 0
        own = labels[:, None] == torch.arange(logits.shape[1], device=labels.device)
        logits = logits.masked_fill(own, -torch.inf)
    elif not len(labels):
        return logits.sum()
    denominators = logits.logsumexp(dim=0)
    return (denominators[labels] - positives).mean()


class CrossEntropy(nn.Module):
    """:func:`cross_entropy` as a module."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(M, K), (M,) -> scalar."""
        return cross_entropy(logits, labels)


class NormFace(nn.Module):
    """:func:`normface` as a module."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(M, K), (M,) -> scalar."""
        return normface(logits, labels)


class NTCE(nn.Module):
    """:func:`ntce` as a module."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(M, K), (M,) -> scalar."""
        return ntce(logits, labels)


class NONL(nn.Module):
    """:func:`nonl` as a module."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(M, K), (M,) -> scalar."""
        return nonl(logits, labels)
