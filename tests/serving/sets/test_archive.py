"""A set as a file, and a set under another model."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load, save

from serving.sets import Limits, ModelKey
from serving.sets.archive import unpack_archive
from serving.sets.embeddings import exact_sum
from serving.sets.errors import (
    ImagesMissingError,
    InvalidArchiveError,
    InvalidExamplesError,
    InvalidNameError,
    SetExistsError,
    SetFullError,
    StaleVersionError,
)
from tests.serving.sets.writers import MODEL, assert_whole, units

NEWER = ModelKey("c" * 64, 5)


def fill(store):
    store.enrol("birds", "wren", units(0, 2), images=[b"a", b""])
    store.enrol("birds", "Zaunkönig, 鷦鷯", units(1, 3))
    store.add_examples("birds", "wren", units(2), images=[b"ccc"])


def test_a_set_that_was_dumped_and_loaded_is_the_same_to_the_bit(store, database_url):
    fill(store)
    data = store.dump("birds")
    assert store.dump("birds") == data
    info = store.load(data, name="copy")
    assert (info.name, info.model, info.classes, info.examples, info.image_bytes) == ("copy", MODEL, 2, 6, 4)
    one, other = store.snapshot("birds"), store.snapshot("copy")
    assert one.labels == other.labels
    assert [one.sums.tobytes(), one.rows.tobytes()] == [other.sums.tobytes(), other.rows.tobytes()]
    assert list(store.images("copy", "wren").values()) == [b"a", b"", b"ccc"]
    assert store.images("copy", "Zaunkönig, 鷦鷯") == {}
    assert_whole(database_url)
    store.delete_set("birds")
    assert store.load(data).name == "birds"
    assert store.dump("birds") == data


def test_the_file_is_plain_safetensors(store):
    fill(store)
    tensors = load(store.dump("birds"))
    assert tensors["counts"].tolist() == [3, 3]
    assert tensors["embeddings"][[0, 1]].tobytes() == units(0, 2).tobytes()
    assert tensors["image_lengths"].tolist() == [1, 0, 3, -1, -1, -1]


def test_a_set_without_classes_can_be_dumped_and_loaded(store):
    store.enrol("birds", "wren", units(0))
    store.delete_class("birds", "wren")
    assert store.load(store.dump("birds"), name="copy").classes == 0
    assert store.reembed("copy", lambda images: units(0)).model == MODEL


def test_loading_keeps_names_and_limits(store, open_store):
    fill(store)
    data = store.dump("birds")
    with pytest.raises(SetExistsError, match="'birds' already"):
        store.load(data)
    with pytest.raises(InvalidNameError):
        store.load(data, name="default")
    for limits in (Limits(sets=1), Limits(classes=1), Limits(examples_per_class=2), Limits(image_bytes=3)):
        with pytest.raises(SetFullError):
            open_store(limits=limits).load(data, name="copy")
    assert [info.name for info in store.list_sets()] == ["birds"]


def changed(data, tensors=(), **described):
    parts = load(data) | dict(tensors)
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["protozoo"]) | described
    return save(parts, {"protozoo": json.dumps(metadata)})


def test_what_is_not_a_whole_set_is_refused(store):
    fill(store)
    data = store.dump("birds")
    assert unpack_archive(changed(data)).labels == ("wren", "Zaunkönig, 鷦鷯")
    huge = np.array([2**62, 2**62, 2**62, 2**62 + 6], np.int64)  # their int64 sum wraps around to 6
    none = np.zeros(0, np.int64)
    nothing = {"counts": none, "image_lengths": none, "images": np.zeros(0, np.uint8)}
    bad = [
        b"",
        b"x" * 100,
        data[:-1],
        data[: len(data) // 2],
        save({"a": np.zeros(3)}),
        save(load(data)),
        changed(data, format="protozoo.set/2"),
        changed(data, labels=["wren"]),
        changed(data, labels=["wren", "wren"]),
        changed(data, labels=["wren", "a\n"]),
        changed(data, labels=["wren", 3]),
        changed(data, weights_sha256="a"),
        changed(data, weights_sha256="\0" * 64),
        changed(data, {"embeddings": np.zeros((0, 2**16 + 1), np.float32)} | nothing, labels=[]),
        changed(data, labels=[[]] * 2),
        changed(data, {"counts": np.array([6, 0])}),
        changed(data, {"counts": np.array([7, -1])}),
        changed(data, {"counts": np.array([3, 4])}),
        changed(data, {"counts": np.array([3.0, 3.0])}),
        changed(data, {"counts": huge}, labels=list("abcd")),
        changed(data, {"embeddings": np.full((6, 8), np.nan, np.float32)}),
        changed(data, {"embeddings": np.zeros((6, 8), np.float32)}),
        changed(data, {"embeddings": np.ones(6, np.float32)}),
        changed(data, {"embeddings": np.zeros((6, 0), np.float32)}),
        changed(data, {"image_lengths": np.array([1, 0, 9, -1, -1, -1])}),
        changed(data, {"image_lengths": np.array([1, 0, -3, -1, -1, -1])}),
    ]
    for number, file in enumerate(bad):
        with pytest.raises(InvalidArchiveError):
            store.load(file, name=f"copy-{number}")
    assert [info.name for info in store.list_sets()] == ["birds"]


def test_kept_images_are_embedded_again_for_another_model(store, open_store, database_url):
    files = [bytes([number]) * 4 for number in range(150)]
    store.enrol("birds", "wren", units(0, 70), images=files[:70])
    store.enrol("birds", "owl", units(1, 80), images=files[70:])
    before = store.get_set("birds")
    newer = open_store(model=NEWER)
    shown = []

    def embed(images):
        shown.extend(images)
        return np.concatenate([units(image[0], 1, 5) for image in images])

    info = newer.reembed("birds", embed)
    assert shown == files
    assert (info.model, info.classes, info.examples) == (NEWER, 2, 150)
    assert info.version == before.version + 1
    snapshot = newer.snapshot("birds")
    assert snapshot.labels == ("wren", "owl")
    assert snapshot.versions.tolist() == [info.version] * 2
    expected = np.concatenate([units(number, 1, 5) for number in range(70)])
    assert snapshot.sums[0].tobytes() == exact_sum(expected).tobytes()
    assert newer.exemplars("birds", "wren").embeddings.tobytes() == expected.tobytes()
    assert_whole(database_url)


def test_a_set_without_all_images_is_not_embedded_again_and_its_classes_are_named(store, open_store):
    store.enrol("birds", "kept", units(0), images=[b"a"])
    store.enrol("birds", "wren", units(1))
    store.enrol("birds", "owl", units(2), images=[b"a"])
    store.add_examples("birds", "owl", units(3))
    with pytest.raises(ImagesMissingError, match="not every image was kept of the classes 'wren', 'owl';"):
        open_store(model=NEWER).reembed("birds", lambda images: units(0, len(images), 5))
    assert store.get_set("birds").model == MODEL


def test_a_write_while_a_set_is_embedded_again_wins(store, open_store):
    store.enrol("birds", "wren", units(0), images=[b"a"])

    def embed(images):
        store.add_examples("birds", "wren", units(1), images=[b"b"])
        return units(0, len(images), 5)

    with pytest.raises(StaleVersionError, match="'birds' is at version 2, not 1"):
        open_store(model=NEWER).reembed("birds", embed)
    assert store.get_class("birds", "wren").n == 2


def test_a_model_that_embeds_badly_changes_nothing(store, open_store):
    store.enrol("birds", "wren", units(0, 2), images=[b"a", b"b"])
    newer = open_store(model=NEWER)
    for embedded in (
        units(0, 1, 5),
        units(0, 2, 8),
        np.full((2, 5), np.nan),
        np.array([[1, 0, 0, 0, 0], [-1, 0, 0, 0, 0]]),
    ):
        with pytest.raises(InvalidExamplesError):
            newer.reembed("birds", lambda images, embedded=embedded: embedded)
    assert store.snapshot("birds").counts.tolist() == [2]
