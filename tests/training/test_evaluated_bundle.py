"""Evaluations that go into a bundle after its training, and what its card says of them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from export.bundle import add_evaluations
from export.card import render_card
from tests.training.runs import Protozoo
from zoo.bundle import Bundle


@pytest.fixture
def config(digits_bundle: Bundle) -> dict[str, Any]:
    return copy.deepcopy(dict(digits_bundle.config))


def corruptions_of(bundle: Bundle, **fields: Any) -> dict[str, Any]:
    """A record of ``protozoo corruptions`` with numbers by hand."""
    return {
        "command": "protozoo corruptions BUNDLE --data digits --out RECORD",
        "code_revision": "0",
        "model": bundle.name,
        "weights_sha256": bundle.record["weights"]["sha256"],
        "data": "digits",
        "input_size": 16,
        "source": "made by corrupt-tta 0.1.7, seed 0",
        "images": {"count": 100, "of": 360, "sha256": "0"},
        "clean_error": 0.05,
        "errors": {"fog": {"1": 0.1, "5": 0.3}, "snow": {"1": 0.25, "5": 0.75}},
        "mean_errors": {"fog": 0.2, "snow": 0.5},
        "mean_corruption_error": 0.35,
        "baseline": None,
        **fields,
    }


def test_evaluations_go_into_a_new_bundle_and_its_card(
    protozoo: Protozoo, digits_bundle: Bundle, tmp_path: Path
) -> None:
    record, out = tmp_path / "record.json", tmp_path / "evaluated"
    record.write_text(json.dumps(corruptions_of(digits_bundle)))
    words = ["evaluate", digits_bundle.path, "--data", "digits"]
    status, printed, err = protozoo(*words, "--corruptions", record, "--into", out)
    assert status == 0, err
    bundle, measured = Bundle.open(out), json.loads(printed)
    test, corruptions = bundle.record["evaluations"]
    assert (test["kind"], corruptions["kind"]) == ("test", "corruptions")
    assert test["test_accuracy"] == measured["test_accuracy"]
    assert test["command"] == "protozoo evaluate digits-bundle --data digits"
    assert corruptions["errors"]["fog"] == {"1": 0.1, "5": 0.3}
    assert {name: digest for name, digest in bundle.sha256.items() if name not in ("config.json", "README.md")} == {
        name: digest for name, digest in digits_bundle.sha256.items() if name not in ("config.json", "README.md")
    }
    card = (out / "README.md").read_text(encoding="utf-8")
    assert f"| {100 * measured['test_accuracy']:.2f} % |" in card
    assert "Top-1 errors on 100 of the 360 test images of digits under\n2 of the 15 corruptions of ImageNet-C" in card
    assert "| fog | 10.00 % | 30.00 % | 20.00 % |\n| snow | 25.00 % | 75.00 % | 50.00 % |" in card
    assert "nor were robustness to other corruptions\n  and fairness" in card
    assert "robustness to corruptions" not in card


def test_a_second_measurement_of_the_same_data_takes_the_place_of_the_first(
    digits_bundle: Bundle, tmp_path: Path
) -> None:
    def corruptions(data: str, error: float) -> dict[str, Any]:
        return {"kind": "corruptions", **corruptions_of(digits_bundle, data=data, clean_error=error)}

    one = add_evaluations(digits_bundle, [corruptions("a", 0.1), corruptions("b", 0.2)], tmp_path / "one")
    two = add_evaluations(one, [corruptions("a", 0.3)], tmp_path / "two")
    found = [(row["data"], row["clean_error"]) for row in two.record["evaluations"]]
    assert found == [("b", 0.2), ("a", 0.3)]


def test_a_baseline_is_named_and_normalises(config: dict[str, Any], digits_bundle: Bundle) -> None:
    baseline = {
        "model": "proto.ce",
        "weights_sha256": "f" * 64,
        "ce": {"fog": 0.5, "snow": 1.25},
        "mce": 0.875,
        "relative_ce": {"fog": 0.4, "snow": None},
        "relative_mce": None,
    }
    config["protozoo"]["evaluations"] = [{"kind": "corruptions", **corruptions_of(digits_bundle, baseline=baseline)}]
    card = render_card(config)
    assert "Normalised by `proto.ce`\n(weights ffffffffffffffff): mCE 87.50 %; 100 % is that model's own." in card
    assert "| fog | 10.00 % | 30.00 % | 20.00 % | 50.00 % |\n| snow |" in card
    assert "| --- | ---: | ---: | ---: | ---: |\n| fog" in card


def test_a_bundle_without_test_images_of_its_own_shows_what_was_measured_of_it_later(config: dict[str, Any]) -> None:
    record = config["protozoo"]
    record["data"]["examples_per_class"] = dict.fromkeys(config["label_names"], 3)
    record["base"] = {"name": "base", "weights_sha256": "f" * 64, "objective": "nonl", "data": record["data"]}
    assert "Its accuracy was not measured on any data" in render_card(config)
    metrics = {
        name: record["metrics"][name] for name in ("test_accuracy", "test_accuracy_interval", "test_calibration")
    }
    record["evaluations"] = [{"kind": "test", "command": "c", "data": "later", "test_images": 7, **metrics}]
    card = render_card(config)
    assert "see the evaluations below" in card
    assert "| later | 7 | " in card
    assert "Its accuracy was not measured" not in card


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weights_sha256": "0" * 64}, "of other weights than"),
        ({"errors": ...}, "it has no errors"),
    ],
)
def test_corruptions_of_another_model_or_another_form_are_refused(
    protozoo: Protozoo,
    digits_bundle: Bundle,
    tmp_path: Path,
    change: dict[str, Any],
    message: str,
) -> None:
    fields = {name: value for name, value in corruptions_of(digits_bundle, **change).items() if value is not ...}
    (tmp_path / "record.json").write_text(json.dumps(fields))
    words = ["evaluate", digits_bundle.path, "--data", "digits", "--corruptions", tmp_path / "record.json"]
    status, _, err = protozoo(*words, "--into", tmp_path / "new")
    assert status == 2
    assert message in err
    assert not (tmp_path / "new").exists()
    status, _, err = protozoo(*words)
    assert status == 2
    assert "give --into too" in err
