from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from serving import closest as module
from serving.errors import ServingError
from serving.prototypes import PrototypeSet


def unit(rows):
    rows = np.asarray(rows, np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def prototypes():
    return PrototypeSet.whole(unit(np.random.default_rng(0).standard_normal((7, 4))), list("abcdefg"))


def answer(prototypes, embedding, whole=None, **options):
    embedding = unit([embedding])[0]
    cosines = prototypes.cosines(embedding, (whole or prototypes).rows @ embedding)
    return prototypes.answer(embedding, cosines, **{"k": 3, "temperature": 0.1} | options)


@pytest.mark.parametrize("block", [1, 2, 3, 7, 1024])
def test_smallest_angle_is_that_of_the_naive_loop(prototypes, monkeypatch, block):
    monkeypatch.setattr(module, "_BLOCK", block)
    rows = prototypes.rows.astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    naive = min(math.acos(float(a @ b)) for a, b in itertools.combinations(rows, 2))
    assert prototypes.smallest_angle == pytest.approx(naive, abs=1e-9)


def test_predictions_are_the_nearest_in_order_with_softmax_probabilities(prototypes):
    embedding = unit([[1, 2, 3, 4]])[0]
    cosines = prototypes.rows @ embedding
    result = prototypes.answer(embedding, cosines, k=7, temperature=0.1)
    logits = cosines.astype(np.float64) / 0.1
    probabilities = np.exp(logits) / np.exp(logits).sum()
    order = np.argsort(-cosines)
    assert [p.index for p in result.predictions] == order.tolist()
    assert [p.label for p in result.predictions] == ["abcdefg"[i] for i in order]
    assert [p.probability for p in result.predictions] == pytest.approx(probabilities[order].tolist())
    assert result.cosine == pytest.approx(float(cosines.max()))
    assert result.angle_deg == pytest.approx(math.degrees(math.acos(cosines.max())))


def test_tiny_temperature_does_not_overflow(prototypes):
    result = answer(prototypes, [1, 2, 3, 4], temperature=1e-4)
    assert result.predictions[0].probability == pytest.approx(1)


def test_under_the_threshold_label_and_index_are_null_and_candidates_stay(prototypes):
    best = answer(prototypes, [1, 2, 3, 4]).cosine
    at = answer(prototypes, [1, 2, 3, 4], threshold=best)
    above = answer(prototypes, [1, 2, 3, 4], threshold=best + 1e-6)
    assert (at.known, at.label) == (True, at.predictions[0].label)
    assert (above.known, above.label, above.index, len(above.predictions)) == (False, None, None, 3)


def test_certified_is_true_only_within_half_the_smallest_angle():
    prototypes = PrototypeSet.whole(unit([[1, 0], [0, 1], [-1, 0]]), "abc")  # smallest angle 90 degrees
    inside, outside = math.radians(44.9), math.radians(45.1)
    assert answer(prototypes, [math.cos(inside), -math.sin(inside)]).certified
    assert not answer(prototypes, [math.cos(outside), -math.sin(outside)]).certified


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("apart", [0, 1e-8, 1e-6, 3e-4, 1e-2])
def test_certified_is_never_wrong_of_prototypes_that_nearly_coincide(apart, seed):
    """Where a cosine of float32 does not tell which of them is nearer."""
    random = np.random.default_rng(seed)
    image, aside = np.linalg.qr(random.standard_normal((64, 2)))[0].T
    rows = unit([np.cos(apart) * image + np.sin(apart) * aside, image])
    for first in (rows, rows[::-1]):
        prototypes = PrototypeSet.whole(first, ["a", "b"])
        embedding = unit([image])[0]
        cosines = first @ embedding
        for rounded in (cosines, cosines[::-1], np.ones(2, np.float32)):  # as a device may round
            result = prototypes.answer(embedding, rounded, k=1, temperature=0.1)
            best, other = first.astype(np.float64)[[result.index, 1 - result.index]]
            nearer = np.linalg.norm(best - embedding) < np.linalg.norm(other - embedding)
            assert result.certified == (nearer and apart >= 3e-4)


def test_certified_uses_the_geometry_of_those_that_compete():
    whole = PrototypeSet.whole(unit([[1, 0], [1, 0.1], [-1, 0]]), "abc")
    embedding = [1, -0.5]
    assert not answer(whole, embedding).certified
    assert answer(whole.subset("ac"), embedding, whole, k=2).certified


def test_a_single_prototype_is_always_the_nearest():
    prototypes = PrototypeSet.whole(unit([[1, 0]]), ["only"])
    result = answer(prototypes, [-1, 0.1], k=1)
    assert (result.label, result.certified, result.predictions[0].probability) == ("only", True, 1)


def test_a_subset_keeps_the_indices_of_the_whole_set(prototypes):
    result = answer(prototypes.subset(["g", "c"]), [1, 2, 3, 4], prototypes, k=2)
    assert {(p.label, p.index) for p in result.predictions} == {("c", 2), ("g", 6)}
    assert sum(p.probability for p in result.predictions) == pytest.approx(1)


def test_a_label_that_two_classes_share_keeps_both():
    prototypes = PrototypeSet.whole(unit(np.eye(3)), ["crane", "dog", "crane"])
    assert prototypes.subset(["crane"]).indices.tolist() == [0, 2]


def test_an_unknown_label_is_named(prototypes):
    with pytest.raises(ServingError, match="'zebra'"):
        prototypes.subset(["a", "zebra"])


def test_cosines_a_little_over_one_have_an_angle(prototypes):
    cosines = np.full(7, 1.0000001, np.float32)
    assert prototypes.answer(prototypes.rows[0], cosines, k=1, temperature=0.1).angle_deg == 0


def test_offsets_decide_the_order_and_the_probabilities_but_not_whether_a_class_is_known(prototypes):
    offsets = np.linspace(-3, 3, 7, dtype=np.float32)
    whole = PrototypeSet.whole(prototypes.rows, list("abcdefg"), offsets)
    embedding = unit([[1, 2, 3, 4]])[0]
    cosines = whole.rows @ embedding
    largest = float(cosines.max())
    result = whole.answer(embedding, cosines, k=7, temperature=0.5, threshold=largest)
    logits = cosines.astype(np.float64) / 0.5 + offsets
    order = np.argsort(-logits)
    assert order[0] != cosines.argmax()
    assert [p.index for p in result.predictions] == order.tolist()
    assert [p.probability for p in result.predictions] == pytest.approx((np.exp(logits) / np.exp(logits).sum())[order])
    assert (result.known, result.cosine) == (True, pytest.approx(float(cosines[order[0]])))
    assert not whole.answer(embedding, cosines, k=1, temperature=0.5, threshold=largest + 1e-6).known


def test_a_subset_keeps_the_offsets_of_its_labels(prototypes):
    offsets = np.arange(7, dtype=np.float32)
    subset = PrototypeSet.whole(prototypes.rows, list("abcdefg"), offsets).subset(["c", "f"])
    assert subset.offsets.tolist() == [2, 5]


def test_another_set_s_cosines_are_its_rows_with_the_embedding(prototypes):
    other = PrototypeSet.whole(prototypes.rows[[3, 1]], "db", name="mine")
    embedding = unit([[1, 2, 3, 4]])[0]
    of_model = np.zeros(7, np.float32)
    np.testing.assert_array_equal(other.cosines(embedding, of_model), prototypes.rows[[3, 1]] @ embedding)
    np.testing.assert_array_equal(other.subset("b").cosines(embedding, of_model), prototypes.rows[[1]] @ embedding)
    np.testing.assert_array_equal(prototypes.subset("b").cosines(embedding, np.arange(7.0)), [1])


def test_a_set_that_changes_twice_before_it_is_looked_at_knows_its_geometry():
    rows = unit(np.random.default_rng(1).standard_normal((9, 4)))
    first = PrototypeSet.whole(rows[:6], list("abcdef"), name="mine")
    _ = first.smallest_angle
    # c is deleted and g enrolled; then a is given examples and h enrolled.
    second = first.changed(rows[[0, 1, 3, 4, 5, 6]], list("abdefg"), np.array([0, 1, 3, 4, 5, -1]))
    third = second.changed(rows[[8, 1, 3, 4, 5, 6, 7]], list("abdefgh"), np.array([-1, 1, 2, 3, 4, 5, -1]))
    assert third.origin is not None
    assert third.origin[0] is first.closest
    assert third.origin[1].tolist() == [-1, 1, 3, 4, 5, -1, -1]
    assert (third.name, third.labels) == ("mine", tuple("abdefgh"))
    assert third.smallest_angle == pytest.approx(PrototypeSet.whole(third.rows, third.labels).smallest_angle, abs=1e-12)
    assert "closest" not in vars(second)
