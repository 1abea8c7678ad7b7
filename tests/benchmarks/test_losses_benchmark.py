from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from benchmarks.loss_goals import LARGE_BATCH, Cost, goals
from benchmarks.loss_measures import extra_peak, in_rounds, ratio
from benchmarks.loss_steps import BASE, STEPS, Size, draw, naive_ntce, step
from benchmarks.losses import main, too_large
from training.losses import ntce

CPU = torch.device("cpu")
SIZE = Size(32, 40, 8)


def test_naive_ntce_equals_ntce_in_value_and_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    rows, prototypes = (torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (20, 5))
    logits = (F.normalize(rows, dim=1) @ F.normalize(prototypes, dim=1).T / 0.1).requires_grad_()
    labels = torch.randint(0, 4, (20,), generator=generator)
    values = [loss(logits, labels) for loss in (naive_ntce, ntce)]
    gradients = [torch.autograd.grad(value, logits)[0] for value in values]
    torch.testing.assert_close(*values, rtol=0, atol=1e-12)
    torch.testing.assert_close(*gradients, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", [name for name in STEPS if name != "nonl, in 4 parts"])
def test_a_step_gives_features_a_gradient_that_does_not_add_up(name: str) -> None:
    inputs = draw(SIZE, CPU)
    inputs.running.eval()
    run = step(name, inputs)
    run()
    assert inputs.features.grad is not None
    first = inputs.features.grad.clone()
    run()
    assert first.abs().sum() > 0
    torch.testing.assert_close(inputs.features.grad, first)


def test_four_parts_give_the_prototypes_the_gradient_of_one() -> None:
    inputs = draw(SIZE, CPU)
    gradients = []
    for name in ("nonl", "nonl, in 4 parts"):
        step(name, inputs)()
        gradient = inputs.head.classifier.weight.grad
        assert gradient is not None
        gradients.append(gradient.clone())
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)


def test_rounds_interleave_the_steps() -> None:
    calls: list[str] = []

    def slow(name: str) -> None:
        calls.append(name)
        time.sleep(0.04)

    seconds = in_rounds({name: lambda name=name: slow(name) for name in "AB"}, CPU, budget=0)  # type: ignore[misc]
    assert [len(each) for each in seconds.values()] == [5, 5]
    assert "".join(calls[4:]) == "AB" * 5


def test_a_ratio_is_taken_within_rounds() -> None:
    # The machine was ten times slower in the second round, for both.
    assert ratio([2, 20, 3], [1, 10, 1]) == (2, 2, 3)


def test_peak_memory_is_that_of_the_step_alone() -> None:
    size = Size(2048, 4, 64)
    naive, column = (extra_peak(name, size, CPU, threads=1) for name in ("ntce, M x M", "ntce"))
    if naive is None or column is None:
        pytest.skip("resident memory is measured on Linux only")
    matrix = 4 * size.batch**2
    assert 2 * matrix < naive < 5 * matrix
    # Features and embeddings with their gradients, and temporaries of these.
    assert 2 * 4 * size.batch * size.dim < column < matrix


@pytest.mark.parametrize(
    ("seconds", "extra", "verdicts"),
    [(0.9, 10, ["pass"] * 3), (1.3, 10, ["FAIL", "pass", "pass"]), (0.9, 30, ["pass", "pass", "FAIL"])],
)
def test_a_missed_goal_is_named(seconds: float, extra: int, verdicts: list[str]) -> None:
    costs = {
        BASE: Cost([1.0], 10),
        "ntce": Cost([seconds], extra),
        "nonl": Cost([seconds], extra),
        "ntce, M x M": Cost([100.0], 500),
    }
    traffic = {name: {Size(1, 2, 3): 8, Size(2, 2, 3): 8, Size(2, 4, 3): 16} for name in ("ntce", "nonl")}
    judged = goals({LARGE_BATCH: costs}, traffic)
    assert [goal.verdict for goal in judged] == [*verdicts, "not measured", "pass"]
    traffic["nonl"][Size(2, 2, 3)] = 12
    assert goals({}, traffic)[-1].verdict == "FAIL"


def test_sizes_that_take_too_long_or_too_much_are_left_out() -> None:
    size = Size(100, 100, 100)
    assert too_large(size, speed=1e7, longest=1, memory=1e6) is None
    assert "--longest" in str(too_large(size, speed=1e6, longest=1, memory=1e6))
    assert "--memory" in str(too_large(size, speed=1e7, longest=1, memory=1e5))


def test_a_run_prints_a_table_and_writes_all_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "losses.json"
    threads = str(torch.get_num_threads())
    main(
        ["--batches", "4", "--classes", "6", "--dims", "8", "--seconds", "0", "--threads", threads, "--json", str(out)]
    )
    record = json.loads(out.read_text())
    assert set(record) == {"torch", "device", "threads", "steps", "left_out", "traffic", "goals"}
    assert [row["loss"] for row in record["steps"]] == list(STEPS)
    for row in record["steps"]:
        assert (row["batch"], row["classes"], row["dim"]) == (4, 6, 8)
        assert len(row["seconds"]) == 5
        assert row["time_ratio"]["least"] <= row["time_ratio"]["median"] <= row["time_ratio"]["most"]
    # Three K-vectors and two scalars, in float32; whatever M and d.
    sent = [row for row in record["traffic"] if row["loss"] != "scl"]
    assert [row["bytes"] for row in sent] == [12 * row["classes"] + 8 for row in sent]
    assert len({row["bytes"] for row in record["traffic"] if row["loss"] == "scl"}) == 3
    assert record["goals"][-1]["verdict"] == "pass"
    printed = capsys.readouterr().out
    assert all(goal["text"] in printed for goal in record["goals"])
