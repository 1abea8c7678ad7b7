from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.runs import DataInOrder
from training.plot_cli import plot
from training.plots import pictures
from zoo.cli import main, protozoo

MakeRun = Callable[..., Path]
Plot = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run_plot(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Plot:
    """run_plot(word, ...) -> exit status, standard output, standard error of `protozoo plot`."""
    monkeypatch.setitem(protozoo.commands, "plot", plot)

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["protozoo", "plot", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return run


def test_three_pictures_of_1200_pixels_replace_older_ones(
    run_plot: Plot, make_run: MakeRun, colours: Path, tmp_path: Path
) -> None:
    out = tmp_path / "pictures"
    out.mkdir()
    (out / "gram.png").write_text("old")
    runs = [make_run("a", finished=True), make_run("b", finished=True, objective="ce"), make_run("c", seed=1)]
    status, printed, _ = run_plot(*runs, "--out", out, "--data", colours)
    assert status == 0
    assert {path.name for path in out.iterdir()} == {"curves.png", "gram.png", "embedding.png"}
    for path in out.iterdir():
        with Image.open(path) as picture:
            assert (picture.format, picture.width) == ("PNG", 1200)
        assert str(path) in printed
    assert f"not finished, so in curves.png alone: {runs[2]}" in printed


def test_the_same_runs_give_the_same_bytes_and_a_run_given_twice_counts_once(
    run_plot: Plot, make_run: MakeRun, tmp_path: Path
) -> None:
    run = make_run()
    for name, runs in (("one", [run]), ("two", [run, run])):
        assert run_plot(*runs, "--out", tmp_path / name)[0] == 0
    assert (tmp_path / "one/curves.png").read_bytes() == (tmp_path / "two/curves.png").read_bytes()


def test_the_classes_of_the_data_may_stand_in_any_order(
    run_plot: Plot, make_run: MakeRun, colours: Path, tmp_path: Path, data_in_order: DataInOrder
) -> None:
    run = make_run(finished=True)

    assert run_plot(run, "--out", tmp_path / "one", "--data", colours)[0] == 0
    data_in_order("training.plots.pictures", ("red", "blue", "green"))
    assert run_plot(run, "--out", tmp_path / "two", "--data", colours)[0] == 0
    assert (tmp_path / "one/embedding.png").read_bytes() == (tmp_path / "two/embedding.png").read_bytes()


def test_up_to_2000_images_are_shown_always_the_same() -> None:
    assert pictures.some(5).tolist() == [0, 1, 2, 3, 4]
    shown = pictures.some(10_000)
    assert len(np.unique(shown)) == 2000
    assert (np.diff(shown) > 0).all()
    assert shown.max() > 9900
    assert np.array_equal(shown, pictures.some(10_000))


def test_mistakes_are_one_line_and_write_nothing(
    run_plot: Plot, make_run: MakeRun, colours: Path, tmp_path: Path
) -> None:
    finished, unfinished = make_run("finished", finished=True), make_run("unfinished")
    renamed = make_run("renamed", finished=True, classes=("cat", "dog", "frog"), lr=0.5)
    four = make_run("four", finished=True, classes="abcd", lr=0.5)
    torn = make_run("torn", finished=True)
    (torn / "model.safetensors").write_bytes(b"")
    for words, message in (
        ([colours], "is no run"),
        ([finished, four], "has 3 classes and"),
        ([finished, renamed], "classes of different names"),
        ([unfinished, "--data", colours], "none of these is finished"),
        ([renamed, "--data", colours], "blue, green, red"),
        ([torn], "cannot be read"),
        ([], "Missing argument"),
    ):
        status, _, err = run_plot(*words, "--out", tmp_path / "pictures")
        assert status == 2, message
        assert message in err
        assert len(err.splitlines()) == 1
        assert not (tmp_path / "pictures").exists()


def test_a_folder_that_cannot_be_written_is_one_line(run_plot: Plot, make_run: MakeRun) -> None:
    run = make_run()
    status, _, err = run_plot(run, "--out", run / "metrics.csv")
    assert status == 2
    assert "cannot be written" in err
    assert len(err.splitlines()) == 1


def test_help_has_an_example(run_plot: Plot) -> None:
    status, out, _ = run_plot("--help")
    assert status == 0
    assert "Example: protozoo plot" in " ".join(out.split())
