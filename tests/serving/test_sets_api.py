"""Enrolment over HTTP; what the store promises by itself is tested in tests/serving/sets."""

from __future__ import annotations

import io
import sqlite3
import time
from contextlib import closing

import numpy as np
import pytest
from starlette.testclient import TestClient

from serving.app import create_app
from serving.enrolled import POLL_SECONDS, open_store
from serving.sets import ModelKey, SetStore
from serving.settings import Settings
from tests.serving.talk import assert_error, enrol, form, unit
from tests.tiny_bundle import make_tiny_bundle
from zoo.bundle import ProtozooError


def embeddings(client, *images):
    return np.float64(client.post("/v1/embed", files=form(*images)).json()["embeddings"])


# ---- enrolment


def test_a_write_is_answered_though_the_set_is_deleted_before_the_answer(client, encode, name, monkeypatch):
    store = client.app.state.api.running().enrolled.store
    write = store.enrol

    def overtaken(*given, **options):
        state = write(*given, **options)
        store.delete_set(name)
        return state

    enrol(client, name, "quokka", encode())
    monkeypatch.setattr(store, "enrol", overtaken)
    response = enrol(client, name, "wombat", encode(seed=1))
    assert response.status_code == 201, response.text
    assert (response.json()["n"], response.json()["nearest"]) == (1, None)
    assert_error(client.get(f"/v1/sets/{name}"), 404)


def test_a_class_is_enrolled_from_images_and_wins_at_once(client, encode, name):
    first, second, third = (encode(seed=seed) for seed in range(3))
    response = enrol(client, name, "wombat", first, second)
    assert response.status_code == 201, response.text
    mean = embeddings(client, first, second).mean(axis=0)
    answer = response.json()
    assert (answer["set"], answer["label"], answer["n"], answer["nearest"]) == (name, "wombat", 2, None)
    assert answer["spread"] == pytest.approx(np.linalg.norm(mean), abs=1e-6)
    assert len(answer["examples"]) == 2
    enrol(client, name, "quokka", third)
    for image, label in ((first, "wombat"), (second, "wombat"), (third, "quokka")):
        result = client.post(f"/v1/classify?set={name}&k=2", files=form(image)).json()
        assert result["set"] == name
        assert result["results"][0]["label"] == label
    best = client.post(f"/v1/classify?set={name}", files=form(first)).json()["results"][0]
    assert best["cosine"] == pytest.approx(float(unit(mean) @ embeddings(client, first)[0]), abs=1e-6)


def test_a_class_is_enrolled_from_one_raw_image(client, encode, name):
    path = f"/v1/sets/{name}/classes/wombat"
    response = client.put(path, content=encode("PNG"), headers={"Content-Type": "image/png"})
    assert (response.status_code, response.json()["n"]) == (201, 1)
    assert "one example" in response.json()["warning"]


def test_a_class_is_enrolled_from_embeddings(client, encode, name):
    rows = embeddings(client, encode(seed=1), encode(seed=2))
    response = client.put(f"/v1/sets/{name}/classes/x", json={"embeddings": (3 * rows).tolist()})
    assert (response.status_code, response.json()["n"]) == (201, 2)
    prototype = client.get(f"/v1/sets/{name}/prototypes").json()["prototypes"][0]
    np.testing.assert_allclose(prototype, unit(rows.mean(axis=0)), atol=1e-6)


def test_the_nearest_other_class_is_named_with_a_warning_where_they_overlap(client, name):
    far, near = np.eye(8)[[0, 1]], np.eye(8)[[0, 1]] + 0.01
    client.put(f"/v1/sets/{name}/classes/a", json={"embeddings": far.tolist()})
    answer = client.put(f"/v1/sets/{name}/classes/b", json={"embeddings": near.tolist()}).json()
    means = unit(far).mean(axis=0), unit(near).mean(axis=0)
    assert answer["nearest"]["label"] == "a"
    assert answer["nearest"]["cosine"] == pytest.approx(float(unit(means[0]) @ unit(means[1])), abs=1e-6)
    assert "'a'" in answer["warning"]
    alone = client.put(f"/v1/sets/{name}/classes/c", json={"embeddings": np.eye(8)[[5, 5]].tolist()}).json()
    assert alone["warning"] is None


def test_more_examples_move_the_prototype_to_the_mean_of_all(client, encode, name):
    images = [encode(seed=seed) for seed in range(3)]
    version = enrol(client, name, "x", images[0]).json()["version"]
    added = client.post(f"/v1/sets/{name}/classes/x/examples", files=form(*images[1:]))
    assert (added.status_code, added.json()["n"]) == (200, 3)
    assert added.json()["version"] > version
    assert added.headers["etag"] == f'"{added.json()["version"]}"'
    found = client.get(f"/v1/sets/{name}/prototypes?format=npy")
    assert found.headers["content-type"] == "application/x-npy"
    as_json = client.get(f"/v1/sets/{name}/prototypes")
    assert found.headers["etag"] == as_json.headers["etag"] == f'"{added.json()["set_version"]}"'
    prototypes = np.load(io.BytesIO(found.content), allow_pickle=False)
    np.testing.assert_allclose(prototypes, as_json.json()["prototypes"])
    np.testing.assert_allclose(prototypes, [unit(embeddings(client, *images).mean(axis=0))], atol=1e-6)


def test_an_example_is_removed_as_if_it_had_never_been(client, encode, name):
    images = [encode(seed=seed) for seed in range(2)]
    enrol(client, name, "x", images[0])
    before = client.get(f"/v1/sets/{name}/prototypes").json()["prototypes"]
    added = client.post(f"/v1/sets/{name}/classes/x/examples", files=form(images[1])).json()
    removed = client.delete(f"/v1/sets/{name}/classes/x/examples/{added['examples'][-1]}")
    assert (removed.status_code, removed.json()["n"]) == (200, 1)
    assert client.get(f"/v1/sets/{name}/prototypes").json()["prototypes"] == before
    last = removed.json()["examples"][0]
    assert_error(client.delete(f"/v1/sets/{name}/classes/x/examples/{last}"), 409, "last_example")
    assert_error(client.delete(f"/v1/sets/{name}/classes/x/examples/{added['examples'][-1]}"), 404, "unknown_example")


def test_classes_are_renamed_merged_and_deleted(client, encode, name):
    for seed, label in enumerate("abc"):
        enrol(client, name, label, encode(seed=seed))
    assert client.post(f"/v1/sets/{name}/classes/a/rename", json={"to": "z"}).json()["label"] == "z"
    merged = client.post(f"/v1/sets/{name}/classes/b/merge", json={"into": "z"}).json()
    assert (merged["label"], merged["n"]) == ("z", 2)
    assert client.delete(f"/v1/sets/{name}/classes/c").status_code == 204
    assert client.get(f"/v1/sets/{name}/prototypes").json()["labels"] == ["z"]
    assert client.delete(f"/v1/sets/{name}/classes/z").status_code == 204
    assert_error(client.post(f"/v1/classify?set={name}", files=form(encode())), 409, "empty_set")
    assert client.delete(f"/v1/sets/{name}").status_code == 204
    assert_error(client.get(f"/v1/sets/{name}"), 404, "unknown_set")


def test_sets_are_listed_beside_the_model_s_own(client, bundle, encode, name):
    enrol(client, name, "x", encode(), encode(seed=1))
    listed = {info["name"]: info for info in client.get("/v1/sets").json()["sets"]}
    assert listed["default"]["read_only"]
    assert listed["default"]["class_count"] == len(bundle.labels)
    assert (listed[name]["class_count"], listed[name]["example_count"], listed[name]["usable"]) == (1, 2, True)
    one = client.get(f"/v1/sets/{name}").json()
    assert [(row["label"], row["n"]) for row in one["classes"]] == [("x", 2)]
    assert [row["label"] for row in client.get("/v1/sets/default").json()["classes"]] == list(bundle.labels)
    own = client.get("/v1/sets/default/prototypes?format=npy").content
    np.testing.assert_array_equal(np.load(io.BytesIO(own)), bundle.prototypes)


def test_names_may_be_any_text(client, encode, name):
    for label in ("Größe", "a b", "100 %", "猫", "x,y"):
        assert enrol(client, name, label, encode()).json()["label"] == label
        assert client.get(f"/v1/sets/{name}/classes/{label}").json()["label"] == label


def test_the_nearest_examples_explain_an_answer(client, encode, name):
    images = [encode(seed=seed) for seed in range(4)]
    ids = enrol(client, name, "x", *images).json()["examples"]
    result = client.post(f"/v1/classify?set={name}&explain=exemplars&n=2", files=form(images[2])).json()["results"][0]
    assert [set(row) for row in result["exemplars"]] == [{"id", "label", "cosine"}] * 2
    assert result["exemplars"][0] == {"id": ids[2], "label": "x", "cosine": pytest.approx(1, abs=1e-6)}
    assert result["exemplars"][0]["cosine"] >= result["exemplars"][1]["cosine"]
    for query in (
        "explain=exemplars",
        f"set={name}&explain=why",
        f"set={name}&n=2",
        f"set={name}&explain=exemplars&n=0",
    ):
        assert_error(client.post(f"/v1/classify?{query}", files=form(images[0])), 422, "invalid_parameter")


# ---- tokens, images, other processes and models


def test_enrolment_needs_the_write_token(bundle, encode, tmp_path):
    database = f"sqlite:///{tmp_path}/sets.sqlite"
    settings = Settings(str(bundle.path), database=database, read_token="r", write_token="w")
    with TestClient(create_app(lambda: settings)) as client:
        client.headers["authorization"] = "Bearer r"
        assert_error(enrol(client, "mine", "x", encode()), 403, "forbidden")
        assert_error(client.delete("/v1/sets/mine"), 403, "forbidden")
        client.headers["authorization"] = "Bearer w"
        assert enrol(client, "mine", "x", encode()).status_code == 201
        client.headers["authorization"] = "Bearer r"
        assert client.get("/v1/sets/mine").status_code == 200


def test_images_are_kept_only_where_asked(client, encode, name, bundle):
    enrol(client, name, "x", encode())
    enrol(client, name, "y", encode("PNG"), keep="images")
    store = client.app.state.api.running().enrolled.store
    assert store.images(name, "x") == {}
    assert list(store.images(name, "y").values()) == [encode("PNG")]
    response = client.put(f"/v1/sets/{name}/classes/z?keep=images", json={"embeddings": np.eye(8).tolist()})
    assert_error(response, 422, "invalid_parameter")
    assert_error(enrol(client, name, "z", encode(), keep="all"), 422, "invalid_parameter")


def test_the_operator_says_how_much_can_be_enrolled(bundle, encode, tmp_path):
    limits = {"max_sets": 1, "max_examples": 2, "max_image_bytes": len(encode()) + 1}
    settings = Settings(str(bundle.path), database=f"sqlite:///{tmp_path}/sets.sqlite", **limits)
    with TestClient(create_app(lambda: settings)) as client:
        assert enrol(client, "mine", "x", encode(), keep="images").status_code == 201
        assert "there are 1 prototype sets" in assert_error(enrol(client, "more", "x", encode()), 507, "set_full")
        assert "image bytes" in assert_error(enrol(client, "mine", "y", encode(), keep="images"), 507, "set_full")
        assert "3 examples" in assert_error(enrol(client, "mine", "y", *[encode()] * 3), 507, "set_full")
    with pytest.raises(ProtozooError, match="PROTOZOO_MAX_EXAMPLES must be at most 4096"):
        open_store(Settings(str(bundle.path), max_examples=4097), bundle)


def test_what_another_process_writes_is_seen_within_a_second(bundle, encode, database_url):
    settings = Settings(str(bundle.path), database=database_url)
    other = SetStore.open(settings.database, ModelKey(bundle.sha256["model.safetensors"], 8))
    with TestClient(create_app(lambda: settings)) as client:
        enrol(client, "mine", "x", encode())
        client.post("/v1/classify?set=mine", files=form(encode()))
        other.enrol("mine", "y", np.eye(8)[:1])
        deadline = time.monotonic() + 1 + POLL_SECONDS
        while len(client.get("/v1/sets/mine/prototypes").json()["labels"]) == 1:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        other.delete_set("mine")
        while client.post("/v1/classify?set=mine", files=form(encode())).status_code == 200:
            assert time.monotonic() < deadline + 1
            time.sleep(0.02)
    other.close()


@pytest.mark.parametrize("away", [False, True])
def test_examples_that_are_gone_take_no_answer_with_them(bundle, encode, tmp_path, monkeypatch, away):
    monkeypatch.setattr("serving.enrolled.POLL_SECONDS", 60)
    settings = Settings(str(bundle.path), database=f"sqlite:///{tmp_path}/sets.sqlite")
    other = SetStore.open(settings.database, ModelKey(bundle.sha256["model.safetensors"], 8))
    with TestClient(create_app(lambda: settings)) as client:
        enrol(client, "mine", "x", encode())
        ask = "/v1/classify?set=mine&explain=exemplars"
        assert len(client.post(ask, files=form(encode())).json()["results"][0]["exemplars"]) == 1
        if away:
            other.close()
            with closing(sqlite3.connect(tmp_path / "sets.sqlite")) as connection:
                connection.execute("ALTER TABLE protozoo_examples RENAME TO elsewhere")
        else:
            other.rename_class("mine", "x", "y")
        answer = client.post(ask, files=form(encode(), b"text"))
        assert answer.status_code == 200, answer.text
        (result, bad) = answer.json()["results"]
        assert (result["label"], result["exemplars"]) == ("x", [])
        assert bad["error"]["code"] == "unsupported_media_type"
    other.close()


def test_what_is_counted_of_a_set_is_of_the_moment_of_its_classes(bundle, encode, tmp_path, monkeypatch):
    """Another process may have written since the classes were read, and is noticed a little later."""
    monkeypatch.setattr("serving.enrolled.POLL_SECONDS", 60)
    settings = Settings(str(bundle.path), database=f"sqlite:///{tmp_path}/sets.sqlite")
    other = SetStore.open(settings.database, ModelKey(bundle.sha256["model.safetensors"], 8))
    with TestClient(create_app(lambda: settings)) as client:
        enrol(client, "mine", "x", encode())
        for label in "yz":
            listed = client.get("/v1/sets/mine").json()
            assert listed["class_count"] == len(listed["classes"])
            assert listed["example_count"] == sum(one["n"] for one in listed["classes"])
            assert listed["version"] == max(one["version"] for one in listed["classes"])
            other.enrol("mine", label, np.eye(8)[:2])
    other.close()


def test_a_set_of_another_model_is_named_and_not_used(bundle, encode, tmp_path, database_url):
    database = database_url
    other = make_tiny_bundle(tmp_path / "other", seed=1)
    for model, statuses in ((bundle, (201, 200)), (other, (409, 409))):
        settings = Settings(str(model.path), database=database)
        with TestClient(create_app(lambda settings=settings: settings)) as client:
            label = f"by {model.sha256['model.safetensors'][:4]}"
            assert enrol(client, "mine", label, encode()).status_code == statuses[0]
            response = client.post("/v1/classify?set=mine", files=form(encode()))
            assert response.status_code == statuses[1]
    assert response.json()["error"]["code"] == "other_model"


def test_what_is_enrolled_survives_a_restart(bundle, encode, database_url):
    settings = Settings(str(bundle.path), database=database_url)
    for start in range(2):
        with TestClient(create_app(lambda: settings)) as client:
            if not start:
                enrol(client, "mine", "x", encode())
            assert client.get("/v1/sets/mine/classes/x").json()["n"] == 1
