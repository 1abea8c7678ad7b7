"""Objectives over unit embeddings: samples contrast with samples, with class means, or with fixed prototypes."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from training.losses.inputs import check_temperature, valid
from training.losses.ranks import Group, gather, global_mean

NoPositive = Literal["skip", "zero"]


def scl(
    embeddings: Tensor,
    labels: Tensor,
    *,
    temperature: float,
    group: Group | None = None,
    no_positive: NoPositive = "skip",
) -> Tensor:
    r"""Supervised contrastive loss.

    .. math:: L = \frac1N \sum_i \Big[\log\sum_{j \ne i} e^{a_i\cdot a_j/\tau}
        - \frac1{|C(i)|}\sum_{l \in C(i)} a_i\cdot a_l/\tau\Big], \qquad C(i) = \{l \ne i: y_l = y_i\}

    Two views of an image are two rows with one label.

    Args:
        embeddings: (N, d) unit rows.
        labels: (N,) int64; negative ones are left out.
        temperature: tau.
        group: ranks whose batches are one batch; None: this process's batch alone. The embeddings of all ranks are
            gathered, differentiably; the ranks may hold different numbers, or none.
        no_positive: an anchor that is alone in its class has nothing to be drawn to. "skip" leaves it out of the mean,
            "zero" counts it as 0 (as Khosla et al.'s code does). It remains a negative of the others.

    Returns:
        Scalar; 0 with zero gradients where no anchor has a positive.

    Raises:
        ValueError: shapes that do not fit, a temperature that is not positive, or an unknown policy.

    Source: Khosla et al. 2020 (L_out); eq. 2 of "Neural Collapse by Design" (arXiv 2605.20302).
    """
    embeddings, labels = _checked(embeddings, labels, temperature)
    return _contrast(embeddings, labels, None, 0.0, temperature, group, no_positive)


def scl_with_prototypes(
    embeddings: Tensor,
    labels: Tensor,
    prototypes: Tensor,
    *,
    temperature: float,
    copies: float,
    group: Group | None = None,
    no_positive: NoPositive = "skip",
) -> Tensor:
    r"""Supervised contrastive loss in a batch to which n copies of every class's fixed prototype are added.

    .. math:: l_i = \log\Big(\sum_{j \ne i} e^{a_i\cdot a_j/\tau} + n\sum_c e^{a_i\cdot W_c/\tau}\Big)
        - \frac{\sum_{l \in C(i)} a_i\cdot a_l + n\, a_i\cdot W_{y_i}}{\tau(|C(i)| + n)}

    The mean runs over the embeddings; prototypes are no anchors. Nothing is copied: n enters as a weight, at the cost
    of an N x K product. n = 0 is :func:`scl`; for large n, l_i - log n comes to :func:`~training.losses.normface` with
    these prototypes (the gap falls as 1/n), so n leads from contrast to a fixed classifier.

    Args:
        embeddings: (N, d) unit rows.
        labels: (N,) int64; negative ones are left out.
        prototypes: (K, d) unit rows; usually fixed, else a gradient reaches them.
        temperature: tau.
        copies: n >= 0, copies of each prototype; need not be whole.
        group: as in :func:`scl`.
        no_positive: as in :func:`scl`; with n > 0 every anchor has one.

    Returns:
        Scalar.

    Raises:
        ValueError: shapes that do not fit, a temperature that is not positive, negative or infinite copies, or an
            unknown policy.

    Source: Gill et al. 2023 ("Engineering the Neural Collapse Geometry of Supervised-Contrastive Loss",
    arXiv 2310.00893).
    """
    embeddings, labels = _checked(embeddings, labels, temperature)
    if prototypes.ndim != 2 or prototypes.shape[1] != embeddings.shape[1]:
        raise ValueError(
            f"prototypes must be (K, {embeddings.shape[1]}) as the embeddings, not {tuple(prototypes.shape)}"
        )
    if not 0 <= copies < math.inf:
        raise ValueError(f"copies must be a finite number >= 0, not {copies}; its limit is normface on the cosines")
    return _contrast(embeddings, labels, prototypes.to(embeddings.dtype), copies, temperature, group, no_positive)


def _checked(embeddings: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    check_temperature(temperature)
    return valid(embeddings, labels, what="embeddings", columns="d")


def _contrast(
    anchors: Tensor,
    labels: Tensor,
    prototypes: Tensor | None,
    copies: float,
    temperature: float,
    group: Group | None,
    no_positive: NoPositive,
) -> Tensor:
    if no_positive not in ("skip", "zero"):
        raise ValueError(f'no_positive must be "skip" or "zero", not {no_positive!r}')
    keys, key_labels, start = anchors, labels, 0
    if group is not None:
        (keys, key_labels), start = gather([anchors, labels], group)
    with torch.autocast(anchors.device.type, enabled=False):
        scores = anchors @ keys.T / temperature
        fixed = None if prototypes is None or not copies else anchors @ prototypes.T / temperature
    itself = torch.arange(start, start + len(anchors), device=anchors.device)[:, None]
    itself = torch.zeros_like(scores, dtype=torch.bool).scatter(1, itself, True)
    positive = (labels[:, None] == key_labels).logical_and(~itself)
    weights = positive.sum(1).to(scores.dtype)
    attraction = scores.where(positive, 0).sum(1)
    repulsion = scores.masked_fill(itself, -torch.inf).logsumexp(1)
    if fixed is not None:
        repulsion = torch.logaddexp(repulsion, fixed.logsumexp(1) + math.log(copies))
        attraction = attraction + copies * fixed.gather(1, labels[:, None])[:, 0]
        weights = weights + copies
    counted = weights > 0
    terms = (repulsion - attraction / weights.where(counted, 1)).where(counted, 0)
    samples = counted.sum() if no_positive == "skip" else counted.new_tensor(len(counted), dtype=torch.int64)
    return global_mean(terms.sum(), samples, group)


def prototype_contrast(embeddings: Tensor, labels: Tensor, *, temperature: float) -> Tensor:
    r"""Contrast of every sample with the class means of the batch, each counted as often as its class.

    .. math:: L = -\frac1N \sum_i \log \frac{e^{a_i\cdot\mu_{y_i}/\tau}}
        {\sum_{c} n_c\, e^{a_i\cdot\mu_c/\tau} - e^{a_i\cdot\mu_{y_i}/\tau}}

    The lower bound of :func:`scl` by which the paper shows that its class means are a classifier. The means are plain,
    not scaled to unit norm, and their gradient is part of the loss's.

    Args:
        embeddings: (N, d) unit rows.
        labels: (N,) int64; negative ones are left out.
        temperature: tau.

    Returns:
        Scalar, which can be negative; 0 with zero gradients for a single sample.

    Raises:
        ValueError: shapes that do not fit, or a temperature that is not positive.

    Source: eq. 6 of "Neural Collapse by Design" (arXiv 2605.20302).
    """
    embeddings, labels = _checked(embeddings, labels, temperature)
    if len(labels) < 2:
        return embeddings.sum() * 0
    _, own, counts = labels.unique(return_inverse=True, return_counts=True)
    counts = counts.to(embeddings.dtype)
    sums = embeddings.new_zeros(len(counts), embeddings.shape[1]).index_add(0, own, embeddings)
    with torch.autocast(embeddings.device.type, enabled=False):
        scores = embeddings @ (sums / counts[:, None]).T / temperature
    # n_y e^s - e^s as (n_y - 1) e^s: the difference of the formula would cancel.
    others = counts.expand_as(scores).scatter_add(1, own[:, None], -torch.ones_like(scores[:, :1]))
    repulsion = (scores + others.log()).logsumexp(1)
    loss: Tensor = (repulsion - scores.gather(1, own[:, None])[:, 0]).mean()
    return loss


class SCL(nn.Module):
    """:func:`scl` as a module."""

    def __init__(self, *, temperature: float, group: Group | None = None, no_positive: NoPositive = "skip") -> None:
        super().__init__()
        self.temperature, self.group, self.no_positive = temperature, group, no_positive

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(N, d), (N,) -> scalar."""
        return scl(embeddings, labels, temperature=self.temperature, group=self.group, no_positive=self.no_positive)


class SCLWithPrototypes(nn.Module):
    """:func:`scl_with_prototypes` as a module; the prototypes belong to the model, and are an argument."""

    def __init__(
        self,
        *,
        temperature: float,
        copies: float,
        group: Group | None = None,
        no_positive: NoPositive = "skip",
    ) -> None:
        super().__init__()
        self.temperature, self.copies, self.group, self.no_positive = temperature, copies, group, no_positive

    def forward(self, embeddings: Tensor, labels: Tensor, prototypes: Tensor) -> Tensor:
        """(N, d), (N,), (K, d) -> scalar."""
        return scl_with_prototypes(
            embeddings,
            labels,
            prototypes,
            temperature=self.temperature,
            copies=self.copies,
            group=self.group,
            no_positive=self.no_positive,
        )


class PrototypeContrast(nn.Module):
    """:func:`prototype_contrast` as a module."""

    def __init__(self, *, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(N, d), (N,) -> scalar."""
        return prototype_contrast(embeddings, labels, temperature=self.temperature)
