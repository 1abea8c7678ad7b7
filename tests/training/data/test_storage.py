from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import training.data.load
from tests.training.data.files import png, write_parquet
from training.data import DataError, Split, StoredSplit, evaluation_batches, load_data
from zoo.bundle import Preprocessing
from zoo.errors import ImageError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROTOZOO_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(params=["folder", "parquet"])
def spec(request: pytest.FixtureRequest, make_folder: Callable[..., Path], tmp_path: Path) -> str:
    if request.param == "folder":
        return str(make_folder(tmp_path / "colours", train_images=3, test_images=2))
    for split, labels in (("train", [0, 1] * 150), ("test", [1, 0, 1])):
        images = [png(index, (12, 20)) for index in range(len(labels))]
        write_parquet(tmp_path / f"{split}.parquet", labels, images=images)
    return str(tmp_path)


def test_images_from_the_disk_are_those_in_memory(spec: str, preprocessing: Preprocessing) -> None:
    memory, disk = (load_data(spec, preprocessing, storage=storage) for storage in ("memory", "disk"))
    assert (memory.name, memory.classes) == (disk.name, disk.classes)
    for one, other in ((memory.train, disk.train), (memory.test, disk.test)):
        assert isinstance(one, Split)
        assert isinstance(other, StoredSplit)
        assert np.array_equal(one.labels, other.labels)
        sent = pickle.loads(pickle.dumps(other))  # as it goes to a worker
        batches = [list(evaluation_batches(split, preprocessing, 50)) for split in (one, sent)]
        assert all(len(batch) == 50 for batch in batches[1][:-1])
        assert torch.equal(torch.cat(batches[0]), torch.cat(batches[1]))
        assert torch.equal(torch.cat(batches[0]), torch.from_numpy(one.images).permute(0, 3, 1, 2))


def test_subsets_keep_images_and_labels_together(spec: str, preprocessing: Preprocessing) -> None:
    memory, disk = (load_data(spec, preprocessing, storage=storage).train for storage in ("memory", "disk"))
    indices = np.array([5, 0, 2])
    one, other = memory.subset(indices), disk.subset(indices).subset(np.arange(3))
    assert one.labels.tolist() == other.labels.tolist() == memory.labels[indices].tolist()
    images = [next(evaluation_batches(split, preprocessing, 3)) for split in (one, other)]
    assert torch.equal(*images)


def test_sets_from_the_limit_on_stay_on_the_disk(
    make_folder: Callable[..., Path], tmp_path: Path, preprocessing: Preprocessing, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = str(make_folder(tmp_path / "colours", train_images=3, test_images=2))
    size = 15 * 3 * 16 * 16
    monkeypatch.setattr(training.data.load, "MEMORY_LIMIT", size + 1)
    assert isinstance(load_data(folder, preprocessing).train, Split)
    monkeypatch.setattr(training.data.load, "MEMORY_LIMIT", size)
    assert isinstance(load_data(folder, preprocessing).train, StoredSplit)


def test_a_copy_of_parquet_files_is_made_once_until_they_change(
    tmp_path: Path, cache: Path, preprocessing: Preprocessing
) -> None:
    def load(seed: int) -> StoredSplit:
        split = load_data(str(tmp_path), preprocessing, storage="disk").train
        assert isinstance(split, StoredSplit)
        assert np.array_equal(np.asarray(split.picture(1)), np.asarray(Image.open(io.BytesIO(png(seed)))))
        return split

    write_parquet(tmp_path / "test.parquet", [0])
    write_parquet(tmp_path / "train.parquet", [0, 1], images=[png(0), png(1)])
    load(1)
    before = {path: path.stat().st_mtime_ns for path in (cache / "arrow").iterdir()}
    assert len(before) == 2
    load(1)
    assert {path: path.stat().st_mtime_ns for path in (cache / "arrow").iterdir()} == before
    write_parquet(tmp_path / "train.parquet", [0, 1], images=[png(2), png(3)])
    load(3)
    assert len(list((cache / "arrow").iterdir())) == 3


def test_no_place_for_the_copy_is_told(tmp_path: Path, cache: Path, preprocessing: Preprocessing) -> None:
    for split in ("train", "test"):
        write_parquet(tmp_path / f"{split}.parquet", [0, 1])
    cache.write_text("a file where a folder should be")
    with pytest.raises(DataError, match=r"cannot take the copy.*PROTOZOO_DATA"):
        load_data(str(tmp_path), preprocessing, storage="disk")


@pytest.fixture
def damaged(make_folder: Callable[..., Path], tmp_path: Path) -> Path:
    folder = make_folder(tmp_path / "damaged", train_images=4, test_images=2)
    (folder / "train" / "green" / "01.png").write_bytes(b"not an image")
    (folder / "val" / "red" / "00.png").write_bytes(b"")
    return folder


@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_bad_images_are_left_out_and_named(damaged: Path, preprocessing: Preprocessing, storage: str) -> None:
    data = load_data(str(damaged), preprocessing, on_bad_image="skip", storage=storage)  # type: ignore[arg-type]
    assert data.skipped == (str(damaged / "train" / "green" / "01.png"), str(damaged / "val" / "red" / "00.png"))
    assert data.train.labels.tolist() == [0] * 4 + [1] * 3 + [2] * 4
    assert data.test.labels.tolist() == [0, 0, 1, 1, 2]
    images = torch.cat(list(evaluation_batches(data.train, preprocessing, 100)))
    assert images.float().mean((2, 3)).argmax(1).tolist() == [2] * 4 + [1] * 3 + [0] * 4


def test_bad_images_from_the_disk_are_named_where_a_batch_needs_them(
    damaged: Path, preprocessing: Preprocessing
) -> None:
    data = load_data(str(damaged), preprocessing, storage="disk")
    assert data.skipped == ()
    batches = evaluation_batches(data.test, preprocessing, 4)
    next(batches)
    with pytest.raises(ImageError, match=r"red/00\.png cannot be read as an image"):
        next(batches)


@pytest.mark.parametrize("storage", ["memory", "disk"])
@pytest.mark.parametrize(("split", "word"), [("train", "training"), ("val", "test")])
def test_a_class_of_bad_images_only_is_refused(
    damaged: Path, preprocessing: Preprocessing, split: str, word: str, storage: str
) -> None:
    for path in (damaged / split / "blue").iterdir():
        path.write_bytes(b"")
    with pytest.raises(DataError, match=rf"no {word} image of blue can be decoded .*blue/00.png"):
        load_data(str(damaged), preprocessing, on_bad_image="skip", storage=storage)  # type: ignore[arg-type]
