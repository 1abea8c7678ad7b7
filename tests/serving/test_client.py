"""The client against the app itself: sync over TestClient's transport, async over httpx's."""

from __future__ import annotations

import inspect
import io
import subprocess
import sys

import httpx
import numpy as np
import pytest
from PIL import Image

from serving.client import AsyncClient, Classification, Client, Prototypes, ServiceError
from serving.client.calls import ClassifyOptions, classify
from serving.engine import Engine
from tests.serving.talk import in_process
from tests.serving.through import URL, Through
from tests.tiny_bundle import THRESHOLDS


class InLoop:
    """An :class:`AsyncClient` of the app's own loop, called as if it were the sync one."""

    def __init__(self, client):
        self._client = client

    def __getattr__(self, verb):
        def call(*arguments, **options):
            async def scenario():
                async with AsyncClient(URL, transport=httpx.ASGITransport(self._client.app)) as mine:
                    return await getattr(mine, verb)(*arguments, **options)

            return self._client.portal.call(scenario)

        return call


@pytest.fixture(params=["sync", "async"])
def service(request, client):
    return Client(URL, transport=Through(client)) if request.param == "sync" else InLoop(client)


@pytest.fixture
def pictures(encode, tmp_path):
    """The same image as a path, a text, bytes and a PIL image."""
    data = encode("PNG")
    path = tmp_path / "image.png"
    path.write_bytes(data)
    return [path, str(path), data, Image.open(path)]


def test_one_image_gives_one_answer_and_a_list_gives_a_list(service, client, encode, pictures):
    expected = client.post("/v1/classify?k=2", files=[("image", ("x", encode("PNG")))]).json()["results"][0]
    for picture in pictures:
        answer = service.classify(picture, k=2)
        assert isinstance(answer, Classification)
        assert (answer.label, answer.cosine) == (expected["label"], expected["cosine"])
        assert [prediction.label for prediction in answer.predictions] == [p["label"] for p in expected["predictions"]]
    several = service.classify(pictures)
    assert [answer.label for answer in several] == [expected["label"]] * 4
    assert [type(answer) for answer in service.classify([pictures[0]])] == [Classification]


@pytest.mark.parametrize("mode", ["1", "P", "PA", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "I", "F"])
def test_a_pil_image_of_any_mode_is_sent(service, bundle, encode, mode):
    picture = Image.open(io.BytesIO(encode("PNG")))
    via = {"PA": "P", "RGBa": "RGBA"}.get(mode, "RGB")
    picture = picture.convert(via).convert(mode)
    expected = Engine(bundle).run(bundle.preprocessing.pixels(picture)[None])
    np.testing.assert_allclose(service.embed(picture), expected.embeddings[0], atol=1e-6)


def test_a_bad_image_among_good_ones_is_an_error_in_its_place(service, encode):
    good, bad = service.classify([encode(), b"text"])
    assert good.known
    assert (bad.code, bad.status) == ("unsupported_media_type", 200)
    with pytest.raises(ServiceError) as caught:
        service.classify(b"text")
    assert (caught.value.code, caught.value.status) == ("unsupported_media_type", 415)


def test_options_reach_the_service(service, bundle, encode):
    assert {p.label for p in service.classify(encode(), labels=["cat", "tench, Tinca tinca"]).predictions} == {
        "cat",
        "tench, Tinca tinca",
    }
    assert not service.classify(encode(), threshold=1).known
    assert service.classify(encode(), threshold=1).label is None
    assert service.classify(encode(), fpr=0.05, k=1).known
    assert service.thresholds() == {row["fpr"]: row["cosine"] for row in THRESHOLDS}
    own = service.classify(encode(), prototypes=np.eye(8)[:2], names=["a", "b"])
    assert {p.label for p in own.predictions} == {"a", "b"}


def test_embeddings_are_unit_rows(service, client, encode):
    one = service.embed(encode())
    both = service.embed([encode(), encode(seed=1)])
    assert (one.shape, both.shape, both.dtype) == ((8,), (2, 8), np.float32)
    np.testing.assert_array_equal(both[0], one)
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), 1, atol=1e-6)
    verified = service.verify(encode(), encode(seed=1), threshold=0.5)
    assert verified.cosine == pytest.approx(float(both[0] @ both[1]), abs=1e-6)
    assert verified.same == (verified.cosine >= 0.5)
    with pytest.raises(ServiceError, match="not an image"):
        service.embed([encode(), b"text"])


def test_the_life_of_a_set(service, bundle, encode, name):
    made = service.enrol(name, "x/ü"[2:] + " y", [encode(), encode(seed=1)])
    assert (made.set, made.label, made.n, made.nearest) == (name, "ü y", 2, None)
    more = service.add_examples(name, "ü y", encode(seed=2), if_match=made.version)
    assert more.n == 3
    assert service.remove_example(name, "ü y", more.examples[-1]).examples == made.examples
    other = service.enrol(name, "z", embeddings=np.eye(8)[0])
    assert other.nearest[0] == "ü y"
    assert "one example" in other.warning or "degrees" in other.warning
    assert service.classify(encode(), set=name, exemplars=1).exemplars[0].cosine <= 1.000001
    assert service.rename_class(name, "z", "w").label == "w"
    assert service.get_class(name, "w").n == 1
    assert service.merge_class(name, "w", "ü y").n == 3
    rows = service.prototypes(name)
    assert isinstance(rows, Prototypes)
    assert (rows.labels, rows.rows.shape) == (("ü y",), (1, 8))
    info = {one.name: one for one in service.sets()}
    assert (info[name].class_count, info[name].usable, info["default"].read_only) == (1, True, True)
    with pytest.raises(ServiceError) as caught:
        service.delete_class(name, "ü y", if_match=1)
    assert (caught.value.code, caught.value.status) == ("stale_version", 412)
    assert service.delete_class(name, "ü y") is None
    assert service.delete_set(name) is None
    with pytest.raises(ServiceError, match="no prototype set"):
        service.prototypes(name)
    assert service.prototypes().labels == bundle.labels
    model = service.model()
    assert (model.name, model.labels, model.dim) == (bundle.name, bundle.labels, 8)
    assert model.thresholds == {row["fpr"]: row["cosine"] for row in THRESHOLDS}


@pytest.mark.parametrize("step", ["", ".", ".."])
def test_no_name_is_a_step_of_the_path(service, encode, name, step):
    """httpx would go up at "..": to delete the class of that name would be to delete its set."""
    service.enrol(name, "one", encode())
    for verb in (service.delete_class, service.get_class):
        with pytest.raises(ValueError, match="can be called"):
            verb(name, step)
    with pytest.raises(ValueError, match="can be called"):
        service.delete_set(step)
    assert service.get_class(name, "one").n == 1


def test_labels_are_one_text_or_several_but_not_none_at_all(service, encode, bundle):
    first = bundle.labels[0]
    assert service.classify(encode(), labels=first).label == service.classify(encode(), labels=[first]).label == first
    with pytest.raises(ValueError, match="labels"):
        service.classify(encode(), labels=[])


def test_an_image_that_cannot_be_embedded_is_named(service, encode):
    with pytest.raises(ServiceError, match="image 2 of 3") as caught:
        service.embed([encode(), b"no image", encode()])
    assert caught.value.code == "unsupported_media_type"


def test_a_type_checker_knows_every_argument_of_classify():
    assert set(ClassifyOptions.__annotations__) == set(inspect.signature(classify).parameters) - {"images"}


def test_images_or_embeddings_but_not_both(service, encode, name):
    for given in ({}, {"images": encode(), "embeddings": np.eye(8)}):
        with pytest.raises(ValueError, match="images or embeddings"):
            service.enrol(name, "x", **given)
    with pytest.raises(ValueError, match="one image or more"):
        service.classify([])


@pytest.mark.parametrize("kind", [Client, AsyncClient])
def test_verbs_tell_their_arguments_and_what_they_do(kind):
    assert list(inspect.signature(kind(URL).enrol).parameters) == [
        "set",
        "label",
        "images",
        "embeddings",
        "keep",
        "key",
    ]
    assert "unit embeddings (k, d)" in kind.enrol.__doc__
    assert kind.enrol.__name__ == "enrol"


def test_the_client_needs_nothing_of_the_service():
    code = (
        "import sys, serving.client; print({'torch', 'bentoml', 'starlette', 'onnxruntime', 'PIL'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_in_process_helper_and_client_agree(client):
    async def scenario(other):
        return (await other.get("/v1/model")).json()["name"]

    assert in_process(client, scenario) == Client(URL, transport=Through(client)).model().name
