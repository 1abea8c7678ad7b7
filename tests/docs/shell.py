"""What a reader would type into a terminal: ``protozoo`` in this process, a service beside it, the rest by bash."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import click
from click.testing import CliRunner

from zoo.cli import protozoo

_ASSIGNMENT = re.compile(r"[A-Z_][A-Z0-9_]*=.*")
_PORT = re.compile(r"(?<=127\.0\.0\.1:)3000\b")
_SECONDS = 60
_BESIDE = {"push", "pull"}  # read where the Hub is when they are imported
_BASH = {"|", ">", ">>", "&&", "||"}


def commands(source: str) -> Iterator[str]:
    """The lines of a shell block, continued ones joined, without those that are only a comment."""
    for line in re.sub(r"\\\n\s*", "", source).splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


def console(source: str) -> Iterator[tuple[str, str]]:
    """(command, output) of a block in which commands begin with ``$``."""
    for part in re.split(r"^\$ ", re.sub(r"\\\n\s*", "", source), flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def check_options(line: str) -> None:
    """Whether ``protozoo`` has the command and the options of a line that is not run.

    Raises:
        click.UsageError: it has not.
    """
    words = re.sub(r"^.*-m training ", "protozoo train ", line)
    words = re.sub(r"\{([^,}]+),[^}]*\}", r"\1", words)  # of alternatives the first
    if not re.match(r"(\S+=\S+ )*protozoo ", words):
        return
    arguments = shlex.split(words, comments=True)
    arguments = arguments[arguments.index("protozoo") + 1 :]
    command: click.Command = protozoo
    context = click.Context(command, info_name="protozoo")
    while isinstance(command, click.Group) and arguments:
        name, found, arguments = command.resolve_command(context, arguments)
        assert found is not None
        command, context = found, click.Context(found, info_name=name, parent=context)
    if "--help" not in arguments:
        command.make_parser(context).parse_args(arguments)


class Shell:
    """Commands run in a folder, with an environment of its own, and at most one service at a time."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder = folder
        self._environment = {**environment, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        self._service: subprocess.Popen[bytes] | None = None
        self._port = _free_port()

    def at_home(self, source: str) -> str:
        """The source with this shell's port in the place of 3000."""
        return _PORT.sub(str(self._port), source)

    def run(self, line: str) -> str:
        """Run one line and return what it prints.

        Raises:
            Exception: it fails.
        """
        line = self.at_home(line)
        words = shlex.split(line, comments=True)
        given = dict(word.split("=", 1) for word in words if _ASSIGNMENT.fullmatch(word))
        words = [word for word in words if not _ASSIGNMENT.fullmatch(word)]
        if words[:2] == ["protozoo", "serve"]:
            check_options(line)
            self._serve(words[2:], given)
            return ""
        if words[0] == "protozoo" and not set(words) & (_BESIDE | _BASH):
            runner = CliRunner(env=given)
            return runner.invoke(protozoo, words[1:], catch_exceptions=False, standalone_mode=False).stdout
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line],
            cwd=self._folder,
            env={**os.environ, **self._environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
        )
        assert done.returncode == 0, f"{line}: status {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def _serve(self, words: list[str], given: dict[str, str]) -> None:
        self.close()
        words = [word for word in words if word not in ("--port", "3000")]
        log = self._folder / "service.log"
        with log.open("wb") as output:
            self._service = subprocess.Popen(
                ["protozoo", "serve", *words, "--port", str(self._port)],
                cwd=self._folder,
                env={**os.environ, **self._environment, **given},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline and self._service.poll() is None:
            try:
                with urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=2):
                    return
            except (URLError, OSError):
                time.sleep(0.1)
        raise AssertionError(f"the service did not get ready:\n{log.read_text()}")

    def close(self) -> None:
        """End the service."""
        if self._service is not None and self._service.poll() is None:
            self._service.terminate()
            self._service.wait(_SECONDS)
        self._service = None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
