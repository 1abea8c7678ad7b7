"""What a card says of a record: measured numbers, means over seeds, pictures; and that its snippets run."""

from __future__ import annotations

import copy
import json
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from export.bundle import export_run
from export.card import render_card
from training.data import digits_split
from zoo.bundle import Bundle, find
from zoo.errors import BundleError, ProtozooError

Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def config(digits_bundle: Bundle) -> dict[str, Any]:
    return copy.deepcopy(dict(digits_bundle.config))


@pytest.fixture(scope="module")
def repetition(digits_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """repetition(seed, change) -> the folder of a run as if it had that seed, its record changed."""

    def make(seed: int, change: Change = lambda record: None) -> Path:
        path = shutil.copytree(digits_run, tmp_path_factory.mktemp("repeats") / f"run{seed}")
        record = json.loads((path / "result.json").read_bytes())
        record["recipe"]["seed"] = seed
        record["command"] += f" --seed {seed}"
        change(record)
        (path / "result.json").write_text(json.dumps(record))
        return path

    return make


@pytest.fixture(scope="module")
def of_three_seeds(
    digits_run: Path, repetition: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Bundle:
    """A bundle whose record has the metrics of seed 1, which are worse, and of seed 2, which are its own."""

    def worse(record: dict[str, Any]) -> None:
        record["metrics"]["test_accuracy"] = 0.5
        record["metrics"]["train_collapse"]["mir"] = 0.25
        del record["metrics"]["test_calibration"]

    out = tmp_path_factory.mktemp("exported") / "bundle"
    return export_run(digits_run, out, repeats=[repetition(1, worse), repetition(2)])


def python_blocks(card: str) -> str:
    return "\n".join(re.findall(r"^```python\n(.*?)^```$", card, re.MULTILINE | re.DOTALL))


def test_the_snippets_run_on_the_bundle_that_they_stand_in(digits_bundle: Bundle, tmp_path: Path) -> None:
    shutil.copytree(digits_bundle.path, tmp_path / "BUNDLE")
    digits_split()[1][0][0].save(tmp_path / "image.png")
    code = python_blocks((tmp_path / "BUNDLE" / "README.md").read_text(encoding="utf-8"))
    assert code.count("BUNDLE") == 4
    ending = "\nassert embedding.shape == (1, 64)\nassert best[0] == classifier.predict('image.png')[0].index\n"
    root = str(Path(__file__).resolve().parents[2])
    start = f"import sys; sys.path.insert(0, {root!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", start + code + ending], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    *answers, label = done.stdout.split("\n")[:-1]
    assert len(answers) == 3
    assert answers[0].split()[0] == label


def test_calibration_and_interval_are_the_records(config: dict[str, Any]) -> None:
    card, metrics = render_card(config), config["protozoo"]["metrics"]
    low, high = metrics["test_accuracy_interval"]
    assert f"| its interval | {100 * low:.2f} % to {100 * high:.2f} % |" in card
    measured = metrics["test_calibration"]
    assert f"| expected calibration error, 15 bins of equal width | {100 * measured['ece']:.2f} % |" in card
    assert f"| negative log-likelihood, nats | {measured['nll']:.4f} |" in card
    scaling = measured["scaling"]
    assert f"dividing the logits by {scaling['temperature']}" in card
    assert f"| {100 * scaling['ece_before']:.2f} % | {100 * scaling['ece_after']:.2f} % |" in card
    assert "calibration, robustness" not in card


@pytest.mark.parametrize(("dim", "said"), [(8, True), (9, False)])
def test_a_simplex_that_does_not_fit_is_said_not_to(config: dict[str, Any], dim: int, said: bool) -> None:
    config["model_args"]["embed_dim"] = dim
    card = render_card(config)
    assert ("of a simplex, which 10 classes cannot be in 8 dimensions" in card) is said


@pytest.mark.parametrize(("left_out", "said"), [(0, False), (3, True)])
def test_classes_without_test_images_are_said_to_have_another_optimum(
    config: dict[str, Any], left_out: int, said: bool
) -> None:
    accuracies = config["protozoo"]["metrics"]["test_accuracy_per_class"]
    for name in list(accuracies)[:left_out]:
        del accuracies[name]
    card = " ".join(render_card(config).split())
    assert ("of 7 of the 10 classes" in card) is said
    assert ("ranks of means and prototypes are 6" in card) is said


def test_no_temperature_is_named_where_none_is_the_best(config: dict[str, Any]) -> None:
    config["protozoo"]["metrics"]["test_calibration"]["scaling"] = None
    assert "No temperature fits" in render_card(config)


def test_what_an_older_record_has_not_measured_is_left_out_and_said(config: dict[str, Any]) -> None:
    record = config["protozoo"]
    for name in ("test_calibration", "test_accuracy_interval"):
        del record["metrics"][name]
    for name in ("rejections", "rejection_definition", "foreign"):
        del record["open_set"][name]
    del record["pictures"]
    card = render_card(config)
    assert "## Calibration" not in card
    assert "![" not in card
    assert "interval" not in card
    assert "were calibration, robustness to corruptions" in card


def test_every_picture_is_linked_with_words_for_those_who_do_not_see_it(config: dict[str, Any]) -> None:
    links = {file: words for words, file in re.findall(r"!\[(.+)\]\((.+)\)", render_card(config))}
    assert list(links) == ["prototypes.png", "embeddings.png", "reliability.png"]
    assert all(len(words.split()) > 8 for words in links.values())
    elsewhere = re.findall(r"!\[.+\]\((.+)\)", render_card(config, pictures="../b/"))
    assert elsewhere == [f"../b/{file}" for file in links]
    assert "![" not in render_card(config, pictures=None)


def test_cost_is_time_and_device_and_nothing_is_estimated(config: dict[str, Any]) -> None:
    card, cost = " ".join(render_card(config).split()), config["protozoo"]["cost"]
    assert f"{round(cost['train_seconds'])} s on {cost['device']}, torch {cost['torch']}" in card
    assert "Energy was not measured" in card


def test_a_record_too_short_for_a_card_is_an_error_that_names_what_is_missing(config: dict[str, Any]) -> None:
    del config["protozoo"]["cost"]
    with pytest.raises(BundleError, match=r"not what a card is made of.*cost"):
        render_card(config)


def test_a_command_that_no_shell_reads_is_an_error_too(config: dict[str, Any]) -> None:
    config["protozoo"]["command"] = "protozoo train 'nonl_digits"
    with pytest.raises(BundleError, match=r"not what a card is made of.*No closing quotation"):
        render_card(config)


def test_means_and_deviations_are_over_all_seeds(of_three_seeds: Bundle) -> None:
    bundle = of_three_seeds
    own = bundle.record["metrics"]
    card = (bundle.path / "README.md").read_text(encoding="utf-8")
    for path, form in ((("test_accuracy",), "{:.2f} %"), (("train_collapse", "mir"), "{:.4f}")):
        value = own[path[0]] if len(path) == 1 else own[path[0]][path[1]]
        changed = {"test_accuracy": 0.5, "train_collapse": 0.25}[path[0]]
        values = [(100 if "%" in form else 1) * each for each in (value, changed, value)]
        cell = f"| {form.format(statistics.mean(values))} ± {form.format(statistics.stdev(values))} |"
        (line,) = [line for line in card.splitlines() if cell in line]
        assert f"| {form.format(values[0])} |" in line
    assert re.search(r"expected calibration error, 15 bins of equal width \| .* \| not measured \|", card)
    for seed in (1, 2):
        assert f"- seed {seed}, " in card
        assert f"`protozoo train nonl_digits --seed {seed}`" in card
    assert "no deviation over seeds" not in card
    assert [repeat["seed"] for repeat in bundle.record["repeats"]] == [1, 2]


def test_tables_have_as_many_cells_in_every_row(digits_bundle: Bundle, of_three_seeds: Bundle) -> None:
    bundles = [Bundle.open(find("proto_resnet20_cifar.nonl_cifar10")), digits_bundle, of_three_seeds]
    for bundle in bundles:
        tables = re.findall(r"(?:^\|.*\n)+", render_card(bundle.config), re.MULTILINE)
        assert len(tables) >= 4
        for table in tables:
            header, rule, *rows = table.splitlines()
            assert rows
            assert {line.count("|") for line in (header, rule, *rows)} == {header.count("|")}


def test_one_run_says_that_no_deviation_was_measured(config: dict[str, Any]) -> None:
    assert "One run: no deviation over seeds was measured." in render_card(config)
    assert "±" not in render_card(config)


@pytest.mark.parametrize(
    ("seed", "change", "message"),
    [
        (0, lambda record: None, "has seed 0, as"),
        (1, lambda record: record["recipe"].update(lr=9.0), r"its recipe\.lr is 9\.0, not"),
        (1, lambda record: record["recipe"].update(novel=1), r"its recipe\.novel is 1, not None"),
        (1, lambda record: record["data"].update(train_images=3), r"its data\.train_images is 3, not 1437"),
        (1, lambda record: record.update(base={"name": "other"}), "its base is"),
    ],
)
def test_a_run_that_differs_in_more_than_the_seed_is_refused_with_the_field(
    digits_run: Path, repetition: Callable[..., Path], tmp_path: Path, seed: int, change: Change, message: str
) -> None:
    with pytest.raises(ProtozooError, match=message):
        export_run(digits_run, tmp_path / "bundle", repeats=[repetition(seed, change)])
    assert not (tmp_path / "bundle").exists()


def test_a_repeat_that_is_not_finished_or_given_twice_is_refused(
    digits_run: Path, repetition: Callable[..., Path], tmp_path: Path
) -> None:
    run = repetition(1)
    with pytest.raises(ProtozooError, match="has seed 1, as"):
        export_run(digits_run, tmp_path / "bundle", repeats=[run, run])
    (run / "result.json").unlink()
    with pytest.raises(ProtozooError, match="is not finished"):
        export_run(digits_run, tmp_path / "bundle", repeats=[run])
