"""When collapse was reached: by hand on short histories, and on trained runs."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.training.runs import Protozoo, Start, rows_of
from training.convergence import convergence, convergence_table, reached, smoothed, targets
from training.recipe import Recipe
from zoo.errors import ProtozooError


def test_95_percent_is_of_the_way_from_no_collapse_to_exact_collapse() -> None:
    assert targets(100, 512) == pytest.approx(
        {
            "weight_instance_alignment": 0.1,
            "instance_alignment": 0.1,
            "weight_alignment": 0.1,
            "weight_erank": 94.05,
            "intra_erank": 25.6,
            "inter_erank": 94.05,
        }
    )


def test_in_fewer_dimensions_than_a_simplex_needs_95_percent_is_of_what_they_can_hold() -> None:
    found = targets(200, 100)
    assert (found["weight_erank"], found["inter_erank"]) == pytest.approx((95, 95))


def points(*values: float) -> list[tuple[float, float]]:
    return [(10.0 * (index + 1), value) for index, value in enumerate(values)]


def test_a_value_counts_from_where_it_stays() -> None:
    found = reached(points(0.3, 0.05, 0.2, 0.1, 0.08), "weight_alignment", 0.1, total=50)
    assert (found.at, found.share, found.first) == (40, 0.8, False)
    rising = reached(points(5, 9.5, 9.6, 8), "inter_erank", 9, total=40)
    assert (rising.at, rising.share) == (None, None)
    assert reached(points(5, 9.5, 9.6, 9.0), "inter_erank", 9, total=80).share == 0.25


def test_what_holds_from_the_first_evaluation_on_says_so() -> None:
    found = reached(points(0.05, 0.02), "intra_erank", 0.1, total=20)
    assert (found.at, found.first) == (10, True)


def test_smoothing_takes_a_spike_away_and_comes_later() -> None:
    assert smoothed([1, 0, 0], 0.5) == [1, 0.5, 0.25]
    spike, late = points(0.05, 0.05, 0.14, 0.05, 0.05), points(1, 0.05, 0.05, 0.05, 0.05, 0.05)
    assert reached(spike, "weight_alignment", 0.1, total=50).at == 40
    assert reached(spike, "weight_alignment", 0.1, total=50, smoothing=0.5).at == 10
    assert reached(late, "weight_alignment", 0.1, total=60).at == 20
    assert reached(late, "weight_alignment", 0.1, total=60, smoothing=0.5).at == 60


@pytest.fixture
def history(undisturbed: Path, tmp_path: Path) -> Callable[..., Path]:
    """history("name", column=values, ...) -> a run with such a metrics.csv; ten steps an epoch."""

    def write(name: str, **columns: Sequence[float]) -> Path:
        path = shutil.copytree(undisturbed, tmp_path / name)
        rows = [
            {"epoch": index + 1, "step": 10 * (index + 1), **dict(zip(columns, row, strict=True))}
            for index, row in enumerate(zip(*columns.values(), strict=True))
        ]
        with (path / "metrics.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["epoch", "step", *columns])
            writer.writeheader()
            writer.writerows(rows)
        return path

    return write


def test_the_baselines_final_value_is_measured_in_its_own_iterations(history: Callable[..., Path]) -> None:
    run = history("run", test_inter_erank=[1.0, 1.5, 1.96, 1.97], test_weight_alignment=[0.6, 0.4, 0.3, 0.2])
    base = history("base", test_inter_erank=[0.5, 1.4], test_weight_alignment=[0.5, 0.1])
    record = convergence([run], base)
    assert (record["images"], record["over"]) == ("test", "step")
    found = record["runs"][0]
    # 0.95 (K - 1) is 1.9; the baseline's 1.4 was passed at 20 of its 20 steps.
    assert (found["targets"]["inter_erank"]["at"], found["targets"]["inter_erank"]["share"]) == (30, 0.75)
    assert (found["baseline"]["inter_erank"]["at"], found["baseline"]["inter_erank"]["share"]) == (20, 1.0)
    assert found["baseline"]["weight_alignment"]["at"] is None
    table = convergence_table(record)
    assert "| NONL | not logged | not logged | not reached | not logged | not logged | 75.0 % |" in table
    assert "| NONL | not logged | not logged | not reached | not logged | not logged | 100.0 % |" in table


def test_runs_of_several_seeds_are_one_row_that_says_how_many_came_there(history: Callable[..., Path]) -> None:
    def seeded(name: str, seed: int, values: Sequence[float]) -> Path:
        path = history(name, test_inter_erank=values)
        recipe = (path / "recipe.yaml").read_text()
        (path / "recipe.yaml").write_text(recipe.replace("seed: 0", f"seed: {seed}"))
        return path

    runs = [seeded("one", 0, [2, 2]), seeded("two", 1, [1, 2]), seeded("three", 2, [1, 1])]
    table = convergence_table(convergence(runs, runs[0]))
    assert "| 75.0 % (2 of 3) |" in table
    assert table.count("| NONL |") == 2


def test_an_unfinished_run_or_one_without_collapse_is_refused(history: Callable[..., Path]) -> None:
    run, bare = history("run", test_inter_erank=[1, 2]), history("bare", loss=[1, 2])
    with pytest.raises(ProtozooError, match="no collapse of the train images: train with --collapse_images both"):
        convergence([run], run, images="train")
    with pytest.raises(ProtozooError, match=r"bare has logged no collapse"):
        convergence([run], bare)
    (run / "result.json").unlink()
    with pytest.raises(ProtozooError, match="is not finished"):
        convergence([run], bare)


def test_runs_on_other_classes_are_not_compared(history: Callable[..., Path]) -> None:
    run, other = history("run", test_inter_erank=[1, 2]), history("other", test_inter_erank=[1, 2])
    result = json.loads((other / "result.json").read_bytes())
    result["label_names"] = [f"{name}s" for name in result["label_names"]]
    (other / "result.json").write_text(json.dumps(result))
    with pytest.raises(ProtozooError, match=r"run and .*other have other classes, .*: compare runs of the same data"):
        convergence([run], other)


def test_the_command_prints_tables_of_the_training_images_where_they_were_logged(
    protozoo: Protozoo, start: Start, tiny: Callable[..., Recipe], undisturbed: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    start(tiny(epochs=2, collapse_images="both"), run)
    logged = rows_of(run)[-1]
    last = json.loads((run / "result.json").read_bytes())["metrics"]["train_collapse"]
    assert float(logged["train_inter_erank"]) == pytest.approx(last["inter_erank"], rel=1e-4)
    assert float(logged["test_inter_erank"]) != float(logged["train_inter_erank"])
    status, out, err = protozoo("convergence", run, "--baseline", run, "--out", tmp_path / "record.json")
    assert status == 0, err
    assert "Of the train images" in out
    record = json.loads((tmp_path / "record.json").read_text())
    assert (record["kind"], record["images"]) == ("convergence", "train")
    assert record["command"] == "protozoo convergence run --baseline run --out RECORD"
    digest = hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
    assert [found["weights_sha256"] for found in (*record["runs"], record["baseline"])] == [digest, digest]
    assert record["runs"][0]["data"] == "colours"
    status, out, _ = protozoo("convergence", undisturbed, "--baseline", run)
    assert status == 0
    assert "Of the test images" in out


def test_a_record_that_could_not_be_written_is_refused_before_any_work(
    protozoo: Protozoo, undisturbed: Path, tmp_path: Path
) -> None:
    words = ["convergence", undisturbed, "--baseline", undisturbed, "--images", "train"]
    status, out, err = protozoo(*words, "--out", tmp_path / "none" / "record.json")
    assert (status, out) == (2, "")
    assert "record.json cannot be written" in err
    assert len(err.splitlines()) == 1


def test_runs_whose_weights_are_gone_still_have_a_history(history: Callable[..., Path]) -> None:
    run = history("run", test_inter_erank=[1, 2])
    (run / "model.safetensors").unlink()
    assert convergence([run], run)["runs"][0]["weights_sha256"] is None
