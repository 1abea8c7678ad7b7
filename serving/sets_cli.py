"""``protozoo sets``: what an operator does with the prototype sets that were enrolled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from serving.sets import SetInfo, SetStore
    from serving.sets.archive import Archive
    from serving.sets.reembed import Embed
    from serving.settings import Settings
    from zoo.bundle import Bundle
    from zoo.exporter import EnrolledClasses

_DATABASE = click.option(
    "--database",
    metavar="URL",
    help="sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME.  [default: PROTOZOO_DATABASE, else the user's own]",
)
_MODEL = click.option(
    "--model", required=True, metavar="BUNDLE", help="A folder, a pretrained model of the zoo or hf-hub:owner/name."
)


@click.group()
def sets() -> None:
    """List, export, import and renew the prototype sets that a service has enrolled.

    The service may go on running meanwhile.

    Example: protozoo sets export garden --model my-bundle --out garden-bundle
    """


@sets.command("list")
@_DATABASE
def list_(database: str | None) -> None:
    """List the sets with the model that each was enrolled with.

    Example: protozoo sets list --database sqlite:///sets.sqlite
    """
    with _opened(database) as store:
        found = store.list_sets()
    click.echo(_table(found) if found else "no prototype set was enrolled yet")


@sets.command()
@click.argument("name")
@click.option(
    "--out", required=True, metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Must not exist."
)
@_DATABASE
def dump(name: str, out: Path, database: str | None) -> None:
    """Write the set NAME with its examples and kept images to a file, readable by you alone.

    Example: protozoo sets dump birds --out birds.safetensors
    """
    with _opened(database) as store:
        _write_new(out, store.dump(name))
    click.echo(f"{name}: written to {out}")


@sets.command("import")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--name", help="Of the new set.  [default: the one in FILE]")
@_DATABASE
def import_(file: Path, name: str | None, database: str | None) -> None:
    """Create a set from FILE, which `protozoo sets dump` wrote.

    Example: protozoo sets import birds.safetensors --name birds-2
    """
    from zoo.bundle import ProtozooError

    try:
        data = file.read_bytes()
    except OSError as error:
        raise ProtozooError(f"{file} cannot be read: {error.strerror}") from error
    with _opened(database, create=True) as store:
        info = store.load(data, name=name)
    click.echo(f"{info.name}: {_counted(info.classes, info.examples)}")


@sets.command()
@click.argument("name")
@_MODEL
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the bundle; must not exist.")
@_DATABASE
def export(name: str, model: str, out: Path, database: str | None) -> None:
    """Write a bundle whose classes are those of the set NAME, and whose encoder is that of the model it is bound to.

    It is served, verified and pushed like any other. Nothing in it was measured but thresholds for unknown images,
    where the set has examples enough; its temperature is the model's.

    Example: protozoo sets export birds --model ./my-bundle --out birds-bundle
    """
    from serving.sets.archive import unpack_archive
    from zoo.bundle import Bundle, ProtozooError, find
    from zoo.exporter import export_set
    from zoo.files import check_free

    check_free(out)
    base = Bundle.open(find(model))
    with _opened(database) as store:
        classes = _classes(unpack_archive(store.dump(name)), base)
    try:
        bundle = export_set(base, classes, out, _recorded(name, model))
    except OSError as error:
        raise ProtozooError(f"{out} cannot be written ({error.strerror}): choose another --out") from error
    click.echo(f"{bundle.name}: {_counted(len(bundle.labels), len(classes.embeddings))}, written to {out}")
    for row in bundle.record["open_set"]["thresholds"]:
        click.echo(f"cosine {row['cosine']:+.4f} lets {row['fpr']:.0%} of the examples pass for another class")
    click.echo("not measured: accuracy and calibration; `protozoo evaluate` does so on labelled images")


@sets.command()
@click.argument("name")
@_MODEL
@_DATABASE
def reembed(name: str, model: str, database: str | None) -> None:
    """Embed the kept images of the set NAME by another model, to which it is bound from then on.

    Every image must have been kept (keep=images). Running services of the old model refuse the set afterwards.

    Example: protozoo sets reembed birds --model ./my-next-bundle
    """
    from zoo.bundle import Bundle, find

    bundle = Bundle.open(find(model))
    with _opened(database, bundle) as store:
        info = store.reembed(name, _embedder(bundle, _settings()))
    click.echo(f"{name}: {_counted(info.classes, info.examples)}, embedded by {bundle.name}")


def _settings() -> Settings:
    """The service's settings; which bundle it serves does not matter here."""
    import os

    from serving.settings import Settings, variable

    return Settings.from_environment({**os.environ, variable("bundle"): "none"})


@contextmanager
def _opened(database: str | None, bundle: Bundle | None = None, *, create: bool = False) -> Iterator[SetStore]:
    """The sets of a database; without a bundle for what asks for no model's embeddings."""
    from serving.enrolled import set_limits
    from serving.sets import ModelKey, SetStore
    from serving.sets.connect import location, parse_url
    from zoo.bundle import ProtozooError

    settings = _settings()
    text = database or settings.database or None
    url = parse_url(text)
    if not create and url.get_backend_name() == "sqlite" and not Path(str(url.database)).is_file():
        raise ProtozooError(
            f"{location(url)}: there is no such database; name the one of the service by --database or "
            "PROTOZOO_DATABASE"
        )
    key = ModelKey("", 0) if bundle is None else ModelKey(bundle.weights_sha256, bundle.prototypes.shape[1])
    store = SetStore.open(text, key, set_limits(settings))
    try:
        yield store
    finally:
        store.close()


def _write_new(path: Path, data: bytes) -> None:
    """Write a file at once, for its owner alone, and never over another."""
    import os
    import tempfile

    from zoo.bundle import ProtozooError

    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            os.link(file.name, path)  # which, unlike a rename, replaces nothing
    except FileExistsError:
        raise ProtozooError(f"{path} exists already: remove it or choose another file") from None
    except OSError as error:
        raise ProtozooError(f"{path} cannot be written ({error.strerror}): choose another file") from error


def _classes(archive: Archive, base: Bundle) -> EnrolledClasses:
    """The classes of a set of this model.

    Raises:
        ProtozooError: it is another model's, or has too few classes for a bundle.
    """
    import numpy as np

    from serving.sets.embeddings import class_sums, prototypes
    from zoo.bundle import ProtozooError
    from zoo.exporter import EnrolledClasses

    own = archive.model.weights_sha256
    if own != base.weights_sha256:
        raise ProtozooError(
            f"the prototype set {archive.name!r} was enrolled with the weights {own[:12]}, and {base.name} has "
            f"{base.weights_sha256[:12]}: give its own model, or run `protozoo sets reembed` first"
        )
    if len(archive.labels) < 2:
        raise ProtozooError(
            f"the prototype set {archive.name!r} has {_counted(len(archive.labels), len(archive.embeddings))}, and a "
            "bundle needs two classes or more: enrol another"
        )
    owners = np.repeat(np.arange(len(archive.labels)), archive.counts)
    rows = prototypes(class_sums(archive.embeddings, owners, len(archive.labels)))
    return EnrolledClasses(archive.name, archive.labels, rows, archive.embeddings, owners)


def _recorded(name: str, model: str) -> str:
    """The command for the record: without the database, and with a folder's name, not where it stands."""
    import shlex

    shown = Path(model).name if Path(model).expanduser().is_dir() else model
    return shlex.join(["protozoo", "sets", "export", name, "--model", shown, "--out", "BUNDLE"])


def _embedder(bundle: Bundle, settings: Settings) -> Embed:
    """From files to embeddings, as the service makes them."""
    import numpy as np
    from numpy.typing import NDArray

    from serving.decoder import Decoder
    from serving.engine import Engine
    from serving.errors import ServingError
    from serving.lane import EngineError
    from zoo.bundle import ProtozooError

    engine = Engine(bundle)
    decoder = Decoder(bundle.preprocessing, max_pixels=settings.max_pixels, threads=1, max_pending=1)

    def embed(images: list[bytes]) -> NDArray[np.float32]:
        try:
            return engine.run([decoder.decode(data) for data in images]).embeddings
        except (ServingError, EngineError) as error:
            raise ProtozooError(f"a kept image cannot be embedded by {bundle.name}: {error}") from error

    return embed


def _table(infos: list[SetInfo]) -> str:
    header = ("name", "weights", "classes", "examples", "kept images", "updated")
    rows = [
        (
            info.name,
            info.model.weights_sha256[:12],
            str(info.classes),
            str(info.examples),
            f"{info.image_bytes / 1e6:.2f} MB" if info.image_bytes else "-",
            f"{info.updated:%Y-%m-%d %H:%M:%S} UTC",
        )
        for info in infos
    ]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows))
    return "\n".join(line.rstrip() for line in lines)


def _counted(classes: int, examples: int) -> str:
    return f"{classes} class{'es' * (classes != 1)}, {examples} example{'s' * (examples != 1)}"
