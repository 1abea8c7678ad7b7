"""A study in small: it survives being stopped, does nothing twice, and tests its claims."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.training.runs import Protozoo
from training.convergence import METRICS
from training.run import Run
from training.stop import StoppedError
from training.study import Grid, Study, collect, load_grid, report, states, work
from training.study.driver import _claimed, _process

pytest.importorskip("corrupt_tta")


def stop_at(words: str) -> Callable[[str], None]:
    def say(line: str) -> None:
        if words in line:
            raise StoppedError("stopped", 15)

    return say


@pytest.fixture
def two_seeds(grid_file: Callable[..., Path], recipes: dict[str, str], colours: Path, tmp_path: Path) -> Study:
    block = {"data": "mine", "recipes": {"nonl": recipes["nonl"]}, "seeds": [0, 1]}
    _, cells = load_grid(str(grid_file(blocks=[block], evaluations={}, claims=[])))
    return Study(cells, {"mine": str(colours)}, tmp_path / "study")


def test_a_study_goes_on_where_it_was_stopped_and_ends_with_its_claims(
    protozoo: Protozoo, grid_file: Callable[..., Path], colours: Path, tmp_path: Path
) -> None:
    grid, cells = load_grid(str(grid_file()))
    study = Study(cells, {"mine": str(colours), "digits": "digits"}, tmp_path / "study")
    assert [str(task) for task in study.tasks()] == [
        "mine.ce, seed 0",
        "mine.nonl, seed 0",
        "mine.ce, seed 1",
        "mine.nonl, seed 1",
    ]
    with pytest.raises(StoppedError):
        work(study, jobs=1, say=stop_at("mine.nonl, seed 0: transfer"))
    assert [state for _, state in states(study)] == [
        "done",
        "trained, to evaluate: transfer, corruptions",
        "to train",
        "to train",
    ]
    early = collect(grid, study)
    assert early["cells"]["mine.ce"]["metrics"]["accuracy"]["std"] is None
    said: list[str] = []
    work(study, jobs=1, say=said.append)
    assert next(line for line in said if "seed" in line) == "mine.nonl, seed 0: transfer"
    assert [state for _, state in states(study)] == ["done"] * 4
    before = {path: path.stat().st_mtime_ns for path in study.out.rglob("*.json")}
    words = ["study", grid_file(), "--data", f"mine={colours}", "--data", "digits=digits", "--out", study.out]
    status, out, err = protozoo(*words)
    assert status == 0, err
    assert out.endswith(f"\nwritten: {study.out / 'results.md'}\n")
    assert {path: path.stat().st_mtime_ns for path in before} == before

    results = json.loads((study.out / "results.json").read_bytes())
    metrics = results["cells"]["mine.nonl"]["metrics"]
    assert set(metrics["accuracy"]["values"]) == {"0", "1"}
    assert metrics["accuracy"]["std"] is not None
    assert metrics["embed_dim"]["values"] == {"0": 8, "1": 8}
    trained = Run(study.out / "mine.nonl" / "seed0" / "run").read_result()["recipe"]["precision"]
    assert metrics["precision_bits"]["values"]["0"] == {"bf16": 16, "fp32": 32}[trained]
    for name in (
        "fixed",
        "transfer",
        "transfer_weight_alignment",
        "corruptions",
        "train_mir",
        "auroc",
        "medium_accuracy",
        "tail_third_accuracy_bayes",
    ):
        assert 0 <= metrics[name]["mean"] <= 100, name
    assert_mce_is_the_ratio_to_the_baseline_of_the_same_seed(grid, study)
    # Of one epoch, whatever is reached is reached at its end, and what is not counts as long.
    shares = [f"convergence_{name}{ending}" for name in METRICS for ending in ("", "_as_baseline")]
    assert {metrics[name]["mean"] for name in shares} == {100}
    assert [claim["verdict"] for claim in results["claims"]] == [
        "holds",
        *["not tested"] * 2,
        "does not hold here",
        "not tested",
    ]
    text = (study.out / "results.md").read_text()
    assert text == report(grid, results)
    # What a reader comes for is first.
    assert "\n## Claims\n\nThe verdicts of 5 claims: holds 1, does not hold here 1, not tested 3.\n" in text
    assert text.index("## Claims") < text.index("## Numbers") < text.index("### Accuracy")
    assert "| mine.nonl | 2 of 2 | " in text
    assert "| Elsewhere | Table 2 | 1 |  | not tested, because the data absent were not given |" in text
    assert "| not tested, because mine.ce has no nothing |" in text
    assert "| not tested, because it is not here |" in text
    assert "of mine.nonl 100.00 ± 0.00 | does not hold here (margin" in text
    run = json.loads((study.out / "mine.nonl" / "seed1" / "run" / "result.json").read_bytes())
    assert run["command"].endswith("--data colours --out RUN --collapse_images both --seed 1")
    results = collect(grid, study)
    assert results["cells"]["mine.nonl"]["metrics"]["corruptions_mce"]["values"]["1"] == pytest.approx(100)
    assert_a_baseline_may_have_been_trained_elsewhere(grid, study, results)


def assert_mce_is_the_ratio_to_the_baseline_of_the_same_seed(grid: Grid, study: Study) -> None:
    """By hand: errors written over what was measured, as a model of these colours may make none."""

    def write(cell: str, noise: float, contrast: float) -> None:
        path = study.out / cell / "seed1" / "corruptions.json"
        kept = json.loads(path.read_bytes())
        kept["record"]["errors"] = {"gaussian_noise": {"5": noise}, "contrast": {"5": contrast}}
        path.write_text(json.dumps(kept))

    def mce() -> float | None:
        metrics = collect(grid, study)["cells"]["mine.nonl"]["metrics"]
        return metrics["corruptions_mce"]["values"].get("1") if "corruptions_mce" in metrics else None

    write("mine.ce", 0.5, 0.4)
    write("mine.nonl", 0.25, 0.6)
    assert mce() == pytest.approx(100 * (0.5 + 1.5) / 2)
    write("mine.ce", 0.5, 0.0)
    assert mce() is None
    write("mine.ce", 0.25, 0.6)


def assert_a_baseline_may_have_been_trained_elsewhere(grid: Grid, study: Study, results: dict[str, Any]) -> None:
    relative = ("convergence_inter_erank_as_baseline", "corruptions_mce")

    def values(here: Study) -> list[dict[str, float]]:
        metrics = collect(grid, here)["cells"]["mine.nonl"]["metrics"]
        assert set(metrics["convergence_inter_erank"]["values"]) == {"0", "1"}  # which no baseline is needed for
        return [metrics[name]["values"] if name in metrics else {} for name in relative]

    before = [results["cells"]["mine.nonl"]["metrics"][name]["values"] for name in relative]
    shutil.rmtree(study.out / "mine.ce" / "seed1")
    assert values(study) == [{seed: value for seed, value in found.items() if seed == "0"} for found in before]
    assert values(replace(study, earlier=results["cells"])) == [pytest.approx(found) for found in before]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_breaks_off_an_evaluation_which_is_done_again(
    protozoo: Protozoo,
    grid_file: Callable[..., Path],
    recipes: dict[str, str],
    colours: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    status: int,
) -> None:
    block = {"data": "mine", "recipes": {"nonl": recipes["nonl"]}, "seeds": [0], "evaluations": ["fixed"]}
    words = ["study", grid_file(blocks=[block], claims=[]), "--data", f"mine={colours}", "--out", tmp_path / "study"]
    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]

    def interrupted(task: object, name: str) -> None:
        signal.raise_signal(number)
        pytest.fail(f"{task}: {name} went on")

    with monkeypatch.context() as patched:
        patched.setattr("training.study.driver._evaluate", interrupted)
        found, _, err = protozoo(*words)
    assert (found, err) == (status, f"protozoo: stopped: the same command goes on from {tmp_path / 'study'}\n")
    assert "| mine.nonl | 1 of 1 |" in (tmp_path / "study" / "results.md").read_text()
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == handlers
    found, out, err = protozoo(*words)
    assert found == 0, err
    assert out.splitlines()[0] == "mine.nonl, seed 0: fixed"


def test_a_row_says_how_many_seeds_a_number_is_of(settings: dict[str, Any]) -> None:
    grid = Grid.model_validate(settings)
    full = {"mean": 93.456, "std": 0.5, "values": {"0": 93.0, "1": 93.9}}
    part = {"mean": 0.0123, "std": None, "values": {"1": 0.0123}}
    cell = {"seeds": [0, 1, 2], "metrics": {"accuracy": full, "transfer": part}}
    text = report(grid, {"cells": {"mine.ce": cell, "mine.nonl": {"seeds": [0], "metrics": {}}}, "claims": []})
    assert "| | seeds | test | digits |\n| --- | ---: | ---: | ---: |\n" in text
    assert "| mine.ce | 2 of 3 | 93.46 ± 0.50 | 0.0123 (1 of them) |" in text
    assert "mine.nonl" not in text


def test_a_training_that_fails_is_named_and_the_others_go_on(
    protozoo: Protozoo, grid_file: Callable[..., Path], recipes: dict[str, str], colours: Path, tmp_path: Path
) -> None:
    variants = {"wrong": {"optimizer": "sdg"}, "right": {}}
    block = {"data": "mine", "recipes": {"nonl": recipes["nonl"]}, "variants": variants, "seeds": [0]}
    path = grid_file(blocks=[block], evaluations={}, claims=[])
    words = ["study", path, "--data", f"mine={colours}", "--out", tmp_path / "study"]
    status, out, err = protozoo(*words)
    assert status == 2
    assert "mine.nonl.wrong, seed 0 failed: optimizer = 'sdg'" in out
    assert "1 of the trainings are not done (mine.nonl.wrong, seed 0)" in err
    results = json.loads((tmp_path / "study" / "results.json").read_bytes())
    assert not results["cells"]["mine.nonl.wrong"]["metrics"]
    assert "accuracy" in results["cells"]["mine.nonl.right"]["metrics"]
    status, out, _ = protozoo(*words, "--dry-run")
    assert status == 0
    assert out.splitlines()[0].startswith("mine.nonl.wrong, seed 0: to train, failed: optimizer = 'sdg'")
    assert out.splitlines()[1] == "mine.nonl.right, seed 0: done"


def test_a_training_that_ends_in_an_error_of_any_kind_leaves_the_others(
    two_seeds: Study, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of memory\nof the GPU")

    monkeypatch.setattr("training.train.train", full)
    said: list[str] = []
    work(two_seeds, jobs=1, say=said.append)
    failed = [f"mine.nonl, seed {seed} failed: RuntimeError: out of memory" for seed in (0, 1)]
    assert [line for line in said if "failed" in line] == failed
    assert (two_seeds.out / "mine.nonl" / "seed1" / "failure.txt").read_text() == "RuntimeError: out of memory\n"
    assert "Traceback" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(
    protozoo: Protozoo, grid_file: Callable[..., Path], colours: Path, tmp_path: Path
) -> None:
    status, out, _ = protozoo(
        "study", grid_file(), "--data", f"mine={colours}", "--out", tmp_path / "study", "--dry-run"
    )
    assert status == 0
    assert out.splitlines() == [f"mine.{name}, seed {seed}: to train" for seed in (0, 1) for name in ("ce", "nonl")]
    assert not (tmp_path / "study").exists()


def test_what_another_process_is_at_is_left_to_it(
    grid_file: Callable[..., Path], colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    monkeypatch.setattr("training.study.driver._do", lambda task, say: done.append(str(task)))
    study = Study(load_grid(str(grid_file()))[1], {"mine": str(colours)}, tmp_path / "study")
    with _claimed(next(study.tasks())) as mine:
        assert mine
        work(study, jobs=1, say=lambda line: None)
    assert done == ["mine.nonl, seed 0", "mine.ce, seed 1", "mine.nonl, seed 1"]


def test_processes_share_trainings_and_cores(two_seeds: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    work(two_seeds, jobs=2, say=lambda line: None)
    assert [state for _, state in states(two_seeds)] == ["done"] * 2
    devices = [Run(task.run).read_result()["cost"]["device"] for task in two_seeds.tasks()]
    threads = max(1, torch.get_num_threads() // 2)
    assert all(device.startswith(f"{threads} thread") for device in devices), devices


def test_threads_that_the_user_has_chosen_stay(
    grid_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", str(before))
    _process(Study(load_grid(str(grid_file()))[1], {}, tmp_path / "study"), jobs=before + 1)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "no grid 'nothing': give a YAML file or one of cpu, digits"),
        (["digits", "--data", "mnist=there"], "the grid's names are digits"),
        (["digits", "--data", "digits"], "write NAME=DATA"),
    ],
)
def test_a_mistake_of_the_command_line_is_one_line(
    protozoo: Protozoo, tmp_path: Path, words: list[str], message: str
) -> None:
    status, _, err = protozoo("study", *words, "--out", tmp_path / "study")
    assert status == 2
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_shorter_study_trains_for_less_and_says_so(
    protozoo: Protozoo, grid_file: Callable[..., Path], colours: Path, tmp_path: Path
) -> None:
    path = grid_file()
    study = yaml.safe_load(path.read_text())
    study["blocks"] = [{**study["blocks"][0], "fields": {"epochs": 3, "warmup_epochs": 1.5}, "evaluations": []}]
    path.write_text(yaml.safe_dump({**study, "claims": []}))
    words = ["--epochs-factor", "0.5", "--seeds", "1"]
    status, _, err = protozoo("study", path, "--data", f"mine={colours}", "--out", tmp_path / "study", *words)
    assert status == 0, err
    runs = sorted((tmp_path / "study").rglob("result.json"))
    assert [file.parent.parent.name for file in runs] == ["seed0", "seed0"]
    recipes = [json.loads(file.read_bytes())["recipe"] for file in runs]
    assert [(recipe["epochs"], recipe["warmup_epochs"]) for recipe in recipes] == [(2, 0.75)] * 2
    text = (tmp_path / "study" / "results.md").read_text()
    assert "Trained for 0.5 of the grid's epochs and with at most 1 of its seeds." in text
    assert "| mine.nonl | 1 of 1 | " in text


def test_a_report_of_what_is_done_trains_nothing(
    protozoo: Protozoo, grid_file: Callable[..., Path], colours: Path, tmp_path: Path
) -> None:
    words = ["study", grid_file(), "--data", f"mine={colours}", "--out", tmp_path / "study", "--report"]
    status, out, err = protozoo(*words)
    assert (status, out) == (0, f"written: {tmp_path / 'study' / 'results.md'}\n"), err
    assert sorted(path.name for path in (tmp_path / "study").iterdir()) == ["results.json", "results.md"]
    assert "not tested, because no training of mine.nonl is finished" in (tmp_path / "study" / "results.md").read_text()


@pytest.mark.parametrize(
    ("a", "b", "verdict", "because"),
    [
        ({"0": 1.0, "1": 10.0}, {"0": 2.0, "1": 20.0}, "holds", "margin +0.1, 95 % interval +0.1 to +0.1"),
        ({"0": 1.0, "1": 10.0}, {"1": 20.0}, "holds with one seed", "one seed"),
        ({"0": 1.0}, {"1": 20.0}, "not tested", "no seed of mine.nonl has both a and b"),
        ({"0": 1.0}, {"0": 0.0}, "not tested", "a denominator is zero"),
        ({"0": 1.0}, {}, "not tested", "mine.nonl has no b"),
    ],
)
def test_a_claim_may_be_of_what_each_seed_has(
    a: dict[str, float], b: dict[str, float], verdict: str, because: str, grid_file: Callable[..., Path], tmp_path: Path
) -> None:
    claim = {"claim": "c", "source": "s", "theirs": "t", "test": "mean(a / b, mine.nonl) < 0.6"}
    grid, cells = load_grid(str(grid_file(claims=[claim])))
    nonl = next(cell for cell in cells if cell.name == "mine.nonl")
    as_trained = {"data": "mine", "recipe": nonl.recipe, "fields": dict(nonl.fields), "evaluations": {}}
    metrics = {name: {"values": values} for name, values in (("a", a), ("b", b)) if values}
    earlier = {"mine.nonl": {**as_trained, "metrics": metrics}}
    results = collect(grid, Study(cells, {"mine": "nowhere"}, tmp_path, earlier=earlier))
    assert results["claims"][0]["verdict"] == verdict
    assert because in results["claims"][0]["because"]


def test_a_readout_is_measured_with_its_thirds(
    protozoo: Protozoo, grid_file: Callable[..., Path], recipes: dict[str, str], colours: Path, tmp_path: Path
) -> None:
    block = {"data": "mine", "recipes": {"nonl": recipes["nonl"]}, "seeds": [0], "evaluations": ["training", "uniform"]}
    asked = {prior: {"kind": "readout", "prior": prior} for prior in ("training", "uniform")}
    path = grid_file(blocks=[block], evaluations=asked, claims=[])
    status, _, err = protozoo("study", path, "--data", f"mine={colours}", "--out", tmp_path / "study")
    assert status == 0, err
    metrics = json.loads((tmp_path / "study" / "results.json").read_bytes())["cells"]["mine.nonl"]["metrics"]
    assert metrics["training"] == metrics["accuracy_bayes"]
    assert metrics["training_tail_third"] == metrics["tail_third_accuracy_bayes"]
    assert {"uniform", "uniform_head_third", "uniform_medium_third", "uniform_tail_third"} <= metrics.keys()
