"""The command ``transfer``: its table, its record, and that finished work is never lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.runs import Protozoo
from training.downstream import measure

PROTOTYPES = ["projection", "encoder", "whitened"]


@pytest.fixture
def words(undisturbed: Path, colours: Path, make_folder: Callable[..., Path], tmp_path: Path) -> list[object]:
    """A transfer to two data sets."""
    other = make_folder(tmp_path / "shades", test_images=3)
    return ["transfer", undisturbed, "--data", colours, "--data", other, "--epochs", 2, "--lr", 0.5]


def test_help_has_an_example(protozoo: Protozoo) -> None:
    status, out, _ = protozoo("transfer", "--help")
    assert status == 0
    assert "Example: protozoo transfer proto_resnet20_cifar.nonl_cifar10 --data cifar100" in " ".join(out.split())


def test_the_table_has_a_row_a_method_and_the_mean_last(
    protozoo: Protozoo, words: list[object], tmp_path: Path
) -> None:
    status, out, err = protozoo(*words, "--out", tmp_path / "record.json")
    assert status == 0, err
    record = json.loads((tmp_path / "record.json").read_text())
    lines = out.splitlines()
    assert lines[0] == "| | colours | shades | mean |"
    assert [line.split(" | ")[0] for line in lines[2:6]] == [
        "| linear probe",
        "| prototypes (projection)",
        "| prototypes (encoder)",
        "| prototypes (whitened)",
    ]
    colours, shades = record["sets"]
    assert (colours["train_images"], colours["test_images"], shades["test_images"]) == (60, 12, 9)
    for method, line in zip(record["settings"]["methods"], lines[2:6], strict=True):
        values = [one["methods"][method]["value"] for one in record["sets"]]
        assert record["means"][method] == pytest.approx(sum(values) / 2)
        assert line.endswith(f"| {50 * sum(values):.2f} |")
        assert f"| {100 * values[0]:.2f} (" in line
    assert lines[7].startswith("One pass over each training set (120 images): ")
    assert record["kind"] == "transfer"
    assert record["data"] == "colours; shades"
    assert record["settings"].items() >= {"epochs": 2, "lr": 0.5, "shots": None, "seed": 0}.items()
    assert record["command"] == (
        "protozoo transfer undisturbed --data colours --out RECORD --data shades --epochs 2 --lr 0.5"
    )


def test_what_was_measured_stays_and_is_not_measured_again(
    protozoo: Protozoo, words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, measured = tmp_path / "record.json", []

    def interrupted(model: Any, data: Any, *args: Any) -> dict[str, Any]:
        measured.append(data.name)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return measure(model, data, *args)

    monkeypatch.setattr("training.downstream.record.measure", interrupted)
    assert protozoo(*words, "--out", out)[0] != 0
    torn = json.loads(out.read_text())
    assert [one["data"] for one in torn["sets"]] == ["colours"]
    assert torn["means"] is None
    status, table, err = protozoo(*words, "--out", out)
    assert status == 0, err
    assert measured == ["colours", "shades", "shades"]
    whole = json.loads(out.read_text())
    assert whole["sets"][0] == torn["sets"][0]
    assert set(whole["means"]) == {"linear", *PROTOTYPES}
    # Nothing is left to do: the table is that of the record.
    assert protozoo(*words, "--out", out)[:2] == (0, table)
    assert len(measured) == 3


def change_set(record: dict[str, Any]) -> None:
    record["sets"][0]["test_images"] += 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.update(weights_sha256="0"), "is of another model"),
        (lambda record: record["settings"].update(epochs=3), "is of other settings"),
        (change_set, "none of these data sets"),
        (lambda record: record.update(kind="corruptions"), "no record of `protozoo transfer`"),
    ],
)
def test_a_record_of_something_else_is_refused_and_stays(
    protozoo: Protozoo, words: list[object], tmp_path: Path, change: Callable[[Any], None], message: str
) -> None:
    out = tmp_path / "record.json"
    assert protozoo(*words, "--method", "linear", "--out", out)[0] == 0
    record = json.loads(out.read_text())
    change(record)
    out.write_text(json.dumps(record))
    status, printed, err = protozoo(*words, "--method", "linear", "--out", out)
    assert (status, printed) == (2, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert json.loads(out.read_text()) == record


def test_a_baseline_gives_each_method_a_row_of_relative_changes(
    protozoo: Protozoo, words: list[object], tmp_path: Path
) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    words = [*words, "--method", "linear"]
    assert protozoo(*words, "--out", first)[0] == 0
    baseline = json.loads(first.read_text())
    own = [one["methods"]["linear"]["value"] for one in baseline["sets"]]
    values = [own[0] / 2, 0.0]
    for one, value in zip(baseline["sets"], values, strict=True):
        one["methods"]["linear"]["value"] = value
    first.write_text(json.dumps(baseline))
    status, table, err = protozoo(*words, "--baseline", first, "--out", second)
    assert status == 0, err
    record = json.loads(second.read_text())
    assert record["command"].endswith("--data shades --baseline first.json --method linear --epochs 2 --lr 0.5")
    found = record["baseline"]
    assert found["model"] == baseline["model"]
    relative = found["relative"]["linear"]
    assert relative["sets"] == [pytest.approx(1.0), None]
    assert relative["mean"] == pytest.approx(sum(own) / values[0] - 1)
    change = f"{100 * relative['mean']:+.2f} %"
    assert table.splitlines()[3] == f"| linear probe, against {found['model']} | +100.00 % |  | {change} |"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda record: record.update(means=None), "no finished record"),
        (lambda record: record.update(kind="corruptions"), "no finished record"),
        (lambda record: record["settings"].update(seed=1), "with other settings"),
        (change_set, "was not measured on colours"),
    ],
)
def test_a_baseline_of_something_else_is_refused_before_any_work(
    protozoo: Protozoo,
    words: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Any], None],
    message: str,
) -> None:
    file, words = tmp_path / "baseline.json", [*words, "--method", "linear"]
    assert protozoo(*words, "--out", file)[0] == 0
    record = json.loads(file.read_text())
    change(record)
    file.write_text(json.dumps(record))
    monkeypatch.setattr("training.downstream.record.measure", None)
    status, _, err = protozoo(*words, "--baseline", file)
    assert status == 2
    assert message in err
    assert len(err.splitlines()) == 1


def test_prototypes_alone_of_a_few_images_have_no_settings_of_a_training(
    protozoo: Protozoo, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "record.json"
    given = ["--method", "prototypes", "--shots", 3, "--seed", 4]
    status, table, err = protozoo("transfer", undisturbed, "--data", "digits", *given, "--out", out)
    assert status == 0, err
    record = json.loads(out.read_text())
    assert record["settings"] == {"methods": PROTOTYPES, "shots": 3, "seed": 4}
    assert record["sets"][0]["train_images"] == 30
    assert record["command"].endswith("--data digits --out RECORD --method prototypes --shots 3 --seed 4")
    assert "linear" not in table


def test_mistakes_are_one_line_and_status_2_before_any_work(
    protozoo: Protozoo, words: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROTOZOO_DATA", str(tmp_path))
    monkeypatch.setattr("training.downstream.record.measure", None)
    (tmp_path / "list.json").write_text("[]")
    for more, message in (
        (["--data", "cars"], "1 of 3 data sets cannot be used: cars is not complete"),
        (["--data", tmp_path / "none"], "1 of 3 data sets cannot be used"),
        (["--device", "abacus"], "device 'abacus' cannot be used"),
        (["--protocol", "mnist"], "cifar, imagenet100, imagenet1k"),
        (["--method", "guess"], "--method"),
        (["--out", tmp_path / "none" / "record.json"], "cannot be written"),
        (["--out", tmp_path / "list.json"], "holds no record"),
    ):
        status, out, err = protozoo(*words, *more)
        assert (status, out) == (2, "")
        assert message in err
        assert len(err.splitlines()) == 1
    status, _, err = protozoo(*words[:2])
    assert status == 2
    assert "--data or --table4 is needed" in err
