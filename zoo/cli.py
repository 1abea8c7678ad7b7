"""The command line's door: finds commands, and turns what a user can act on into one line and status 2."""

from __future__ import annotations

import fnmatch
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec

import click

import zoo
from zoo.errors import ProtozooError, ProtozooWarning

_GROUP = "protozoo.commands"


class Commands(click.Group):
    """Commands registered as entry points, by this project or others; imported when they are asked for."""

    def _entry_points(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=_GROUP)}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, sorted."""
        return sorted({*super().list_commands(ctx), *self._entry_points()})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name; a ModuleNotFoundError where the packages it needs are not installed."""
        command = super().get_command(ctx, cmd_name)
        point = self._entry_points().get(cmd_name)
        if command is not None or point is None:
            return command
        loaded: click.Command = point.load()
        return loaded


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(zoo.__version__, prog_name="protozoo")
def protozoo() -> None:
    """Train, export, verify and serve image classifiers whose classes are points on the unit sphere."""


@protozoo.command("list")
@click.argument("pattern", default="*")
@click.option("--pretrained", is_flag=True, help="List weights: their data, test accuracy, size, and where they lie.")
@click.option("--markdown", is_flag=True, help="With --pretrained: all that was measured, as a table in Markdown.")
def list_(pattern: str, pretrained: bool, markdown: bool) -> None:
    """List the zoo's models whose name matches PATTERN, those of packages installed beside it among them.

    Example: protozoo list "*resnet20*" --pretrained
    """
    if markdown and not pretrained:
        raise ProtozooError("--markdown is of weights: add --pretrained")
    if pretrained:
        # Needs no torch, unlike the list of what is registered with timm.
        from zoo.bundle import pretrained_models
        from zoo.listing import markdown_table, pretrained_table

        models = pretrained_models()
        names = fnmatch.filter(sorted(models), pattern)
    else:
        names = zoo.list_models(pattern)
    if not names:
        raise ProtozooError(f"no model matches {pattern!r}; `protozoo list` prints them all")
    if not pretrained:
        click.echo("\n".join(names))
        return
    table = markdown_table if markdown else pretrained_table
    click.echo(table(models[name] for name in names))


@protozoo.command()
@click.argument("bundle")
@click.argument("images", nargs=-1, required=True)
@click.option("-k", type=click.IntRange(min=1), default=5, show_default=True, help="Predictions an image.")
@click.option("--device", default=None, help="Torch device; the CPU by default.")
def predict(bundle: str, images: tuple[str, ...], k: int, device: str | None) -> None:
    """Classify IMAGES by their nearest prototypes in BUNDLE (a folder, a zoo name or hf-hub:owner/name).

    Example: protozoo predict proto_resnet20_cifar.nonl_cifar10 frog.png
    """
    classifier = zoo.load(bundle, device=device)
    for image, predictions in zip(images, classifier.predict(list(images), k=k), strict=True):
        click.echo(image)
        for prediction in predictions:
            click.echo(f"  {prediction.probability:7.2%}  cosine {prediction.cosine:+.3f}  {prediction.label}")


def main() -> None:
    """Entry point of ``protozoo``."""
    run_command(protozoo, "protozoo")


def run_command(command: click.Command, name: str) -> None:
    """Run a command and end the process, with exit status 0 only where the work was done."""
    try:
        with _plain_warnings():
            status = command.main(prog_name=name, standalone_mode=False)
    except ProtozooError as error:
        _fail(str(error), status=error.status)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(2)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see `{context.command_path} --help`)" if context is not None else ""
        _fail(error.format_message().replace("\n", " ") + hint)
    except click.Abort:
        _fail("interrupted; run the same command again to go on", status=130)
    except OSError as error:
        if error.filename is None:  # not about a file of the user's
            raise
        _fail(f"{error.filename}: {error.strerror}")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in {"zoo", "training", "export", "serving"}:
            raise
        top, _, module = (error.name or "").partition(".")
        if module and find_spec(top) is not None:
            _fail(f"this command needs a newer {top}: pip install --upgrade 'protozoo[all]'")
        _fail(f"this command needs the package {error.name}: pip install 'protozoo[all]'")
    else:
        sys.exit(status if isinstance(status, int) else 0)


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Warnings of this project as one line, without the place in the code: whose user types commands knows none."""
    others = warnings.formatwarning

    def formatted(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
    ) -> str:
        if issubclass(category, ProtozooWarning):
            return f"protozoo: {message}\n"
        return others(message, category, filename, lineno, line)

    warnings.formatwarning = formatted
    try:
        yield
    finally:
        warnings.formatwarning = others


def _fail(message: str, status: int = 2) -> None:
    click.echo(f"protozoo: {message}", err=True)
    sys.exit(status)
