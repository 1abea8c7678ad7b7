from __future__ import annotations

import numpy as np
import pytest

from training.data import ImageData, Split
from training.few_shot import with_shots
from zoo.errors import ProtozooError


@pytest.fixture
def data() -> ImageData:
    """Three classes of 20, 10 and 2 training images, each of which holds its own number."""
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [20, 10, 2]))
    images = np.broadcast_to(np.arange(32)[:, None, None, None], (32, 1, 1, 3)).astype(np.uint8)
    return ImageData("numbers", "CC0-1.0", ("a", "b", "c"), Split(images.copy(), labels), Split(images[:3], labels[:3]))


def kept(data: ImageData) -> list[int]:
    assert isinstance(data.train, Split)
    return data.train.images[:, 0, 0, 0].tolist()


def test_a_class_keeps_so_many_images_or_all_that_it_has(data: ImageData) -> None:
    few = with_shots(data, 5, seed=0)
    assert np.bincount(few.train.labels).tolist() == [5, 5, 2]
    assert np.array_equal(few.train.labels, data.train.labels[kept(few)])
    assert kept(few) == sorted(kept(few))
    assert few.test is data.test
    assert few.name == "numbers, 5 images a class"


def test_the_choice_is_a_function_of_the_seed_and_fewer_are_a_part_of_more(data: ImageData) -> None:
    assert kept(with_shots(data, 5, seed=1)) == kept(with_shots(data, 5, seed=1))
    assert kept(with_shots(data, 5, seed=1)) != kept(with_shots(data, 5, seed=2))
    assert set(kept(with_shots(data, 3, seed=1))) < set(kept(with_shots(data, 5, seed=1)))


def test_none_keeps_the_data_as_they_are_and_no_image_is_refused(data: ImageData) -> None:
    assert with_shots(data, None, seed=0) is data
    assert with_shots(data, 1, seed=0).name == "numbers, 1 image a class"
    with pytest.raises(ProtozooError, match="shots = 0"):
        with_shots(data, 0, seed=0)
