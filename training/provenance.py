"""Where a record comes from: what was typed, and the code that ran."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from zoo import __version__
from zoo.files import is_there


def recorded(
    command: str, subject: str, data: str, out: str | None, options: Mapping[str, str] | Sequence[tuple[str, str]]
) -> str:
    """What was typed, as the record has it: with names of files and folders, not where they stand on this machine.

    A folder whose weights the result goes on from is BASE: its name would be that of nothing that anybody else has.
    """
    pairs = options.items() if isinstance(options, Mapping) else options

    def name(word: str, base: bool = False) -> str:
        here = is_there(word)
        return ("BASE" if base else Path(word).name) if here else word

    words = [word for option, value in pairs for word in (f"--{option}", name(value, option == "pretrained"))]
    written = [] if out is None else ["--out", out]
    first = name(subject, command in ("fit", "finetune"))
    return shlex.join(["protozoo", *command.split(), first, "--data", name(data), *written, *words])


def code_revision() -> str:
    """The version, with the commit where the code runs from a git checkout."""
    here = Path(__file__).resolve().parent
    if not (here.parent / ".git").exists():
        return __version__
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=here,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:  # a checkout in an image without git
        return __version__
    return f"{__version__}+g{answer.stdout.strip()}" if answer.returncode == 0 else __version__
