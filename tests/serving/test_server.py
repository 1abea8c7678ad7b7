"""The real thing: a process of its own, started from an empty folder, spoken to over a socket."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

import serving
from benchmarks.processes import family, free_port, wait_until_ready
from tests.tiny_bundle import make_tiny_bundle

HOME = Path(serving.__file__).resolve().parent.parent
HEAD = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
JPEG = {"Content-Type": "image/jpeg"}


@contextmanager
def process(bundle, folder, log, **variables):
    """A server that is ended at the end, if it still runs, by its own process id; yields (process, url)."""
    port = free_port()
    folder.mkdir(exist_ok=True)
    (folder / "serving").mkdir(exist_ok=True)  # of the user's: must not be imported in place of ours
    (folder / "serving" / "__init__.py").write_text("raise RuntimeError('the wrong package')")
    environment = {**os.environ, "PYTHONPATH": str(HOME), "BENTOML_HOME": str(folder / "home"), **variables}
    # As the `protozoo` script does: without the working directory on the path.
    code = "import sys; sys.path.remove(''); from serving.__main__ import main; main()"
    with log.open("w") as output:
        server = subprocess.Popen(
            [sys.executable, "-c", code, str(bundle), "--port", str(port)],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield server, f"http://127.0.0.1:{port}"
        finally:
            if server.poll() is None:
                server.terminate()
                server.wait(30)


@pytest.fixture(scope="module")
def server(bundle, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    log = folder / "log"
    with process(bundle.path, folder / "empty", log, PROTOZOO_LOG="json") as (running, url):
        wait_until_ready(running, f"{url}/readyz", log)
        yield running, url, log


@pytest.fixture(scope="module")
def url(server):
    return server[1]


def test_bentoml_s_own_pages_answer_beside_the_app(url):
    for page in ("livez", "readyz", "metrics", "docs.json"):
        assert httpx.get(f"{url}/{page}").status_code == 200, page


@pytest.mark.parametrize("path", ["/nothing", "/favicon.ico", "/assets/", "/v1", "/v1/model/", "/docs.json/"])
def test_what_there_is_not_is_told_in_the_one_shape(url, path):
    """BentoML's router would answer in its own words, or send the client elsewhere."""
    answer = httpx.get(f"{url}{path}", headers={"X-Request-ID": "mine"})
    assert (answer.status_code, answer.headers["x-request-id"]) == (404, "mine")
    assert answer.json()["error"]["code"] == "not_found"


def test_metrics_count_the_requests_of_all_workers(bundle, encode, tmp_path):
    log, temporary = tmp_path / "log", tmp_path / "temporary"
    temporary.mkdir()
    told = {"BENTOML_CONFIG_OPTIONS": "services.protozoo.workers=2", "TMPDIR": str(temporary)}
    with process(bundle.path, tmp_path / "empty", log, **told) as (running, url):
        wait_until_ready(running, f"{url}/readyz", log)
        deadline = time.monotonic() + 60
        while log.read_text().count("protozoo: ready") < 2:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        for _ in range(20):  # each by a connection of its own, which either worker takes
            assert httpx.post(f"{url}/v1/classify", content=encode(), headers=JPEG).status_code == 200
        texts = [httpx.get(f"{url}/metrics").text for _ in range(6)]
        folders = list(temporary.glob("protozoo-metrics-*"))
        assert (
            len({path.name.rpartition("_")[2] for path in folders[0].iterdir()}) == 2
        )  # a file's name has a worker's id
        running.terminate()
        assert running.wait(30) == 0
    assert all('protozoo_requests_total{route="/v1/classify",status="200"} 20.0' in text for text in texts)
    assert not list(temporary.glob("protozoo-metrics-*"))


def test_a_head_without_end_is_refused_and_not_kept(url):
    """uvicorn itself takes one of any size where httptools is installed, which is what it prefers."""
    address = ("127.0.0.1", int(url.rpartition(":")[2]))
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(b"GET /v1/model HTTP/1.1\r\nHost: localhost\r\nX-Long: ")
        with suppress(ConnectionError):  # it may have hung up in the middle
            for _ in range(64):
                connection.sendall(b"a" * (1 << 20))
        answer = b""
        with suppress(ConnectionError):
            answer = connection.recv(1 << 16)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400")
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(b"GET /v1/model HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * (600 << 10))
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("path", ["/v1/classify", "/v1/nothing"])  # which waits for the body, and which does not
@pytest.mark.parametrize("trailer", [b"a:\r\n", b"b"], ids=["many", "one without end"])
def test_trailers_without_end_are_refused_and_not_kept(url, path, trailer):
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
    )
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as connection:
        connection.sendall(head.encode())
        with suppress(ConnectionError):  # it may have hung up in the middle
            for _ in range(8):
                connection.sendall(trailer * ((1 << 20) // len(trailer)))
        answer = b""
        with suppress(ConnectionError):
            while more := connection.recv(1 << 16):  # without a limit it would wait for the trailers' end
                answer += more
    refused = (b"HTTP/1.1 400", b"HTTP/1.1 404") if path == "/v1/nothing" else b"HTTP/1.1 400"
    assert answer == b"" or answer.startswith(refused)
    assert answer.count(b"HTTP/1.1") <= 1


def test_a_few_trailers_are_taken(url, encode):
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as connection:
        for _ in range(3):  # those of an earlier request do not count
            head = HEAD.replace(b"Content-Length: %d", b"Transfer-Encoding: chunked")
            body = encode()
            chunks = b"%x\r\n%b\r\n0\r\n" % (len(body), body)
            connection.sendall(head + chunks + b"X-Some: " + b"a" * (40 << 10) + b"\r\n\r\n")
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            answer.read()
            assert answer.status == 200


def test_heads_are_counted_anew_for_each_request_of_a_connection(url, encode):
    """Bodies do not count, nor earlier heads: heads of 8 KiB, and pictures of up to 500 KB sent together with them."""
    pictures = [encode(width=side, height=side) for side in (40, 400, 600, 900)]
    assert len(pictures[1]) > 64 << 10  # more than a head may be, and read from the socket together with it
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as connection:
        for turn in range(24):
            picture = pictures[turn % 4]
            head = (HEAD % len(picture)).replace(b"Host:", b"X-Some: " + b"a" * (8 << 10) + b"\r\nHost:")
            connection.sendall(head + picture)
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            answer.read()
            assert answer.status == 200


def test_classify_embed_and_model_answer(url, bundle, encode):
    assert httpx.get(f"{url}/v1/model").json()["name"] == bundle.name
    raw = httpx.post(f"{url}/v1/classify?k=2", content=encode(), headers=JPEG).json()
    multipart = httpx.post(f"{url}/v1/classify?k=2", files={"image": ("a.jpg", encode())}).json()
    assert raw == multipart
    assert len(raw["results"][0]["predictions"]) == 2
    embedded = httpx.post(f"{url}/v1/embed", content=encode(), headers=JPEG).json()
    assert len(embedded["embeddings"][0]) == embedded["dim"] == 8


def test_errors_keep_their_status_and_shape_behind_bentoml(url):
    response = httpx.get(f"{url}/v1/classify")
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    for method, path, status in (("GET", "/v1/nothing", 404), ("POST", "/v1/classify?tau=1", 422)):
        response = httpx.request(method, f"{url}{path}")
        assert (response.status_code, set(response.json())) == (status, {"error"})


def test_a_name_that_was_made_to_point_here_is_refused(url):
    assert httpx.get(f"{url}/v1/model", headers={"Host": "evil.example"}).status_code == 403


def test_a_body_over_the_limit_is_413(url):
    response = httpx.post(f"{url}/v1/classify", content=b"x" * (21 << 20), headers=JPEG)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")


def test_one_bad_image_among_24_concurrent_good(url, encode):
    files = [encode(seed=seed) for seed in range(24)]
    files[11] = files[11][:300]
    with httpx.Client() as client, ThreadPoolExecutor(24) as pool:
        statuses = pool.map(
            lambda data: client.post(f"{url}/v1/classify", content=data, headers=JPEG, timeout=20).status_code, files
        )
        assert list(statuses) == [422 if i == 11 else 200 for i in range(24)]


def test_a_client_that_hangs_up_does_no_harm(url, encode):
    port = int(url.rsplit(":", 1)[1])
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(HEAD % 999 + b"x")
    assert httpx.post(f"{url}/v1/classify", content=encode(), headers=JPEG).status_code == 200


def test_paths_that_clients_invent_make_no_metrics(url):
    for name in ("one", "two"):
        httpx.get(f"{url}/v1/invented-{name}")
        httpx.get(f"{url}/invented-{name}")
    text = httpx.get(f"{url}/metrics").text
    assert "invented" not in text
    assert 'route="/v1/*"' in text


def test_metrics_stay_in_the_process(url, tmp_path_factory):
    """Not in files that all services of a user share, whose number and size nobody bounds."""
    httpx.get(f"{url}/v1/model")
    homes = [home for home in tmp_path_factory.getbasetemp().glob("server*/empty/home") if home.is_dir()]
    assert homes
    assert not [file for home in homes for file in home.rglob("*.db")]


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_no_torch_and_no_timm_in_any_process_of_the_service(server):
    pids = family(server[0].pid)
    maps = {pid: Path(f"/proc/{pid}/maps").read_text() for pid in pids}
    assert any("onnxruntime" in text for text in maps.values()), "the worker must be among the processes"
    assert not any("libtorch" in text or "/torch/" in text for text in maps.values())


def test_importing_the_service_loads_neither_torch_nor_timm():
    code = "import sys, serving.service, serving.check; print({'torch', 'timm', 'torchvision'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=HOME, capture_output=True, check=True)
    assert done.stdout == b"set()\n"


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACED = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "X-Request-ID": "traced"}


def logged(log, request_id, patience=10):
    """The JSON line of a request, which is written once its answer is on the way."""
    until = time.monotonic() + patience
    while True:
        whole = [line for line in log.read_text().splitlines(keepends=True) if line[0] == "{" and line.endswith("}\n")]
        found = [line for line in map(json.loads, whole) if line.get("request_id") == request_id]
        if found or time.monotonic() > until:
            (line,) = found
            return line
        time.sleep(0.05)


def test_without_an_exporter_no_request_pays_for_traces(server):
    httpx.get(f"{server[1]}/v1/model", headers=TRACED)
    assert "trace_id" not in logged(server[2], "traced")


def test_with_an_exporter_the_log_names_the_trace_of_the_caller(bundle, tmp_path):
    log = tmp_path / "log"
    options = "services.protozoo.tracing.exporter_type=in_memory services.protozoo.tracing.sample_rate=1.0"
    told = {"BENTOML_CONFIG_OPTIONS": options, "PROTOZOO_LOG": "json"}
    with process(bundle.path, tmp_path / "empty", log, **told) as (running, url):
        wait_until_ready(running, f"{url}/readyz", log)
        httpx.get(f"{url}/v1/model", headers=TRACED)
        assert logged(log, "traced")["trace_id"] == TRACE


def test_when_ready_it_prints_the_url_and_examples(server):
    text = server[2].read_text()
    assert f"protozoo: ready on {server[1]}" in text
    assert text.count("  curl ") == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_and_answers_what_is_under_way(bundle, tmp_path, encode, number):
    log = tmp_path / "log"
    with process(bundle.path, tmp_path / "empty", log) as (running, url):
        wait_until_ready(running, f"{url}/readyz", log)
        pids = family(running.pid)
        body = encode()
        port = int(url.rsplit(":", 1)[1])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(HEAD % len(body) + body[:100])
            time.sleep(0.3)
            running.send_signal(number)
            time.sleep(0.5)
            connection.sendall(body[100:])
            assert connection.recv(20).startswith(b"HTTP/1.1 200"), log.read_text()
        assert running.wait(30) == 0, log.read_text()
        assert not [pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists()]
        assert "Traceback" not in log.read_text()


def test_a_model_that_contradicts_its_golden_outputs_ends_the_start_with_one_line(tmp_path):
    bundle = make_tiny_bundle(tmp_path / "b", golden_shift=0.01)
    log = tmp_path / "log"
    with process(bundle.path, tmp_path / "empty", log) as (running, _):
        assert running.wait(40) == 2
    lines = log.read_text().strip().splitlines()
    assert len(lines) == 1, lines
    assert "differ by up to 0.01" in lines[0]


@pytest.mark.parametrize(
    "url", ["mysql://u:secret@h/d", "postgresql://u:secret@127.0.0.1:1/d", "sqlite:////no/folder/x"]
)
def test_a_database_that_cannot_be_used_ends_the_start_with_one_line(bundle, tmp_path, monkeypatch, url):
    """Where only a worker noticed it, BentoML would start that for ever."""
    monkeypatch.setenv("PROTOZOO_DATABASE", url)
    log = tmp_path / "log"
    with process(bundle.path, tmp_path / "empty", log) as (running, _):
        assert running.wait(60) == 2
    lines = log.read_text().strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("protozoo: ")
    assert "secret" not in lines[0]


def test_a_mistake_of_the_user_s_is_one_line_and_status_2(tmp_path):
    log = tmp_path / "log"
    with process("no-such-bundle", tmp_path / "empty", log) as (running, _):
        assert running.wait(40) == 2
    assert len(log.read_text().strip().splitlines()) == 1
