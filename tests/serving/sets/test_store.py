from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from itertools import permutations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from serving.sets import Limits, ModelKey
from serving.sets.embeddings import exact_sum
from serving.sets.errors import (
    ClassExistsError,
    InvalidExamplesError,
    InvalidNameError,
    LastExampleError,
    OtherModelError,
    SetFullError,
    UnknownClassError,
    UnknownExampleError,
    UnknownSetError,
)
from tests.serving.sets.writers import MODEL, assert_whole, units

OTHER = ModelKey("b" * 64, 8)


def test_a_class_is_the_normalised_mean_of_its_examples(store):
    embeddings = units(0, 3)
    state = store.enrol("birds", "wren", embeddings)
    mean = embeddings.astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(state.prototype, mean / np.linalg.norm(mean), atol=1e-7)
    assert (state.label, state.n, state.version, state.set_version) == ("wren", 3, 1, 1)
    assert state.spread == pytest.approx(np.linalg.norm(mean), abs=1e-7)
    assert len(set(state.example_ids)) == 3
    assert store.get_class("birds", "wren").example_ids == state.example_ids


def test_a_sample_of_a_set_has_at_most_so_many_examples_each_with_its_class(store):
    rows = {"a": units(0, 20), "b": units(1, 10)}
    for label, some in rows.items():
        store.enrol("birds", label, some)
    store.enrol("fish", "cod", units(9))
    whole = store.sample("birds", 30)
    assert whole.embeddings.tobytes() == np.concatenate(list(rows.values())).tobytes()
    assert whole.owners.tolist() == [0] * 20 + [1] * 10
    assert whole.classes.labels == ("a", "b")
    part = store.sample("birds", 8)
    assert 4 <= len(part.embeddings) <= 8
    assert set(part.owners.tolist()) == {0, 1}
    for row, owner in zip(part.embeddings, part.owners, strict=True):
        assert row.tobytes() in {one.tobytes() for one in rows["ab"[owner]]}


def test_a_sample_is_spread_over_a_set_that_took_turns_with_another(store):
    for number in range(20):
        for name in ("birds", "fish"):  # so that one has all even ids, and the other none
            for label in ("a", "b"):
                write = store.add_examples if number else store.enrol
                write(name, label, units(number))
    for name in ("birds", "fish"):
        for most in (20, 10):  # every second example, every fourth
            assert sorted(store.sample(name, most).owners.tolist()) == [0] * (most // 2) + [1] * (most // 2)


def test_a_snapshot_holds_all_classes_in_the_order_of_their_enrolment(store):
    for seed, label in enumerate(["wren", "Amsel", "über", "eagle"]):
        store.enrol("birds", label, units(seed, seed + 1))
    store.enrol("fish", "cod", units(9))
    store.delete_class("birds", "Amsel")
    store.add_examples("birds", "wren", units(7))
    store.rename_class("birds", "über", "owl")
    snapshot = store.snapshot("birds")
    assert (snapshot.name, snapshot.labels, snapshot.counts.tolist()) == ("birds", ("wren", "owl", "eagle"), [2, 3, 4])
    assert (snapshot.version, snapshot.versions.tolist()) == (8, [7, 8, 4])
    assert snapshot.sums[2].tobytes() == exact_sum(units(3, 4)).tobytes()
    assert (snapshot.sums.dtype, snapshot.rows.dtype) == (np.float64, np.float32)
    for row, label in zip(snapshot.rows, snapshot.labels, strict=True):
        assert row.tobytes() == store.get_class("birds", label).prototype.tobytes()
    with pytest.raises(ValueError, match="read-only"):
        snapshot.rows[0, 0] = 0


def test_a_snapshot_beside_an_earlier_one_is_the_whole_one(store):
    """Whatever was written in between, and by whom."""
    for seed, label in enumerate(["wren", "owl", "eagle", "swan"]):
        store.enrol("birds", label, units(seed, 2))
    first = earlier = store.snapshot("birds")
    changes = [
        lambda: None,
        lambda: store.enrol("fish", "cod", units(9)),
        lambda: store.add_examples("birds", "owl", units(10)),
        lambda: store.rename_class("birds", "wren", "robin"),
        lambda: store.delete_class("birds", "eagle"),
        lambda: (store.enrol("birds", "eagle", units(11)), store.merge_classes("birds", "swan", "owl")),
        lambda: (store.delete_set("birds"), store.enrol("birds", "wren", units(0, 2))),
        lambda: store.delete_class("birds", "wren"),
    ]
    for change in changes:
        change()
        whole = store.snapshot("birds")
        for basis in (earlier, first):
            found = store.snapshot("birds", basis)
            assert (found.version, found.labels) == (whole.version, whole.labels)
            for name in ("ids", "versions", "counts", "sums", "rows"):
                one, other = getattr(found, name), getattr(whole, name)
                assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes()), name
                assert not one.flags.writeable
        earlier = whole


def test_a_snapshot_tells_which_classes_stood_in_an_earlier_one(store):
    for seed, label in enumerate(["wren", "owl", "eagle"]):
        store.enrol("birds", label, units(seed))
    earlier = store.snapshot("birds")
    store.delete_class("birds", "wren")
    store.add_examples("birds", "eagle", units(5))
    store.enrol("birds", "wren", units(0))
    assert store.snapshot("birds").labels == ("owl", "eagle", "wren")
    assert store.snapshot("birds").places_in(earlier).tolist() == [1, -1, -1]


def test_a_database_that_was_put_back_is_read_whole(store):
    store.enrol("birds", "wren", units(0))
    snapshot = store.snapshot("birds")
    later = replace(snapshot, version=99, sums=snapshot.sums + 1)
    assert store.snapshot("birds", later).sums.tobytes() == snapshot.sums.tobytes()


def test_a_set_tells_its_counts_and_times(store):
    before = datetime.now(timezone.utc)
    store.enrol("birds", "wren", units(0, 2), images=[b"one", b"three"])
    store.enrol("ants", "red", units(1))
    ants, birds = store.list_sets()
    assert (ants.name, birds.name) == ("ants", "birds")
    assert birds == store.get_set("birds")
    assert (birds.model, birds.version, birds.classes, birds.examples, birds.image_bytes) == (MODEL, 1, 1, 2, 8)
    assert before <= birds.created == birds.updated <= datetime.now(timezone.utc)


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_however_a_class_came_about_its_sum_and_prototype_have_the_same_bits(store, names, data):
    name, embeddings = next(names), units(5, 5)
    order = data.draw(st.permutations(range(5)))
    cut = data.draw(st.integers(1, 4))
    store.enrol(name, "other", embeddings[order[cut:]])
    store.enrol(name, "class", embeddings[order[:1]])
    passing = store.add_examples(name, "class", units(6, 2)).example_ids[-2:]
    for position in order[1:cut]:
        store.add_examples(name, "class", embeddings[[position]])
    first = data.draw(st.booleans())
    if first:
        store.remove_examples(name, "class", passing)
    store.merge_classes(name, "other", "class")
    if not first:
        store.remove_examples(name, "class", passing)
    snapshot = store.snapshot(name)
    assert snapshot.labels == ("class",)
    assert snapshot.sums[0].tobytes() == exact_sum(embeddings).tobytes()
    assert snapshot.counts.tolist() == [5]


def test_examples_are_shown_and_removed_by_their_ids(store):
    state = store.enrol("birds", "wren", units(0, 4))
    exemplars = store.exemplars("birds", "wren")
    assert (exemplars.ids, exemplars.images_of) == (state.example_ids, ())
    assert exemplars.embeddings.tobytes() == units(0, 4).tobytes()
    left = store.remove_examples("birds", "wren", [state.example_ids[1], state.example_ids[3]])
    assert (left.n, left.example_ids) == (2, (state.example_ids[0], state.example_ids[2]))
    assert store.exemplars("birds", "wren").embeddings.tobytes() == units(0, 4)[[0, 2]].tobytes()
    added = store.add_examples("birds", "wren", units(1))
    assert added.example_ids[-1] > max(state.example_ids), "an erased id must never mean another example"


def test_removing_is_all_or_nothing_and_never_leaves_an_empty_class(store):
    state = store.enrol("birds", "wren", units(0, 2))
    other = store.enrol("birds", "owl", units(1))
    for ids in ([state.example_ids[0], other.example_ids[0]], [state.example_ids[0], 10**30]):
        with pytest.raises(UnknownExampleError, match="'wren' does not have"):
            store.remove_examples("birds", "wren", ids)
    with pytest.raises(InvalidExamplesError, match="no ids"):
        store.remove_examples("birds", "wren", [])
    with pytest.raises(LastExampleError, match="delete the class"):
        store.remove_examples("birds", "wren", state.example_ids)
    assert store.get_class("birds", "wren").example_ids == state.example_ids


def test_images_are_kept_only_where_asked(store):
    wren = store.enrol("birds", "wren", units(0, 2), images=[b"a", b"b"])
    store.add_examples("birds", "wren", units(1))
    store.enrol("birds", "owl", units(2))
    assert store.images("birds", "wren") == dict(zip(wren.example_ids, [b"a", b"b"], strict=True))
    assert store.exemplars("birds", "wren").images_of == wren.example_ids
    assert store.images("birds", "owl") == {}
    with pytest.raises(InvalidExamplesError, match="2 images came with 1 embeddings"):
        store.enrol("birds", "jay", units(3), images=[b"a", b"b"])


def test_merging_moves_the_examples_and_ends_the_class(store):
    wren = store.enrol("birds", "wren", units(0, 2), images=[b"a", b"b"])
    owl = store.enrol("birds", "owl", units(1, 3))
    merged = store.merge_classes("birds", "wren", "owl")
    assert (merged.label, merged.n, merged.example_ids) == ("owl", 5, wren.example_ids + owl.example_ids)
    assert store.snapshot("birds").labels == ("owl",)
    assert store.images("birds", "owl") == dict(zip(wren.example_ids, [b"a", b"b"], strict=True))
    with pytest.raises(InvalidNameError, match="itself"):
        store.merge_classes("birds", "owl", "owl")


def test_renaming_keeps_everything_but_the_name(store):
    state = store.enrol("birds", "wren", units(0, 2))
    store.enrol("birds", "owl", units(1))
    renamed = store.rename_class("birds", "wren", "king")
    assert (renamed.label, renamed.n, renamed.example_ids) == ("king", 2, state.example_ids)
    with pytest.raises(ClassExistsError, match="merge them"):
        store.rename_class("birds", "king", "owl")
    with pytest.raises(UnknownClassError, match="'wren'"):
        store.get_class("birds", "wren")


def test_deleting_deletes_what_is_in_it_and_nothing_else(store, database_url):
    store.enrol("birds", "wren", units(0, 2), images=[b"a", b"b"])
    store.enrol("birds", "owl", units(1), images=[b"ccc"])
    store.enrol("fish", "cod", units(2))
    store.delete_class("birds", "wren")
    info = store.get_set("birds")
    assert (info.classes, info.examples, info.image_bytes) == (1, 1, 3)
    assert_whole(database_url)
    store.delete_class("birds", "owl")
    assert store.snapshot("birds").rows.shape == (0, 8)
    store.delete_set("birds")
    assert [info.name for info in store.list_sets()] == ["fish"]
    assert_whole(database_url)


def test_what_is_not_there_is_said_to_be_not_there(store):
    store.enrol("birds", "wren", units(0))
    operations = [
        store.get_class,
        store.exemplars,
        store.images,
        lambda name, label: store.add_examples(name, label, units(0)),
        lambda name, label: store.remove_examples(name, label, [1]),
        lambda name, label: store.rename_class(name, label, "new"),
        lambda name, label: store.merge_classes(name, label, "wren"),
        store.delete_class,
    ]
    for operation in operations:
        for name in ("fish", "default", "../etc/passwd", "a\0b", "birds\n", "\ud800", ""):
            with pytest.raises(UnknownSetError):
                operation(name, "wren")
        for label in ("owl", "wren ", "a\0b", "\ud800", "x" * 200, ""):
            with pytest.raises(UnknownClassError):
                operation("birds", label)
    with pytest.raises(UnknownClassError, match="'owl'"):
        store.merge_classes("birds", "wren", "owl")
    for operation in (store.get_set, store.snapshot, store.delete_set, store.dump):
        with pytest.raises(UnknownSetError, match="'fish'"):
            operation("fish")


def test_a_name_that_no_set_can_have_is_refused(store):
    for name in ("default", "request", "", "-a", ".a", "A", "a b", "a/b", "a\n", "é", "a" * 65):
        with pytest.raises(InvalidNameError):
            store.enrol(name, "wren", units(0))


def test_a_name_that_no_class_can_have_is_refused(store):
    store.enrol("birds", "wren", units(0))
    for label in ("", " ", " a", "a ", "a/b", "a\nb", "a\0", "\ud800", "a\u202eb", "x" * 129, ".", "..", "\ufffd"):
        with pytest.raises(InvalidNameError):
            store.enrol("birds", label, units(0))
        with pytest.raises(InvalidNameError):
            store.rename_class("birds", "wren", label)


def test_names_are_text_of_any_script_in_one_normal_form(store):
    for number, label in enumerate(["Zaunkönig", "鷦鷯 1", "a?c#d%", "'; DROP TABLE x; --", "🐦", "x" * 128]):
        assert store.enrol("a" + "._-9" * 15, label, units(number)).label == label
    decomposed = "Zaunko\u0308nig"
    assert store.get_class("a" + "._-9" * 15, decomposed).label == "Zaunkönig"
    with pytest.raises(ClassExistsError):
        store.enrol("a" + "._-9" * 15, decomposed, units(0))


def test_a_class_cannot_be_enrolled_twice(store):
    store.enrol("birds", "wren", units(0))
    with pytest.raises(ClassExistsError, match="'birds' has a class 'wren' already"):
        store.enrol("birds", "wren", units(1))
    assert store.enrol("fish", "wren", units(1)).n == 1


def test_examples_that_make_no_direction_change_nothing(store):
    row = units(0)
    store.enrol("birds", "wren", row)
    kept = store.add_examples("birds", "wren", units(1))
    revision = store.revision()
    with pytest.raises(InvalidExamplesError, match="'owl' would cancel out"):
        store.enrol("fish", "owl", np.concatenate([row, -row]))
    with pytest.raises(InvalidExamplesError, match="'wren' would cancel out"):
        store.add_examples("birds", "wren", np.concatenate([-row, -units(1)]))
    store.enrol("birds", "anti", -row)
    store.remove_examples("birds", "wren", kept.example_ids[1:])
    with pytest.raises(InvalidExamplesError, match="'wren' would cancel out"):
        store.merge_classes("birds", "anti", "wren")
    third = store.add_examples("birds", "anti", np.concatenate([row, units(2)])).example_ids[-1]
    with pytest.raises(InvalidExamplesError, match="'anti' would cancel out"):
        store.remove_examples("birds", "anti", [third])
    with pytest.raises(InvalidExamplesError, match="has 8 numbers; these have 7"):
        store.enrol("birds", "jay", units(0, 1, 7))
    assert store.revision() == revision + 3
    assert [info.name for info in store.list_sets()] == ["birds"]


def test_a_set_of_another_model_is_refused_but_can_be_read_about_and_erased(store, open_store):
    state = store.enrol("birds", "wren", units(0, 3))
    store.enrol("birds", "owl", units(1))
    other = open_store(model=OTHER)
    refused = [
        lambda: other.snapshot("birds"),
        lambda: other.get_class("birds", "wren"),
        lambda: other.exemplars("birds", "wren"),
        lambda: other.enrol("birds", "jay", units(0)),
        lambda: other.add_examples("birds", "wren", units(0)),
        lambda: other.rename_class("birds", "wren", "jay"),
        lambda: other.merge_classes("birds", "wren", "owl"),
        lambda: open_store(model=ModelKey(MODEL.weights_sha256, 9)).snapshot("birds"),
    ]
    for operation in refused:
        with pytest.raises(OtherModelError, match=r"aaaaaaaaaaaa.*enrol its classes again"):
            operation()
    assert other.get_set("birds").model == MODEL
    assert other.remove_examples("birds", "wren", state.example_ids[:1]).n == 2
    other.delete_class("birds", "wren")
    other.delete_set("birds")
    assert other.enrol("birds", "jay", units(0)).n == 1


def test_limits_are_kept_and_deleting_makes_room(open_store):
    store = open_store(limits=Limits(sets=2, classes=2, examples_per_class=3, image_bytes=4))
    store.enrol("one", "a", units(0, 3), images=[b"x", b"y", b"z"])
    store.enrol("one", "b", units(1))
    revision = store.revision()
    refused = [
        (lambda: store.enrol("one", "c", units(2)), "3 classes.*allows 2"),
        (lambda: store.add_examples("one", "a", units(2)), "'a' would have 4 examples.*allows 3"),
        (lambda: store.enrol("two", "a", units(2, 4)), "4 examples"),
        (lambda: store.merge_classes("one", "b", "a"), "4 examples"),
        (lambda: store.add_examples("one", "b", units(2), images=[b"xy"]), "5 image bytes.*allows 4"),
    ]
    for operation, says in refused:
        with pytest.raises(SetFullError, match=says):
            operation()
    assert store.revision() == revision
    store.enrol("two", "a", units(0))
    with pytest.raises(SetFullError, match="2 prototype sets"):
        store.enrol("three", "a", units(0))
    store.delete_class("one", "a")
    store.enrol("one", "c", units(2), images=[b"wxyz"])
    store.delete_set("two")
    store.enrol("three", "a", units(0))


def test_a_set_over_a_limit_that_was_lowered_can_still_be_made_smaller(store, open_store):
    ids = store.enrol("birds", "a", units(0, 3), images=[b"x"] * 3).example_ids
    store.enrol("birds", "b", units(1))
    tight = open_store(limits=Limits(sets=1, classes=1, examples_per_class=1, image_bytes=1))
    tight.remove_examples("birds", "a", ids[:1])
    tight.rename_class("birds", "b", "c")
    tight.delete_class("birds", "c")
    assert tight.get_set("birds").image_bytes == 2


def test_the_order_of_writes_by_two_stores_does_not_show(store, open_store):
    other = open_store()
    sums = set()
    for number, order in enumerate(permutations(range(3))):
        first, *rest = order
        store.enrol("birds", str(number), units(first))
        for writer, seed in zip((other, store), rest, strict=True):
            writer.add_examples("birds", str(number), units(seed))
    snapshot = store.snapshot("birds")
    sums = {row.tobytes() for row in snapshot.sums}
    assert sums == {exact_sum(np.concatenate([units(seed) for seed in range(3)])).tobytes()}
    assert len({row.tobytes() for row in snapshot.rows}) == 1
