"""Becoming ``bentoml serve``: what must be right before, and the environment that it needs."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from serving.settings import MIB, Settings, variable
from zoo.bundle import ProtozooError, find

TARGET = "serving.service:Protozoo"
DRAIN_SECONDS = 30
CHECK_PID = "PROTOZOO_CHECK_PID"
"""Set where a check was begun before BentoML was: the process to wait for."""

# An absolute path begins with a fourth slash, what is in memory with a colon.
_RELATIVE = re.compile(r"(sqlite(?:\+\w+)?:///)([^/:].*)")
_HOME = Path(__file__).resolve().parent.parent
# Inside of a Bento these packages are not installed; and the working directory is the user's, with anything in it.
_CHECK = "import sys; sys.path[0] = sys.argv[1]; from serving.check import main; sys.exit(main())"


def launch(
    bundle: str,
    *,
    host: str,
    port: int,
    device: str | None = None,
    workers: int | None = None,
    max_body_mib: int | None = None,
) -> NoReturn:
    """Replace this process by BentoML's server, so that signals and exit status are its own.

    Whether the bundle can be served is found out while BentoML starts, which ends with status 2 where it cannot.
    ``workers`` are the processes that answer, each with the model; None leaves BentoML's own settings as they are.
    What else is None is left to the environment.

    Raises:
        ProtozooError: there is no such bundle, a setting is wrong, or the port cannot be used.
    """
    folder = find(bundle).resolve()
    address = bindable(host, port)
    shown = f"[{address}]" if ":" in address else address
    environment = {
        "BENTOML_DO_NOT_TRACK": "True",
        **os.environ,
        variable("bundle"): str(folder),
        variable("url"): f"http://{shown}:{port}",
    }
    if device is not None:
        environment[variable("device")] = device
    if max_body_mib is not None:
        environment[variable("max_body_bytes")] = str(max_body_mib * MIB)
    if workers is not None:
        environment["BENTOML_CONFIG_OPTIONS"] = with_workers(os.environ.get("BENTOML_CONFIG_OPTIONS", ""), workers)
    _stay_here(environment)
    Settings.from_environment(environment)
    sys.stdout.flush()
    sys.stderr.flush()
    environment[CHECK_PID] = str(begin_check(environment))
    # From the folder that holds this package: a `serving` or `zoo` of the user's in the working directory would be
    # imported in its place.
    os.chdir(_HOME)
    arguments = [sys.executable, "-m", "bentoml", "serve", TARGET, "--working-dir", str(_HOME)]
    arguments += ["--host", address, "--port", str(port), "--timeout-graceful-shutdown", str(DRAIN_SECONDS)]
    os.execve(sys.executable, arguments, environment)


def _stay_here(environment: dict[str, str]) -> None:
    """Make names of files absolute: BentoML is started in another folder, where a relative one names another file."""
    configuration = environment.get("BENTOML_CONFIG", "")
    if configuration:
        environment["BENTOML_CONFIG"] = str(Path(configuration).expanduser().absolute())
    database = environment.get(variable("database"), "").strip()
    if relative := _RELATIVE.fullmatch(database):
        environment[variable("database")] = f"{relative[1]}{Path(relative[2]).absolute()}"


def begin_check(environment: Mapping[str, str]) -> int:
    """Begin to find out, in a process of its own, whether what ``environment`` names can be served; its id."""
    return subprocess.Popen([sys.executable, "-c", _CHECK, str(_HOME)], env=environment).pid


def finish_check() -> None:
    """Wait for the check that came with the environment, or else for a new one.

    Raises:
        SystemExit: it cannot be served, as the check has said.
    """
    pid = int(os.environ.pop(CHECK_PID, 0)) or begin_check(os.environ)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        sys.exit(status)


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
