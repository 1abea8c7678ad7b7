"""The command ``corruptions``. Torch is imported when it runs, not when it is listed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from training.cli import DATA_HELP
from training.provenance import recorded
from training.record_files import out_option, read_record, write_record

_FILE = click.Path(path_type=Path, dir_okay=False)
_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command()
@click.argument("bundle")
@click.option("--data", required=True, help=DATA_HELP)
@click.option("--corrupted", type=_FOLDER, help="ImageNet-C's folders; without them, corruptions are made from DATA.")
@click.option("--baseline", type=_FILE, help="Record of another model by the same command, for mCE.")
@click.option("--corruption", "corruptions", multiple=True, help="One of the 15, again for more; all by default.")
@click.option("--severity", "severities", multiple=True, type=click.IntRange(1, 5), help="All five by default.")
@click.option("--images", type=click.IntRange(1), help="A random choice of so many, always the same; all by default.")
@click.option("--keep", type=_FOLDER, help="Folder that keeps the images that are made, for the next model.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of what is drawn.")
@click.option("--device", default="cpu", show_default=True, help="Torch device.")
@out_option("JSON file to write the record to.")
def corruptions(
    bundle: str,
    data: str,
    baseline: Path | None,
    corruptions: tuple[str, ...],
    severities: tuple[int, ...],
    out: Path | None,
    **given: Any,
) -> None:
    """Measure BUNDLE's errors on test images of DATA under the 15 corruptions of ImageNet-C, as JSON.

    BUNDLE is a bundle (a folder, a zoo name or hf-hub:owner/name) or the folder of a finished run. Errors stand by
    corruption and severity, with their means; with --baseline also as mCE, relative to the baseline's errors: 1 in
    JSON and 100 % in cards is the baseline's own. The same image, corruption, severity and seed always give the same
    pixels.

    Example: protozoo corruptions proto_resnet20_cifar.nonl_cifar10 --data cifar10-jpeg --images 1000 --out nonl.json
    """
    from training.robustness.record import CorruptionOptions, record_corruptions

    if corruptions:
        given["corruptions"] = corruptions
    if severities:
        given["severities"] = severities
    theirs = None if baseline is None else read_record(baseline)
    command = _command(bundle, data, baseline=baseline, **given)
    record = record_corruptions(bundle, data, CorruptionOptions(**given), baseline=theirs, command=command)
    # Printed first: a disk that has become full does not cost the result.
    click.echo(json.dumps(record, indent=2))
    write_record(out, record)


def _command(bundle: str, data: str, **given: Any) -> str:
    """What was typed, but for where it ran."""
    names = {"corruptions": "corruption", "severities": "severity"}
    words = [
        (names.get(option, option), str(one))
        for option, value in given.items()
        if option not in ("device", "keep") and value is not None and (option, value) != ("seed", 0)
        for one in (value if isinstance(value, tuple) else (value,))
    ]
    return recorded("corruptions", bundle, data, "RECORD", words)
