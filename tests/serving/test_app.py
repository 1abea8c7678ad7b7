"""The HTTP contract: what good requests get, and what the app promises whatever comes."""

from __future__ import annotations

import base64
import io
import threading

import anyio
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from serving.app import create_app
from serving.engine import Engine
from serving.runtime import Runtime
from serving.settings import Settings
from tests.serving.talk import JPEG, assert_error, form, post
from tests.tiny_bundle import THRESHOLDS, make_tiny_bundle
from zoo.bundle import BundleError

# ---- what good requests get


def expected(bundle, data):
    pixels = bundle.preprocessing.pixels(Image.open(io.BytesIO(data)))
    outputs = Engine(bundle).run(pixels[None])
    return outputs.embeddings[0], outputs.cosines[0]


def test_classify_answers_in_the_shape_of_the_contract(client, bundle, encode):
    _, cosines = expected(bundle, encode())
    response = post(client, encode(), k=2).json()
    best = int(cosines.argmax())
    assert (response["model"], response["set"], len(response["results"])) == (bundle.name, "default", 1)
    result = response["results"][0]
    assert set(result) == {"label", "index", "known", "certified", "cosine", "angle_deg", "predictions"}
    assert (result["label"], result["index"], result["known"]) == (bundle.labels[best], best, True)
    assert result["cosine"] == pytest.approx(float(cosines.max()), abs=1e-6)
    assert [set(p) for p in result["predictions"]] == [{"label", "index", "cosine", "probability"}] * 2


@pytest.mark.parametrize("content_type", ["image/jpeg", "image/png", "image/webp", "application/octet-stream"])
def test_raw_and_multipart_give_the_same_answer(client, encode, content_type):
    raw = post(client, encode("WEBP"), content_type=content_type)
    multipart = client.post("/v1/classify", files=form(encode("WEBP")))
    assert (raw.status_code, raw.json()) == (200, multipart.json())


def test_several_images_are_answered_in_order_with_a_bad_one_in_its_place(client, encode):
    good = [encode(seed=seed) for seed in (1, 2)]
    response = client.post("/v1/classify", files=form(good[0], b"text", good[1]))
    assert response.status_code == 200
    results = response.json()["results"]
    assert results[1]["error"]["code"] == "unsupported_media_type"
    assert [results[0], results[2]] == [post(client, data).json()["results"][0] for data in good]


def test_embed_gives_the_model_s_unit_embedding(client, bundle, encode):
    embedding, _ = expected(bundle, encode())
    response = post(client, encode(), "/v1/embed").json()
    assert (response["model"], response["dim"]) == (bundle.name, 8)
    np.testing.assert_allclose(response["embeddings"], [embedding], atol=1e-6)


def test_embed_base64_is_little_endian_float32(client, encode):
    floats = client.post("/v1/embed", files=form(encode(), b"")).json()["embeddings"]
    coded = client.post("/v1/embed?format=base64", files=form(encode(), b"")).json()["embeddings"]
    np.testing.assert_array_equal(np.frombuffer(base64.b64decode(coded[0]), "<f4"), np.float32(floats[0]))
    assert coded[1] == floats[1]
    assert coded[1]["error"]["code"] == "invalid_image"


def test_model_says_what_is_served(client, bundle):
    assert client.get("/v1/model").json() == {
        "name": "proto_tiny.nonl_tiny",
        "revision": "0" * 40,
        "sha256": bundle.sha256["model.safetensors"],
        "architecture": "proto_tiny",
        "objective": "nonl",
        "temperature": 0.1,
        "readout": "cosine",
        "offsets": [0.0] * 5,
        "dim": 8,
        "input_size": 8,
        "label_count": 5,
        "labels": list(bundle.labels),
        "thresholds": list(THRESHOLDS),
        "provider": "CPUExecutionProvider",
    }


def test_default_k_is_at_most_the_number_of_labels(client, encode, tmp_path):
    assert len(post(client, encode()).json()["results"][0]["predictions"]) == 5
    few = make_tiny_bundle(tmp_path / "few", labels=("a", "b"))
    with TestClient(create_app(lambda: Settings(str(few.path)))) as other:
        assert len(post(other, encode()).json()["results"][0]["predictions"]) == 2


def test_threshold_and_fpr_reject_the_unknown_and_still_list_candidates(client, encode):
    cosine = post(client, encode()).json()["results"][0]["cosine"]
    assert 0.42 < cosine < 0.9, "the picture must lie between the two calibrated thresholds"
    known = {
        name: post(client, encode(), **{name: value}).json()["results"][0]
        for name, value in (("threshold", cosine + 0.01), ("fpr", 0.01))
    }
    for result in known.values():
        assert (result["known"], result["label"], result["index"]) == (False, None, None)
        assert len(result["predictions"]) == 5
    assert post(client, encode(), fpr="0.050").json()["results"][0]["known"]
    assert post(client, encode(), threshold=cosine - 0.01).json()["results"][0]["known"]


def test_only_the_labels_asked_for_compete(client, encode):
    for labels in (["cat,dog"], ["cat", "dog"], ["cat", "dog,cat"]):
        predictions = post(client, encode(), labels=labels).json()["results"][0]["predictions"]
        assert {p["label"] for p in predictions} == {"cat", "dog"}
        assert sum(p["probability"] for p in predictions) == pytest.approx(1)


def test_a_label_with_a_comma_is_one_label(client, encode):
    result = post(client, encode(), labels="tench, Tinca tinca").json()["results"][0]
    assert [p["label"] for p in result["predictions"]] == ["tench, Tinca tinca"]


# ---- the rest of what the app promises


def test_an_unexpected_failure_is_a_plain_500(client, encode, monkeypatch):
    def broken(self, results, query, competing):
        raise RuntimeError("/secret/path")

    monkeypatch.setattr(Runtime, "classified", broken)
    assert "/secret" not in assert_error(post(client, encode()), 500, "internal_error")


def test_a_client_that_goes_away_gives_its_slot_back(bundle, encode, monkeypatch):
    go = threading.Event()

    async def scenario():
        messages = [{"type": "http.request", "body": encode()}, {"type": "http.disconnect"}]
        sent = []

        async def receive():
            return messages.pop(0)

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/classify",
            "query_string": b"",
            "headers": [(b"content-type", b"image/jpeg")],
        }
        with anyio.fail_after(5):
            await client.app(scope, receive, send)
        return sent

    with TestClient(create_app(lambda: Settings(str(bundle.path), max_requests=1))) as client:
        batcher = client.app.state.api._runtime.batcher
        run = batcher._run
        monkeypatch.setattr(batcher, "_run", lambda images: go.wait(10) and run(images))
        sent = client.portal.call(scenario)
        assert sent[0]["status"] == 400, "BentoML's timeout middleware waits for an answer"
        go.set()
        assert post(client, encode()).status_code == 200


def test_compressed_bodies_are_refused(client, encode):
    response = client.post("/v1/classify", content=encode(), headers={**JPEG, "Content-Encoding": "gzip"})
    assert_error(response, 415)


def test_metrics_have_one_label_for_all_unknown_paths(client):
    for name in "abc":
        client.get(f"/v1/{name}")
    text = client.get("/metrics").text
    assert 'protozoo_requests_total{route="/v1/*",status="404"}' in text
    assert 'route="/v1/classify",status="200"' in text
    assert "/v1/a" not in text


def test_metrics_show_where_the_time_goes_and_how_sure_answers_are(bundle, encode, tmp_path):
    settings = Settings(str(bundle.path), database=f"sqlite:///{tmp_path}/sets.sqlite")
    with TestClient(create_app(lambda: settings)) as client:
        client.post("/v1/classify", files=form(encode(), encode(seed=1)))
        client.put("/v1/sets/faces/classes/x", files=form(encode()))
        post(client, encode(), set="faces")
        post(client, encode(), threshold=1)
        values = {}
        for line in client.get("/metrics").text.splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                values[name] = float(value)
    assert values['protozoo_answers_total{known="true",set="default"}'] == 2
    assert values['protozoo_answers_total{known="false",set="default"}'] == 1
    assert values['protozoo_answers_total{known="true",set="enrolled"}'] == 1
    assert values["protozoo_decode_seconds_count"] == values["protozoo_queue_seconds_count"] == 5
    assert values["protozoo_infer_seconds_count"] == values["protozoo_batch_size_count"] >= 4
    assert values["protozoo_batch_size_sum"] == 5
    assert values['protozoo_best_cosine_bucket{le="0.9",set="enrolled"}'] == 0
    assert values['protozoo_best_cosine_bucket{le="+Inf",set="enrolled"}'] == 1
    assert values['protozoo_best_cosine_bucket{le="+Inf",set="default"}'] == 3
    assert not any("faces" in name for name in values)


def test_a_broken_bundle_does_not_start(tmp_path):
    broken = make_tiny_bundle(tmp_path / "b", golden_shift=0.5)
    with pytest.raises(BundleError, match="golden"), TestClient(create_app(lambda: Settings(str(broken.path)))):
        pass


def test_importing_the_app_needs_no_settings(monkeypatch):
    monkeypatch.delenv("PROTOZOO_BUNDLE", raising=False)
    assert not create_app(Settings.from_environment).state.api.ready
