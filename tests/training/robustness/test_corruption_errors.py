"""Errors by corruption: the benchmark's formulas, comparable baselines, both ways to the images, and the command."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.training.runs import Protozoo
from training.data import Split, load_data
from training.robustness import (
    CORRUPTIONS,
    Condition,
    SavedImages,
    corrupt,
    corrupted_images,
    read_conditions,
    summary,
    with_baseline,
)
from training.robustness.conditions import chosen
from training.robustness.corruptions import GROUPS
from training.robustness.errors import check_comparable
from zoo.bundle import Preprocessing
from zoo.errors import ProtozooError

pytest.importorskip("corrupt_tta")


def record_of(errors: dict[str, dict[str, float]], clean: float | None, **fields: Any) -> dict[str, Any]:
    return {
        "model": "m",
        "weights_sha256": "0" * 64,
        "data": "colours",
        "source": "made",
        "images": {"count": 4, "of": 4, "sha256": "1"},
        "clean_error": clean,
        "errors": errors,
        **fields,
    }


def test_mce_is_the_mean_of_the_ratios_of_sums_over_severities() -> None:
    # By hand: (0.2 + 0.4) / (0.4 + 0.8) = 1/2 and (0.3 + 0.3) / (0.2 + 0.2) = 3/2.
    ours = record_of({"fog": {"1": 0.2, "5": 0.4}, "snow": {"1": 0.3, "5": 0.3}}, 0.1)
    theirs = record_of({"fog": {"1": 0.4, "5": 0.8}, "snow": {"1": 0.2, "5": 0.2}}, 0.05)
    found = with_baseline(ours, theirs)
    assert found["ce"] == pytest.approx({"fog": 0.5, "snow": 1.5})
    assert found["mce"] == pytest.approx(1.0)
    # Relative: (0.6 - 0.2) / (1.2 - 0.1) and (0.6 - 0.2) / (0.4 - 0.1).
    assert found["relative_ce"] == pytest.approx({"fog": 0.4 / 1.1, "snow": 0.4 / 0.3})
    assert found["relative_mce"] == pytest.approx((0.4 / 1.1 + 0.4 / 0.3) / 2)
    assert summary(ours["errors"])["mean_errors"] == pytest.approx({"fog": 0.3, "snow": 0.3})
    assert summary(ours["errors"])["mean_corruption_error"] == pytest.approx(0.3)


def test_a_model_against_itself_has_one() -> None:
    ours = record_of({"fog": {"1": 0.2, "5": 0.4}}, 0.1)
    found = with_baseline(ours, ours)
    assert (found["mce"], found["relative_mce"]) == (1, 1)


def test_what_was_not_measured_or_not_made_worse_has_no_relative_error() -> None:
    ours = record_of({"fog": {"1": 0.2}}, 0.1)
    assert with_baseline(ours, record_of({"fog": {"1": 0.2}}, None))["relative_mce"] is None
    assert with_baseline(ours, record_of({"fog": {"1": 0.2}}, 0.2))["relative_ce"] == {"fog": None}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"data": "other"}, "data"),
        ({"source": "read from elsewhere"}, "corrupted images"),
        ({"images": {"count": 4, "of": 4, "sha256": "2"}}, "images"),
        ({"errors": {"fog": {"2": 0.2}}}, "corruptions"),
        ({"errors": {"snow": {"1": 0.2}}}, "corruptions"),
    ],
)
def test_a_baseline_of_something_else_is_refused_by_name(change: dict[str, Any], named: str) -> None:
    ours = record_of({"fog": {"1": 0.2}}, 0.1)
    with pytest.raises(ProtozooError, match=f"of other {named}, .* by the same command"):
        with_baseline(ours, {**copy.deepcopy(ours), **change})


def test_a_baseline_without_errors_or_of_no_known_form_is_refused() -> None:
    ours = record_of({"fog": {"1": 0.2}}, 0.1)
    to_measure = {**ours, "errors": {"fog": {"1": None}}}
    with pytest.raises(ProtozooError, match=r"makes no error on fog, .*: measure both by --corruption of the others"):
        check_comparable(to_measure, record_of({"fog": {"1": 0.0}}, 0.0))
    with pytest.raises(ProtozooError, match="no record of"):
        with_baseline(ours, {"accuracy": 1})


def clean_split(preprocessing: Preprocessing, colours: Path) -> Split:
    split = load_data(str(colours), preprocessing).test
    assert isinstance(split, Split)
    return split


def test_a_choice_of_images_is_always_the_same_and_grows() -> None:
    labels = np.zeros(100, np.int64)
    few, more = chosen(labels, 5), chosen(labels, 20)
    assert len(few) == 5
    assert set(few) < set(more)
    assert np.array_equal(few, chosen(labels, 5))
    assert np.array_equal(chosen(labels, None), np.arange(100))


def test_what_is_kept_is_read_again_and_not_made_again(
    preprocessing: Preprocessing, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean, saved = clean_split(preprocessing, colours), SavedImages(tmp_path, "a" * 64)

    def images() -> list[Any]:
        made = corrupted_images(clean, ["contrast"], [1, 5], seed=0, saved=saved)
        return [condition.images().images for condition in made]  # type: ignore[union-attr]

    first = images()
    monkeypatch.delattr("training.robustness.conditions.corrupt")
    assert all(np.array_equal(*pair) for pair in zip(first, images(), strict=True))
    assert not np.array_equal(*first)
    next(tmp_path.rglob("contrast-1.npy")).write_bytes(b"torn")
    with pytest.raises(ProtozooError, match="is damaged"):
        images()


def test_processes_share_what_is_to_be_made(
    preprocessing: Preprocessing, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clean, saved = clean_split(preprocessing, colours), SavedImages(tmp_path, "a" * 64)

    def conditions() -> Iterator[Condition]:
        return corrupted_images(clean, ["contrast"], [1, 2, 3], seed=0, saved=saved)

    one, other = conditions(), conditions()
    first = next(one)
    made: list[int] = []

    def corrupted(*args: Any, **kwargs: Any) -> NDArray[np.uint8]:
        made.append(args[2])
        if len(made) == 1:
            # While the first condition is being made, another process takes the second.
            assert next(other).severity == 2
        return corrupt(*args, **kwargs)

    monkeypatch.setattr("training.robustness.conditions.corrupt", corrupted)
    first.images()
    assert [condition.severity for condition in one] == [2, 3]
    # What was put off comes last, and is not made again.
    found = [(condition.severity, condition.images()) for condition in other]
    assert [severity for severity, _ in found] == [3, 1]
    assert made.count(1) == len(clean.images)
    assert made.count(3) == len(clean.images)


@pytest.fixture
def imagenet_c(colours: Path, preprocessing: Preprocessing, tmp_path: Path) -> Callable[[bool], Path]:
    """imagenet_c(grouped) -> folders with two corruptions of the colours' test images at two severities."""

    def write(grouped: bool) -> Path:
        root = tmp_path / ("grouped" if grouped else "flat")
        clean, classes = clean_split(preprocessing, colours), ("blue", "green", "red")
        for name in ("contrast", "gaussian_noise"):
            group = next(group for group, names in GROUPS.items() if name in names)
            for severity in (1, 5):
                folder = (root / group if grouped else root) / name / str(severity)
                for index, (image, label) in enumerate(zip(clean.images, clean.labels, strict=True)):
                    path = folder / classes[label] / f"image_{index}.JPEG"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(corrupt(image, name, severity)).save(path, "PNG")
        return root

    return write


@pytest.mark.parametrize("grouped", [False, True])
def test_imagenet_cs_folders_give_the_errors_of_the_images_in_them(
    protozoo: Protozoo, undisturbed: Path, colours: Path, imagenet_c: Callable[[bool], Path], grouped: bool
) -> None:
    kinds = ["--corruption", "contrast", "--corruption", "gaussian_noise", "--severity", 1, "--severity", 5]
    folder = imagenet_c(grouped)
    status, out, err = protozoo("corruptions", undisturbed, "--data", colours, "--corrupted", folder, *kinds)
    assert status == 0, err
    read = json.loads(out)
    status, out, _ = protozoo("corruptions", undisturbed, "--data", colours, *kinds)
    made = json.loads(out)
    assert read["errors"] == made["errors"]
    assert read["clean_error"] == made["clean_error"]
    assert read["source"] == f"read from {folder.name}"
    assert made["source"].startswith("made by corrupt-tta ")


def test_folders_that_lack_something_are_named(imagenet_c: Callable[[bool], Path]) -> None:
    root, classes = imagenet_c(False), ("blue", "green", "red")
    kinds = ["contrast", "gaussian_noise"]
    with pytest.raises(ProtozooError, match=r"neither fog/ nor weather/fog/"):
        read_conditions(root, classes, ["fog"], [1], None)
    with pytest.raises(ProtozooError, match=r"contrast.1.cat holds no images"):
        read_conditions(root, ("cat",), kinds, [1], None)
    named = read_conditions(root, ("blue whale", "green", "red"), kinds, [1, 5], None)
    assert named[1] == read_conditions(root, classes, kinds, [1, 5], None)[1]
    conditions, digest = read_conditions(root, classes, kinds, [1, 5], 3)
    assert [len(condition.images().labels) for condition in conditions] == [3, 3, 3, 3]
    assert digest != read_conditions(root, classes, kinds, [1, 5], None)[1]
    next((root / "gaussian_noise" / "5" / "red").iterdir()).unlink()
    with pytest.raises(ProtozooError, match="has other images"):
        read_conditions(root, classes, kinds, [1, 5], None)


def test_the_command_measures_all_fifteen_of_a_subset_and_normalises_by_a_baseline(
    protozoo: Protozoo, undisturbed: Path, colours: Path, tmp_path: Path
) -> None:
    words = ["corruptions", undisturbed, "--data", colours, "--images", 2, "--severity", 1]
    status, printed, err = protozoo(*words, "--out", tmp_path / "one.json", "--keep", tmp_path / "kept")
    assert status == 0, err
    record = json.loads(printed)
    assert record == json.loads((tmp_path / "one.json").read_text())
    assert tuple(record["errors"]) == CORRUPTIONS
    assert (record["images"]["count"], record["images"]["of"]) == (2, 12)
    assert record["baseline"] is None
    assert record["command"] == ("protozoo corruptions undisturbed --data colours --out RECORD --images 2 --severity 1")
    worse = {**record, "errors": {name: {"1": 0.5} for name in record["errors"]}}
    (tmp_path / "worse.json").write_text(json.dumps(worse))
    status, printed, err = protozoo(*words, "--baseline", tmp_path / "worse.json", "--keep", tmp_path / "kept")
    assert status == 0, err
    found = json.loads(printed)["baseline"]
    assert found["ce"] == {name: errors["1"] / 0.5 for name, errors in record["errors"].items()}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--corruption", "rain"], "no corruption 'rain'"),
        (["--corruption", "fog", "--corruption", "fog"], "once"),
        (["--severity", "6"], "6"),
        (["--corrupted", "nowhere"], "nowhere"),
        (["--baseline", "nowhere.json"], "nowhere.json cannot be read"),
        (["--out", "nowhere/record.json"], "nowhere/record.json cannot be written"),
    ],
)
def test_a_mistake_is_one_line_and_status_2_before_any_work(
    protozoo: Protozoo,
    undisturbed: Path,
    colours: Path,
    words: list[str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("training.robustness.record.corruption_errors", None)
    status, _, err = protozoo("corruptions", undisturbed, "--data", colours, *words)
    assert status == 2
    assert message in err
    assert len(err.splitlines()) == 1


def test_without_the_library_the_command_says_what_to_install(
    protozoo: Protozoo, undisturbed: Path, colours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "corrupt_tta", None)
    status, _, err = protozoo("corruptions", undisturbed, "--data", colours)
    assert status == 2
    assert "pip install 'protozoo[corruptions]'" in err
