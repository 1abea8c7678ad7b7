"""From runs to picture files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.data import load_data
from training.evaluation import run_model
from training.model_prototypes import prototypes_of
from training.plots.curves import curves_figure
from training.plots.embedding import Map, embedding_figure, embedding_map
from training.plots.figures import to_png
from training.plots.gram import gram, gram_figure
from training.plots.runs import names, read_run
from training.probes import Pretrained, open_pretrained
from zoo.errors import ProtozooError
from zoo.files import write_atomically

Floats = NDArray[np.float64]
SHOWN_IMAGES = 2000


def draw_pictures(paths: Sequence[Path], out: Path, data: str | None, *, say: Callable[[str], None]) -> None:
    """Draw curves.png, of finished runs gram.png, and with ``data`` embedding.png; pictures in ``out`` are replaced.

    Args:
        paths: folders of runs.
        out: folder of the pictures; made where there is none.
        data: what the runs were trained on.
        say: takes lines for the user.

    Raises:
        ProtozooError: a folder is no run, or the runs cannot be drawn together; then nothing is written.
    """
    runs = [read_run(path) for path in {path.resolve(): path for path in paths}.values()]
    titles = names(runs)
    figures = {"curves.png": curves_figure(runs)}
    trained = [(titles[run.path], open_pretrained(str(run.path))) for run in runs if run.finished]
    if trained:
        classes = _common_classes(trained)
        grams = [gram(title, _prototypes(each)) for title, each in trained]
        figures["gram.png"] = gram_figure(grams, classes)
        if data is not None:
            figures["embedding.png"] = embedding_figure([_map(title, each, data) for title, each in trained], classes)
    elif data is not None:
        raise ProtozooError("--data is for embedding.png of finished runs, and none of these is finished: leave it out")
    _write(figures, out, say)
    if unfinished := [str(run.path) for run in runs if not run.finished]:
        say(f"not finished, so in curves.png alone: {', '.join(unfinished)}")


def _common_classes(trained: Sequence[tuple[str, Pretrained]]) -> tuple[str, ...]:
    """The classes of all runs.

    Raises:
        ProtozooError: they are not the same.
    """
    (first, one), *others = trained
    for title, other in others:
        if other.labels != one.labels:
            raise ProtozooError(f"{first} and {title} have classes of different names: draw them one at a time")
    return one.labels


def _prototypes(trained: Pretrained) -> Floats:
    return prototypes_of(trained.model).double().numpy()


def _map(title: str, trained: Pretrained, data: str) -> Map:
    # From the disk: of all images, those that are drawn are decoded.
    images = load_data(data, trained.preprocessing, storage="disk").warn_left_out()
    images = images.for_model(trained.labels, trained.name)
    outputs = run_model(trained.model, images.test.subset(some(len(images.test.labels))), trained.preprocessing)
    return embedding_map(title, outputs.embeddings.double().numpy(), outputs.labels.numpy(), _prototypes(trained))


def some(count: int) -> NDArray[np.int64]:
    """Up to 2,000 of ``count`` indices, in rising order: a random choice, and always the same."""
    return np.sort(np.random.default_rng(0).permutation(count)[:SHOWN_IMAGES])


def _write(figures: Mapping[str, Figure], out: Path, say: Callable[[str], None]) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            write_atomically(out / name, to_png(figure))
            say(f"written: {out / name}")
    except OSError as error:
        raise ProtozooError(f"{out} cannot be written ({error.strerror}): choose another --out") from error
