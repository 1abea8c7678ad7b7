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


def transfer_of(bundle: Bundle, **fields: Any) -> dict[str, Any]:
    """A record of ``protozoo transfer`` with numbers by hand."""

    def measured(data: str, measure: str, linear: float, whitened: float) -> dict[str, Any]:
        values = {"linear": linear, "whitened": whitened}
        return {
            "data": data,
            "license": "not stated",
            "classes": 3,
            "train_images": 60,
            "test_images": 12,
            "measure": measure,
            "cost": {"passes": 1, "images": 60, "seconds": 1.5, "device": "cpu"},
            "methods": {
                name: {"value": value, "interval": [value - 0.1, value + 0.1], "seconds": 0.5}
                for name, value in values.items()
            },
        }

    return {
        "kind": "transfer",
        "command": "protozoo transfer BUNDLE --data colours --out RECORD --data voc2007",
        "model": bundle.name,
        "weights_sha256": bundle.record["weights"]["sha256"],
        "input_size": 16,
        "data": "colours; PASCAL VOC 2007",
        "settings": {"methods": ["linear", "whitened"], "epochs": 100, "shots": None, "seed": 0},
        "sets": [
            measured("colours", "top-1 accuracy", 0.5, 0.625),
            measured("PASCAL VOC 2007", "mean average precision", 0.25, 0.375),
        ],
        "means": {"linear": 0.375, "whitened": 0.5},
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


def test_a_transfer_goes_into_a_new_bundle_beside_corruptions(
    protozoo: Protozoo, digits_bundle: Bundle, tmp_path: Path
) -> None:
    words: list[object] = ["evaluate", digits_bundle.path, "--data", "digits", "--into", tmp_path / "evaluated"]
    for kind, record in (("corruptions", corruptions_of(digits_bundle)), ("transfer", transfer_of(digits_bundle))):
        (tmp_path / f"{kind}.json").write_text(json.dumps(record))
        words += [f"--{kind}", tmp_path / f"{kind}.json"]
    status, _, err = protozoo(*words)
    assert status == 0, err
    evaluations = Bundle.open(tmp_path / "evaluated").record["evaluations"]
    assert [row["kind"] for row in evaluations] == ["test", "corruptions", "transfer"]
    assert evaluations[2]["means"] == {"linear": 0.375, "whitened": 0.5}
    assert "weights_sha256" not in evaluations[2]
    card = (tmp_path / "evaluated" / "README.md").read_text(encoding="utf-8")
    assert "### Corruptions" in card
    assert "--out RECORD --data voc2007\n```\n\n| | colours, top-1 accuracy | PASCAL VOC 2007, mean average" in card
    assert (
        "| --- | ---: | ---: | ---: |\n"
        "| linear probe | 50.00 % (40.00 % to 60.00 %) | 25.00 % (15.00 % to 35.00 %) | 37.50 % |\n"
        "| prototypes (whitened) | 62.50 % (52.50 % to 72.50 %) | 37.50 % (27.50 % to 47.50 %) | 50.00 % |\n\n"
        "- colours: 3 classes, 60 training and 12 test images; licence: not stated\n"
    ) in card
    assert "100 epochs of SGD" in card


def test_the_baseline_of_a_transfer_is_named_and_compared(config: dict[str, Any], digits_bundle: Bundle) -> None:
    relative = {"linear": {"sets": [0.25, None], "mean": -0.0625}, "whitened": {"sets": [0.0, 0.5], "mean": 1.5}}
    baseline = {"model": "proto.ce", "weights_sha256": "f" * 64, "relative": relative}
    config["protozoo"]["evaluations"] = [transfer_of(digits_bundle, baseline=baseline)]
    card = render_card(config)
    assert "Compared with `proto.ce` (weights ffffffffffffffff), relative" in card
    assert "| 37.50 % |\n| linear probe, relative to the other | +25.00 % |  | -6.25 % |\n| prototypes (w" in card
    assert (
        "| 50.00 % |\n| prototypes (whitened), relative to the other | +0.00 % | +50.00 % | +150.00 % |\n\n- " in card
    )


def test_a_card_of_prototypes_alone_speaks_of_no_training(config: dict[str, Any], digits_bundle: Bundle) -> None:
    found = transfer_of(digits_bundle, means={"whitened": 0.5}, settings={"methods": ["whitened"], "shots": 5})
    config["protozoo"]["evaluations"] = [found]
    card = render_card(config)
    assert "without augmentation, of at most 5 training images a class.\nPrototypes are class means" in card
    assert "epochs of SGD" not in card


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
    ("kind", "change", "message"),
    [
        ("corruptions", {"weights_sha256": "0" * 64}, "of other weights than"),
        ("corruptions", {"errors": ...}, "it has no errors"),
        ("transfer", {"weights_sha256": "0" * 64}, "of other weights than"),
        ("transfer", {"sets": ...}, "it has no sets"),
        ("transfer", {"means": None}, "lacks data sets"),
    ],
)
def test_a_record_of_another_model_or_another_form_is_refused(
    protozoo: Protozoo,
    digits_bundle: Bundle,
    tmp_path: Path,
    kind: str,
    change: dict[str, Any],
    message: str,
) -> None:
    made = {"corruptions": corruptions_of, "transfer": transfer_of}[kind]
    fields = {name: value for name, value in made(digits_bundle, **change).items() if value is not ...}
    (tmp_path / "record.json").write_text(json.dumps(fields))
    words = ["evaluate", digits_bundle.path, "--data", "digits", f"--{kind}", tmp_path / "record.json"]
    status, _, err = protozoo(*words, "--into", tmp_path / "new")
    assert status == 2
    assert message in err
    assert not (tmp_path / "new").exists()
    status, _, err = protozoo(*words)
    assert status == 2
    assert "give --into too" in err
