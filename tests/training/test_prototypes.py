from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from training.prototypes import (
    ClassMeans,
    ClassRepresentatives,
    PrototypeAssignment,
    assign,
    class_means,
    ema_class_means,
)

CLASSES, DIM = 4, 3


def sample(count: int = 60, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features of any norm around class centres; some labels negative, every class present."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    centres = torch.randn(CLASSES, DIM, generator=generator)
    features = centres[labels] + torch.randn(count, DIM, generator=generator)
    labels = labels.clone()
    labels[::7] = -1
    labels[5] = -100
    return features * (1 + torch.rand(count, 1, generator=generator)), labels


def unit(row: Tensor) -> Tensor:
    return row / row.square().sum().sqrt()


def unit_rows(count: int, dim: int = DIM, seed: int = 0) -> Tensor:
    rows = torch.randn(count, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return rows / rows.norm(dim=1, keepdim=True)


def naive_mean(features: Tensor, labels: Tensor, label: int) -> Tensor:
    rows = [unit(row.double()) for row, own in zip(features, labels, strict=True) if own == label]
    return sum(rows, torch.zeros(DIM, dtype=torch.float64)) / len(rows)


def naive_means(features: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([unit(naive_mean(features, labels, label)) for label in range(CLASSES)])


def batches(features: Tensor, labels: Tensor, size: int = 16) -> Iterator[tuple[Tensor, Tensor]]:
    yield from zip(features.split(size), labels.split(size), strict=True)


def test_class_means_are_unit_means_of_unit_features() -> None:
    features, labels = sample()
    found = class_means(features, labels, CLASSES)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), naive_means(features, labels), atol=1e-7, rtol=0)


def test_class_means_in_chunks_are_those_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = sample()
    whole = class_means(features, labels, CLASSES)
    monkeypatch.setattr("training.prototypes.means._CHUNK", 7)
    torch.testing.assert_close(class_means(features, labels, CLASSES), whole, atol=1e-7, rtol=0)


def test_streamed_and_merged_means_are_those_of_one_pass() -> None:
    features, labels = sample()
    first, second = ClassMeans(CLASSES, DIM), ClassMeans(CLASSES, DIM)
    for index, batch in enumerate(batches(features, labels)):
        (second if index % 2 else first).update(*batch)
    second.merge(first)
    second.all_reduce()
    torch.testing.assert_close(second.compute(), class_means(features, labels, CLASSES), atol=1e-7, rtol=0)
    assert second.counts.tolist() == [int((labels == label).sum()) for label in range(CLASSES)]


def test_class_means_take_half_precision_and_features_with_a_graph() -> None:
    features, labels = sample()
    rounded = features.bfloat16()
    expected = class_means(rounded.float(), labels, CLASSES)
    found = class_means(rounded.requires_grad_(), labels.int(), CLASSES)
    assert not found.requires_grad
    torch.testing.assert_close(found, expected, atol=1e-7, rtol=0)


def test_class_without_sample_is_named_or_zero() -> None:
    features, labels = sample()
    labels[(labels == 1) | (labels == 3)] = -1
    with pytest.raises(ValueError, match=r"classes \[1, 3\] have no sample.*absent=\"zero\""):
        class_means(features, labels, CLASSES)
    found = class_means(features, labels, CLASSES, absent="zero")
    assert found.norm(dim=1).tolist() == pytest.approx([1, 0, 1, 0])
    with pytest.raises(ValueError, match="not 'skip'"):
        class_means(features, labels, CLASSES, absent="skip")


@pytest.mark.parametrize(
    ("row", "message"),
    [([-1.0, 0.0, 0.0], r"classes \[2\] cancel"), ([torch.nan, 0.0, 0.0], r"classes \[2\] are not finite")],
)
def test_class_without_direction_is_named(row: list[float], message: str) -> None:
    features = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0], row])
    with pytest.raises(ValueError, match=message):
        class_means(features, torch.tensor([0, 1, 2, 2]), 3, absent="zero")


def test_moving_average_is_that_of_batch_means_in_their_order() -> None:
    features, labels = sample()
    labels[:16][labels[:16] == 2] = -1
    expected: list[Tensor | None] = [None] * CLASSES
    for some_features, some_labels in batches(features, labels):
        for label in set(some_labels.tolist()) - {-1, -100}:
            mean, old = naive_mean(some_features, some_labels, label), expected[label]
            expected[label] = mean if old is None else 0.9 * old + 0.1 * mean
    found = ema_class_means(batches(features, labels), CLASSES, momentum=0.9)
    rows = torch.stack([unit(row) for row in expected if row is not None])
    torch.testing.assert_close(found.double(), rows, atol=1e-7, rtol=0)
    backwards = ema_class_means(reversed(list(batches(features, labels))), CLASSES, momentum=0.9)
    assert not torch.allclose(backwards, found, atol=1e-3)


def test_moving_average_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one batch"):
        ema_class_means([], CLASSES)
    with pytest.raises(ValueError, match=r"momentum must lie in \[0, 1\), not be 1"):
        ema_class_means([sample()], CLASSES, momentum=1)


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        (torch.ones(3), torch.zeros(3).long(), r"not \(3,\) and \(3,\)"),
        (torch.ones(3, 2), torch.zeros(4).long(), r"not \(3, 2\) and \(4,\)"),
        (torch.ones(3, 2), torch.zeros(3), "integer type, not torch.float32"),
        (torch.ones(3, 2), torch.tensor([0, 1, 5]), "below num_classes=5, not 5"),
    ],
)
def test_features_and_labels_that_do_not_fit_are_refused(features: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_means(features, labels, 5)


def test_accumulators_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"features must be \(M, 3\), not \(2, 4\)"):
        ClassMeans(CLASSES, DIM).update(torch.ones(2, 4), torch.zeros(2).long())
    with pytest.raises(ValueError, match=r"\(4, 3\) and \(1, 3\)"):
        ClassMeans(CLASSES, DIM).merge(ClassMeans(1, DIM))
    with pytest.raises(ValueError, match=r"embeddings must be \(M, 3\), not \(2, 4\)"):
        ClassRepresentatives(CLASSES, DIM).update(torch.ones(2, 4), torch.zeros(2).long())


@pytest.mark.parametrize("spare", [0, 2])
@pytest.mark.parametrize("seed", range(5))
def test_assignment_is_the_best_of_all(seed: int, spare: int) -> None:
    representatives, prototypes = unit_rows(5, seed=seed), unit_rows(5 + spare, seed=100 + seed)
    cosines = representatives @ prototypes.T
    best = max(
        itertools.permutations(range(5 + spare), 5), key=lambda rows: sum(float(cosines[c, rows[c]]) for c in range(5))
    )
    found = assign(representatives, prototypes)
    assert found.dtype == torch.int64
    assert found.tolist() == list(best)


def test_assignment_finds_a_permutation_again() -> None:
    prototypes = unit_rows(50, 16).float()
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    assert torch.equal(assign(prototypes[order], prototypes), order)


def test_class_not_seen_yet_takes_what_is_left() -> None:
    prototypes = torch.eye(3)
    representatives = torch.stack([prototypes[2], torch.zeros(3), prototypes[0]])
    assert assign(representatives, prototypes).tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    ("representatives", "prototypes", "message"),
    [
        (torch.ones(3, 2), torch.ones(3, 4), r"not \(3, 2\) and \(3, 4\)"),
        (torch.ones(3), torch.ones(3, 3), r"not \(3,\) and \(3, 3\)"),
        (torch.ones(3, 2), torch.ones(2, 2), "3 classes need as many prototypes, not 2"),
        (torch.full((2, 2), torch.nan), torch.ones(2, 2), "finite"),
    ],
)
def test_what_cannot_be_assigned_is_refused(representatives: Tensor, prototypes: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        assign(representatives, prototypes)


def test_representatives_move_by_the_formula() -> None:
    module = ClassRepresentatives(CLASSES, DIM, momentum=0.7)
    expected = torch.zeros(CLASSES, DIM, dtype=torch.float64)
    for epoch in range(3):
        features, labels = sample(seed=epoch)
        labels[labels == epoch] = -1
        for batch in batches(features, labels):
            module.update(*batch)
        module.step()
        for label in set(range(CLASSES)) - {epoch}:
            mean = naive_mean(features, labels, label)
            first = not expected[label].any()
            expected[label] = unit(mean if first else 0.7 * expected[label] + 0.3 * mean)
        torch.testing.assert_close(module.representatives.double(), expected, atol=1e-6, rtol=0)
        assert not module.sums.any()
        assert not module.counts.any()


def test_representatives_do_not_depend_on_the_order_of_samples() -> None:
    features, labels = sample()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))
    forwards, shuffled = ClassRepresentatives(CLASSES, DIM), ClassRepresentatives(CLASSES, DIM)
    forwards.update(features, labels)
    for batch in batches(features[order], labels[order], 9):
        shuffled.update(*batch)
    forwards.step()
    shuffled.step()
    torch.testing.assert_close(forwards.representatives, shuffled.representatives, atol=1e-6, rtol=0)


def test_representatives_without_direction_stay() -> None:
    module = ClassRepresentatives(2, 2, momentum=0.5)
    module.update(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), torch.tensor([0, 1, 1]))
    module.step()
    assert module.representatives.tolist() == [[1, 0], [0, 0]]
    module.update(torch.tensor([[-1.0, 0.0]]), torch.tensor([0]))
    module.step()
    assert module.representatives.tolist() == [[1, 0], [0, 0]]


def test_representatives_continue_from_a_state_dict_in_the_middle_of_an_epoch() -> None:
    features, labels = sample()
    whole, before, after = (ClassRepresentatives(CLASSES, DIM) for _ in range(3))
    whole.update(*sample(seed=1))
    whole.step()
    before.load_state_dict(whole.state_dict())
    for module in (whole, before):
        module.update(features[:30], labels[:30])
    after.load_state_dict(before.state_dict())
    for module in (whole, after):
        module.update(features[30:], labels[30:])
        module.step()
    assert torch.equal(after.representatives, whole.representatives)


@pytest.mark.parametrize("momentum", [-0.1, 1.0])
def test_momentum_out_of_range_is_refused(momentum: float) -> None:
    with pytest.raises(ValueError, match=f"not be {momentum}"):
        ClassRepresentatives(CLASSES, DIM, momentum=momentum)


def test_assignment_counts_its_changes_and_travels_with_the_state_dict() -> None:
    prototypes = unit_rows(6).float()
    module = PrototypeAssignment(prototypes, 4)
    assert module.assignment.tolist() == [0, 1, 2, 3]
    assert module.update(prototypes[[0, 5, 2, 1]]) == 2
    assert module.update(prototypes[[0, 5, 2, 1]]) == 0
    assert torch.equal(module.targets, prototypes[[0, 5, 2, 1]])
    assert module.state_dict()["assignment"].dtype == torch.int64
    copy = PrototypeAssignment(torch.zeros(6, DIM), 4)
    copy.load_state_dict(module.state_dict())
    assert torch.equal(copy.targets, module.targets)
    assert len(PrototypeAssignment(prototypes).assignment) == 6


def test_assignment_keeps_its_own_prototypes() -> None:
    prototypes = unit_rows(3).float()
    module = PrototypeAssignment(prototypes)
    expected = prototypes.clone()
    prototypes.zero_()
    assert torch.equal(module.targets, expected)


def test_assignment_of_another_number_of_classes_is_refused() -> None:
    with pytest.raises(ValueError, match=r"4 classes need \(P, d\) prototypes, P >= 4, not \(3, 3\)"):
        PrototypeAssignment(torch.eye(3), 4)
    with pytest.raises(ValueError, match=r"3 classes need as many rows, not \(2, 3\)"):
        PrototypeAssignment(torch.eye(3)).update(torch.eye(3)[:2])


def reduce_on_rank(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=2)
    features, labels = sample()
    # An uneven split: the first rank has no sample of class 3, the second few of any.
    own = ((torch.arange(len(labels)) < 40) & (labels != 3)) == (rank == 0)
    means = ClassMeans(CLASSES, DIM)
    means.update(features[own], labels[own])
    means.all_reduce()
    representatives = ClassRepresentatives(CLASSES, DIM)
    representatives.update(features[own], labels[own])
    representatives.step()
    torch.save({"means": means.compute(), "representatives": representatives.representatives}, folder / str(rank))
    dist.destroy_process_group()


def test_two_ranks_find_what_one_process_finds(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(reduce_on_rank, (tmp_path,), nprocs=2)
    features, labels = sample()
    representatives = ClassRepresentatives(CLASSES, DIM)
    representatives.update(features, labels)
    representatives.step()
    ranks = [torch.load(tmp_path / str(rank), weights_only=True) for rank in range(2)]
    for found in ranks:
        torch.testing.assert_close(found["means"], class_means(features, labels, CLASSES), atol=1e-7, rtol=0)
        torch.testing.assert_close(found["representatives"], representatives.representatives, atol=1e-6, rtol=0)
    assert torch.equal(ranks[0]["representatives"], ranks[1]["representatives"])
