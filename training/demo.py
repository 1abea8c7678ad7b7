"""The command ``demo``: the whole way from a recipe to answers over HTTP, by the commands that a user would type."""

from __future__ import annotations

import io
import itertools
import json
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from zoo.errors import ProtozooError
from zoo.files import check_free

_READY_SECONDS = 90
_SHOWN = ("trace_ratio", "inter_erank", "etf_cosine_error", "weight_alignment", "instance_alignment", "mir", "hdr")


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=None, help="New folder; protozoo-demo by default.")
def demo(out: Path | None) -> None:
    """Train on scikit-learn's digits, compare with cross-entropy, export, verify, serve and ask, in a few minutes.

    Example: protozoo demo
    """
    folder = out or _free_folder()
    check_free(folder)
    bundle = folder / "bundle"
    _protozoo("train", "nonl_digits", "--data", "digits", "--out", folder / "nonl")
    _protozoo("train", "ce_digits", "--data", "digits", "--out", folder / "ce")
    _compare(folder)
    _protozoo("export", folder / "nonl", "--out", bundle)
    _protozoo("verify", bundle)
    with _service(bundle) as url:
        _ask(url)
    click.echo(
        f"\nThe bundle stands in {bundle}. Three commands to try next:\n"
        f"  protozoo serve {bundle}\n"
        "  protozoo predict proto_resnet20_cifar.nonl_cifar10 PICTURE\n"
        "  protozoo train nonl_cifar10 --data YOUR_FOLDER --out runs/mine"
    )


def _free_folder() -> Path:
    names = itertools.chain(["protozoo-demo"], (f"protozoo-demo-{number}" for number in itertools.count(2)))
    return next(path for path in map(Path, names) if not path.exists())


def _command(*words: object) -> list[str]:
    click.secho(f"\n$ protozoo {shlex.join(map(str, words))}", bold=True)
    return [sys.executable, "-m", "zoo", *map(str, words)]


def _protozoo(*words: object) -> None:
    if subprocess.run(_command(*words), check=False).returncode:
        raise ProtozooError(f"the demo stopped: `protozoo {words[0]}` failed, see above")


def _compare(folder: Path) -> None:
    results = {name: json.loads((folder / name / "result.json").read_bytes())["metrics"] for name in ("nonl", "ce")}
    optimum = results["nonl"]["collapse_optimum"]
    click.echo(f"\n{'on the 360 test digits':<24}{'NONL':>10}{'cross-entropy':>16}{'at collapse':>14}")
    accuracies = "".join(f"{results[name]['test_accuracy']:>{width}.2%}" for name, width in (("nonl", 10), ("ce", 16)))
    click.echo(f"{'accuracy':<24}{accuracies}")
    for metric in _SHOWN:
        nonl, ce = (results[name]["test_collapse"][metric] for name in ("nonl", "ce"))
        click.echo(f"{metric:<24}{nonl:>10.4f}{ce:>16.4f}{optimum[metric]:>14.4f}")


@contextmanager
def _service(bundle: Path) -> Iterator[str]:
    """A service of ``bundle`` on a free port of 127.0.0.1, stopped at the end."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (bundle.parent / "service.log").open("wb")
    with log, subprocess.Popen(_command("serve", bundle, "--port", port), stdout=log, stderr=log) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            _wait_until_ready(url, process, bundle.parent / "service.log")
            yield url
        finally:
            process.terminate()
            click.echo(f"\nservice stopped with status {process.wait()}")


def _wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ProtozooError(f"the service ended with status {process.returncode}; its last words stand in {log}")
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2):
                return
        except (urllib.error.URLError, TimeoutError, ConnectionError):
            time.sleep(0.2)
    raise ProtozooError(f"the service was not ready after {_READY_SECONDS} s; its log stands in {log}")


def _ask(url: str) -> None:
    from training.data import digits_split

    _, held_out = digits_split()
    click.echo(f"\nPOST {url}/v1/classify?k=2, six held-out digits:")
    for picture, label in held_out[::60]:
        body = io.BytesIO()
        picture.save(body, "PNG")
        request = urllib.request.Request(
            f"{url}/v1/classify?k=2", data=body.getvalue(), headers={"Content-Type": "image/png"}
        )
        with urllib.request.urlopen(request, timeout=30) as response:
            result: dict[str, Any] = json.loads(response.read())["results"][0]
        certified = "certified nearest" if result["certified"] else "not certified"
        runner_up = result["predictions"][1]
        click.echo(
            f"  a {label}: nearest {result['label']} at {result['angle_deg']:.1f} degrees, {certified}; "
            f"then {runner_up['label']} at cosine {runner_up['cosine']:+.2f}"
        )
