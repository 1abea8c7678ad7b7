"""What the service costs, beside a bare Starlette app, LitServe and BentoML's own batching, in one run.

    pip install '.[bench]'
    python -m benchmarks.serving                    # ratios on the CPU; leave the machine alone for ten minutes
    python -m benchmarks.serving --device cuda      # the service alone: images a second, GPU use, provider

Closed-loop clients, each a process, send 40 different JPEGs of about 105 KB; the model is a ResNet-18 at 224 x 224 of
random weights. The servers take turns, round after round; a figure is the median over the rounds. Then the service with
a model that does nothing, its start, and its memory. Ends with 1 where a goal was missed. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.processes import cpu_seconds, ended, family, free_port, memory_mb, wait_until_ready
from benchmarks.serving_load import Load, form, load, photographs
from tests.tiny_bundle import make_tiny_bundle
from zoo.bundle import Bundle

HOME = Path(__file__).resolve().parent.parent
CLIENTS = (1, 8, 32)


@dataclass(frozen=True)
class Kind:
    """How a server is started and asked: arguments before bundle and port, path, name of the file in the form."""

    module: str
    path: str
    ready: str
    field: str
    port_option: tuple[str, ...] = ()


OWN, BARE = "protozoo", "Starlette, same batcher"
KINDS = {
    OWN: Kind("serving", "/v1/classify", "/readyz", "image", ("--port",)),
    BARE: Kind("benchmarks.rivals.starlette_app", "/classify", "/ready", "image"),
    "LitServe": Kind("benchmarks.rivals.litserve_app", "/classify", "/health", "request"),
    "BentoML, adaptive": Kind("benchmarks.rivals.bentoml_app", "/classify", "/readyz", "images"),
}


@dataclass(frozen=True)
class Server:
    """A running server, and the seconds from its start until it was ready."""

    kind: Kind
    pid: int
    port: int
    seconds: float

    def ask(self, images: Sequence[bytes], clients: int, seconds: float) -> Load:
        bodies = [form(image, self.kind.field) for image in images]
        return load(self.port, self.kind.path, bodies, clients=clients, seconds=seconds)


@contextmanager
def running(name: str, bundle: Bundle, folder: Path, device: str = "cpu") -> Iterator[Server]:
    """A server for as long as the block."""
    kind, port = KINDS[name], free_port()
    log = folder / f"log-{port}"
    own = {
        "PYTHONPATH": str(HOME),
        "BENTOML_HOME": str(folder / "bentoml"),
        "PROTOZOO_DATABASE": f"sqlite:///{folder}/sets-{port}.sqlite",
        "PROTOZOO_DEVICE": device,
        "BENTOML_DO_NOT_TRACK": "True",
    }
    options = ("--device", device) if kind.module == "serving" else ()
    command = [sys.executable, "-m", kind.module, str(bundle.path), *kind.port_option, str(port), *options]
    began = time.monotonic()
    with log.open("w") as output:
        process = subprocess.Popen(command, env={**os.environ, **own}, stdout=output, stderr=subprocess.STDOUT)
    with ended(process):
        wait_until_ready(process, f"http://127.0.0.1:{port}{kind.ready}", log)
        yield Server(kind, process.pid, port, time.monotonic() - began)


def resnet18(folder: Path) -> Bundle:
    """A bundle of random weights, 100 classes."""
    # Here and not above: the driver of a benchmark of memory and processes that fork should not hold torch.
    code = "import sys; from benchmarks.random_bundle import write; write('proto_resnet18', sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True, cwd=HOME)
    return Bundle.open(folder)


@dataclass
class Goal:
    """Something that was promised, and whether it was kept."""

    what: str
    figure: str
    kept: bool

    def line(self) -> str:
        return f"| {self.what} | {self.figure} | {'kept' if self.kept else 'MISSED'} |"


def compare(bundle: Bundle, folder: Path, rounds: int, seconds: float) -> list[Goal]:
    """All servers beside each other; prints their table."""
    images = photographs(40)
    print(
        f"{len(images)} JPEGs of {statistics.mean(map(len, images)) / 1000:.0f} KB, {rounds} rounds of {seconds:g} s\n"
    )
    loads: dict[tuple[str, int], list[Load]] = {}
    memory: dict[str, float] = {}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(running(name, bundle, folder)) for name in KINDS}
        for server in servers.values():
            server.ask(images, 32, 2)  # warm
        for turn in range(rounds):
            order = list(servers)[turn % len(servers) :] + list(servers)[: turn % len(servers)]
            for clients in CLIENTS:
                for name in order:
                    loads.setdefault((name, clients), []).append(servers[name].ask(images, clients, seconds))
        after = {name: alone_after_a_burst(server, images, seconds) for name, server in servers.items()}
        memory = {name: memory_mb(server.pid) for name, server in servers.items()}
        starts = {name: server.seconds for name, server in servers.items()}
    print_servers(loads, after, memory, starts)
    return goals(loads, after[OWN], memory[OWN])


def alone_after_a_burst(server: Server, images: Sequence[bytes], seconds: float) -> float:
    """A lone client's median latency after 32 clients, as a ratio to that before."""
    before = server.ask(images, 1, seconds).quantile(0.5)
    server.ask(images, 32, seconds)
    return server.ask(images, 1, seconds).quantile(0.5) / before


def ratio(loads: dict[tuple[str, int], list[Load]], name: str, clients: int, to: str = OWN) -> float:
    """Requests a second of one server to another's, the median over the rounds."""
    pairs = zip(loads[name, clients], loads[to, clients], strict=True)
    return statistics.median(one.rate / other.rate for one, other in pairs)


def middle(loads: Sequence[Load], share: float) -> float:
    return statistics.median(one.quantile(share) for one in loads)


def print_servers(
    loads: dict[tuple[str, int], list[Load]],
    after: dict[str, float],
    memory: dict[str, float],
    starts: dict[str, float],
) -> None:
    """One row a server: requests a second as ratios to protozoo's, latencies in milliseconds."""
    heads = [f"{clients} client{'s' * (clients > 1)}: ratio, p50, p99 (ms)" for clients in CLIENTS]
    columns = ["server", *heads, "lone p50 after a burst", "start (s)", "memory (MB)"]
    print("| " + " | ".join(columns) + " |\n| --- |" + " ---: |" * (len(columns) - 1))
    for name, slower in after.items():
        cells = [
            f"{ratio(loads, name, clients):.2f}, {middle(loads[name, clients], 0.5):.0f}, "
            f"{middle(loads[name, clients], 0.99):.0f}"
            for clients in CLIENTS
        ]
        print("| " + " | ".join([name, *cells, f"x {slower:.2f}", f"{starts[name]:.1f}", f"{memory[name]:.0f}"]) + " |")
    rates = ", ".join(f"{statistics.median(one.rate for one in loads[OWN, clients]):.1f}" for clients in CLIENTS)
    print(f"\n{OWN}: {rates} requests a second\n", flush=True)


def goals(loads: dict[tuple[str, int], list[Load]], after: float, memory: float) -> list[Goal]:
    """Those of the comparison."""
    bare = ratio(loads, OWN, 32, BARE)
    others = {name: ratio(loads, OWN, 32, name) for name in ("LitServe", "BentoML, adaptive")}
    tail = statistics.median(one.quantile(0.99) / one.quantile(0.5) for one in loads[OWN, 8])
    return [
        Goal("32 clients, to the bare Starlette app: at least 0.95", f"{bare:.3f}", bare >= 0.95),
        *(Goal(f"32 clients, to {name}: at least 1", f"{one:.3f}", one >= 1) for name, one in others.items()),
        Goal("one client after a burst: p50 at most 1.15 of before", f"{after:.3f}", after <= 1.15),
        Goal("8 clients: p99 at most 3 x p50", f"{tail:.2f}", tail <= 3),
        Goal("memory of all processes under load: under 400 MB", f"{memory:.0f} MB", memory < 400),
    ]


def cold_starts(bundle: Bundle, folder: Path, count: int = 3) -> Goal:
    """From `protozoo serve` until ready, with nothing else running."""
    seconds = []
    for _ in range(count):
        with running(OWN, bundle, folder) as server:
            seconds.append(server.seconds)
    middle_one = statistics.median(seconds)
    return Goal("start to ready: under 5 s", f"{middle_one:.2f} s", middle_one < 5)


def no_op(folder: Path, seconds: float, rounds: int) -> Goal:
    """A model that does nothing, and pictures of some pixels: what is left is the service."""
    images, bundle = photographs(40, 40, 30), make_tiny_bundle(folder / "no-op")
    rates: dict[str, list[float]] = {}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(running(name, bundle, folder)) for name in (OWN, BARE)}
        for _ in range(rounds):
            for name, server in servers.items():
                before = cpu_seconds(server.pid)
                asked = server.ask(images, 8, seconds)
                rates.setdefault(name, []).append(len(asked.latencies) / (cpu_seconds(server.pid) - before))
    own, bare = (statistics.median(rates[name]) for name in (OWN, BARE))
    figure = f"{own:.0f} ({1000 / own:.2f} ms of CPU each; the bare Starlette app: {bare:.0f})"
    return Goal("a model that does nothing: over 1000 requests a second of one core", figure, own > 1000)


def on_a_gpu(bundle: Bundle, folder: Path, seconds: float) -> None:
    """The service alone: images a second, GPU use, provider."""
    images = photographs(40)
    with running(OWN, bundle, folder, "cuda") as server:
        provider = httpx.get(f"http://127.0.0.1:{server.port}/v1/model").json()["provider"]
        print(f"provider {provider}, ready after {server.seconds:.1f} s, {len(family(server.pid))} processes\n")
        print("| clients | images/s | p50 (ms) | p99 (ms) | GPU use (%) | CPU cores |\n|" + " ---: |" * 6)
        for clients in (1, 8, 32, 128):
            with gpu_use() as samples:
                before = cpu_seconds(server.pid)
                asked = server.ask(images, clients, seconds)
                cores = (cpu_seconds(server.pid) - before) / seconds
            used = f"{statistics.mean(samples):.0f}" if samples else "not told"
            cells = [f"{asked.rate:.0f}", f"{asked.quantile(0.5):.1f}", f"{asked.quantile(0.99):.1f}", used]
            print(f"| {clients} | " + " | ".join([*cells, f"{cores:.1f}"]) + " |", flush=True)


@contextmanager
def gpu_use() -> Iterator[list[float]]:
    """Samples of the first GPU's utilisation, in percent, while the block runs."""
    samples: list[float] = []
    stop = threading.Event()

    def sample() -> None:
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--id=0"]
        while not stop.wait(0.5):
            samples.append(float(subprocess.run(query, capture_output=True, check=True, text=True).stdout))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each server, number of clients and round")
    parser.add_argument("--json", type=Path, help="write the goals here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = resnet18(folder / "resnet18")
        if args.device == "cuda":
            on_a_gpu(bundle, folder, args.seconds)
            return
        kept = [cold_starts(bundle, folder), no_op(folder, args.seconds, args.rounds)]
        kept = [*compare(bundle, folder, args.rounds, args.seconds), *kept]
    print("| goal | measured | |\n| --- | ---: | --- |")
    print("\n".join(goal.line() for goal in kept))
    if args.json:
        args.json.write_text(json.dumps([vars(goal) for goal in kept], indent=1))
    if not all(goal.kept for goal in kept):
        sys.exit(1)


if __name__ == "__main__":
    main()
