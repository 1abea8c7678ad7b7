"""Mixed good and bad load on a real server: does its memory grow, and does it ever fail?

    python -m benchmarks.serving_soak proto_resnet20_cifar.nonl_cifar10 --minutes 10

Starts ``python -m serving`` on a free port of loopback and asks it from a few threads, each of :data:`KINDS` once and
then at random: good requests, and bad ones of every kind. Prints the requests by kind and status, and the resident
memory of the server's processes, which Linux tells. Ends with 1 where memory has grown by more than allowed since the
first minute, where an answer was none that the kind may have, or where any was a 5xx but 503.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

from benchmarks.processes import free_port, memory_mb, wait_until_ready
from zoo.bundle import Bundle, find

HOME = Path(__file__).resolve().parent.parent
CLASSIFY, SETS = "/v1/classify", "/v1/sets"
OWN_SETS = 4
"""Sets that are enrolled and deleted in turn, so that the database stays small."""


def picture(kind: str, width: int, height: int, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def bomb(side: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("1", (side, side)).save(buffer, "PNG")
    return buffer.getvalue()


def npy(rows: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, rows)
    return buffer.getvalue()


GOOD = [picture(kind, 160 + 40 * seed, 240, seed) for seed, kind in enumerate(["JPEG", "PNG", "WEBP", "JPEG"])]
BOMB = bomb(13_000)
STRIP, GIF = picture("PNG", 1, 2000), picture("GIF", 20, 20)

Answer = tuple[int, ...]
Ask = Callable[[httpx.Client, random.Random, int], httpx.Response]


def form(*images: bytes, **parts: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [*(("image", ("a", image)) for image in images), *((name, ("b", data)) for name, data in parts.items())]


def raw(make: Callable[[random.Random], bytes], query: str = "", content_type: str = "image/jpeg") -> Ask:
    """A request for /v1/classify with one raw body."""
    headers = {"Content-Type": content_type} if content_type else {}
    return lambda client, chance, dim: client.post(CLASSIFY + query, content=make(chance), headers=headers)


def several(*made: bytes, query: str = "", path: str = CLASSIFY) -> Ask:
    return lambda client, chance, dim: client.post(path + query, files=form(*made))


def damaged(chance: random.Random) -> bytes:
    """A picture with some bytes changed behind its signature; it may still be one."""
    data = bytearray(chance.choice(GOOD))
    for _ in range(chance.randint(1, 40)):
        data[chance.randrange(16, len(data))] = chance.randrange(256)
    return bytes(data)


def chunks(chance: random.Random) -> Iterator[bytes]:
    for _ in range(21):
        yield b"x" * (1 << 20)


def brought(client: httpx.Client, chance: random.Random, dim: int) -> httpx.Response:
    rows = np.random.default_rng(chance.randrange(9)).standard_normal((3, dim)).astype(np.float32)
    return client.post(CLASSIFY, files=form(GOOD[0], prototypes=npy(rows), names=b'["a", "b", "c"]'))


def bad_prototypes(client: httpx.Client, chance: random.Random, dim: int) -> httpx.Response:
    rows = np.zeros((2, dim), np.float32)
    given = chance.choice([npy(rows), npy(rows[:, 1:] + 1), npy(rows * np.nan), b"\x80\x04]\x94.", npy(rows)[:90]])
    return client.post(CLASSIFY, files=form(GOOD[0], prototypes=given))


def hang_up(client: httpx.Client, chance: random.Random, dim: int) -> httpx.Response:
    """A client that leaves in the middle of its body."""
    url = client.base_url
    head = f"POST {CLASSIFY} HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: 99999\r\n\r\n"
    with socket.create_connection((url.host, url.port or 80), timeout=10) as connection:
        connection.sendall(head.encode() + b"x" * 1000)
    return httpx.Response(0)


def enrol(client: httpx.Client, chance: random.Random, dim: int) -> httpx.Response:
    path = f"{SETS}/soak-{chance.randrange(OWN_SETS)}/classes/{chance.choice('abcdef')}"
    if chance.random() < 0.5:
        return client.put(path, files=form(chance.choice(GOOD)), params={"keep": "images"})
    rows = np.random.default_rng(chance.randrange(99)).standard_normal((2, dim))
    headers = {"Idempotency-Key": str(chance.random())}
    return client.put(path, json={"embeddings": rows.tolist()}, headers=headers)


def use_set(client: httpx.Client, chance: random.Random, dim: int) -> httpx.Response:
    name = f"soak-{chance.randrange(OWN_SETS)}"
    query = chance.choice(["", "&explain=exemplars"])
    return client.post(f"{CLASSIFY}?set={name}{query}", files=form(chance.choice(GOOD)))


def change_set(client: httpx.Client, chance: random.Random, dim: int) -> httpx.Response:
    one = f"{SETS}/soak-{chance.randrange(OWN_SETS)}"
    of_class = f"{one}/classes/{chance.choice('abcdef')}"
    method, path, body = chance.choice(
        [
            ("DELETE", one, None),
            ("DELETE", of_class, None),
            ("DELETE", f"{of_class}/examples/1", None),
            ("POST", f"{of_class}/rename", {"to": chance.choice("abcdef")}),
            ("POST", f"{of_class}/merge", {"into": chance.choice("abcdef")}),
            ("GET", one, None),
            ("GET", f"{one}/prototypes?format=npy", None),
        ]
    )
    return client.request(method, path, json=body)


def bad_enrolment(client: httpx.Client, chance: random.Random, dim: int) -> httpx.Response:
    name, body = chance.choice(
        [("UPPER", {"embeddings": [[1.0] * dim]}), ("x", {"embeddings": [[0.0] * dim]}), ("x", {"embeddings": [[1]]})]
    )
    return client.put(f"{SETS}/{name}/classes/y", json=body)


KINDS: dict[str, tuple[float, Answer, Ask]] = {
    "classify raw": (20, (200,), raw(lambda chance: chance.choice(GOOD), "?k=3")),
    "classify three images": (6, (200,), several(*GOOD[:3])),
    "one bad of three images": (3, (200,), several(GOOD[0], b"text", GOOD[2])),
    "embed": (6, (200,), several(GOOD[1], path="/v1/embed", query="?format=base64")),
    "verify": (4, (200,), several(*GOOD[:2], path="/v1/verify", query="?threshold=0.5")),
    "own prototypes": (4, (200,), brought),
    "model": (3, (200,), lambda client, chance, dim: client.get("/v1/model")),
    "metrics and document": (
        2,
        (200,),
        lambda client, chance, dim: client.get(chance.choice(["/metrics", "/docs.json"])),
    ),
    "enrol": (4, (201, 409), enrol),
    "classify by an enrolled set": (4, (200, 404, 409), use_set),
    "change a set": (4, (200, 204, 404, 409, 422), change_set),
    "1 truncated": (3, (422,), raw(lambda chance: GOOD[0][: chance.randrange(20, 4000)])),
    "1 damaged": (4, (200, 422), raw(damaged)),
    "2 text": (2, (415,), raw(lambda chance: b"<!doctype html><html></html>")),
    "3 empty": (2, (422,), raw(lambda chance: b"")),
    "4 another type than declared": (2, (200,), raw(lambda chance: GOOD[1], content_type="image/jpg")),
    "5 GIF": (2, (415,), raw(lambda chance: GIF)),
    "6 and 7 bomb": (1, (422,), raw(lambda chance: BOMB)),
    "8 strip": (1, (422,), raw(lambda chance: STRIP)),
    "9 one pixel": (1, (200,), raw(lambda chance: picture("PNG", 1, 1))),
    "10 too large": (0.2, (413,), raw(lambda chance: b"x" * (21 << 20))),
    "11 too large, no length": (
        0.2,
        (413,),
        lambda c, chance, dim: c.post(CLASSIFY, content=chunks(chance), headers={"Content-Type": "image/png"}),
    ),
    "12 wrong field": (2, (422,), lambda client, chance, dim: client.post(CLASSIFY, files=[("file", ("a", GOOD[0]))])),
    "14 malformed multipart": (
        2,
        (400,),
        raw(lambda chance: b"garbage", content_type="multipart/form-data; boundary=b"),
    ),
    "16 JSON": (2, (415,), lambda client, chance, dim: client.post(CLASSIFY, json={"image": "x"})),
    "17 pickle": (1, (415,), raw(lambda chance: b"\x80\x04]\x94.", content_type="application/vnd.bentoml+pickle")),
    "18 URL": (
        1,
        (422,),
        lambda client, chance, dim: client.post(CLASSIFY, files=[("image", (None, b"http://127.0.0.1:9/x"))]),
    ),
    "19 bad parameter": (2, (422,), raw(lambda chance: GOOD[0], "?k=0")),
    "20 unknown parameter": (2, (422,), raw(lambda chance: GOOD[0], "?tau=1")),
    "21 unknown set": (1, (404,), raw(lambda chance: GOOD[0], "?set=nobody")),
    "22 unknown path": (2, (404,), lambda client, chance, dim: client.get(f"/v1/{chance.random()}")),
    "23 wrong method": (2, (405,), lambda client, chance, dim: client.get(CLASSIFY)),
    "27 hangs up": (2, (0,), hang_up),
    "28 stale version": (
        1,
        (404, 412),
        lambda client, chance, dim: client.delete(f"{SETS}/soak-0/classes/a", headers={"If-Match": "0"}),
    ),
    "29 bad prototypes": (2, (422,), bad_prototypes),
    "malformed JSON": (
        1,
        (400,),
        lambda client, chance, dim: client.put(
            f"{SETS}/x/classes/y", content=b"[" * 5000, headers={"Content-Type": "application/json"}
        ),
    ),
    "bad enrolment": (2, (422,), bad_enrolment),
}
"""Name (bad ones by their row of tests/serving/test_bad_input.py): weight, the answers it may get, and the request."""


@dataclass
class Tally:
    """What the clients have seen."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, status: int) -> None:
        with self.lock:
            self.statuses[kind, status] += 1

    def add_broken(self, kind: str, error: Exception) -> None:
        with self.lock:
            self.broken[f"{kind}: {type(error).__name__}"] += 1

    def wrong(self) -> list[str]:
        """Every answer that its kind may not have; 503 is one that all may have."""
        seen = sorted(self.statuses.items())
        wrong = [f"{kind}: {status} ({n})" for (kind, status), n in seen if status not in (*KINDS[kind][1], 503)]
        return wrong + [f"{what} ({n})" for what, n in self.broken.items()]


def ask(url: str, dim: int, seed: int, until: float, tally: Tally) -> None:
    """One client, until the time is over: each kind once, as all clients together, and then at random."""
    chance = random.Random(seed)
    names, weights = list(KINDS), [weight for weight, _, _ in KINDS.values()]
    kinds = itertools.chain(names, (chance.choices(names, weights)[0] for _ in itertools.count()))
    with httpx.Client(base_url=url, timeout=60) as client:
        while time.monotonic() < until:
            kind = next(kinds)
            try:
                tally.add(kind, KINDS[kind][2](client, chance, dim).status_code)
            except (httpx.HTTPError, OSError) as error:
                tally.add_broken(kind, error)


@contextmanager
def server(bundle: str, folder: Path) -> Iterator[tuple[int, str]]:
    """A running service with one worker; yields its process id and URL."""
    port = free_port()
    own = {"PYTHONPATH": str(HOME), "PROTOZOO_DATABASE": f"sqlite:///{folder}/sets.sqlite", "BENTOML_HOME": str(folder)}
    command = [sys.executable, "-m", "serving", bundle, "--port", str(port)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env={**os.environ, **own}, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until_ready(process, f"http://127.0.0.1:{port}/readyz", folder / "log")
            yield process.pid, f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)


def watch(pid: int, until: float, every: float) -> list[tuple[float, float]]:
    """Minutes since now, and resident megabytes."""
    began, samples = time.monotonic(), []
    while (now := time.monotonic()) < until:
        samples.append(((now - began) / 60, memory_mb(pid)))
        time.sleep(min(every, max(until - now, 0.01)))
    return samples


def print_answers(tally: Tally, minutes: float) -> Counter[int]:
    """Print how often each kind got which status; how often each status came, 0 for a client that left."""
    by_status: Counter[int] = Counter()
    for (_, status), n in tally.statuses.items():
        by_status[status] += n
    columns = sorted(by_status)
    print("| kind | " + " | ".join(map(str, columns)) + " |\n| --- |" + " ---: |" * len(columns))
    for kind in KINDS:
        print(f"| {kind} | " + " | ".join(str(tally.statuses[kind, status] or "") for status in columns) + " |")
    total = f"all, {by_status.total()} in {minutes:g} minutes"
    print(f"| {total} | " + " | ".join(str(by_status[status]) for status in columns) + " |")
    return by_status


def print_memory(samples: list[tuple[float, float]], minutes: float) -> float:
    """Print the memory minute by minute; by how many percent it has grown since the first."""

    def at(minute: float) -> float:
        return min(samples, key=lambda sample: abs(sample[0] - minute))[1]

    print("\n| minute | MB |\n| ---: | ---: |")
    for minute in range(int(minutes) + 1):
        print(f"| {minute} | {at(minute):.1f} |")
    first, last = at(min(1, minutes / 2)), at(minutes)
    percent = 100 * (last - first) / first
    print(f"\nmemory since the first minute: {first:.1f} to {last:.1f} MB, {last - first:+.1f} MB, {percent:+.1f} %")
    print(f"in the second half: {at(minutes / 2):.1f} to {last:.1f} MB")
    return percent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", nargs="?", default="proto_resnet20_cifar.nonl_cifar10")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=4, help="threads, each with one request at a time")
    parser.add_argument(
        "--allow-growth", type=float, default=5, metavar="PERCENT", help="of memory since the first minute"
    )
    parser.add_argument("--every", type=float, default=5, metavar="SECONDS", help="between two looks at the memory")
    args = parser.parse_args()
    dim = Bundle.open(find(args.bundle)).prototypes.shape[1]
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder, server(args.bundle, Path(folder)) as (pid, url):
        until = time.monotonic() + 60 * args.minutes
        clients = [
            threading.Thread(target=ask, args=(url, dim, seed, until, tally), daemon=True)
            for seed in range(args.clients)
        ]
        for client in clients:
            client.start()
        samples = watch(pid, until, args.every)
        for client in clients:
            client.join(90)
    by_status = print_answers(tally, args.minutes)
    growth = print_memory(samples, args.minutes)
    failed = sum(n for status, n in by_status.items() if status >= 500 and status != 503)
    print(f"5xx but 503: {failed}; 503: {by_status[503]}; wrong answers: {', '.join(tally.wrong()) or 'none'}")
    sys.exit(1 if failed or tally.wrong() or growth > args.allow_growth else 0)


if __name__ == "__main__":
    main()
