from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.metrics.naive import collapsed, naive_metrics, sample
from training.metrics import NeuralCollapse, collapse_optimum, neural_collapse


def assert_finite(result: NeuralCollapse) -> None:
    assert all(math.isfinite(value) for value in asdict(result).values()), result


@pytest.mark.parametrize("convention", ["corrected", "reference"])
@pytest.mark.parametrize("counts", [[3, 12, 5, 20], [9, 2], [4, 1, 6, 0, 5], [2] * 12])
def test_every_metric_is_that_of_its_definition(counts: list[int], convention: Any) -> None:
    features, labels, prototypes = sample(counts)
    result = neural_collapse(features, labels, prototypes, convention=convention)
    expected = naive_metrics(features.double().numpy(), labels.numpy(), prototypes.double().numpy(), convention)
    assert asdict(result) == pytest.approx(asdict(expected), rel=1e-10, abs=1e-10)


@pytest.mark.parametrize(("classes", "dim"), [(2, 4), (3, 2), (3, 16), (10, 9), (10, 32)])
def test_exact_collapse_reaches_the_optimum_of_every_metric(classes: int, dim: int) -> None:
    result = neural_collapse(*collapsed(classes, dim))
    assert result.intra_erank == 0
    assert asdict(result) == pytest.approx(asdict(collapse_optimum(classes)), abs=1e-5)
    for name in ("weight_instance_alignment", "instance_alignment", "trace_ratio", "cdnv"):
        assert getattr(result, name) < 1e-12, name


def test_optimum_of_mir_is_that_of_song_et_al_and_not_one() -> None:
    assert collapse_optimum(10).mir == pytest.approx(0.9524, abs=5e-5)
    assert collapse_optimum(100).mir == pytest.approx(0.9978, abs=5e-5)
    assert collapse_optimum(10).inter_erank == 9


def test_rank_within_a_class_does_not_tell_small_noise_from_large() -> None:
    features, labels, prototypes = collapsed(10, 32, copies=6)
    noise = torch.randn(features.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    small, large = (neural_collapse(features + size * noise, labels, prototypes) for size in (1e-4, 1e-2))
    assert small.intra_erank == pytest.approx(large.intra_erank, rel=1e-6)
    assert small.trace_ratio == pytest.approx(1e-4 * large.trace_ratio, rel=0.01)
    assert small.cdnv == pytest.approx(1e-4 * large.cdnv, rel=0.01)


def test_absent_class_is_left_out() -> None:
    features, labels, prototypes = sample([8, 8, 8, 8])
    kept = labels != 2
    with_absent = neural_collapse(features[kept], labels[kept], prototypes)
    renumbered = torch.tensor([0, 1, -1, 2])[labels[kept]]
    expected = neural_collapse(features[kept], renumbered, prototypes[[0, 1, 3]])
    assert asdict(with_absent) == pytest.approx(asdict(expected), abs=1e-12)


@pytest.mark.parametrize("convention", ["corrected", "reference"])
def test_classes_of_one_sample_give_finite_metrics(convention: Any) -> None:
    assert_finite(neural_collapse(*sample([6, 1, 6]), convention=convention))
    alone = neural_collapse(*sample([1, 1, 1]), convention=convention)
    assert_finite(alone)
    assert alone.intra_erank == alone.instance_alignment == alone.trace_ratio == alone.cdnv == 0


@pytest.mark.parametrize("convention", ["corrected", "reference"])
@pytest.mark.parametrize("point", [[0.0, 0.0, 0.0], [0.1, 0.2, 0.3]])
def test_features_that_are_all_one_point_give_finite_metrics(point: list[float], convention: Any) -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2, 2])
    result = neural_collapse(torch.tensor(point).expand(10, 3), labels, torch.eye(3), convention=convention)
    assert_finite(result)
    assert result.intra_erank == result.inter_erank == result.trace_ratio == result.cdnv == 0


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
    assert result.etf_gram_distance > 0.3


def test_only_the_directions_of_prototypes_count() -> None:
    features, labels, prototypes = sample([5, 6, 7])
    scaled = prototypes * torch.tensor([[0.1], [1.0], [50.0]])
    expected = asdict(neural_collapse(features, labels, prototypes))
    assert asdict(neural_collapse(features, labels, scaled)) == pytest.approx(expected, abs=1e-6)


def relu_optimum(classes: int, dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """What non-negative features can reach: an orthogonal frame of means, with the weights of a simplex."""
    labels = torch.arange(classes).repeat(3)
    frame = torch.eye(classes, dim, dtype=torch.float64)
    return frame[labels], labels, frame - frame.mean(0)


@pytest.mark.parametrize(
    ("classes", "alignment", "mir", "hdr"), [(10, 0.1026, 0.952, 0.0496), (100, 0.0100, 0.997, 0.3002)]
)
def test_reference_prints_the_papers_table_at_the_optimum_of_relu_features(
    classes: int, alignment: float, mir: float, hdr: float
) -> None:
    result = neural_collapse(*relu_optimum(classes, 128), convention="reference")
    assert result.inter_erank == pytest.approx(classes - 1, rel=1e-3)
    assert result.weight_erank == pytest.approx(classes - 1, rel=1e-3)
    assert result.weight_alignment == pytest.approx(alignment, abs=5e-5)
    assert result.mir == pytest.approx(mir, abs=5e-4)
    assert result.hdr == pytest.approx(hdr, abs=5e-5)


@pytest.mark.parametrize(("classes", "hdr"), [(10, 0.19), (100, 0.35)])
def test_reference_misses_the_optimum_of_hdr_at_a_simplex(classes: int, hdr: float) -> None:
    """The global mean of a simplex is rounding, and the released code scales it to norm 1."""
    features, labels, prototypes = collapsed(classes, 128)
    assert neural_collapse(features, labels, prototypes).hdr < 1e-6
    assert neural_collapse(features, labels, prototypes, convention="reference").hdr == pytest.approx(hdr, abs=0.01)


def test_reference_adds_to_every_share_of_a_spectrum() -> None:
    classes, dim = 100, 512
    labels = torch.arange(classes)
    frame = torch.eye(classes, dim, dtype=torch.float64)
    result = neural_collapse(frame, labels, frame, convention="reference")
    assert result.inter_erank / (classes - 1) - 1 == pytest.approx(5e-4, abs=1e-4)


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


def test_convention_of_another_name_is_refused() -> None:
    convention: Any = "paper"
    with pytest.raises(ValueError, match="corrected, reference, not 'paper'"):
        neural_collapse(*sample([3, 3]), convention=convention)
