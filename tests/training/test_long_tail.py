from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from training.data import Split, StoredSplit
from training.long_tail import long_tailed
from zoo.errors import ProtozooError


def balanced(classes: int = 5, each: int = 100) -> Split:
    labels = np.tile(np.arange(classes), each)
    # Every image holds its own number, so that it can be told which were kept.
    images = np.broadcast_to(np.arange(len(labels))[:, None, None, None], (len(labels), 1, 1, 3)).astype(np.uint8)
    return Split(images.copy(), labels)


def test_counts_fall_exponentially_from_the_first_class_to_the_last() -> None:
    tail = long_tailed(balanced(), 0.01, seed=0)
    assert np.bincount(tail.labels).tolist() == [100, 32, 10, 3, 1]
    assert len(tail.images) == len(tail.labels)


def test_images_keep_their_labels_and_their_order() -> None:
    split = balanced(each=50)
    tail = long_tailed(split, 0.1, seed=0)
    kept = tail.images[:, 0, 0, 0].astype(int)
    assert (np.diff(kept) > 0).all()
    assert np.array_equal(tail.labels, split.labels[kept])


def test_the_choice_is_a_function_of_the_seed_and_a_longer_tail_is_a_part_of_a_shorter_one() -> None:
    def kept(imbalance: float, seed: int) -> set[int]:
        return set(long_tailed(balanced(each=50), imbalance, seed=seed).images[:, 0, 0, 0].tolist())

    assert kept(0.1, 1) == kept(0.1, 1)
    assert kept(0.1, 1) != kept(0.1, 2)
    assert kept(0.02, 1) < kept(0.1, 1)


def test_a_factor_of_one_keeps_all_and_a_tiny_one_an_image_of_each_class() -> None:
    assert len(long_tailed(balanced(), 1, seed=0).labels) == 500
    assert np.bincount(long_tailed(balanced(), 1e-9, seed=0).labels).min() == 1


@pytest.mark.parametrize("imbalance", [0, -1, 1.5])
def test_a_factor_out_of_range_is_refused(imbalance: float) -> None:
    with pytest.raises(ProtozooError, match=r"imbalance = .* must lie in \(0, 1\]"):
        long_tailed(balanced(), imbalance, seed=0)


def test_images_on_the_disk_are_chosen_as_those_in_memory() -> None:
    split = balanced(each=50)
    pictures = [(f"{index}", Image.new("RGB", (1, 1))) for index in range(len(split.labels))]
    stored = long_tailed(StoredSplit(pictures, np.arange(len(split.labels)), split.labels), 0.1, seed=3)
    kept = long_tailed(split, 0.1, seed=3)
    assert np.array_equal(stored.labels, kept.labels)
    assert np.array_equal(stored.rows, kept.images[:, 0, 0, 0])
