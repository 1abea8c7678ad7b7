from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.metrics.naive import collapsed, sample
from tests.training.metrics.ranks import cases, measure
from training.metrics import NeuralCollapseAccumulator, neural_collapse

COUNTS = [[3, 12, 5, 20], [4, 1, 6, 0, 5], [2] * 12, [1, 1, 1]]


@pytest.mark.parametrize("convention", ["corrected", "reference"])
@pytest.mark.parametrize("counts", COUNTS)
def test_stream_gives_the_metrics_of_the_whole(counts: list[int], convention: Any) -> None:
    features, labels, prototypes = sample(counts)
    accumulator = NeuralCollapseAccumulator(*prototypes.shape)
    for batch in zip(features.split(3), labels.split(3), strict=True):
        accumulator.update(*batch)
    accumulator.update(features[:0], labels[:0])
    found = accumulator.compute(prototypes, convention=convention)
    expected = neural_collapse(features, labels, prototypes, convention=convention)
    assert asdict(found) == pytest.approx(asdict(expected), rel=1e-10, abs=1e-10)


@pytest.mark.parametrize("counts", COUNTS)
def test_merged_parts_give_the_metrics_of_the_whole(counts: list[int]) -> None:
    features, labels, prototypes = sample(counts)
    parts = []
    for own in (labels < 1, (labels >= 1) & (torch.arange(len(labels)) % 3 > 0)):
        parts.append(NeuralCollapseAccumulator(*prototypes.shape))
        parts[-1].update(features[own], labels[own])
    rest = (labels >= 1) & (torch.arange(len(labels)) % 3 == 0)
    first, second = parts
    first.merge(second)
    before = [tensor.clone() for tensor in (second.counts, second.means, second.within)]
    first.update(features[rest], labels[rest])
    expected = neural_collapse(features, labels, prototypes)
    assert asdict(first.compute(prototypes)) == pytest.approx(asdict(expected), rel=1e-10, abs=1e-10)
    torch.testing.assert_close([second.counts, second.means, second.within], before, atol=0, rtol=0)


def test_scatter_of_a_collapsed_class_is_zero_however_far_it_lies() -> None:
    """E|z|^2 - |E z|^2 would leave 1e-4 here."""
    points = 1e6 * torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(3).repeat(200)
    parts = [NeuralCollapseAccumulator(3, 5) for _ in range(2)]
    for index, batch in enumerate(labels.split(7)):
        parts[index % 2].update(points[batch], batch)
    parts[0].merge(parts[1])
    found = parts[0].compute(points)
    assert found.trace_ratio < 1e-28
    assert found.cdnv < 1e-28
    assert found.intra_erank == 0


def test_collapse_in_batches_of_one_class_is_the_optimum() -> None:
    features, labels, prototypes = collapsed(10, 32)
    accumulator = NeuralCollapseAccumulator(*prototypes.shape)
    for label in range(10):
        accumulator.update(features[labels == label], labels[labels == label])
    expected = asdict(neural_collapse(features, labels, prototypes))
    assert asdict(accumulator.compute(prototypes)) == pytest.approx(expected, abs=1e-10)


def test_without_scatter_matrices_only_the_rank_within_classes_is_missing() -> None:
    features, labels, prototypes = sample([5, 9, 4])
    accumulator = NeuralCollapseAccumulator(*prototypes.shape, intra="none")
    accumulator.update(features, labels)
    assert accumulator.scatter is None
    expected = replace(neural_collapse(features, labels, prototypes), intra_erank=None)
    assert accumulator.compute(prototypes) == expected


def test_scatter_matrices_that_do_not_fit_are_refused_before_they_are_made() -> None:
    with pytest.raises(ValueError, match=r'1000 classes in 2048 dimensions take 31.2 GiB.*intra="none"'):
        NeuralCollapseAccumulator(1000, 2048)
    with pytest.raises(ValueError, match="max_bytes"):
        NeuralCollapseAccumulator(10, 10, max_bytes=7999)
    NeuralCollapseAccumulator(10, 10, max_bytes=8000)
    NeuralCollapseAccumulator(1000, 2048, intra="none")


def test_what_does_not_fit_the_accumulator_is_refused() -> None:
    accumulator = NeuralCollapseAccumulator(3, 4)
    policy: Any = "some"
    with pytest.raises(ValueError, match="per_class, none, not 'some'"):
        NeuralCollapseAccumulator(3, 4, intra=policy)
    with pytest.raises(ValueError, match=r"\(N, 4\) and labels \(N,\), not \(2, 5\) and \(2,\)"):
        accumulator.update(torch.ones(2, 5), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"\[0, 3\)"):
        accumulator.update(torch.ones(2, 4), torch.tensor([0, -1]))
    for other in (NeuralCollapseAccumulator(3, 5), NeuralCollapseAccumulator(3, 4, intra="none")):
        with pytest.raises(ValueError, match=r"same num_classes, dim and intra, not \(3, 4, 'per_class'\) and"):
            accumulator.merge(other)
    with pytest.raises(ValueError, match=r"\(3, 4\) as the features are, not \(2, 4\)"):
        accumulator.compute(torch.ones(2, 4))
    with pytest.raises(ValueError, match="2 are needed, 0 are present"):
        accumulator.compute(torch.ones(3, 4))


def test_all_reduce_of_a_single_process_changes_nothing() -> None:
    features, labels, prototypes = sample([5, 9, 4])
    accumulator = NeuralCollapseAccumulator(*prototypes.shape)
    accumulator.update(features, labels)
    before = accumulator.compute(prototypes)
    accumulator.all_reduce()
    assert accumulator.compute(prototypes) == before


def test_two_ranks_measure_what_one_process_measures(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(measure, (tmp_path,), nprocs=2)
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0] == ranks[1]
    for name, (data, _, intra) in cases().items():
        expected = asdict(neural_collapse(*data))
        if intra == "none":
            assert ranks[0][name].pop("intra_erank") is None
            del expected["intra_erank"]
        assert ranks[0][name] == pytest.approx(expected, rel=1e-10, abs=1e-10), name
