"""Can this be served here? A process of its own leaves nothing on the device."""

from __future__ import annotations

import sys

import click

from serving.engine import Engine
from serving.enrolled import open_store
from serving.settings import Settings
from serving.tracing import check_exporter
from zoo.bundle import Bundle, ProtozooError, find


def check(settings: Settings) -> None:
    """Open bundle and database, look for the exporter of traces, and run the golden images on the device.

    Raises:
        ProtozooError: it cannot be served; says why.
    """
    check_exporter()
    bundle = Bundle.open(find(settings.bundle))
    Engine(bundle, settings.device, settings.gpu)
    open_store(settings, bundle).close()


def main() -> int:
    """Check what the environment names; print one line and return 2 where it cannot be served."""
    try:
        check(Settings.from_environment())
    except ProtozooError as error:
        click.echo(f"protozoo: {error}", err=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
