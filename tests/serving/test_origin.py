"""What pages of others' can have a browser send to a service without tokens."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from serving.app import create_app
from serving.auth import authorise
from serving.errors import ServingError
from serving.settings import Settings
from tests.serving.talk import assert_error, enrol, form

LOCAL = "http://127.0.0.1:3000"
OWN = {"host": "127.0.0.1:3000"}


def passes(headers, access="write", **settings):
    try:
        authorise(headers, Settings("b", **settings), access)
    except ServingError as error:
        return error.code != "forbidden" or "PROTOZOO_HOSTS" not in error.message
    return True


@pytest.mark.parametrize(
    ("headers", "may"),
    [
        ({}, True),  # curl, the client for Python
        ({"sec-fetch-site": "same-origin", "origin": LOCAL}, True),
        ({"sec-fetch-site": "same-origin", "origin": "https://public.example"}, True),  # a proxy that renames the host
        ({"sec-fetch-site": "none"}, True),
        ({"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, False),
        ({"sec-fetch-site": "cross-site"}, False),
        ({"sec-fetch-site": "cross-site", "origin": "null"}, False),
        ({"origin": LOCAL}, True),
        ({"origin": "https://evil.example"}, False),
        ({"origin": "null"}, False),
        ({"origin": "http://["}, False),
    ],
)
def test_another_site_s_page_may_not_write(headers, may):
    assert passes(OWN | headers) == may
    assert passes(OWN | headers, access="read"), "it cannot see the answer"


def test_pages_of_hosts_that_the_operator_allows_may_write():
    headers = OWN | {"sec-fetch-site": "cross-site", "origin": "https://Ours.example:8443"}
    assert passes(headers, hosts="other.example, ours.example")
    assert not passes(headers, hosts="other.example")


@pytest.mark.parametrize(
    ("host", "may"),
    [
        ("127.0.0.1:3000", True),
        ("127.0.0.2", True),
        ("localhost:3000", True),
        ("LOCALHOST", True),
        ("app.localhost", True),
        ("[::1]:3000", True),
        ("evil.example:3000", False),
        ("localhost.evil.example", False),
        ("192.168.0.7", False),
        ("mine.example", True),
        ("", True),
    ],
)
@pytest.mark.parametrize("access", ["read", "write"])
def test_on_loopback_only_this_computer_s_names_are_answered(host, may, access):
    """Another's page could otherwise have its own name point here, and read as well as write."""
    for url in (LOCAL, "http://[::1]:3000"):
        assert passes({"host": host}, access, url=url, hosts="mine.example") == may
    for url in ("http://0.0.0.0:3000", "http://192.168.0.7:3000", ""):
        assert passes({"host": host}, access, url=url)


@pytest.mark.parametrize(
    ("hosts", "host"),
    [
        ("proxy.example:8443", "proxy.example:8443"),
        ("proxy.example:8443", "proxy.example"),
        ("https://Proxy.example/", "proxy.example"),
        ("192.168.0.7:8443, x", "192.168.0.7"),
        ("fd00::7", "[fd00::7]:3000"),
        ("[fd00::7]:8443", "[fd00::7]:3000"),
    ],
)
def test_a_host_is_allowed_however_the_operator_writes_it(hosts, host):
    assert passes({"host": host}, url=LOCAL, hosts=hosts)
    assert not passes({"host": "other.example"}, url=LOCAL, hosts=hosts)


@pytest.mark.parametrize("path", ["/", "/metrics", "/docs.json", "/assets/x"])
def test_no_path_is_answered_under_another_s_name(bundle, tmp_path, path):
    settings = Settings(str(bundle.path), database=f"sqlite:///{tmp_path}/sets.sqlite", url=LOCAL, hosts="mine.example")
    with TestClient(create_app(lambda: settings), base_url=LOCAL) as client:
        assert_error(client.get(path, headers={"Host": "evil.example"}), 403, "forbidden")
        for host in ("localhost:3000", "mine.example"):
            assert client.get(path, headers={"Host": host}).status_code == (404 if path == "/assets/x" else 200)
        assert client.get("/assets/x").status_code == 404
    for told in ({"url": "http://0.0.0.0:3000"}, {"url": LOCAL, "read_token": "r"}):
        settings = Settings(str(bundle.path), database=f"sqlite:///{tmp_path}/sets.sqlite", **told)
        with TestClient(create_app(lambda settings=settings: settings), base_url=LOCAL) as client:
            assert client.get(path, headers={"Host": "10.0.0.7:3000"}).status_code != 403


def test_a_token_is_enough():
    foreign = {"host": "evil.example", "sec-fetch-site": "cross-site", "authorization": "Bearer w"}
    assert passes(foreign, url=LOCAL, write_token="w")
    assert passes(foreign, "read", url=LOCAL, read_token="r", write_token="w")
    assert not passes(foreign, "read", url=LOCAL, write_token="w"), "reading is unguarded"


def test_the_app_refuses_in_the_one_shape(bundle, encode, tmp_path):
    settings = Settings(str(bundle.path), database=f"sqlite:///{tmp_path}/sets.sqlite", url=LOCAL)
    with TestClient(create_app(lambda: settings), base_url=LOCAL) as client:
        assert enrol(client, "mine", "x", encode()).status_code == 201
        path = "/v1/sets/mine/classes/x/examples"
        answer = client.post(path, files=form(encode()), headers={"Origin": "https://evil.example"})
        assert_error(answer, 403, "forbidden")
        assert_error(client.get("/v1/sets", headers={"Host": "evil.example"}), 403, "forbidden")
        assert client.get("/v1/sets/mine").json()["example_count"] == 1
