"""The table of bad input: one test a row, by its number, named after what it protects."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time

import anyio
import pytest
from starlette.testclient import TestClient

from serving import service
from serving.app import create_app
from serving.engine import Engine
from serving.lane import EngineError, Lane
from serving.settings import Settings
from tests.serving.talk import JPEG, ROUTES, assert_error, form, in_process, post
from tests.tiny_bundle import make_tiny_bundle

# ---- the table of bad input


@pytest.mark.parametrize("path", ROUTES)
def test_row_1_truncated_jpeg(client, encode, path):
    assert_error(post(client, encode()[:400], path), 422, "invalid_image")


@pytest.mark.parametrize("data", [b"hello", b"<!doctype html><html></html>"])
def test_row_2_text_as_image(client, data):
    assert_error(post(client, data), 415, "unsupported_media_type")


def test_row_3_empty_file_and_no_body(client):
    assert_error(post(client, b""), 422, "invalid_image")
    assert_error(client.post("/v1/classify", files=form(b"")), 422, "invalid_image")
    assert_error(client.post("/v1/classify"), 415, "unsupported_media_type")


@pytest.mark.parametrize("content_type", ["image/jpeg", "image/jpg", "IMAGE/JPEG; q=1"])
def test_row_4_the_bytes_decide_and_not_the_declared_type(client, encode, content_type):
    assert post(client, encode("PNG"), content_type=content_type).status_code == 200


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "EPS", "SVG"])
def test_row_5_other_formats(client, encode, kind):
    data = b"<svg xmlns='http://www.w3.org/2000/svg'/>" if kind == "SVG" else encode(kind)
    assert_error(post(client, data), 415)
    assert_error(post(client, data, content_type=f"image/{kind.lower()}"), 415)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [13_000, 13_900])
def test_rows_6_and_7_bombs_are_refused_fast(client, bomb, side):
    data = bomb(side)
    assert len(data) < 40_000
    started = time.perf_counter()
    assert_error(post(client, data, content_type="image/png"), 422, "invalid_image")
    assert time.perf_counter() - started < 0.1


def test_row_8_a_strip(client, encode):
    assert_error(post(client, encode("PNG", 1, 2000)), 422, "invalid_image")


def test_row_9_one_pixel_is_answered_and_the_next_request_too(client, encode):
    assert post(client, encode("PNG", 1, 1)).status_code == 200
    assert post(client, encode()).status_code == 200


def test_row_10_a_declared_length_over_the_limit_is_refused_before_reading(client):
    read = []

    async def body():
        read.append(1)
        yield b"x"

    async def scenario(other):
        return await other.post("/v1/classify", content=body(), headers={**JPEG, "Content-Length": str((1 << 20) + 1)})

    message = assert_error(in_process(client, scenario), 413, "body_too_large")
    assert not read
    for part in ("1 MiB", "PROTOZOO_MAX_BODY_BYTES", "--max-body-mib"):
        assert part in message


@pytest.mark.parametrize("multipart", [False, True])
def test_row_11_a_body_without_a_length_is_refused_while_reading(client, multipart):
    read = []

    async def body():
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n' if multipart else b""
        for _ in range(20):
            read.append(1)
            yield b"x" * (1 << 18)

    async def scenario(other):
        content_type = "multipart/form-data; boundary=b" if multipart else "image/jpeg"
        return await other.post("/v1/classify", content=body(), headers={"Content-Type": content_type})

    assert_error(in_process(client, scenario), 413, "body_too_large")
    assert len(read) < 8


def test_a_body_exactly_at_the_limit_is_read(client):
    assert_error(post(client, b"x" * (1 << 20)), 415)


def test_row_12_wrong_and_extra_fields(client, encode):
    assert_error(client.post("/v1/classify", files=form(encode(), field="file")), 422, "invalid_form")
    assert_error(client.post("/v1/classify", files=form(encode()), data={"k": "3"}), 422, "invalid_form")


def test_row_13_two_files_in_one_field_are_two_images(client, encode):
    assert len(client.post("/v1/classify", files=form(encode(), encode(seed=1))).json()["results"]) == 2


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        ("multipart/form-data", b"--b\r\n\r\n--b--"),
        ("multipart/form-data; boundary=b", b"garbage"),
        ("multipart/form-data; boundary=b", b""),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\nxx',
        ),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nxx\r\n--b--\r\n"),
    ],
)
def test_row_14_malformed_multipart(client, content_type, data):
    assert_error(post(client, data, content_type=content_type), 400, "malformed_body")


@pytest.mark.parametrize("charset", ["punycode", "idna", "utf-7", "undefined", "no-such", "utf-8 x"])
def test_no_codec_of_python_s_reads_a_form(client, charset):
    """Punycode would take minutes, in which nobody is answered, for what fits in a body."""
    part = b'--b\r\nContent-Disposition: form-data; name="names"\r\n\r\n%b\r\n--b--\r\n'
    text = b"a" * 400_000 + b"-" + b"a" * 400_000
    started = time.perf_counter()
    response = post(client, part % text, content_type=f'multipart/form-data; boundary=b; charset="{charset}"')
    assert "charset" in assert_error(response, 400, "malformed_body")
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("charset", ["utf-8", "UTF-8", "us-ascii", "ISO-8859-1"])
def test_a_form_may_name_its_charset(client, encode, charset):
    body = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n%b\r\n--b--\r\n' % encode()
    assert post(client, body, content_type=f"multipart/form-data; charset={charset}; boundary=b").status_code == 200


def test_a_form_without_files_is_an_error(client):
    assert_error(post(client, b"--b--\r\n", content_type="multipart/form-data; boundary=b"), 422, "invalid_form")


def test_more_images_than_the_limit_are_refused(client, encode):
    assert client.post("/v1/classify", files=form(*[encode()] * 8)).status_code == 200
    message = assert_error(client.post("/v1/classify", files=form(*[encode()] * 9)), 422, "invalid_form")
    assert "more than 8 images" in message


def test_more_images_than_a_thousand_are_read_where_the_operator_allows_them(bundle):
    """Starlette's parser has a limit of its own."""
    settings = Settings(str(bundle.path), max_images=1002, max_queue=1002)
    with TestClient(create_app(lambda: settings)) as client:
        results = client.post("/v1/classify", files=form(*[b"x"] * 1002)).json()["results"]
        assert [result["error"]["code"] for result in results] == ["unsupported_media_type"] * 1002


def test_row_15_one_bad_among_24_concurrent_good(client, encode):
    files = [encode(seed=seed) for seed in range(24)]
    files[7] = files[7][:300]

    async def scenario(other):
        return await asyncio.gather(*(other.post("/v1/classify", content=data, headers=JPEG) for data in files))

    responses = in_process(client, scenario)
    assert [r.status_code for r in responses] == [422 if i == 7 else 200 for i in range(24)]
    for data, response in zip(files, responses, strict=True):
        if response.status_code == 200:
            alone = post(client, data).json()["results"][0]
            assert response.json()["results"][0]["cosine"] == pytest.approx(alone["cosine"], abs=1e-6)


def test_row_16_json(client):
    response = client.post("/v1/classify", json={"image": "x"})
    assert_error(response, 415, "unsupported_media_type")
    assert "image/jpeg" in response.headers["Accept"]


def test_row_17_pickle_is_never_opened(client):
    data = pickle.dumps({"image": 1})
    assert_error(post(client, data, content_type="application/vnd.bentoml+pickle"), 415)
    assert_error(post(client, data, content_type="application/octet-stream"), 415)


@pytest.mark.parametrize("text", ["http://127.0.0.1:9/x.jpg", "file:///etc/passwd", "x"])
def test_row_18_text_where_a_file_is_due_is_not_fetched(client, text):
    boundary = f'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n{text}\r\n--b--\r\n'
    response = post(client, boundary.encode(), content_type="multipart/form-data; boundary=b")
    assert "not fetched" in assert_error(response, 422, "invalid_form")


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"k": "0"}, "k must"),
        ({"k": "-1"}, "k must"),
        ({"k": "abc"}, "k must"),
        ({"k": "1_0"}, "k must"),
        ({"k": ""}, "k must"),
        ({"k": "6"}, "5"),
        ({"k": "3", "labels": "cat,dog"}, "2"),
        ({"threshold": "nan"}, "threshold"),
        ({"threshold": "2"}, "from -1 to 1"),
        ({"threshold": ""}, "threshold"),
        ({"fpr": "0.02"}, "0.01, 0.05"),
        ({"fpr": "x"}, "fpr"),
        ({"fpr": "0.01", "threshold": "0.5"}, "not both"),
        ({"labels": "zebra"}, "'zebra'"),
        ({"labels": ""}, "labels"),
        ({"k": ["1", "2"]}, "more than once"),
    ],
)
def test_row_19_bad_parameters(client, encode, params, says):
    assert says in assert_error(post(client, encode(), **params), 422, "invalid_parameter")


def test_fpr_on_a_model_without_calibration(client, encode, tmp_path):
    bare = make_tiny_bundle(tmp_path / "bare", record={"open_set": {"thresholds": []}})
    with TestClient(create_app(lambda: Settings(str(bare.path)))) as other:
        assert "no calibrated thresholds" in assert_error(post(other, encode(), fpr=0.01), 422)


def test_row_20_unknown_query_parameters(client, encode):
    assert "'tau'" in assert_error(post(client, encode(), tau=1), 422, "invalid_parameter")
    assert_error(post(client, encode(), "/v1/embed", k=1), 422, "invalid_parameter")
    assert_error(post(client, encode(), "/v1/embed", format="int8"), 422, "invalid_parameter")
    assert_error(client.get("/v1/model?x=1"), 422, "invalid_parameter")


def test_row_21_unknown_set(client, encode):
    assert_error(post(client, encode(), set="faces"), 404, "unknown_set")
    assert post(client, encode(), set="default").status_code == 200


@pytest.mark.parametrize("path", ["/v1/x", "/v1/classify/", "/v1/../../etc/passwd", "/v1/%2e%2e/%2e%2e/etc/passwd"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_row_22_unknown_paths(client, path, method):
    async def scenario(other):
        return await other.request(method, path, follow_redirects=False)

    assert in_process(client, scenario).status_code == 404


@pytest.mark.parametrize(
    ("path", "method", "allow"), [(p, "GET", "POST") for p in ROUTES] + [("/v1/model", "POST", "GET")]
)
def test_row_23_wrong_method(client, path, method, allow):
    response = client.request(method, path)
    assert_error(response, 405, "method_not_allowed")
    assert allow in response.headers["Allow"]


def test_row_26_a_full_service_says_when_to_come_back(bundle, encode, monkeypatch):
    go = threading.Event()
    run = Lane.run
    monkeypatch.setattr(Lane, "run", lambda self, images: go.wait(10) and run(self, images))
    monkeypatch.setattr(Engine, "_replay", lambda self, bundle: None)
    monkeypatch.setattr(Engine, "warm_up", lambda self: None)

    async def scenario(other):
        calls = [asyncio.ensure_future(other.post("/v1/classify", content=encode(), headers=JPEG)) for _ in range(6)]
        await asyncio.sleep(0.3)
        done = [call.result() for call in calls if call.done()]
        go.set()
        return done, await asyncio.gather(*calls)

    settings = Settings(str(bundle.path), max_requests=4)
    with TestClient(create_app(lambda: settings)) as client:
        refused, everything = in_process(client, scenario)
        assert [r.status_code for r in refused] == [503, 503]
        assert_error(refused[0], 503, "busy")
        assert refused[0].headers["Retry-After"] == "1"
        assert sorted(r.status_code for r in everything) == [200] * 4 + [503] * 2
        assert post(client, encode()).status_code == 200, "the permits came back"


def test_row_27_a_slow_body_ends_at_the_deadline_and_frees_its_slot(bundle, encode):
    async def drip():
        for _ in range(50):
            yield b"x"
            await anyio.sleep(0.1)

    async def scenario(other):
        return await other.post("/v1/classify", content=drip(), headers=JPEG)

    settings = Settings(str(bundle.path), body_seconds=1, max_requests=1)
    with TestClient(create_app(lambda: settings)) as client:
        assert_error(in_process(client, scenario), 408, "body_timeout")
        assert post(client, encode()).status_code == 200


def test_row_30_a_lost_device_is_503_and_ends_readiness(bundle, encode, monkeypatch):
    with TestClient(create_app(lambda: Settings(str(bundle.path)))) as client:
        api = client.app.state.api
        assert api.ready

        def lost(images):
            raise EngineError("CUDA error 700 in /secret/path")

        monkeypatch.setattr(api._runtime.batcher, "_run", lost)
        for _ in range(2):
            assert "/secret" not in assert_error(post(client, encode()), 503, "not_ready")
        assert not api.ready
        monkeypatch.setattr(service.app, "_made", client.app)
        assert not asyncio.run(service.Protozoo.inner.__is_alive__(None))  # so that it is replaced


def test_a_service_is_alive_before_and_while_it_answers(bundle, monkeypatch):
    def alive():
        return asyncio.run(service.Protozoo.inner.__is_alive__(None))

    assert alive()
    app = create_app(lambda: Settings(str(bundle.path)))
    monkeypatch.setattr(service.app, "_made", app)
    assert alive()
    with TestClient(app):
        assert alive()
