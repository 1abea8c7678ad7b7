from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from training import losses
from zoo.geometry import simplex_etf

Loss = Callable[[Tensor, Tensor], Tensor]
LABELLINGS = ("random", "pairs", "alone", "everything", "ignored", "all_ignored")
CLASSES, DIM, COPIES = 5, 6, 3.0


def unit_rows(count: int, dim: int = DIM, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, dim, generator=generator, dtype=torch.float64), dim=1)


PROTOTYPES = unit_rows(CLASSES, seed=99)
LOSSES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "scl": lambda a, y, tau: losses.scl(a, y, temperature=tau),
    "scl_zero": lambda a, y, tau: losses.scl(a, y, temperature=tau, no_positive="zero"),
    "prototypes": lambda a, y, tau: losses.scl_with_prototypes(a, y, PROTOTYPES, temperature=tau, copies=COPIES),
    "contrast": lambda a, y, tau: losses.prototype_contrast(a, y, temperature=tau),
}
by_name = pytest.mark.parametrize("name", LOSSES)


def make_labels(kind: str, samples: int) -> Tensor:
    labels = torch.randint(0, CLASSES, (samples,), generator=torch.Generator().manual_seed(5))
    if kind == "pairs":
        labels = torch.arange(samples) // 2 % CLASSES
    elif kind == "alone":
        labels = torch.ones(samples, dtype=torch.int64)
        labels[-1] = 0
    elif kind == "everything":
        labels[:] = 2
    elif kind == "ignored":
        labels[::3], labels[1::5] = -1, -100
    elif kind == "all_ignored":
        labels[:] = -100
    return labels


def log_sum_exp(scores: list[Tensor]) -> Tensor:
    stacked = torch.stack(scores)
    largest = stacked.detach().max()
    return (stacked - largest).exp().sum().log() + largest


def naive_scl(a: Tensor, y: Tensor, tau: float, no_positive: str = "skip") -> Tensor:
    valid = [i for i in range(len(y)) if y[i] >= 0]
    terms = []
    for i in valid:
        positives = [j for j in valid if j != i and y[j] == y[i]]
        if positives:
            denominator = log_sum_exp([a[i] @ a[j] / tau for j in valid if j != i])
            terms.append(denominator - sum(a[i] @ a[j] / tau for j in positives) / len(positives))
        elif no_positive == "zero":
            terms.append(a[i].sum() * 0)
    return torch.stack(terms).mean() if terms else a.sum() * 0


def naive_prototypes(a: Tensor, y: Tensor, tau: float) -> Tensor:
    """With the copies made, one by one, as rows that are no anchors."""
    valid = [i for i in range(len(y)) if y[i] >= 0]
    rows = [a[i] for i in valid] + [w for w in PROTOTYPES for _ in range(int(COPIES))]
    labels = [int(y[i]) for i in valid] + [c for c in range(CLASSES) for _ in range(int(COPIES))]
    terms = []
    for i in range(len(valid)):
        scores = {j: rows[i] @ rows[j] / tau for j in range(len(rows)) if j != i}
        positives = [score for j, score in scores.items() if labels[j] == labels[i]]
        terms.append(log_sum_exp(list(scores.values())) - sum(positives) / len(positives))
    return torch.stack(terms).mean() if terms else a.sum() * 0


def naive_contrast(a: Tensor, y: Tensor, tau: float) -> Tensor:
    valid = [i for i in range(len(y)) if y[i] >= 0]
    classes = sorted({int(y[i]) for i in valid})
    members = {c: [a[i] for i in valid if y[i] == c] for c in classes}
    means = {c: torch.stack(rows).sum(0) / len(rows) for c, rows in members.items()}
    terms = []
    for i in valid:
        own = int(y[i])
        # n_c copies of every class's score, less one of the own.
        scores = [a[i] @ means[c] / tau for c in classes for _ in range(len(members[c]) - (c == own))]
        if not scores:
            return a.sum() * 0
        terms.append(log_sum_exp(scores) - a[i] @ means[own] / tau)
    return torch.stack(terms).mean() if terms else a.sum() * 0


NAIVE: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "scl": naive_scl,
    "scl_zero": lambda a, y, tau: naive_scl(a, y, tau, "zero"),
    "prototypes": naive_prototypes,
    "contrast": naive_contrast,
}


def value_and_gradient(loss: Loss, embeddings: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    leaf = embeddings.clone().requires_grad_()
    value = loss(leaf, labels)
    (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


@by_name
@pytest.mark.parametrize("samples", [1, 2, 7, 20])
def test_value_and_gradient_are_those_of_the_formula(name: str, samples: int) -> None:
    for kind, tau in itertools.product(LABELLINGS, (0.2, 0.05, 0.01)):
        embeddings, labels = unit_rows(samples), make_labels(kind, samples)
        value, gradient = value_and_gradient(lambda a, y, t=tau: LOSSES[name](a, y, t), embeddings, labels)
        expected, expected_gradient = value_and_gradient(lambda a, y, t=tau: NAIVE[name](a, y, t), embeddings, labels)
        where = f"{kind}, temperature {tau}"
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-10, msg=lambda m, w=where: f"{w}: {m}")
        torch.testing.assert_close(
            gradient, expected_gradient, rtol=0, atol=1e-9, msg=lambda m, w=where: f"{w}, gradient: {m}"
        )


@by_name
def test_samples_with_a_negative_label_are_as_if_they_were_not_there(name: str) -> None:
    embeddings, labels = unit_rows(20), make_labels("ignored", 20)
    kept = labels >= 0
    value, gradient = value_and_gradient(lambda a, y: LOSSES[name](a, y, 0.1), embeddings, labels)
    assert 0 < kept.sum() < 20
    assert value == LOSSES[name](embeddings[kept], labels[kept], 0.1)
    assert not gradient[~kept].any()


@by_name
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_embeddings_are_compared_in_float32_also_under_autocast(name: str, dtype: torch.dtype) -> None:
    embeddings, labels = unit_rows(20).to(dtype), make_labels("random", 20)
    with torch.autocast("cpu", torch.bfloat16):
        value, gradient = value_and_gradient(lambda a, y: LOSSES[name](a, y, 0.05), embeddings, labels)
    expected = LOSSES[name](embeddings.double(), labels, 0.05)
    assert value.dtype == torch.float32
    assert gradient.dtype == dtype
    assert torch.isfinite(gradient).all()
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-5)


def test_an_anchor_without_a_positive_is_skipped_or_counted_as_zero_and_stays_a_negative() -> None:
    embeddings, labels = unit_rows(5), torch.tensor([0, 0, 1, 1, 2])
    skipped = losses.scl(embeddings, labels, temperature=0.1)
    zero = losses.scl(embeddings, labels, temperature=0.1, no_positive="zero")
    torch.testing.assert_close(zero, skipped * 4 / 5)
    assert skipped > losses.scl(embeddings[:4], labels[:4], temperature=0.1)


def test_no_copies_are_plain_scl() -> None:
    embeddings, labels = unit_rows(12), make_labels("pairs", 12)
    without = losses.scl_with_prototypes(embeddings, labels, PROTOTYPES, temperature=0.1, copies=0)
    assert without == losses.scl(embeddings, labels, temperature=0.1)


def test_many_copies_come_to_normface_with_the_fixed_prototypes_as_one_over_their_number() -> None:
    embeddings, labels, tau = unit_rows(40), make_labels("random", 40), 0.2
    limit = losses.normface(embeddings @ PROTOTYPES.T / tau, labels)
    gaps = [
        losses.scl_with_prototypes(embeddings, labels, PROTOTYPES, temperature=tau, copies=n) - math.log(n) - limit
        for n in (1e2, 1e3, 1e4, 1e6)
    ]
    assert all(abs(later) < abs(earlier) for earlier, later in itertools.pairwise(gaps))
    torch.testing.assert_close(gaps[2] * 1e4, gaps[1] * 1e3, rtol=0.05, atol=0)
    assert abs(gaps[3]) < 1e-4


def test_prototypes_that_want_a_gradient_get_the_one_of_the_formula() -> None:
    embeddings, labels = unit_rows(8), make_labels("pairs", 8)
    assert torch.autograd.gradcheck(
        lambda w: losses.scl_with_prototypes(embeddings, labels, w, temperature=0.5, copies=2.5),
        PROTOTYPES.clone().requires_grad_(),
    )


@pytest.mark.parametrize("name", ["scl", "contrast"])
def test_the_collapsed_simplex_is_the_minimum_of_scl_and_of_its_bound(name: str) -> None:
    """Theorems 4.1 and 4.2 of the main paper: no configuration lies below the value at collapse, eq. 13."""
    each, tau = 4, 0.2
    labels = torch.arange(CLASSES).repeat_interleave(each)
    simplex = simplex_etf(CLASSES, DIM, generator=torch.Generator().manual_seed(0)).double()
    value, gradient = value_and_gradient(lambda a, y: LOSSES[name](a, y, tau), simplex[labels], labels)
    gap = CLASSES / (CLASSES - 1) / tau
    bound = math.log(each - 1 + each * (CLASSES - 1) * math.exp(-gap))
    assert value == pytest.approx(bound, abs=1e-6)
    tangential = gradient - (gradient * simplex[labels]).sum(1, keepdim=True) * simplex[labels]
    torch.testing.assert_close(tangential, torch.zeros_like(tangential), rtol=0, atol=1e-6)
    for seed in range(20):
        noisy = F.normalize(simplex[labels] + 0.3 * unit_rows(len(labels), seed=seed), dim=1)
        assert LOSSES[name](noisy, labels, tau) > value
        assert LOSSES[name](unit_rows(len(labels), seed=seed), labels, tau) > value


@by_name
def test_order_of_samples_does_not_matter(name: str) -> None:
    embeddings, labels = unit_rows(16), make_labels("random", 16)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(7))
    permuted = LOSSES[name](embeddings[order], labels[order], 0.1)
    torch.testing.assert_close(permuted, LOSSES[name](embeddings, labels, 0.1), rtol=0, atol=1e-12)


def test_modules_equal_the_functions_and_hold_no_state() -> None:
    embeddings, labels = unit_rows(12), make_labels("random", 12)
    scl, contrast = losses.SCL(temperature=0.1, no_positive="zero"), losses.PrototypeContrast(temperature=0.1)
    prototypes = losses.SCLWithPrototypes(temperature=0.1, copies=COPIES)
    assert scl(embeddings, labels) == LOSSES["scl_zero"](embeddings, labels, 0.1)
    assert contrast(embeddings, labels) == LOSSES["contrast"](embeddings, labels, 0.1)
    assert prototypes(embeddings, labels, PROTOTYPES) == LOSSES["prototypes"](embeddings, labels, 0.1)
    assert not any(module.state_dict() for module in (scl, contrast, prototypes))


@by_name
def test_shapes_and_temperatures_that_do_not_fit_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"embeddings must be \(M, d\).*\(4, 6\) and \(3,\)"):
        LOSSES[name](unit_rows(4), torch.zeros(3, dtype=torch.int64), 0.1)
    with pytest.raises(ValueError, match="temperature must be positive, not 0"):
        LOSSES[name](unit_rows(4), torch.zeros(4, dtype=torch.int64), 0)


def test_prototypes_copies_and_policies_that_do_not_fit_are_refused() -> None:
    embeddings, labels = unit_rows(4), make_labels("pairs", 4)
    with pytest.raises(ValueError, match=r"prototypes must be \(K, 6\).*\(5, 7\)"):
        losses.scl_with_prototypes(embeddings, labels, torch.zeros(5, 7), temperature=1, copies=1)
    for copies in (-1, math.inf, math.nan):
        with pytest.raises(ValueError, match="finite number >= 0"):
            losses.scl_with_prototypes(embeddings, labels, PROTOTYPES, temperature=1, copies=copies)
    with pytest.raises(ValueError, match='"skip" or "zero", not \'drop\''):
        losses.scl(embeddings, labels, temperature=1, no_positive="drop")  # type: ignore[arg-type]
