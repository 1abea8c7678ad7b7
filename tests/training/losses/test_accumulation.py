from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from training import losses

WHOLE: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"ntce": losses.ntce, "nonl": losses.nonl}
by_objective = pytest.mark.parametrize("objective", WHOLE)
CLASSES = 6
PARTS = [7, 1, 12, 4]


def make_batch(labels: str = "random") -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = (torch.rand(sum(PARTS), CLASSES, generator=generator, dtype=torch.float64) * 2 - 1) / 0.05
    classes = torch.randint(0, CLASSES, (sum(PARTS),), generator=generator)
    if labels == "ignored":
        classes[:8] = -100
    elif labels == "sorted":
        classes = classes.sort().values % 4
    elif labels == "everything":
        classes[:] = 3
    elif labels == "all_ignored":
        classes[:] = -1
    return logits, classes


@by_objective
@pytest.mark.filterwarnings("ignore:a batch of one class")
@pytest.mark.parametrize("labels", ["random", "ignored", "sorted", "everything", "all_ignored"])
def test_parts_sum_to_value_and_gradient_of_the_whole_batch(objective: str, labels: str) -> None:
    logits, classes = make_batch(labels)
    leaf = logits.clone().requires_grad_()
    whole = WHOLE[objective](leaf, classes)
    (expected,) = torch.autograd.grad(whole, leaf)
    accumulated = losses.AccumulatedLoss(objective)
    for part, own in zip(leaf.split(PARTS), classes.split(PARTS), strict=True):
        accumulated.observe(part, own)
    shares = [accumulated.loss(p, y) for p, y in zip(leaf.split(PARTS), classes.split(PARTS), strict=True)]
    (gradient,) = torch.autograd.grad(torch.stack(shares).sum(), leaf)
    torch.testing.assert_close(torch.stack(shares).sum(), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-13)


class Model(nn.Module):
    """Dropout, whose draws must be the same in both passes, and BatchNorm, whose statistics must move once."""

    def __init__(self, dropout: float, norm: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        middle = nn.BatchNorm1d(16) if norm else nn.Identity()
        self.layers = nn.Sequential(nn.Linear(4, 16), middle, nn.Dropout(dropout), nn.Linear(16, CLASSES)).double()

    def forward(self, x: Tensor) -> Tensor:
        return 5 * self.layers(x).tanh()


def micro_batches(count: int, size: int) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(size, 4, generator=generator, dtype=torch.float64),
            torch.randint(0, CLASSES, (size,), generator=generator),
        )
        for _ in range(count)
    ]


def gradients(model: nn.Module) -> list[Tensor]:
    return [parameter.grad for parameter in model.parameters() if parameter.grad is not None]


def assert_same_gradients(model: nn.Module, other: nn.Module) -> None:
    for gradient, wanted in zip(gradients(model), gradients(other), strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-13)


@by_objective
def test_a_model_gets_the_gradients_of_the_large_batch(objective: str) -> None:
    batches = micro_batches(4, 8)
    model = Model(dropout=0, norm=False)
    other = copy.deepcopy(model)
    value = losses.accumulate(model, batches, objective)
    images, labels = (torch.cat(tensors) for tensors in zip(*batches, strict=True))
    expected = WHOLE[objective](other(images), labels)
    expected.backward()
    assert not value.requires_grad
    torch.testing.assert_close(value, expected.detach(), rtol=0, atol=1e-12)
    assert_same_gradients(model, other)


def test_ordinary_accumulation_gives_other_gradients() -> None:
    """What the two passes are for: micro-batch losses do not add up."""
    batches = micro_batches(4, 8)
    model = Model(dropout=0, norm=False)
    other = copy.deepcopy(model)
    losses.accumulate(model, batches, "nonl")
    for images, labels in batches:
        (losses.nonl(other(images), labels) / len(batches)).backward()
    exact, ordinary = (torch.cat([g.flatten() for g in gradients(m)]) for m in (model, other))
    assert (exact - ordinary).norm() > 0.05 * exact.norm()


@by_objective
def test_both_passes_draw_the_same_dropout(objective: str) -> None:
    batches = micro_batches(3, 8)
    model = Model(dropout=0.5, norm=False)
    other = copy.deepcopy(model)
    torch.manual_seed(3)
    value = losses.accumulate(model, batches, objective)
    after = torch.rand(1)
    torch.manual_seed(3)
    logits = torch.cat([other(images) for images, _ in batches])
    expected = WHOLE[objective](logits, torch.cat([labels for _, labels in batches]))
    assert torch.equal(after, torch.rand(1))
    expected.backward()
    torch.testing.assert_close(value, expected.detach(), rtol=0, atol=1e-12)
    assert_same_gradients(model, other)


@by_objective
def test_batchnorm_sees_each_micro_batch_once(objective: str) -> None:
    batches = micro_batches(3, 8)
    model = Model(dropout=0, norm=True)
    other = copy.deepcopy(model)
    value = losses.accumulate(model, batches, objective)
    logits = torch.cat([other(images) for images, _ in batches])
    expected = WHOLE[objective](logits, torch.cat([labels for _, labels in batches]))
    expected.backward()
    torch.testing.assert_close(value, expected.detach(), rtol=0, atol=1e-12)
    assert_same_gradients(model, other)
    for buffer, wanted in zip(model.buffers(), other.buffers(), strict=True):
        assert torch.equal(buffer, wanted)


def test_gradients_are_handed_to_the_callers_backward() -> None:
    seen = []

    def backward(share: Tensor) -> None:
        seen.append(share.item())
        (2 * share).backward()

    batches = micro_batches(2, 8)
    doubled, plain = Model(dropout=0, norm=False), Model(dropout=0, norm=False)
    value = losses.accumulate(doubled, batches, "ntce", backward=backward)
    losses.accumulate(plain, batches, "ntce")
    assert sum(seen) == pytest.approx(value.item())
    for gradient, wanted in zip(gradients(doubled), gradients(plain), strict=True):
        torch.testing.assert_close(gradient, 2 * wanted)


def test_misuse_says_what_to_do() -> None:
    logits, labels = make_batch()
    with pytest.raises(ValueError, match='"ntce" or "nonl", not \'scl\''):
        losses.AccumulatedLoss("scl")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="observe every part"):
        losses.AccumulatedLoss("ntce").loss(logits, labels)
    with pytest.raises(ValueError, match="at least one micro-batch"):
        losses.accumulate(nn.Identity(), [], "ntce")
    begun = losses.AccumulatedLoss("ntce")
    begun.observe(logits, labels)
    begun.loss(logits, labels)
    with pytest.raises(ValueError, match="new AccumulatedLoss"):
        begun.observe(logits, labels)
