"""``python -m serving BUNDLE``: ``protozoo serve`` without the other commands."""

from __future__ import annotations

import sys

import click

from serving.cli import serve
from zoo.bundle import ProtozooError


def main() -> None:
    """Run the command; a user's mistake is one line and exit status 2."""
    try:
        serve(prog_name="python -m serving")
    except ProtozooError as error:
        click.echo(f"protozoo: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
