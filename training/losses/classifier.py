r"""Objectives over logits = cosine / temperature: drop-ins for ``torch.nn.functional.cross_entropy(logits, labels)``.

NTCE and NONL are written over classes and not over pairs of samples: with :math:`s_{jc}` the logit of sample j for
class c, the denominator of every sample of class c is the same column-wise log-sum-exp :math:`D_c`, so that an M x K
matrix does what the papers' formulas write as M x M. Between ranks only K-vectors need to travel.
"""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from training.losses.columns import Objective, class_counts, columns, counted
from training.losses.inputs import checked, valid
from training.losses.ranks import Group, gather, global_mean, logsumexp_over_ranks, sum_over_ranks
from zoo.errors import ProtozooWarning

Negatives = Literal["global", "local"]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    r"""Plain cross-entropy: mean_i [ log sum_c exp(s_ic) - s_{i,y_i} ].

    Eq. 1 of "Neural Collapse by Design" with the logits of a linear classifier with bias, eq. 3 (:func:`normface`)
    with cosines divided by a temperature.
    """
    logits, labels = valid(logits, labels, what="logits", columns="K")
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


def decoupled_normface(logits: Tensor, labels: Tensor) -> Tensor:
    r"""NormFace without the sample's own class in its denominator.

    .. math:: L = \frac1M \sum_i \Big[\log\sum_{c \ne y_i} e^{s_{ic}} - s_{i,y_i}\Big]

    The row-wise sister of :func:`nonl`, which leaves the own class out of the column: here a sample contrasts with the
    other prototypes, there a prototype with the samples of the other classes. The papers' released code computes this
    one in NONL's place when its flag ``--symmetric`` is forgotten.

    Args:
        logits: (M, K), cosine / temperature.
        labels: (M,) int64; negative ones are left out.

    Returns:
        Scalar, which can be negative; 0 for K = 1, where there is no other class.

    Raises:
        ValueError: shapes that do not fit.

    Source: the decoupling of Yeh et al. 2022 ("Decoupled Contrastive Learning", eq. 6) on NormFace.
    """
    logits, labels = valid(logits, labels, what="logits", columns="K")
    if not len(labels) or logits.shape[1] == 1:
        return logits.sum() * 0
    own = labels[:, None]
    return (logits.scatter(1, own, -torch.inf).logsumexp(1) - logits.gather(1, own)[:, 0]).mean()


def ntce(logits: Tensor, labels: Tensor, *, group: Group | None = None, negatives: Negatives = "global") -> Tensor:
    r"""Normalised temperature-scaled cross-entropy: each prototype contrasts with the M samples of the batch.

    .. math:: L = \frac1M \sum_i \Big[\log\sum_{j=1}^M e^{s_{j,y_i}} - s_{i,y_i}\Big]

    The denominator holds the sample itself and its class: at collapse the loss tends to the log of the class's count.

    Args:
        logits: (M, K), cosine / temperature.
        labels: (M,) int64; negative ones are left out.
        group: ranks whose batches are one batch (``torch.distributed.group.WORLD`` for all); None: this process's
            batch alone. Value, and gradient after DDP's averaging, are those of the whole batch; three K-vectors
            travel, and no embedding. The ranks may hold different numbers of samples, or none.
        negatives: with a group, "global" takes the denominators over all ranks, "local" over each rank's own samples,
            which is what the papers' released code does.

    Returns:
        Scalar >= 0; 0 for one sample.

    Raises:
        ValueError: shapes that do not fit, or unknown ``negatives``.

    Source: eq. 4 of "Neural Collapse by Design" (arXiv 2605.20302).
    """
    return _column_loss("ntce", logits, labels, group, negatives)


def nonl(logits: Tensor, labels: Tensor, *, group: Group | None = None, negatives: Negatives = "global") -> Tensor:
    r"""Negatives-only normalisation loss: NTCE without a sample's own class in the denominator.

    .. math:: L = \frac1M \sum_i \Big[\log\sum_{j:\,y_j \ne y_i} e^{s_{j,y_i}} - s_{i,y_i}\Big]

    Alignment (the second term) and uniformity (the first) no longer pull at the same pairs. The loss can be negative;
    it is bounded below by -2 / temperature + log(M - n).

    Args:
        logits: (M, K), cosine / temperature.
        labels: (M,) int64; negative ones are left out.
        group: as in :func:`ntce`.
        negatives: as in :func:`ntce`; with "local" a rank of a single class adds 0.

    Returns:
        Scalar; 0 with zero gradients where the batch holds a single class, which has no negatives (warned once).

    Raises:
        ValueError: shapes that do not fit, or unknown ``negatives``.

    Source: eqs. 5 and 9 of "Neural Collapse by Design" (arXiv 2605.20302).
    """
    return _column_loss("nonl", logits, labels, group, negatives)


def _column_loss(
    objective: Objective, logits: Tensor, labels: Tensor, group: Group | None, negatives: Negatives
) -> Tensor:
    if negatives not in ("global", "local"):
        raise ValueError(f'negatives must be "global" or "local", not {negatives!r}')
    logits, labels = checked(logits, labels)
    if not logits.shape[1]:  # present_classes of a batch without a label
        return logits.sum()
    log_sums, own = columns(objective, logits, labels)
    counts = all_counts = class_counts(labels, logits)
    if negatives == "global":
        log_sums, all_counts = logsumexp_over_ranks(log_sums, group), sum_over_ranks(counts, group)
    usable = ~log_sums.isneginf()
    if bool(all_counts[~usable].any()):
        warnings.warn("a batch of one class has no negatives: its NONL is 0", ProtozooWarning, stacklevel=3)
    log_sums = log_sums.where(usable, 0)
    positives = counted(own, labels, usable).sum()
    return global_mean(
        (counts * log_sums).sum() - positives,
        counts.sum(),
        group,
        share=(all_counts * log_sums).sum() - positives,
    )


def present_classes(labels: Tensor, *, group: Group | None = None) -> tuple[Tensor, Tensor]:
    """The classes of a batch, and its labels as positions among them.

    NTCE and NONL need no column of a class that is absent from the batch, so where K is larger than M most of the
    head's product can be left out, exactly:

    .. code-block:: python

        classes, positions = present_classes(labels)
        loss = nonl(model.get_classifier()(model.embed(images), classes), positions)

    Args:
        labels: (M,) of an integer type; negative ones belong to no class.
        group: ranks whose batches are one batch; the classes are then those of all ranks, in the same order.

    Returns:
        (C,) int64 sorted classes with C <= M, and (M,) int64 positions in it, -1 for a negative label.
    """
    classes = labels[labels >= 0].long().unique()
    if group is not None:
        classes = gather([classes], group)[0][0].unique()
    positions = torch.searchsorted(classes, labels.long())
    return classes, positions.where(labels >= 0, -1)


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


class DecoupledNormFace(nn.Module):
    """:func:`decoupled_normface` as a module."""

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(M, K), (M,) -> scalar."""
        return decoupled_normface(logits, labels)


class NTCE(nn.Module):
    """:func:`ntce` as a module."""

    def __init__(self, *, group: Group | None = None, negatives: Negatives = "global") -> None:
        super().__init__()
        self.group, self.negatives = group, negatives

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(M, K), (M,) -> scalar."""
        return ntce(logits, labels, group=self.group, negatives=self.negatives)


class NONL(nn.Module):
    """:func:`nonl` as a module."""

    def __init__(self, *, group: Group | None = None, negatives: Negatives = "global") -> None:
        super().__init__()
        self.group, self.negatives = group, negatives

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(M, K), (M,) -> scalar."""
        return nonl(logits, labels, group=self.group, negatives=self.negatives)
