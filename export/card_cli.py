"""The command ``card``. The template is read when it runs, not when it is listed; torch is not needed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from zoo.bundle import Bundle


@click.command()
@click.argument("bundle")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write; replaced where it exists.")
@click.option("--into", type=click.Path(path_type=Path), help="Write BUNDLE again into a new folder, with this card.")
@click.option("--check", is_flag=True, help="Write nothing; fail where README.md (with --out, that file) is another.")
def card(bundle: str, out: Path | None, into: Path | None, check: bool) -> None:
    """Print the model card of BUNDLE, rendered from its record alone, as Markdown.

    BUNDLE is a folder, a zoo name or hf-hub:owner/name. In a file of --out, pictures are linked to the bundle's folder;
    for a bundle in the Hub's cache, which has no place beside it, they are left out.

    Example: protozoo card digits-bundle --out model_cards/digits.md
    """
    from zoo.bundle import Bundle, find

    if into is not None and (check or out is not None):
        raise click.UsageError("--into writes a bundle: give it alone")
    opened = Bundle.open(find(bundle))
    if check:
        _check(opened, out)
    elif into is not None:
        _rewrite(opened, into)
    elif out is not None:
        _write(opened, out)
    else:
        from export.card import render_card

        click.echo(render_card(opened.config), nl=False)


def _check(bundle: Bundle, out: Path | None) -> None:
    from export.card import render_card
    from zoo.errors import ProtozooError

    file = bundle.path / "README.md" if out is None else out
    rendered = render_card(bundle.config) if out is None else _beside(bundle, out)
    if not file.is_file() or file.read_bytes() != rendered.encode():
        remedy = "give --into for a bundle that has it" if out is None else "leave out --check to write it"
        raise ProtozooError(f"{file} is not the card that this version renders from {bundle.name}'s record: {remedy}")
    click.echo(f"{file} is the card of {bundle.name}'s record")


def _rewrite(bundle: Bundle, into: Path) -> None:
    from export.bundle import rewrite_card

    click.echo(f"{rewrite_card(bundle, into).name}: written to {into}")


def _write(bundle: Bundle, out: Path) -> None:
    from zoo.errors import ProtozooError
    from zoo.files import write_atomically

    try:
        write_atomically(out, _beside(bundle, out).encode())
    except OSError as error:
        raise ProtozooError(f"{out} cannot be written ({error.strerror}): choose another --out") from error
    click.echo(f"written: {out}")


def _beside(bundle: Bundle, out: Path) -> str:
    """The card as a file of its own, with links from there to the bundle's pictures."""
    from export.card import render_card

    folder = bundle.path.resolve()
    if any(part.startswith("models--") for part in folder.parts):
        return render_card(bundle.config, pictures=None)
    return render_card(bundle.config, pictures=Path(os.path.relpath(folder, out.resolve().parent)).as_posix() + "/")
