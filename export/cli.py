"""The commands ``export`` and ``verify``. Torch is imported when they run, not when they are listed."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the bundle; must not exist.")
def export(run: Path, out: Path) -> None:
    """Write the bundle of RUN, a folder that `protozoo train` finished.

    Example: protozoo export runs/digits --out digits-bundle
    """
    from export.bundle import export_run

    bundle = export_run(run, out)
    click.echo(f"{bundle.name}: {len(bundle.labels)} classes, written to {out}")


@click.command()
@click.argument("bundle")
def verify(bundle: str) -> None:
    """Check every digest of BUNDLE and replay its golden inputs in torch and ONNX Runtime.

    BUNDLE is a folder, a zoo name or hf-hub:owner/name.

    Example: protozoo verify digits-bundle
    """
    from export.verify import TOLERANCE, verify_bundle
    from zoo.bundle import Bundle, find

    opened = Bundle.open(find(bundle))
    click.echo(f"{opened.name}: {len(opened.sha256)} files match SHA256SUMS")
    click.echo(f"{'largest difference':<28}{'embeddings':>12}{'cosines':>12}")
    for difference in verify_bundle(opened):
        click.echo(f"{difference.what:<28}{difference.embeddings:>12.1e}{difference.cosines:>12.1e}")
    click.echo(f"verified: all within {TOLERANCE:.0e}")
