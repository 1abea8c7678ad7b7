from __future__ import annotations

import numpy as np
import pytest

from training.data import epoch_order, steps_per_epoch

RARE = np.repeat(np.arange(7), [40, 30, 20, 10, 5, 2, 1])


@pytest.mark.parametrize(("count", "batch_size", "steps"), [(10, 3, 3), (9, 3, 3), (2, 3, 1), (3, 3, 1)])
def test_an_epoch_has_full_batches_only_or_one_of_all_images(count: int, batch_size: int, steps: int) -> None:
    assert steps_per_epoch(count, batch_size) == steps
    order = epoch_order(np.zeros(count, np.int64), batch_size, batches="shuffled", seed=0, epoch=0)
    assert order.shape == (steps, min(batch_size, count))
    assert order.dtype == np.int64
    assert len(set(order.ravel())) == order.size


@pytest.mark.parametrize("batches", ["shuffled", "balanced"])
def test_order_is_a_function_of_seed_and_epoch(batches: str) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return epoch_order(RARE, 16, batches=batches, seed=seed, epoch=epoch).ravel().tolist()  # type: ignore[arg-type]

    assert order(1, 2) == order(1, 2)
    assert len({tuple(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


@pytest.mark.parametrize("size", [2, 3, 5, 7, 8, 13, 14, 27, 50])
@pytest.mark.parametrize("seed", range(5))
def test_balanced_batches_hold_as_many_classes_as_they_can_each_as_often_as_the_others(size: int, seed: int) -> None:
    order = epoch_order(RARE, size, batches="balanced", seed=seed, epoch=0)
    assert order.shape == (len(RARE) // size, size)
    for batch in order:
        counts = np.bincount(RARE[batch], minlength=7)
        assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("size", [3, 8, 13])
def test_balanced_epochs_see_every_class_as_often_as_the_others_and_its_images_in_turns(size: int) -> None:
    order = epoch_order(RARE, size, batches="balanced", seed=0, epoch=0).ravel()
    classes = np.bincount(RARE[order], minlength=7)
    assert classes.max() - classes.min() <= 1
    for label in range(7):
        images = np.bincount(order, minlength=len(RARE))[label == RARE]
        assert images.max() - images.min() <= 1


def test_balanced_batches_mix_their_classes_so_that_ranks_share_them() -> None:
    order = epoch_order(np.repeat(np.arange(4), 100), 40, batches="balanced", seed=0, epoch=0)
    first_halves = np.repeat(np.arange(4), 100)[order[:, :20]]
    assert all(len(set(half)) > 1 for half in first_halves.tolist())
    assert any(half != sorted(half) for half in first_halves.tolist())


def test_labels_need_not_be_numbered_without_gaps() -> None:
    order = epoch_order(np.array([5, 5, 5, 9]), 2, batches="balanced", seed=0, epoch=0)
    assert (order == 3).sum() == 2
