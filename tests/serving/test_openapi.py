"""The document of /docs.json: equal to the routes, and true of every answer that schemathesis can provoke."""

from __future__ import annotations

import asyncio
import copy
import io
from importlib.metadata import version

import httpx
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis.openapi.checks import RejectedPositiveData
from schemathesis.python.asgi import get_client
from starlette.routing import Route

import zoo
from benchmarks.processes import wait_until_ready
from serving.app import create_app
from serving.errors import STATUS
from serving.openapi import Before, document
from serving.sets import errors as set_errors
from serving.settings import Settings
from tests.serving.test_server import process
from tests.tiny_bundle import LABELS, THRESHOLDS

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
TOKEN = {"Authorization": "Bearer w"}
DIM = 8
EXAMPLES = 15


def operations():
    return {(path, method) for path, item in document()["paths"].items() for method in METHODS & set(item)}


def resolved(value):
    """A value of the document, or what its reference points to."""
    if set(value) != {"$ref"}:
        return value
    found = document()
    for part in value["$ref"].removeprefix("#/").split("/"):
        found = found[part]
    return found


def references(value):
    """All that a value of the document refers to."""
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        if key == "$ref":
            yield part
        elif isinstance(part, dict | list):
            yield from references(part)


# ---- the document and the code


def test_every_route_is_documented_and_nothing_else():
    routes = {
        (route.path, method.lower())
        for route in create_app(Settings.from_environment).routes
        if isinstance(route, Route) and route.methods
        for method in route.methods - {"HEAD"}
    }
    assert operations() == routes


def test_the_version_is_the_package_s():
    assert document()["info"]["version"] == zoo.__version__


def test_every_error_code_is_documented_with_its_status():
    kinds = [kind for kind in vars(set_errors).values() if isinstance(kind, type)]
    codes = STATUS | {kind.code: kind.http_status for kind in kinds if issubclass(kind, set_errors.SetError)}
    told = {}
    for path, method in operations():
        for status, response in document()["paths"][path][method]["responses"].items():
            if status >= "400":
                schema = resolved(response)["content"]["application/json"]["schema"]
                enum = schema["allOf"][1]["properties"]["error"]["properties"]["code"]["enum"]
                told |= {code: int(status) for code in enum}
    # No documented operation has another method.
    assert told == {code: status for code, status in codes.items() if status != 405}


def test_nothing_in_the_document_is_unused_or_missing():
    used = set(references(document()))
    parts = document()["components"]
    defined = {f"#/components/{kind}/{name}" for kind in parts for name in parts[kind] if kind != "securitySchemes"}
    assert used == defined


def test_it_is_openapi():
    schemathesis.openapi.from_dict(copy.deepcopy(document())).validate()


def test_it_is_served_without_a_token(client):
    assert client.get("/docs.json").json() == document()


def test_it_is_served_past_bentoml_s_own(bundle, tmp_path):
    log = tmp_path / "log"
    with process(bundle.path, tmp_path / "empty", log) as (running, url):
        wait_until_ready(running, f"{url}/readyz", log)
        assert httpx.get(f"{url}/docs.json").json() == document()
        assert httpx.get(f"{url}/livez").status_code == 200
        assert httpx.get(f"{url}/v1/model").status_code == 200


@pytest.mark.parametrize(
    ("kind", "path", "answers"),
    [
        ("http", "/docs.json", "first"),
        ("http", "/v1/model", "first"),
        ("http", "/elsewhere", "first"),
        ("http", "/livez", "inner"),
        ("http", "/livez/", "first"),
        ("lifespan", "/docs.json", "inner"),
        ("websocket", "/v1/model", "inner"),
    ],
)
def test_all_but_the_named_paths_pass_by_the_inner_app(kind, path, answers):
    called = []

    def app(name):
        async def answer(scope, receive, send):
            called.append(name)

        return answer

    before = Before(app("inner"), first=app("first"), but=["/livez"])
    asyncio.run(before({"type": kind, "path": path}, None, None))
    assert called == [answers]


# ---- schemathesis


def picture(kind):
    buffer = io.BytesIO()
    Image.new("RGB", (12, 9), (200, 30, 9)).save(buffer, kind)
    return buffer.getvalue()


def npy(rows):
    buffer = io.BytesIO()
    np.save(buffer, np.eye(rows, DIM, dtype=np.float32))
    return buffer.getvalue()


def narrowed():
    """The document with what depends on the model and on what has been enrolled; a general one cannot know it."""
    narrow = copy.deepcopy(document())
    parts = narrow["components"]
    parts["schemas"]["Embedding"] |= {"minItems": DIM, "maxItems": DIM, "contains": {"not": {"const": 0}}}
    parts["parameters"]["fpr"]["schema"]["enum"] = [row["fpr"] for row in THRESHOLDS]
    parts["parameters"]["k"]["schema"]["maximum"] = len(LABELS)
    for name, known in (("set", ["pets", "default"]), ("class", ["cat", "dog"])):
        part = parts["parameters"][name]
        part["schema"] = {"anyOf": [{"enum": known}, part["schema"]]}
    classify = narrow["paths"]["/v1/classify"]["post"]
    named = {parameter.get("name"): parameter for parameter in classify["parameters"]}
    named["labels"]["schema"]["items"]["enum"] = list(LABELS)
    named["set"]["schema"] = {"enum": ["pets", "default", "none"]}
    form = classify["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    form["prototypes"] = {"type": "string", "format": "npy", "contentMediaType": "application/octet-stream"}
    form["names"]["format"] = "names"
    drop_encodings(narrow)
    return narrow


def drop_encodings(value):
    """With its type told, schemathesis sends a part without a filename, as a text; the app asks for no type."""
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        if isinstance(part, dict):
            part.pop("encoding", None)
        drop_encodings(part)


PICTURES = {f"image/{kind.lower()}": picture(kind) for kind in ("JPEG", "PNG", "WEBP")}
for name, data in {**PICTURES, "application/octet-stream": PICTURES["image/png"]}.items():
    schemathesis.openapi.media_type(name, st.just(data))
schemathesis.openapi.format("binary", st.sampled_from(sorted(PICTURES.values())))
schemathesis.openapi.format("npy", st.builds(npy, st.integers(1, 3)))
schemathesis.openapi.format("names", st.sampled_from(['["a"]', '["a", "b"]', '["a", "b", "c"]']))
REJECTED = [
    "400",
    "401",
    "403",
    "404",
    "405",
    "409",
    "412",
    "415",
    "422",
]  # a stale version is told before what else is wrong
CONFIG = {
    "generation": {"max-examples": EXAMPLES, "deterministic": True},
    "checks": {"negative_data_rejection": {"expected-statuses": REJECTED}},
}
schema = schemathesis.openapi.from_dict(narrowed(), config=schemathesis.Config.from_dict(CONFIG))

# Refusals of requests that the document allows, since OpenAPI cannot say what is wrong with them.
CODES = {"stale_version", "key_reused"}  # it depends on what was done before
MESSAGES = (
    "not both",  # threshold and fpr
    "no calibrated thresholds",  # of the prototypes that a request brings along, or of a set with few examples
    "choose one",  # prototypes of the request and a set
    "needs explain",  # n
    "explain needs set",
    "number of competing labels",  # k
    "keep=images needs images",
    "must be a JSON list of",  # as many names as prototypes
    "would cancel out",  # examples
    "merged into itself",
    "printable characters",  # names of classes: patterns know no such class of characters
)
if tuple(map(int, version("schemathesis").split(".")[:2])) < (4, 32):  # what Python 3.10 has
    MESSAGES += ("a part with a filename",)  # it sends pictures as texts


@schema.hook
def filter_failure(context, failure, case, response):
    if not isinstance(failure, RejectedPositiveData):
        return True
    error = response.json()["error"]
    return error["code"] not in CODES and not any(message in error["message"] for message in MESSAGES)


SERVED: list[Settings] = []  # one: tests are collected before there is a bundle
schema.app = create_app(lambda: SERVED[0])


@pytest.fixture(scope="module", autouse=True)
def _served(bundle, tmp_path_factory):
    database = f"sqlite:///{tmp_path_factory.mktemp('sets')}/sets.sqlite"
    SERVED.append(Settings(str(bundle.path), database=database, read_token="r", write_token="w"))


@pytest.fixture
def enrolled():
    """Enrols the classes that the document is narrowed to, where they are gone."""
    with get_client(schema.app):  # starts the app for all of schemathesis' clients; its plugin ends it after each test
        sets = schema.app.state.api.running().enrolled

    def enrol():
        for label, row in (("cat", 0), ("dog", 1)):
            try:
                sets.store.get_class("pets", label)
            except set_errors.SetError:
                sets.store.enrol("pets", label, np.eye(DIM)[[row, row + 2]])
        sets.forget("pets")

    return enrol


@schema.parametrize()
@settings(
    deadline=None, derandomize=True, max_examples=EXAMPLES, database=None, suppress_health_check=list(HealthCheck)
)
def test_every_answer_is_as_documented(case, enrolled):
    enrolled()
    case.call_and_validate(headers=TOKEN)
