from __future__ import annotations

import json
import math
from dataclasses import asdict, fields

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.metrics import NeuralCollapse, collapse_optimum, neural_collapse
from zoo.geometry import simplex_etf

Array = NDArray[np.float64]


def naive_erank(covariance: Array) -> float:
    variances = [max(value, 0.0) for value in np.linalg.eigvalsh(covariance)]
    shares = [value / sum(variances) for value in variances]
    return math.exp(-sum(share * math.log(share) for share in shares if share > 0))


def naive_covariance(rows: Array) -> Array:
    mean = sum(rows) / len(rows)
    return sum(np.outer(row - mean, row - mean) for row in rows) / len(rows)


def naive_entropy(gram: Array) -> float:
    shares = np.linalg.eigvalsh(gram) / len(gram)
    return -sum(share * math.log(share) for share in shares if share > 1e-14)


def unit(vector: Array) -> Array:
    return vector / math.sqrt(sum(value**2 for value in vector))


def naive_metrics(features: Array, labels: Array, prototypes: Array) -> NeuralCollapse:
    """Definitions of spec and paper, by loops over samples, pairs and classes; absent classes left out."""
    present = sorted(set(labels.tolist()))
    groups = [features[labels == label] for label in present]
    means = np.array([sum(group) / len(group) for group in groups])
    weights = np.array([unit(prototypes[label]) for label in present])
    global_mean, all_mean = sum(means) / len(means), sum(features) / len(features)
    pairs = [
        float(((group[i] - group[j]) ** 2).sum())
        for group in groups
        for i in range(len(group))
        for j in range(len(group))
        if i != j
    ]
    within = sum(((row - mean) ** 2).sum() for group, mean in zip(groups, means, strict=True) for row in group)
    between = sum(len(group) * ((mean - all_mean) ** 2).sum() for group, mean in zip(groups, means, strict=True))
    centred = np.array([unit(mean - global_mean) for mean in means])
    gram_weights, gram_means = weights @ weights.T, centred @ centred.T
    of_weights, of_means = naive_entropy(gram_weights), naive_entropy(gram_means)
    mutual = of_weights + of_means - naive_entropy(gram_weights * gram_means)
    eranks = [naive_erank(naive_covariance(group)) for group in groups if len(group) > 1]
    count = len(present)
    return NeuralCollapse(
        intra_erank=sum(eranks) / len(eranks),
        inter_erank=naive_erank(naive_covariance(means)),
        weight_erank=naive_erank(naive_covariance(weights)),
        weight_alignment=sum(((w - unit(m)) ** 2).sum() for w, m in zip(weights, means, strict=True)) / count,
        instance_alignment=sum(pairs) / len(pairs),
        # The centred means of two classes are antipodal: their entropy is 0, and so is what they can share.
        mir=mutual / min(of_weights, of_means) if count > 2 else 0.0,
        hdr=abs(of_weights - of_means) / max(of_weights, of_means),
        trace_ratio=within / between,
        etf_cosine_error=max(
            abs(unit(means[i]) @ unit(means[j]) + 1 / (count - 1)) for i in range(count) for j in range(count) if i != j
        ),
    )


def sample(counts: list[int], dim: int = 7, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Unit features around class centres, labels in random order, prototypes of any norm."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator)]
    centres = torch.randn(len(counts), dim, generator=generator)
    noise = torch.randn(len(labels), dim, generator=generator)
    features = torch.nn.functional.normalize(centres[labels] + 0.7 * noise, dim=1)
    return features, labels, 3 * torch.randn(len(counts), dim, generator=generator)


def collapsed(classes: int, dim: int, copies: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    prototypes = simplex_etf(classes, dim, generator=torch.Generator().manual_seed(0)).double()
    prototypes = torch.nn.functional.normalize(prototypes, dim=1)
    labels = torch.arange(classes).repeat(copies)
    return prototypes[labels], labels, prototypes


def assert_finite(result: NeuralCollapse) -> None:
    assert all(math.isfinite(value) for value in asdict(result).values()), result


@pytest.mark.parametrize("counts", [[3, 12, 5, 20], [9, 2], [4, 1, 6, 0, 5], [2] * 12])
@pytest.mark.parametrize("field", [field.name for field in fields(NeuralCollapse)])
def test_every_metric_is_that_of_its_definition(counts: list[int], field: str) -> None:
    features, labels, prototypes = sample(counts)
    result = neural_collapse(features, labels, prototypes)
    expected = naive_metrics(features.double().numpy(), labels.numpy(), prototypes.double().numpy())
    assert getattr(result, field) == pytest.approx(getattr(expected, field), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(("classes", "dim"), [(3, 2), (3, 16), (10, 9), (10, 32)])
def test_exact_collapse_reaches_the_optimum_of_every_metric(classes: int, dim: int) -> None:
    result, optimum = neural_collapse(*collapsed(classes, dim)), collapse_optimum(classes)
    assert result.intra_erank == 0
    assert result.inter_erank == pytest.approx(classes - 1, abs=1e-6)
    assert result.weight_erank == pytest.approx(classes - 1, abs=1e-6)
    assert result.mir == pytest.approx(optimum.mir, abs=1e-5)
    for name in ("weight_alignment", "instance_alignment", "hdr", "trace_ratio", "etf_cosine_error"):
        assert getattr(result, name) == pytest.approx(0, abs=1e-6), name
    for name, value in asdict(optimum).items():
        assert getattr(result, name) == pytest.approx(value, abs=1e-5), name


def test_optimum_of_mir_is_that_of_song_et_al_and_not_one() -> None:
    assert collapse_optimum(10).mir == pytest.approx(0.9524, abs=5e-5)
    assert collapse_optimum(100).mir == pytest.approx(0.9978, abs=5e-5)
    assert collapse_optimum(10).inter_erank == 9


def test_absent_class_is_left_out() -> None:
    features, labels, prototypes = sample([8, 8, 8, 8])
    kept = labels != 2
    with_absent = neural_collapse(features[kept], labels[kept], prototypes)
    renumbered = torch.tensor([0, 1, -1, 2])[labels[kept]]
    assert with_absent == neural_collapse(features[kept], renumbered, prototypes[[0, 1, 3]])
    assert_finite(with_absent)


def test_classes_of_one_sample_give_finite_metrics() -> None:
    assert_finite(neural_collapse(*sample([6, 1, 6])))
    alone = neural_collapse(*sample([1, 1, 1]))
    assert_finite(alone)
    assert alone.intra_erank == alone.instance_alignment == alone.trace_ratio == 0


@pytest.mark.parametrize("antipodal", [False, True])
def test_two_classes_give_finite_metrics_whatever_rounding_does(antipodal: bool) -> None:
    for seed in range(50):
        features, labels, prototypes = sample([6, 9], seed=seed)
        if antipodal:
            prototypes = torch.stack([prototypes[0], -prototypes[0]])
        result = neural_collapse(features, labels, prototypes)
        assert_finite(result)
        assert result.mir == 0
        assert result.inter_erank == pytest.approx(1)
        if antipodal:
            assert result.hdr == 0
    assert_finite(neural_collapse(*collapsed(2, 4)))
    assert_finite(collapse_optimum(2))


def test_metrics_are_plain_numbers_of_json() -> None:
    record = asdict(neural_collapse(*sample([5, 5, 5])))
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_non_negative_means_have_the_rank_of_a_simplex_but_not_its_angles() -> None:
    """Why erank alone does not prove collapse: an orthogonal frame is as far as features after a ReLU can go."""
    classes = 10
    labels = torch.arange(classes).repeat(4)
    result = neural_collapse(torch.eye(classes)[labels], labels, torch.eye(classes))
    assert result.inter_erank == pytest.approx(classes - 1)
    assert result.etf_cosine_error == pytest.approx(1 / (classes - 1))


def test_only_the_directions_of_prototypes_count() -> None:
    features, labels, prototypes = sample([5, 6, 7])
    scaled = prototypes * torch.tensor([[0.1], [1.0], [50.0]])
    expected = asdict(neural_collapse(features, labels, prototypes))
    assert asdict(neural_collapse(features, labels, scaled)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("features", "labels", "prototypes", "message"),
    [
        ((6, 4), (5,), (3, 4), r"\(6, 4\), \(5,\) and \(3, 4\)"),
        ((6, 4), (6,), (3, 5), r"\(6, 4\), \(6,\) and \(3, 5\)"),
        ((6,), (6,), (3, 4), r"\(6,\), \(6,\) and \(3, 4\)"),
        ((6, 4), (6,), (3, 4), "2 are needed, 1 are present"),
        ((0, 4), (0,), (3, 4), "2 are needed, 0 are present"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    features: tuple[int, ...], labels: tuple[int, ...], prototypes: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        neural_collapse(torch.ones(features), torch.zeros(labels, dtype=torch.int64), torch.ones(prototypes))


@pytest.mark.parametrize("label", [-1, 3])
def test_label_out_of_range_is_refused(label: int) -> None:
    with pytest.raises(ValueError, match=r"\[0, 3\)"):
        neural_collapse(torch.ones(3, 4), torch.tensor([0, 1, label]), torch.ones(3, 4))
