"""A running estimate of NTCE's and NONL's denominators, for batches smaller than the number of classes."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from training.losses.columns import Objective, check_objective, class_counts, columns, counted
from training.losses.inputs import checked


class RunningDenominators(nn.Module):
    r"""NTCE or NONL whose K log-denominators are running means over the steps.

    With :math:`z_c` the mean of :math:`e^{s_{jc}}` over the batch (NONL: over its samples of other classes), the
    estimate is :math:`Z_c \leftarrow \beta Z_c + (1-\beta) z_c`, and the loss

    .. math:: L = \sum_c p_c \log Z_c - \frac1M \sum_i s_{i,y_i}, \qquad
        \nabla L = \sum_c p_c \frac{\nabla z_c}{Z_c} - \frac1M \sum_i \nabla s_{i,y_i}

    In a batch with fewer samples than classes most columns have no weight in :func:`~training.losses.nonl`, so that
    most prototypes are not pushed. Here all K are at every step, by their prior :math:`p_c`, against a denominator
    that knows the earlier steps; the state is K numbers. The denominators are means and not sums, so the value does
    not grow with the batch: at :math:`\beta = 0` and batch frequencies for the prior, it is the in-batch loss less
    :math:`\sum_c p_c \log N_c` with N_c the samples in the denominator of class c.

    With class-balanced batches; of shuffled ones it makes a worse model than the plain objective does
    (``benchmarks/README.md``, "Small batches").

    Args:
        prior: (K,) shares of the classes in the training set; scaled to sum 1.
        objective: "ntce" or "nonl".
        beta: share of the past in the estimate, in [0, 1).

    Source: the estimator of Yuan et al. 2022 (SogCLR) for the column form of eqs. 4 and 5 of "Neural Collapse by
    Design" (arXiv 2605.20302).
    """

    log_means: Tensor
    prior: Tensor

    def __init__(self, prior: Tensor, *, objective: Objective = "nonl", beta: float = 0.9) -> None:
        super().__init__()
        check_objective(objective)
        if prior.ndim != 1 or not bool((prior >= 0).all()) or not 0 < float(prior.sum()) < math.inf:
            raise ValueError(f"the prior must be (K,) shares >= 0 of the classes, not {tuple(prior.shape)}: {prior}")
        if not 0 <= beta < 1:
            raise ValueError(f"beta must lie in [0, 1), not {beta}")
        self.objective, self.beta = objective, beta
        self.register_buffer("prior", prior.double() / prior.double().sum(), persistent=False)
        self.register_buffer("log_means", torch.full((len(prior),), -torch.inf, dtype=torch.float64))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """One step: moves the estimate (in training mode), and returns the loss.

        Args:
            logits: (M, K), cosine / temperature.
            labels: (M,) int64; negative ones are left out.

        Returns:
            Scalar. A column without samples in its denominator, now or before, adds nothing.

        Raises:
            ValueError: shapes that do not fit each other or the prior.
        """
        logits, labels = checked(logits, labels)
        if logits.shape[1] != len(self.prior):
            raise ValueError(f"the prior is of {len(self.prior)} classes, the logits of {logits.shape[1]}")
        counts = class_counts(labels, logits)
        samples = counts.sum()
        others = samples - counts if self.objective == "nonl" else samples.expand_as(counts)
        log_sums, own = columns(self.objective, logits, labels)
        log_means = log_sums - others.clamp_min(1).log()
        estimate = self._estimate(log_means.detach(), others > 0).to(logits)
        usable = ~estimate.isneginf()
        # A column that has no sample now has the mean exp(-inf) = 0 and so no gradient.
        ratio = (log_means - estimate.where(usable, 0)).exp()
        positives = counted(own, labels, usable).sum() / samples.clamp_min(1)
        prior = self.prior.to(logits)
        surrogate = (prior * ratio).sum() - positives
        value = (prior * estimate.where(usable, 0)).sum() - positives.detach()
        return value + (surrogate - surrogate.detach())

    def _estimate(self, log_means: Tensor, seen: Tensor) -> Tensor:
        """(K,) the estimate after this batch: the batch's own where it is the first."""
        now, before = log_means.to(self.log_means), self.log_means
        mixed = torch.logaddexp(before + math.log(self.beta), now + math.log1p(-self.beta)) if self.beta else now
        after = torch.where(seen, torch.where(before.isneginf(), now, mixed), before)
        if self.training:
            self.log_means = after
        return after
