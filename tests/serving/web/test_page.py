"""The handlers of the page: what is sent, and how."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from serving.app import create_app
from serving.page import STATIC, read_files
from serving.settings import Settings
from tests.serving.talk import assert_error

POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' blob: data:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
}
ASSETS = sorted(f"/assets/{path.name}" for path in (STATIC / "assets").iterdir())


@pytest.mark.parametrize("path", ["/", *ASSETS])
def test_the_page_and_its_assets_have_a_strict_policy_and_their_type(client, path):
    answer = client.get(path)
    assert answer.status_code == 200
    assert set(answer.headers["Content-Security-Policy"].split("; ")) == POLICY
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    kinds = {"/": "text/html", "js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    assert answer.headers["Content-Type"].split(";")[0] == kinds[path.rsplit(".")[-1]]


def test_assets_are_kept_for_ever_and_the_page_is_asked_for_anew(client):
    assert client.get("/").headers["Cache-Control"] == "no-cache"
    for path in ASSETS:
        assert re.search(r"-[\w-]{8}\.\w+$", path), "the name must change with the content"
        assert "immutable" in client.get(path).headers["Cache-Control"]


def test_what_the_browser_has_is_not_sent_again(client):
    tag = client.get("/").headers["ETag"]
    for given, status in ((tag, 304), (f'W/{tag}, "x"', 304), ('"x"', 200)):
        answer = client.get("/", headers={"If-None-Match": given})
        assert answer.status_code == status
        assert bool(answer.content) == (status == 200)
        assert answer.headers["ETag"] == tag


def test_head_is_get_without_the_body(client):
    for path in ("/", ASSETS[0]):
        head, get = client.head(path), client.get(path)
        assert head.content == b""
        assert dict(head.headers) | {"x-request-id": ""} == dict(get.headers) | {"x-request-id": ""}


def test_other_methods_and_unknown_files_are_refused(client):
    answer = client.post("/")
    assert_error(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET, HEAD"
    for path in ("/assets/none.js", "/assets/..%2Findex.html", "/assets/%2e%2e", "/index.html", "/assets/"):
        assert client.get(path).status_code == 404, path


def test_the_page_needs_no_token_but_what_it_asks_does(bundle):
    settings = Settings(str(bundle.path), read_token="r", write_token="w")
    with TestClient(create_app(lambda: settings)) as client:
        assert client.get("/").status_code == 200
        assert client.get(ASSETS[0]).status_code == 200
        assert client.get("/v1/model").status_code == 401


def test_the_page_names_assets_that_exist_and_no_other_host_and_nothing_inline():
    page = (STATIC / "index.html").read_text()
    named = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sorted(name.replace("./", "/", 1) for name in named) == ASSETS
    assert "style=" not in page
    assert not re.search(r"<script[^>]*>[^<]", page)
    assert "://" not in page


def test_the_script_stays_small():
    assert sum(len(file.body) for path, file in read_files().items() if path.endswith(".js")) < 100_000


def test_the_metrics_know_the_page_by_two_names(client):
    client.get("/")
    client.get("/assets/invented.js")
    text = client.get("/metrics").text
    assert 'route="/"' in text
    assert 'route="/assets/*"' in text
    assert "invented" not in text
