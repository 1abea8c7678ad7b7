from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.training.runs import DataInOrder, Start
from training.data import load_data
from training.evaluation import run_model
from training.long_tail import with_long_tail
from training.readout_record import record_readout
from training.recipe import Recipe
from training.run import Run
from training.train import train
from zoo.errors import ProtozooError
from zoo.runs import open_run


@pytest.fixture(scope="module")
def run_of(
    tiny: Callable[..., Recipe], colours: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """run_of(objective) -> folder of a run on a long tail."""

    def make(objective: str) -> Path:
        out = tmp_path_factory.mktemp("runs") / objective
        train(
            tiny(objective=objective, epochs=1, imbalance=0.5), str(colours), out, name=objective, command="-", say=str
        )
        return out

    return make


@pytest.mark.parametrize("objective", ["ntce", "nonl"])
def test_training_frequencies_are_what_the_run_has_measured_and_equal_ones_leave_them_out(
    objective: str, run_of: Callable[[str], Path], colours: Path
) -> None:
    run = run_of(objective)
    measured = Run(run).read_result()["metrics"]
    found = record_readout(str(run), str(colours), prior="training", device="cpu")
    assert found["test_accuracy"] == measured["test_accuracy_by_readout"]["bayes"]
    assert found["long_tail"]["by_readout"]["bayes"] == measured["test_accuracy_long_tail"]["by_readout"]["bayes"]

    opened = open_run(run)
    images = with_long_tail(load_data(str(colours), opened.preprocessing), 0.5, seed=0)
    train_outputs = run_model(opened.model, images.train, opened.preprocessing)
    test_outputs = run_model(opened.model, images.test, opened.preprocessing)
    logits, labels = train_outputs.logits.double(), train_outputs.labels
    shares = []
    for column in range(logits.shape[1]):
        others = logits[:, column] if objective == "ntce" else logits[labels != column, column]
        ratio = test_outputs.logits[:, column].double().exp() / others.exp().sum()
        count = (labels == column).sum()
        shares.append(ratio if objective == "ntce" else count * ratio / (1 + count * ratio) / count)
    answers = torch.stack(shares, 1).argmax(1)
    expected = float((answers == test_outputs.labels).double().mean())
    assert record_readout(str(run), str(colours), prior="uniform", device="cpu")["test_accuracy"] == expected


def test_nonl_is_read_out_for_equal_frequencies_where_no_offsets_are_asked_for(
    tiny: Callable[..., Recipe], colours: Path, start: Start, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    start(tiny(epochs=1, imbalance=0.5, shots=8, readout_prior="uniform"), out)
    metrics = Run(out).read_result()["metrics"]
    found = record_readout(str(out), str(colours), prior="uniform", device="cpu")
    assert metrics["test_accuracy_by_readout"]["bayes"] == found["test_accuracy"]
    assert metrics["test_accuracy_long_tail"]["by_readout"]["bayes"] == found["long_tail"]["by_readout"]["bayes"]


def test_the_classes_of_the_data_may_stand_in_any_order(
    run_of: Callable[[str], Path], colours: Path, data_in_order: DataInOrder
) -> None:
    """The long tail too, whose sizes fall from the first class on, is of the model's order."""
    run = run_of("nonl")
    expected = record_readout(str(run), str(colours), prior="uniform", device="cpu")

    data_in_order("training.pretrained", ("red", "blue", "green"))
    assert record_readout(str(run), str(colours), prior="uniform", device="cpu") == expected


def test_other_objectives_are_refused(run_of: Callable[[str], Path], colours: Path) -> None:
    with pytest.raises(ProtozooError, match="was trained by ce: the readout is of ntce and nonl"):
        record_readout(str(run_of("ce")), str(colours), prior="uniform", device="cpu")
