"""The batch of NTCE and NONL in parts: exact gradients of 8192 samples on a card that holds 256."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from training.losses.columns import Objective, check_objective, class_counts, columns, counted
from training.losses.inputs import checked
from training.losses.ranks import Group, logsumexp_over_ranks, sum_over_ranks, world_size


class AccumulatedLoss:
    r"""NTCE or NONL of a batch that is seen in micro-batches, twice.

    The loss of a part depends on the others through the K column denominators alone. The first pass, without
    gradients, keeps these and the class counts (2 K numbers, whatever the batch); the second differentiates

    .. math:: \frac1M \Big[\sum_c n_c \sum_j e^{s_{jc} - D_c} - \sum_i s_{i,y_i}\Big]

    over each part, with D_c held. Parts may differ in size. :func:`accumulate` drives it over a model.

    Args:
        objective: "ntce" or "nonl".
        group: ranks whose batches are one batch, as for :func:`~training.losses.ntce`.

    Source: column form of eqs. 4 and 5 of "Neural Collapse by Design" (arXiv 2605.20302); the two passes are
    those of GradCache (Gao et al. 2021), which stores embeddings.
    """

    def __init__(self, objective: Objective, *, group: Group | None = None) -> None:
        check_objective(objective)
        self.objective, self.group = objective, group
        self._log_sums: Tensor | None = None
        self._counts: Tensor | None = None
        self._whole = False

    @torch.no_grad()
    def observe(self, logits: Tensor, labels: Tensor) -> None:
        """First pass: (m, K) logits and (m,) labels of one part.

        Raises:
            ValueError: shapes that do not fit each other or the parts before.
        """
        if self._whole:
            raise ValueError("the second pass has begun: a new batch needs a new AccumulatedLoss")
        logits, labels = checked(logits, labels)
        log_sums, _ = columns(self.objective, logits, labels)
        counts = class_counts(labels, logits)
        if self._log_sums is None or self._counts is None:
            self._log_sums, self._counts = log_sums, counts
        else:
            self._log_sums = torch.logaddexp(self._log_sums, log_sums)
            self._counts = self._counts + counts

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Second pass: this part's share of the loss, with its gradient.

        Args:
            logits: (m, K) of the same images as in the first pass.
            labels: (m,).

        Returns:
            Scalar. Over all parts (of all ranks, divided by their number) the shares sum to the loss of the whole
            batch, and so do their gradients.

        Raises:
            ValueError: no part was observed, or shapes that do not fit.
        """
        log_sums, counts = self._statistics()
        logits, labels = checked(logits, labels)
        usable = ~log_sums.isneginf()
        log_sums = log_sums.where(usable, 0)
        part, own = columns(self.objective, logits, labels)
        positives = counted(own, labels, usable).sum()
        # d exp(part - D) = sum_j e^{s_jc - D} ds_jc, whatever the other parts are.
        surrogate = (counts * (part - log_sums).exp()).sum() - positives
        value = (class_counts(labels, logits) * log_sums).sum() - positives.detach()
        scale = world_size(self.group) / counts.sum().clamp_min(1)
        return scale * (value + (surrogate - surrogate.detach()))

    def _statistics(self) -> tuple[Tensor, Tensor]:
        if self._log_sums is None or self._counts is None:
            raise ValueError("observe every part of the batch before its loss")
        if not self._whole:
            self._log_sums = logsumexp_over_ranks(self._log_sums, self.group)
            self._counts = sum_over_ranks(self._counts, self.group)
            self._whole = True
        return self._log_sums, self._counts


def accumulate(
    model: nn.Module,
    batches: Sequence[tuple[Tensor, Tensor]],
    objective: Objective,
    *,
    group: Group | None = None,
    backward: Callable[[Tensor], object] = Tensor.backward,
) -> Tensor:
    """Add the gradients of NTCE or NONL of one large batch, given in micro-batches, to the model's parameters.

    Two forward passes and one backward; memory for one micro-batch. Both forward passes draw the same random numbers
    (dropout, stochastic depth), and the running statistics of BatchNorm are updated by the second alone. BatchNorm
    normalises by its micro-batch, as in any accumulation; every other layer gives the gradient of the whole batch.

    Args:
        model: images -> (m, K) logits. Under DistributedDataParallel the gradients are averaged once, with the last
            micro-batch; every rank needs as many of them.
        batches: (images, labels) of each micro-batch.
        objective: "ntce" or "nonl".
        group: ranks whose batches are one batch.
        backward: called with each share of the loss; accelerate's ``Accelerator.backward`` or a gradient scaler.

    Returns:
        The loss of the whole batch, without a graph.

    Raises:
        ValueError: no batch, or another objective.
    """
    if not batches:
        raise ValueError("accumulate needs at least one micro-batch")
    whole = AccumulatedLoss(objective, group=group)
    states = []
    with torch.no_grad(), _running_statistics_kept(model):
        for images, labels in batches:
            states.append(_random_state(images.device))
            whole.observe(model(images), labels)
    shares = []
    for index, ((images, labels), state) in enumerate(zip(batches, states, strict=True)):
        _set_random_state(images.device, state)
        with contextlib.nullcontext() if index == len(batches) - 1 else _gradients_kept_local(model):
            share = whole.loss(model(images), labels)
            backward(share)
        shares.append(share.detach())
    return sum_over_ranks(torch.stack(shares).sum(), group) / world_size(group)


def _gradients_kept_local(model: nn.Module) -> contextlib.AbstractContextManager[None]:
    return model.no_sync() if isinstance(model, DistributedDataParallel) else contextlib.nullcontext()


@contextlib.contextmanager
def _running_statistics_kept(model: nn.Module) -> Iterator[None]:
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    kept = [[buffer.clone() for buffer in layer.buffers()] for layer in layers]
    try:
        yield
    finally:
        for layer, buffers in zip(layers, kept, strict=True):
            for buffer, before in zip(layer.buffers(), buffers, strict=True):
                buffer.copy_(before)


def _random_state(device: torch.device) -> list[Tensor]:
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def _set_random_state(device: torch.device, states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
