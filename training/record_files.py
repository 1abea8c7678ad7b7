"""Files of records: read, refused before the work where they cannot be written, and written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from zoo.errors import ProtozooError
from zoo.files import check_writable, write_atomically


def out_option(help_text: str) -> Callable[..., Any]:
    """The option ``--out`` of a command that measures: a file that is found to be writable before anything else."""

    def check(_context: click.Context, _option: click.Parameter, path: Path | None) -> Path | None:
        if path is not None:
            check_writable(path)
        return path

    kind = click.Path(path_type=Path, dir_okay=False)
    return click.option("--out", type=kind, callback=check, help=help_text)


def write_record(path: Path | None, record: Mapping[str, Any]) -> None:
    """Replace a file by a record as JSON; None: nothing is written.

    Raises:
        ProtozooError: it cannot be written, although it could be before: the disk has become full, for instance.
    """
    if path is None:
        return
    try:
        write_atomically(path, (json.dumps(record, indent=2) + "\n").encode())
    except OSError as error:
        raise ProtozooError(f"{path} cannot be written ({error.strerror}): make room or choose another file") from error


def read_record(path: Path) -> dict[str, Any]:
    """A record that a command has written to a file.

    Raises:
        ProtozooError: the file is missing or holds something else.
    """
    try:
        record = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ProtozooError(f"{path} cannot be read as JSON ({error}): give a file that --out has written") from error
    if not isinstance(record, dict):
        raise ProtozooError(f"{path} holds no record: give a file that --out has written")
    return record
