"""Open-set thresholds of an enrolled set, calibrated on its own examples."""

from __future__ import annotations

import numpy as np
import pytest

from tests.serving.talk import assert_error, enrol, form, unit


def enrol_rows(client, name, label, rows):
    assert client.put(f"/v1/sets/{name}/classes/{label}", json={"embeddings": rows.tolist()}).status_code == 201


def test_fpr_is_calibrated_on_the_set_s_own_examples(client, encode, name):
    chance = np.random.default_rng(0)
    classes = {label: unit(chance.standard_normal((20, 8)) + 2 * np.eye(8)[at]) for at, label in enumerate("ab")}
    for label, rows in classes.items():
        enrol_rows(client, name, label, rows)
    prototypes = {label: unit(rows.sum(axis=0)) for label, rows in classes.items()}
    others = np.sort(np.concatenate([classes["a"] @ prototypes["b"], classes["b"] @ prototypes["a"]]))
    found = {row["fpr"]: row["cosine"] for row in client.get(f"/v1/sets/{name}").json()["thresholds"]}
    assert list(found) == [0.05, 0.1]  # 1 % of 40 examples is less than one
    for fpr, cosine in found.items():
        assert (others > cosine + 1e-6).sum() <= fpr * 40
        assert (others > cosine - 1e-6).sum() + 1 > fpr * 39
    asked = {"set": name, "k": 1}
    result, same = (
        client.post("/v1/classify", files=form(encode()), params={**asked, **limit}).json()["results"][0]
        for limit in ({"fpr": 0.1}, {"threshold": found[0.1]})
    )
    assert result == same


def test_thresholds_follow_the_examples(client, name):
    enrol_rows(client, name, "a", np.eye(8)[[0] * 10])
    assert client.get(f"/v1/sets/{name}").json()["thresholds"] == []  # one class: nothing to be mistaken for
    enrol_rows(client, name, "b", unit(np.eye(8)[[1] * 10] + np.eye(8)[[0] * 10]))
    before = client.get(f"/v1/sets/{name}").json()["thresholds"]
    assert before[-1]["cosine"] == pytest.approx(0.5**0.5, abs=1e-6)
    client.delete(f"/v1/sets/{name}/classes/b")
    enrol_rows(client, name, "b", np.eye(8)[[1] * 10])
    assert client.get(f"/v1/sets/{name}").json()["thresholds"][-1]["cosine"] == pytest.approx(0, abs=1e-6)


def test_fpr_is_refused_where_a_set_has_too_few_examples(client, encode, name):
    enrol(client, name, "a", encode())
    response = client.post(f"/v1/classify?set={name}&fpr=0.05", files=form(encode()))
    assert "no calibrated thresholds" in assert_error(response, 422, "invalid_parameter")
