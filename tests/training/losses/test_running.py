from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from training import losses
from training.losses import RunningDenominators

IN_BATCH: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ntce": losses.ntce, "nonl": losses.nonl}
by_objective = pytest.mark.parametrize("objective", IN_BATCH)
CLASSES = 7


def make_batch(samples: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = (torch.rand(samples, CLASSES, generator=generator, dtype=torch.float64) * 2 - 1) / 0.1
    return logits, torch.randint(0, CLASSES, (samples,), generator=generator)


def naive_means(objective: str, logits: Tensor, labels: Tensor) -> list[float]:
    means = []
    for c in range(CLASSES):
        terms = [
            math.exp(logits[j, c])
            for j in range(len(labels))
            if labels[j] >= 0 and (objective == "ntce" or labels[j] != c)
        ]
        means.append(sum(terms) / len(terms) if terms else math.nan)
    return means


def value_and_gradient(
    loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor]:
    leaf = logits.clone().requires_grad_()
    value = loss(leaf, labels)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


@by_objective
def test_without_a_past_and_with_batch_frequencies_it_is_the_in_batch_loss_but_for_a_constant(objective: str) -> None:
    logits, labels = make_batch(30)
    counts = labels.bincount(minlength=CLASSES).double()
    value, gradient = value_and_gradient(RunningDenominators(counts, objective=objective, beta=0), logits, labels)
    expected, expected_gradient = value_and_gradient(IN_BATCH[objective], logits, labels)
    samples = 30 - counts if objective == "nonl" else torch.full_like(counts, 30)
    torch.testing.assert_close(value + (counts / 30 * samples.log()).sum(), expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-12)


@by_objective
def test_value_gradient_and_state_are_those_of_the_formula_over_several_steps(objective: str) -> None:
    beta, prior = 0.8, torch.arange(1, CLASSES + 1).double()
    loss = RunningDenominators(prior, objective=objective, beta=beta)
    shares = (prior / prior.sum()).tolist()
    estimate = [math.nan] * CLASSES
    for step in range(4):
        logits, labels = make_batch(5, seed=step)
        labels[step] = -1
        means = naive_means(objective, logits, labels)
        estimate = [
            old if math.isnan(new) else new if math.isnan(old) else beta * old + (1 - beta) * new
            for old, new in zip(estimate, means, strict=True)
        ]
        value, gradient = value_and_gradient(loss, logits, labels)
        valid = [j for j in range(5) if labels[j] >= 0]
        expected = sum(p * math.log(z) for p, z in zip(shares, estimate, strict=True))
        expected -= sum(float(logits[j, labels[j]]) for j in valid) / len(valid)
        expected_gradient = torch.zeros_like(logits)
        for c in range(CLASSES):
            inside = [j for j in valid if objective == "ntce" or labels[j] != c]
            for j in inside:
                expected_gradient[j, c] += shares[c] * math.exp(logits[j, c]) / len(inside) / estimate[c]
        for j in valid:
            expected_gradient[j, labels[j]] -= 1 / len(valid)
        assert value.item() == pytest.approx(expected, abs=1e-10)
        torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-10)
        torch.testing.assert_close(loss.log_means.exp(), torch.tensor(estimate, dtype=torch.float64))


@by_objective
def test_classes_that_are_absent_from_the_batch_are_pushed_too(objective: str) -> None:
    logits, _ = make_batch(3)
    labels = torch.tensor([0, 1, 1])
    _, gradient = value_and_gradient(RunningDenominators(torch.ones(CLASSES), objective=objective), logits, labels)
    assert (gradient[:, 2:] > 0).all()
    _, in_batch = value_and_gradient(IN_BATCH[objective], logits, labels)
    assert not in_batch[:, 2:].any()


@by_objective
def test_a_stationary_stream_leads_the_estimate_to_its_mean(objective: str) -> None:
    loss = RunningDenominators(torch.ones(CLASSES), objective=objective, beta=0.99)
    for seed in range(600):
        loss(*make_batch(8, seed=seed))
    # The mean of e^s for s uniform in [-10, 10].
    expected = (math.exp(10) - math.exp(-10)) / 20
    torch.testing.assert_close(loss.log_means.exp().mean().item(), expected, rtol=0.1, atol=0)


def test_the_state_is_k_numbers_in_the_checkpoint_and_stands_still_in_evaluation() -> None:
    loss = RunningDenominators(torch.ones(CLASSES))
    loss(*make_batch(8))
    assert {name: tuple(value.shape) for name, value in loss.state_dict().items()} == {"log_means": (CLASSES,)}
    other = RunningDenominators(torch.ones(CLASSES))
    other.load_state_dict(loss.state_dict())
    assert torch.equal(other(*make_batch(8, seed=1)), loss(*make_batch(8, seed=1)))
    before = loss.log_means.clone()
    loss.eval()
    loss(*make_batch(8, seed=2))
    assert torch.equal(loss.log_means, before)


@by_objective
@pytest.mark.parametrize("label", [-1, 2])
def test_batches_without_labels_or_of_one_class_stay_finite(objective: str, label: int) -> None:
    logits, _ = make_batch(4)
    loss = RunningDenominators(torch.ones(CLASSES), objective=objective)
    for _ in range(2):
        value, gradient = value_and_gradient(loss, logits, torch.full((4,), label))
        assert torch.isfinite(value)
        assert torch.isfinite(gradient).all()
    assert bool(gradient.any()) == (label >= 0)
    loss(*make_batch(8))
    assert torch.isfinite(loss.log_means).all()


def test_a_small_temperature_stays_finite_in_float32() -> None:
    logits, labels = make_batch(8)
    loss = RunningDenominators(torch.ones(CLASSES))
    for _ in range(3):
        value, gradient = value_and_gradient(loss, (logits * 20).float(), labels)
    assert value.dtype == torch.float32
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


def test_misuse_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match=r"beta must lie in \[0, 1\), not 1"):
        RunningDenominators(torch.ones(3), beta=1)
    for prior in (torch.ones(2, 2), torch.zeros(3), torch.tensor([1.0, -1.0, 2.0])):
        with pytest.raises(ValueError, match="prior must be"):
            RunningDenominators(prior)
    with pytest.raises(ValueError, match="prior is of 3 classes, the logits of 7"):
        RunningDenominators(torch.ones(3))(*make_batch(4))
