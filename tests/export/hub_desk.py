"""Somebody at a command line, with a cache and a token, before a double of the Hub.

The commands run one after the other in one process, since half of what they take is to import huggingface_hub.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.hub_double import TOKEN, HubDouble, environment

_WORKER = """
import json, os, sys, time
from pathlib import Path

time.sleep = lambda seconds: None  # on loopback there is nothing to wait for between two attempts
from export import hub_cli
from zoo.cli import run_command

answers = os.fdopen(os.dup(1), "w")
for line in sys.stdin:
    os.environ["HF_TOKEN"], command, *words = json.loads(line)
    sys.argv[1:] = words
    for stream, path in ((1, sys.argv[0] + "out"), (2, sys.argv[0] + "err")):
        with open(path, "w") as file:
            os.dup2(file.fileno(), stream)
    try:
        run_command(getattr(hub_cli, command), "protozoo " + command)
    except SystemExit as end:
        status = end.code
    sys.stdout.flush()
    sys.stderr.flush()
    said = [Path(sys.argv[0] + name).read_text() for name in ("out", "err")]
    print(json.dumps([status, *said, sorted({"torch", "timm"} & set(sys.modules))]), file=answers, flush=True)
"""


@dataclass
class Desk:
    """Runs ``push`` and ``pull`` against ``hub``."""

    hub: HubDouble
    home: Path
    requests: IO[str]
    answers: IO[str]

    def run(self, command: str, *words: str | Path, status: int = 0, token: str = TOKEN) -> str:
        """Standard output of a command that succeeds, or the one line of one that ends with ``status``.

        The token is in neither, and nothing has imported torch.
        """
        print(json.dumps([token, command, *map(str, words)]), file=self.requests, flush=True)
        ended, out, err, loaded = json.loads(self.answers.readline())
        assert ended == status, out + err
        assert loaded == []
        assert not token or token not in out + err
        assert "Traceback" not in err
        last: str = err.splitlines()[-1] if status else out
        assert not status or last.startswith("protozoo: "), err
        return last


@contextmanager
def open_desk(folder: Path, hub: HubDouble, **variables: str) -> Iterator[Desk]:
    """A desk whose cache and outputs are in ``folder``."""
    variables = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_OFFLINE": "0", **variables}
    script = folder / "worker.py"
    script.write_text(_WORKER)
    with subprocess.Popen(
        [sys.executable, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(hub, folder / "home", PYTHONPATH=str(Path(__file__).parents[2]), **variables),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Desk(hub, folder / "home", process.stdin, process.stdout)


def contents(folder: Path) -> dict[str, bytes]:
    """File name -> bytes."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
