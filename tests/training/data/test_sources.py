from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.training.data.files import check, png, write_parquet
from training.data import DataError, load_data
from zoo.bundle import Preprocessing
from zoo.errors import ImageError

NAMES = ["ant", "bee", "cat"]


def test_digits_are_scikit_learns_with_a_fixed_stratified_split(preprocessing: Preprocessing) -> None:
    data = load_data("digits", preprocessing)
    check(data, 1437, 360)
    assert data.classes == tuple("0123456789")
    assert data.license == "CC BY 4.0"
    assert set(np.bincount(data.test.labels)) <= {35, 36, 37}
    again = load_data("digits", preprocessing)
    assert np.array_equal(data.train.images, again.train.images)
    assert np.array_equal(data.test.labels, again.test.labels)


def test_patches_are_squares_of_two_photographs(preprocessing: Preprocessing) -> None:
    data = load_data("patches", preprocessing)
    check(data, 228, 228)
    assert data.classes == ("china", "flower")


def test_parquet_takes_class_names_from_the_hubs_metadata(tmp_path: Path, preprocessing: Preprocessing) -> None:
    info = {"dataset_name": "insects", "license": "cc0-1.0"}
    write_parquet(tmp_path / "data" / "train-00000-of-00002.parquet", [0, 1], names=NAMES, info=info)
    write_parquet(tmp_path / "data" / "train-00001-of-00002.parquet", [2, 2, 0], names=NAMES, images=[png(9)] * 3)
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", [1, 2], names=NAMES)
    data = load_data(str(tmp_path), preprocessing)
    check(data, 5, 2)
    assert (data.name, data.license, data.classes) == ("insects", "cc0-1.0", tuple(NAMES))
    assert data.train.labels.tolist() == [0, 1, 2, 2, 0]
    assert data.test.labels.tolist() == [1, 2]
    assert np.array_equal(data.train.images[4], np.asarray(Image.open(io.BytesIO(png(9)))))


def test_classes_of_one_name_are_told_apart(tmp_path: Path, preprocessing: Preprocessing) -> None:
    names = ["crane", "heron", "crane", "crane (2)", "crane"]
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", [0, 1, 2, 3, 4], names=names, images=[png(9)] * 5)
    data = load_data(str(tmp_path), preprocessing)
    assert data.classes == ("crane", "heron", "crane (3)", "crane (2)", "crane (4)")


def test_parquet_without_metadata_numbers_its_classes(tmp_path: Path, preprocessing: Preprocessing) -> None:
    folder = tmp_path / "plain"
    write_parquet(folder / "train.parquet", [0, 1, 2, 1])
    write_parquet(folder / "validation.parquet", [2])
    data = load_data(str(folder), preprocessing)
    check(data, 4, 1)
    assert (data.name, data.license, data.classes) == ("plain", "not stated", ("0", "1", "2"))


@pytest.mark.parametrize("kind", [pa.uint8(), pa.uint64(), pa.int8()])
def test_parquet_labels_are_integers_of_any_type(
    tmp_path: Path, preprocessing: Preprocessing, kind: pa.DataType
) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1, 2], kind=kind)
    write_parquet(tmp_path / "test.parquet", [2], kind=kind)
    assert load_data(str(tmp_path), preprocessing).train.labels.tolist() == [0, 1, 2]
    write_parquet(tmp_path / "train.parquet", [0, None, 1], kind=kind)
    refused(tmp_path, preprocessing, "the training split has the label -1")


def test_parquet_labels_that_are_no_classes_numbers_are_refused(tmp_path: Path, preprocessing: Preprocessing) -> None:
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", [0, 2**64 - 1], kind=pa.uint64())
    refused(tmp_path, preprocessing, str(tmp_path / "train.parquet"), "labels that are no classes' numbers")


def refused(folder: Path, preprocessing: Preprocessing, *words: str, error: type[Exception] = DataError) -> None:
    with pytest.raises(error) as caught:
        load_data(str(folder), preprocessing)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_what_is_no_source_is_told_what_is(tmp_path: Path, preprocessing: Preprocessing) -> None:
    missing = tmp_path / "nowhere"
    refused(missing, preprocessing, str(missing), "neither a folder", "digits, patches, cifar10", "hfds/<owner>/<name>")


def test_a_folder_with_the_name_of_a_data_set_is_told_how_it_is_meant(
    make_folder: Callable[..., Path], tmp_path: Path, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_folder(tmp_path / "digits", train_images=2, test_images=1)
    monkeypatch.chdir(tmp_path)
    with pytest.warns(UserWarning, match=r"^digits is the data set .* give \./digits for the folder$") as caught:
        assert len(load_data("digits", preprocessing).classes) == 10
    assert caught[0].filename == __file__
    assert len(load_data("./digits", preprocessing).classes) == 3


def test_folder_of_neither_layout_is_told_both(tmp_path: Path, preprocessing: Preprocessing) -> None:
    refused(tmp_path, preprocessing, str(tmp_path), "no parquet files", "train/<class>/", "val/<class>/")
    (tmp_path / "train" / "a").mkdir(parents=True)
    refused(tmp_path, preprocessing, str(tmp_path), "val/<class>/")


def test_one_class_is_too_few(tmp_path: Path, preprocessing: Preprocessing) -> None:
    for split in ("train", "val"):
        (tmp_path / split / "a").mkdir(parents=True)
    refused(tmp_path, preprocessing, str(tmp_path / "train"), "at least two classes")


@pytest.fixture
def small(make_folder: Callable[..., Path], tmp_path: Path) -> Path:
    return make_folder(tmp_path / "small", train_images=2, test_images=1)


def test_class_without_training_images_is_named(small: Path, preprocessing: Preprocessing) -> None:
    for path in (small / "train" / "green").iterdir():
        path.unlink()
    refused(small, preprocessing, str(small), "no training image", "green")


def test_class_that_only_the_test_split_has_is_named(small: Path, preprocessing: Preprocessing) -> None:
    (small / "val" / "violet").mkdir()
    refused(small, preprocessing, str(small / "val" / "violet"), "without training images")


@pytest.mark.parametrize(("split", "word"), [("train", "training"), ("val", "test")])
def test_empty_split_is_named(small: Path, preprocessing: Preprocessing, split: str, word: str) -> None:
    for path in (small / split).rglob("*.png"):
        path.unlink()
    refused(small, preprocessing, str(small), f"the {word} split is empty")


def broken_chunk(raw: bytes) -> bytes:
    """A PNG whose pixels end too early, before what is no chunk: Pillow then raises SyntaxError, not OSError."""
    return raw[:33] + (100).to_bytes(4, "big") + raw[37:]


@pytest.mark.parametrize(
    "content",
    [b"", b"not an image", png(0)[:200], broken_chunk(png(0)), b"P6 1a 1 255\n000"],
    ids=["empty", "text", "truncated", "broken chunk", "broken header"],
)
def test_corrupt_image_is_named(small: Path, preprocessing: Preprocessing, content: bytes) -> None:
    path = small / "train" / "red" / "01.png"
    path.write_bytes(content)
    refused(small, preprocessing, str(path), "mend or remove it", error=ImageError)


def test_corrupt_image_in_parquet_is_named(tmp_path: Path, preprocessing: Preprocessing) -> None:
    path = tmp_path / "train.parquet"
    write_parquet(path, [0, 1], images=[png(0), b"not an image"])
    write_parquet(tmp_path / "test.parquet", [0])
    refused(tmp_path, preprocessing, f"{path}: 1.png", "mend or remove it", error=ImageError)


def test_parquet_without_a_test_split_is_refused(tmp_path: Path, preprocessing: Preprocessing) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1])
    refused(tmp_path, preprocessing, str(tmp_path), "test-*.parquet", "['train']")


def test_parquet_with_other_columns_is_refused(tmp_path: Path, preprocessing: Preprocessing) -> None:
    for split in ("train", "test"):
        pq.write_table(pa.table({"image": [1], "coarse_label": [0]}), tmp_path / f"{split}.parquet")
    refused(tmp_path, preprocessing, str(tmp_path / "train.parquet"), "'image' and 'label'", "coarse_label")


@pytest.mark.parametrize(
    ("image", "label", "words"),
    [([1], [0], ("'image'", "struct of bytes")), ([{"bytes": b""}], ["a"], ("labels as integers",))],
)
def test_parquet_columns_of_other_types_are_refused(
    tmp_path: Path, preprocessing: Preprocessing, image: list[Any], label: list[Any], words: tuple[str, ...]
) -> None:
    for split in ("train", "test"):
        pq.write_table(pa.table({"image": image, "label": label}), tmp_path / f"{split}.parquet")
    refused(tmp_path, preprocessing, str(tmp_path / "train.parquet"), *words)


@pytest.mark.parametrize(("image", "label"), [("img", "fine_label"), ("image", "labels"), ("img", "label")])
def test_parquet_columns_may_have_the_names_of_the_hubs_cifar_sets(
    tmp_path: Path, preprocessing: Preprocessing, image: str, label: str
) -> None:
    columns = {"image": image, "label": label}
    write_parquet(tmp_path / "train-00000-of-00001.parquet", [0, 1, 2], names=NAMES, columns=columns)
    write_parquet(tmp_path / "test-00000-of-00001.parquet", [2, 1], names=NAMES, columns=columns)
    data = load_data(str(tmp_path), preprocessing)
    check(data, 3, 2)
    assert data.classes == tuple(NAMES)
    assert data.test.labels.tolist() == [2, 1]


def test_parquet_files_may_stand_in_a_folder_of_each_split(tmp_path: Path, preprocessing: Preprocessing) -> None:
    for number, labels in enumerate(([0, 1], [1])):
        write_parquet(tmp_path / "train" / f"{number:04}.parquet", labels)
    write_parquet(tmp_path / "validation" / "0000.parquet", [0])
    data = load_data(str(tmp_path), preprocessing)
    check(data, 3, 1)
    assert data.train.labels.tolist() == [0, 1, 1]


def test_parquet_split_with_hidden_labels_gives_way_to_the_next(tmp_path: Path, preprocessing: Preprocessing) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1, 2], names=NAMES)
    write_parquet(tmp_path / "test.parquet", [-1, -1], names=NAMES)
    write_parquet(tmp_path / "validation.parquet", [2], names=NAMES)
    assert load_data(str(tmp_path), preprocessing).test.labels.tolist() == [2]


def test_parquet_download_that_was_cut_short_is_refused(tmp_path: Path, preprocessing: Preprocessing) -> None:
    write_parquet(tmp_path / "train-00000-of-00002.parquet", [0, 1])
    write_parquet(tmp_path / "test-00000-of-00001.parquet", [0, 1])
    refused(tmp_path, preprocessing, "1 of the 2 files", "train-00000-of-00002.parquet")


def test_parquet_file_without_the_columns_of_the_first_is_refused(tmp_path: Path, preprocessing: Preprocessing) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1])
    write_parquet(tmp_path / "test.parquet", [0, 1], columns={"image": "image", "label": "labels"})
    refused(tmp_path, preprocessing, str(tmp_path / "test.parquet"), "no column 'label'")


def test_parquet_image_that_is_missing_is_named_by_its_row(tmp_path: Path, preprocessing: Preprocessing) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1] * 150, images=[png(0)] * 299 + [None])
    write_parquet(tmp_path / "test.parquet", [0])
    refused(tmp_path, preprocessing, f"{tmp_path / 'train.parquet'}: row 299", error=ImageError)


def test_parquet_class_without_training_images_is_named(tmp_path: Path, preprocessing: Preprocessing) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 2], names=NAMES)
    write_parquet(tmp_path / "test.parquet", [0], names=NAMES)
    refused(tmp_path, preprocessing, "no training image of 1 classes (bee)")


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("label", [-1, 3])
def test_label_that_is_no_class_is_refused(
    tmp_path: Path, preprocessing: Preprocessing, split: str, label: int
) -> None:
    """Hidden labels of a test split are -1 on the Hub: without a word they would end a training at its last step."""
    for name in ("train", "test"):
        labels = [0, 1, 2, label] if name == split else [0, 1, 2]
        write_parquet(tmp_path / f"{name}.parquet", labels, names=NAMES)
    refused(tmp_path, preprocessing, str(tmp_path), f"the label {label}", "3 classes")


@pytest.mark.parametrize("names", [NAMES, None])
def test_label_that_is_missing_is_refused(
    tmp_path: Path, preprocessing: Preprocessing, names: list[str] | None
) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1, 2, None], names=names)
    write_parquet(tmp_path / "test.parquet", [0], names=names)
    refused(tmp_path, preprocessing, str(tmp_path), "training split has the label -1", "3 classes")


def test_a_test_split_of_one_class_is_no_measure(tmp_path: Path, preprocessing: Preprocessing) -> None:
    write_parquet(tmp_path / "train.parquet", [0, 1, 2], names=NAMES)
    write_parquet(tmp_path / "test.parquet", [1, 1], names=NAMES)
    with pytest.raises(DataError, match=f"the test split has images of {NAMES[1]} alone"):
        load_data(str(tmp_path), preprocessing).check_test()


def test_file_that_is_not_parquet_is_named(tmp_path: Path, preprocessing: Preprocessing) -> None:
    pointer = tmp_path / "test.parquet"
    write_parquet(tmp_path / "train.parquet", [0, 1])
    pointer.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    refused(tmp_path, preprocessing, str(pointer), "cannot be read as parquet", "git lfs pull")
    shutil.copy(pointer, tmp_path / "train.parquet")
    refused(tmp_path, preprocessing, str(tmp_path / "train.parquet"), "cannot be read as parquet")
