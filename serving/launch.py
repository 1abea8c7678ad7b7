"""Becoming ``bentoml serve``: what must be right before, and the environment that it needs."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

from serving.check import check
from serving.settings import CHECKED, MIB, Settings, variable
from zoo.bundle import ProtozooError, find

TARGET = "serving.service:Protozoo"
DRAIN_SECONDS = 30


def launch(
    bundle: str, *, host: str, port: int, device: str, workers: int | None = None, max_body_mib: int | None = None
) -> NoReturn:
    """Replace this process by BentoML's server, so that signals and exit status are its own.

    ``workers`` are the processes that answer, each with the model; None leaves BentoML's own settings as they are.

    Raises:
        ProtozooError: the bundle is damaged, a setting is wrong, or the port cannot be used.
    """
    folder = find(bundle).resolve()
    address = bindable(host, port)
    shown = f"[{address}]" if ":" in address else address
    environment = {
        "BENTOML_DO_NOT_TRACK": "True",
        **os.environ,
        variable("bundle"): str(folder),
        variable("device"): device,
        variable("url"): f"http://{shown}:{port}",
    }
    if max_body_mib is not None:
        environment[variable("max_body_bytes")] = str(max_body_mib * MIB)
    if workers is not None:
        environment["BENTOML_CONFIG_OPTIONS"] = with_workers(os.environ.get("BENTOML_CONFIG_OPTIONS", ""), workers)
    check(Settings.from_environment(environment))
    environment[CHECKED] = "1"
    # From the folder that holds this package: a `serving` or `zoo` of the user's in the working directory would be
    # imported in its place.
    home = Path(__file__).resolve().parent.parent
    os.chdir(home)
    arguments = [sys.executable, "-m", "bentoml", "serve", TARGET, "--working-dir", str(home)]
    arguments += ["--host", address, "--port", str(port), "--timeout-graceful-shutdown", str(DRAIN_SECONDS)]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, arguments, environment)


def with_workers(options: str, workers: int) -> str:
    """The text of ``BENTOML_CONFIG_OPTIONS`` with a number of workers; of an option given twice the last counts."""
    return f"{options} services.protozoo.workers={workers}".strip()


def bindable(host: str, port: int) -> str:
    """The IP address of ``host``, on which ``port`` is free.

    Raises:
        ProtozooError: there is no such address here, or something listens already.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        raise ProtozooError(f"--host {host}: no such address; give an IP address such as 127.0.0.1") from None
    except OSError as error:
        raise ProtozooError(
            f"cannot listen on {host}:{port} ({error.strerror}): end what listens there or choose another --port"
        ) from None
    return str(address[0])
