"""The command ``card``, and ``export --repeat``."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from export.card import render_card
from export.card_cli import card
from tests.tiny_bundle import make_tiny_bundle, resign
from zoo.bundle import Bundle
from zoo.cli import main, protozoo

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """run("card", ...) -> exit status, standard output, standard error."""
    monkeypatch.setitem(protozoo.commands, "card", card)

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["protozoo", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def edited(digits_bundle: Bundle, tmp_path: Path) -> Path:
    """A bundle whose card somebody has changed by hand, and signed."""
    path = shutil.copytree(digits_bundle.path, tmp_path / "edited")
    with (path / "README.md").open("a") as file:
        file.write("\nThe best model there is.\n")
    resign(path)
    return path


def test_it_is_printed_as_it_stands_in_the_bundle(run: Run, digits_bundle: Bundle) -> None:
    status, printed, _ = run("card", digits_bundle.path)
    assert (status, printed) == (0, (digits_bundle.path / "README.md").read_text(encoding="utf-8"))


def test_a_file_links_to_the_bundles_pictures_from_where_it_stands(
    run: Run, digits_bundle: Bundle, tmp_path: Path
) -> None:
    bundle = shutil.copytree(digits_bundle.path, tmp_path / "weights" / "digits")
    out = tmp_path / "cards" / "digits.md"
    assert run("card", bundle, "--out", out)[0] == 2
    out.parent.mkdir()
    out.write_text("old")
    assert run("card", bundle, "--out", out) == (0, f"written: {out}\n", "")
    text = out.read_text(encoding="utf-8")
    links = re.findall(r"!\[.+\]\((.+)\)", text)
    assert links[0] == "../weights/digits/prototypes.png"
    assert all((out.parent / link).is_file() for link in links)
    assert text == render_card(digits_bundle.config, pictures="../weights/digits/")
    assert [path.name for path in out.parent.iterdir()] == ["digits.md"]


def test_of_a_bundle_in_the_hubs_cache_a_file_has_no_pictures(run: Run, digits_bundle: Bundle, tmp_path: Path) -> None:
    cached = shutil.copytree(digits_bundle.path, tmp_path / "models--owner--digits" / "snapshots" / "0")
    assert run("card", cached, "--out", tmp_path / "card.md")[0] == 0
    assert (tmp_path / "card.md").read_text() == render_card(digits_bundle.config, pictures=None)


def test_check_passes_what_the_record_renders_and_fails_what_was_edited(
    run: Run, digits_bundle: Bundle, edited: Path, tmp_path: Path
) -> None:
    assert run("card", digits_bundle.path, "--check")[0] == 0
    status, _, err = run("card", edited, "--check")
    assert status == 2
    assert "README.md is not the card that" in err
    assert len(err.splitlines()) == 1
    out = tmp_path / "card.md"
    assert run("card", edited, "--out", out, "--check")[0] == 2
    assert not out.exists()
    assert run("card", edited, "--out", out)[0] == 0
    assert run("card", edited, "--out", out, "--check")[0] == 0


def test_into_writes_the_bundle_again_with_the_card_alone_changed(
    run: Run, digits_bundle: Bundle, edited: Path, tmp_path: Path
) -> None:
    status, _, _ = run("card", edited, "--into", tmp_path / "again")
    assert status == 0
    assert Bundle.open(tmp_path / "again").sha256 == digits_bundle.sha256
    status, _, err = run("card", edited, "--into", tmp_path / "again")
    assert (status, len(err.splitlines())) == (2, 1)


@pytest.mark.parametrize("other", [["--check"], ["--out", "card.md"]])
def test_into_goes_with_no_other_option(run: Run, edited: Path, tmp_path: Path, other: list[str]) -> None:
    status, _, err = run("card", edited, "--into", tmp_path / "again", *other)
    assert (status, len(err.splitlines())) == (2, 1)
    assert not (tmp_path / "again").exists()


def test_a_record_without_what_a_card_tells_is_one_line_and_status_2(run: Run, tmp_path: Path) -> None:
    status, _, err = run("card", make_tiny_bundle(tmp_path / "tiny").path)
    assert (status, len(err.splitlines())) == (2, 1)
    assert "not what a card is made of" in err


def test_repeats_are_for_runs(run: Run, digits_run: Path, digits_bundle: Bundle, tmp_path: Path) -> None:
    status, _, err = run("export", digits_bundle.path, "--repeat", digits_run, "--out", tmp_path / "out")
    assert (status, len(err.splitlines())) == (2, 1)
    assert "--repeat is for the bundle of a run" in err
    status, _, err = run("export", digits_run, "--repeat", digits_run, "--out", tmp_path / "out")
    assert status == 2
    assert "give each --repeat another seed" in err
