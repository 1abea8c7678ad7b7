from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.data.files import check, png
from training.data import DataError, load_data
from zoo.bundle import Preprocessing


@pytest.mark.parametrize("test", ["val", "test", "validation", "valid"])
def test_image_folder_gives_the_classes_of_its_folders(
    make_folder: Callable[..., Path], tmp_path: Path, preprocessing: Preprocessing, test: str
) -> None:
    folder = make_folder(tmp_path / "shades", test=test, train_images=3, test_images=2)
    (folder / "train" / "blue" / "notes.txt").write_text("not a picture")
    data = load_data(str(folder), preprocessing)
    check(data, 9, 6)
    assert data.name == "shades"
    assert data.classes == ("blue", "green", "red")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    brightest_channel = data.train.images.mean((1, 2)).argmax(1)
    assert brightest_channel.tolist() == [2, 2, 2, 1, 1, 1, 0, 0, 0]
    first = np.asarray(Image.open(folder / "train" / "blue" / "00.png"))
    assert np.array_equal(data.train.images[0], first)


def test_what_is_no_image_is_said(
    make_folder: Callable[..., Path], tmp_path: Path, preprocessing: Preprocessing
) -> None:
    folder = make_folder(tmp_path / "mine", train_images=5, test_images=2)
    assert load_data(str(folder), preprocessing).left_out == ()
    (folder / "val" / "._stray.png").write_bytes(b"")
    for name in ("a.HEIC", "b.heic", "README"):
        (folder / "train" / "red" / name).write_bytes(b"")
    shutil.copy(folder / "train" / "red" / "00.png", folder / "val" / "stray.png")
    train, beside = load_data(str(folder), preprocessing).left_out
    assert train.startswith(f"{folder / 'train'}: left out, for they do not end in .jpg, ")
    assert train.endswith(": 2 of .heic, 1 of no extension")
    assert beside == f"{folder / 'val'}: left out, for they are in no class's folder: stray.png"


def test_a_folder_without_an_image_is_no_class_and_is_said(
    make_folder: Callable[..., Path], tmp_path: Path, preprocessing: Preprocessing
) -> None:
    folder = make_folder(tmp_path / "mine", train_images=5, test_images=2) / "train"
    (folder / "violet").mkdir()
    (folder / "violet" / "one.heic").write_bytes(b"")
    data = load_data(str(folder), preprocessing)
    assert data.classes == ("blue", "green", "red")
    assert data.left_out[1] == f"{folder}: folders without an image: violet"
    for name in ("blue", "green"):
        shutil.rmtree(folder / name)
    with pytest.raises(DataError, match=r"at least two classes; .* 1 of .heic; .*: folders without an image: violet"):
        load_data(str(folder), preprocessing)


@pytest.mark.parametrize("layout", ["whole", "split"])
def test_what_file_managers_leave_is_no_class_and_no_image(
    make_folder: Callable[..., Path], tmp_path: Path, preprocessing: Preprocessing, layout: str
) -> None:
    folder = make_folder(tmp_path / "mine", train_images=5, test_images=2)
    for root in (folder / "train", folder / "val"):
        for name in (".ipynb_checkpoints", "__MACOSX"):
            shutil.copytree(root / "red", root / name)
        (root / "red" / "._001.png").write_bytes(b"no image")
    data = load_data(str(folder / "train" if layout == "whole" else folder), preprocessing)
    assert data.classes == ("blue", "green", "red")
    assert len(data.train.labels) + len(data.test.labels) == (15 if layout == "whole" else 21)


def test_a_folder_without_splits_always_holds_the_same_fifth_of_each_class_out(
    make_folder: Callable[..., Path], tmp_path: Path, preprocessing: Preprocessing
) -> None:
    whole = make_folder(tmp_path / "whole", train_images=10, test_images=1) / "train"
    (whole / "notes").mkdir()
    data = load_data(str(whole), preprocessing)
    check(data, 24, 6)
    assert data.name == "train, a fifth held out"
    assert data.classes == ("blue", "green", "red")
    assert np.bincount(data.test.labels).tolist() == [2, 2, 2]
    everything = {image.tobytes() for split in (data.train, data.test) for image in split.images}  # type: ignore[union-attr]
    assert len(everything) == 30
    again = load_data(str(whole), preprocessing)
    assert np.array_equal(data.test.images, again.test.images)  # type: ignore[union-attr]


def test_an_image_more_or_less_moves_at_most_one_other_out_of_the_held_out_fifth_or_into_it(
    make_folder: Callable[..., Path], tmp_path: Path, preprocessing: Preprocessing
) -> None:
    whole = make_folder(tmp_path / "whole", train_images=10, test_images=1) / "train"

    def tested() -> set[bytes]:
        return {image.tobytes() for image in load_data(str(whole), preprocessing).test.images}  # type: ignore[union-attr]

    before = tested()
    for path in sorted((whole / "blue").iterdir()):
        content, image = path.read_bytes(), np.asarray(Image.open(path)).tobytes()
        path.unlink()
        after = tested()
        assert len(after) == 5  # of nine of the class one alone
        assert after < before if image not in before else after == before - {image}
        path.write_bytes(content)
    assert tested() == before
    shutil.copytree(whole, tmp_path / "elsewhere")
    whole = tmp_path / "elsewhere"
    assert tested() == before


def test_a_class_that_is_called_as_a_test_split_is_told_what_to_do(
    make_folder: Callable[..., Path], tmp_path: Path, preprocessing: Preprocessing
) -> None:
    folder = make_folder(tmp_path / "all", train_images=5, test_images=1) / "train"
    (folder / "blue").rename(folder / "test")
    with pytest.raises(DataError, match=r"train/test is called as a test split is, .*: if it is a class, give it anot"):
        load_data(str(folder), preprocessing)


def test_a_folder_without_splits_needs_two_classes_of_two_images(
    make_folder: Callable[..., Path], tmp_path: Path, preprocessing: Preprocessing
) -> None:
    folder = make_folder(tmp_path / "one", train_images=1, test_images=1) / "train"
    with pytest.raises(DataError, match="blue must hold at least two images"):
        load_data(str(folder), preprocessing)
    with pytest.raises(DataError, match="at least two classes"):
        load_data(str(folder / "blue"), preprocessing)
    (tmp_path / "half" / "train" / "red").mkdir(parents=True)
    with pytest.raises(DataError, match="no val/<class>/ or test/<class>/ beside it"):
        load_data(str(tmp_path / "half"), preprocessing)


def test_a_test_split_may_lack_a_class(
    make_folder: Callable[..., Path], tmp_path: Path, preprocessing: Preprocessing
) -> None:
    folder = make_folder(tmp_path, train_images=2, test_images=1)
    shutil.rmtree(folder / "val" / "green")
    data = load_data(str(folder), preprocessing)
    check(data, 6, 2)
    assert data.test.labels.tolist() == [0, 2]


def test_test_folder_goes_before_val(
    make_folder: Callable[..., Path], tmp_path: Path, preprocessing: Preprocessing
) -> None:
    make_folder(tmp_path, test="val", train_images=2, test_images=1)
    make_folder(tmp_path, test="test", train_images=2, test_images=2)
    check(load_data(str(tmp_path), preprocessing), 6, 6)


def test_a_test_folder_without_classes_is_left_out_and_said(
    make_folder: Callable[..., Path], tmp_path: Path, preprocessing: Preprocessing
) -> None:
    make_folder(tmp_path, test="val", train_images=2, test_images=1)
    (tmp_path / "test").mkdir()
    shutil.copy(tmp_path / "train" / "red" / "00.png", tmp_path / "test" / "1.png")
    data = load_data(str(tmp_path), preprocessing)
    check(data, 6, 3)
    told = f"{tmp_path / 'test'}: left out, for it has no folders of classes; the test split is {tmp_path / 'val'}"
    assert data.left_out == (told,)


def test_a_class_may_be_called_train(
    make_folder: Callable[..., Path], tmp_path: Path, preprocessing: Preprocessing
) -> None:
    folder = make_folder(tmp_path / "all", train_images=5, test_images=1) / "train"
    (folder / "blue").rename(folder / "train")
    assert load_data(str(folder), preprocessing).classes == ("green", "red", "train")


def test_names_that_are_not_utf_8_are_refused_of_classes_and_told_of_files(
    make_folder: Callable[..., Path], tmp_path: Path, preprocessing: Preprocessing
) -> None:
    folder = make_folder(tmp_path / "all", train_images=5, test_images=1)
    bad = os.fsdecode(b"caf\xe9")
    (folder / "train" / "red" / f"{bad}.png").write_bytes(b"torn")
    left_out = load_data(str(folder), preprocessing, on_bad_image="skip").left_out
    assert left_out[0].endswith("caf\\udce9.png")
    left_out[0].encode()
    (folder / "train" / "red").rename(folder / "train" / bad)
    with pytest.raises(DataError, match=r"class folder .*train/caf\\udce9 is not UTF-8: rename it"):
        load_data(str(folder), preprocessing)


def test_classes_stand_in_a_models_order_where_they_are_its_own(
    make_folder: Callable[..., Path], tmp_path: Path, preprocessing: Preprocessing
) -> None:
    data = load_data(str(make_folder(tmp_path, train_images=2, test_images=1)), preprocessing)
    ordered = data.in_order_of(("red", "blue", "green"))
    assert ordered.classes == ("red", "blue", "green")
    assert ordered.test.labels.tolist() == [1, 2, 0]
    assert ordered.train.labels.tolist() == [1, 1, 2, 2, 0, 0]
    assert data.in_order_of(data.classes) is data
    assert data.in_order_of(("red", "blue", "pink")) is data


def test_pictures_of_any_size_and_mode_become_squares_by_the_models_preprocessing(
    tmp_path: Path, preprocessing: Preprocessing
) -> None:
    wide = Image.open(io.BytesIO(png(0, (20, 33))))
    for split in ("train", "val"):
        for name, image, suffix in (("a", wide.convert("L"), "png"), ("b", wide, "JPG")):
            (tmp_path / split / name / "deeper").mkdir(parents=True)
            image.save(tmp_path / split / name / "deeper" / f"x.{suffix}")
    data = load_data(str(tmp_path), preprocessing)
    check(data, 2, 2)
    assert np.array_equal(data.train.images[0], preprocessing.pixels(wide.convert("L")))
