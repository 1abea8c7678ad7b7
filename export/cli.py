"""The commands ``export`` and ``verify``. Torch is imported when they run, not when they are listed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.errors import ProtozooError

if TYPE_CHECKING:
    from export.verify import FileReport

_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)


@click.command()
@click.argument("source")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the bundle; must not exist.")
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    type=click.Choice(["float16", "int8"]),
    help="Write model.fp16.onnx or model.int8.onnx too; may be given twice. model.onnx is always float32.",
)
@click.option(
    "--calibrate", type=_FOLDER, help="Images, at any depth, that int8 takes its ranges from, or --plain its scale."
)
@click.option(
    "--data",
    type=_FOLDER,
    help="Labelled images (<class>/, test/<class>/ or val/<class>/) on which int8 may lose one point of accuracy.",
)
@click.option(
    "--repeat",
    "repeats",
    multiple=True,
    type=_FOLDER,
    help="A run of the same recipe and data with another seed, for means and deviations in the card; several times.",
)
@click.option(
    "--plain",
    is_flag=True,
    help="Not a bundle, but a model of timm's own with the same answers, for timm and transformers without protozoo.",
)
def export(
    source: str,
    out: Path,
    precisions: tuple[str, ...],
    calibrate: Path | None,
    data: Path | None,
    repeats: tuple[Path, ...],
    plain: bool,
) -> None:
    """Write the bundle of SOURCE, a folder that `protozoo train` finished.

    SOURCE may also be a bundle, a zoo name or hf-hub:owner/name, whose ONNX files are then written anew. A file whose
    answers are too far from torch's is refused, and nothing is written.

    Example: protozoo export runs/digits --out digits-bundle --precision float16
    """
    from export.bundle import export_bundle, export_run
    from export.variants import Variants
    from zoo.bundle import Bundle, find

    is_run = Path(source).is_dir() and not (Path(source) / "SHA256SUMS").exists()
    if repeats and (plain or not is_run):
        raise ProtozooError("--repeat is for the bundle of a run: give the run as SOURCE, without --plain")
    if plain:
        if precisions or data:
            raise ProtozooError("--plain writes no ONNX: leave --precision and --data out, or export a second time")
        _export_plain(source, is_run, out, calibrate)
        return
    variants = Variants(precisions, calibrate, data)
    if is_run:
        bundle = export_run(Path(source), out, variants, repeats)
    else:
        bundle = export_bundle(Bundle.open(find(source)), out, variants)
    click.echo(f"{bundle.name}: {len(bundle.labels)} classes, written to {out}")
    for row in bundle.record["onnx"]:
        click.echo(f"{row['file']}: {row['bytes'] / 1e6:.2f} MB, {_measured(row['measured'])}")


def _export_plain(source: str, is_run: bool, out: Path, calibrate: Path | None) -> None:
    from export.plain import Source, export_plain
    from zoo.bundle import Bundle, find
    from zoo.bundle.foreign import FOLDED_FROM

    model = Source.of_run(Path(source)) if is_run else Source.of_bundle(Bundle.open(find(source)))
    config = export_plain(model, out, calibrate)
    folded, apart = config[FOLDED_FROM], config[FOLDED_FROM]["probability_difference"]
    click.echo(f"{folded['name']} as timm's {config['architecture']}, written to {out}")
    click.echo(f"the same class on {folded['checked_images']} of {folded['checked_images']} images")
    click.echo(f"its probability differs by {apart['mean']} on average, on {folded['scaled_on']}")


def _measured(measured: dict[str, float]) -> str:
    parts = [f"embeddings within {measured['embeddings']:.1e} of torch's"]
    if "top1" in measured:
        parts.append(f"accuracy {100 * measured['top1']:.2f} % (torch: {100 * measured['top1_torch']:.2f} %)")
    if "top1_agreement" in measured:
        parts.append(f"{100 * measured['top1_agreement']:.2f} % of {measured['images']} images in torch's class")
    return ", ".join(parts)


@click.command()
@click.argument("bundle")
@click.option("--data", type=_FOLDER, help="Labelled images (<class>/, test/<class>/, val/<class>/): compare top-1.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", help="Where ONNX Runtime computes.")
def verify(bundle: str, data: Path | None, device: str) -> None:
    """Check every digest of BUNDLE, and compare its golden outputs and every ONNX file with torch.

    BUNDLE is a folder, a zoo name or hf-hub:owner/name. Allowed are differences of 1e-5 in float32 and of 2e-3 in
    float16, and with --data a loss of 1 point of accuracy in int8.

    Example: protozoo verify digits-bundle
    """
    from export.evaluation import labelled_files
    from export.verify import TOLERANCE, verify_bundle, verify_files
    from zoo.bundle import Bundle, find

    opened = Bundle.open(find(bundle))
    files = None if data is None else labelled_files(data, opened.labels, opened.preprocessing)
    click.echo(f"{opened.name}: {len(opened.sha256)} files match SHA256SUMS")
    click.echo(f"{'largest difference':<30}{'embeddings':>12}{'cosines':>12}")
    for apart in verify_bundle(opened):
        click.echo(f"{apart.what:<30}{apart.embeddings:>12.1e}{apart.cosines:>12.1e}")
    click.echo(f"all within {TOLERANCE:.0e}")
    click.echo("")
    if files is not None:
        click.echo(f"on {len(files.files)} labelled images of {data}")
    heads = ("embeddings", "cosines", "MB", "images/s", *(("agreement", "accuracy") if data else ()))
    click.echo(f"{'beside torch on the CPU':<30}" + "".join(f"{head:>12}" for head in heads))
    for report in verify_files(opened, files, device):
        click.echo(_line(report))
    unjudged = data is None and "int8" in opened.onnx_paths
    click.echo("verified" + (", but for int8, whose accuracy needs --data" if unjudged else ""))


def _line(report: FileReport) -> str:
    measured = report.measured
    shares = [share for share in (measured.agreement, measured.accuracy) if share is not None]
    return (
        f"{measured.what:<30}{measured.embeddings:>12.1e}{measured.cosines:>12.1e}{report.bytes / 1e6:>12.2f}"
        f"{report.speed:>12.0f}" + "".join(f"{100 * share:>10.2f} %" for share in shares)
    )
