"""``evaluate``, and evaluations that go into a bundle after its training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from export.bundle import add_evaluations
from tests.tiny_bundle import edit_config
from tests.training.evaluation_records import convergence_of, corruptions_of, probe_of, prototypes_of, transfer_of
from tests.training.runs import Protozoo
from zoo.bundle import Bundle


def assert_told(card: str, measured: dict[str, Any]) -> None:
    """What ``evaluate`` has measured stands in the card's section."""
    section = card.partition("## Evaluations")[2]
    calibration, scaling = measured["test_calibration"], measured["test_calibration"]["scaling"]
    weakest = min(measured["test_accuracy_per_class"].values())
    threshold, rejection = measured["thresholds"][0], measured["rejections"][0]
    for row in (
        "| test images | 360 |",
        f"| top-1 accuracy | {100 * measured['test_accuracy']:.2f} % |",
        f"| negative log-likelihood, nats | {calibration['nll']:.4f} |",
        f"| temperature that fits a random half of the images best | {scaling['temperature']:g} |",
        f"logits divided by it | {100 * scaling['ece_after']:.2f} % (else {100 * scaling['ece_before']:.2f} %) |",
        f"logits divided by it | {scaling['nll_after']:.4f} (else {scaling['nll_before']:.4f}) |",
        f"| AUROC against other images | {measured['foreign']['auroc']:.4f} (228 of patches",
        f"95 % of the test images reach | {100 * measured['foreign']['fpr_at_95_tpr']:.2f} % |",
        f"| threshold for at most 1 % false positives | {threshold['cosine']:.4f} (",
        f"| threshold for at most 1 % false rejections | {rejection['cosine']:.4f} |",
        f"| effective rank of the class means | {measured['test_collapse']['inter_erank']:.4f} |",
    ):
        assert row in section
    first = next(line for line in section.splitlines() if line.startswith("| weakest classes, 1 |"))
    assert first.endswith(f": {100 * weakest:.2f} % |")


def test_evaluations_go_into_a_new_bundle_and_its_card(
    protozoo: Protozoo, digits_bundle: Bundle, tmp_path: Path
) -> None:
    record, out = tmp_path / "record.json", tmp_path / "evaluated"
    record.write_text(json.dumps(corruptions_of(digits_bundle)))
    words = ["evaluate", digits_bundle.path, "--data", "digits"]
    status, printed, err = protozoo(*words, "--foreign", "patches", "--corruptions", record, "--into", out)
    assert status == 0, err
    bundle, measured = Bundle.open(out), json.loads(printed)
    test, corruptions = bundle.record["evaluations"]
    assert (test["kind"], corruptions["kind"]) == ("test", "corruptions")
    assert test["test_accuracy"] == measured["test_accuracy"]
    assert test["command"] == "protozoo evaluate digits-bundle --data digits --foreign patches"
    assert corruptions["errors"]["fog"] == {"1": 0.1, "5": 0.3}
    assert {name: digest for name, digest in bundle.sha256.items() if name not in ("config.json", "README.md")} == {
        name: digest for name, digest in digits_bundle.sha256.items() if name not in ("config.json", "README.md")
    }
    card = (out / "README.md").read_text(encoding="utf-8")
    assert {name: value for name, value in measured.items() if name != "bundle"}.items() <= test.items()
    assert_told(card, measured)
    assert "Top-1 errors on 100 of the 360 test images of digits under\n2 of the 15 corruptions of ImageNet-C" in card
    assert "| fog | 10.00 % | 30.00 % | 20.00 % |\n| snow | 25.00 % | 75.00 % | 50.00 % |" in card
    assert "nor were robustness to other corruptions\n  and fairness" in card
    assert "robustness to corruptions" not in card


def test_records_alone_need_no_data(protozoo: Protozoo, digits_bundle: Bundle, tmp_path: Path) -> None:
    record, out = tmp_path / "record.json", tmp_path / "evaluated"
    record.write_text(json.dumps(corruptions_of(digits_bundle)))
    status, printed, err = protozoo("evaluate", digits_bundle.path, "--corruptions", record, "--into", out)
    assert (status, printed) == (0, ""), err
    assert [row["kind"] for row in Bundle.open(out).record["evaluations"]] == ["corruptions"]
    section = (out / "README.md").read_text(encoding="utf-8").partition("## Evaluations")[2]
    assert "### Corruptions" in section
    assert "top-1 accuracy" not in section
    assert "\n\n\n" not in section


@pytest.mark.parametrize("more", [[], ["--foreign", "patches"], ["--into", "evaluated"]])
def test_without_records_data_are_needed(protozoo: Protozoo, digits_bundle: Bundle, more: list[str]) -> None:
    status, _, err = protozoo("evaluate", digits_bundle.path, *more)
    assert status == 2
    assert "--data is needed: what to measure on" in err


def test_foreign_images_can_be_none_as_in_a_training(protozoo: Protozoo, digits_bundle: Bundle) -> None:
    status, printed, err = protozoo("evaluate", digits_bundle.path, "--data", "digits", "--foreign", "none")
    assert status == 0, err
    assert "foreign" not in json.loads(printed)


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
        "| --- | ---: | ---: | ---: | ---: |\n"
        "| linear probe | 50.00 % (40.00 % to 60.00 %) | 25.00 % (15.00 % to 35.00 %) | 37.50 % | 1.00 |\n"
        "| prototypes (whitened) | 62.50 % (52.50 % to 72.50 %) | 37.50 % (27.50 % to 47.50 %) | 50.00 % | 1.00 |\n\n"
        "- colours: 3 classes, 60 training and 12 test images; licence: not stated\n"
    ) in card
    assert "100 epochs of SGD" in card
    assert "beside 3.00 s on cpu for a pass of the encoder over each training set" in card


def test_what_was_measured_of_a_run_goes_into_the_bundle_that_is_exported_from_it(
    protozoo: Protozoo, digits_run: Path, digits_bundle: Bundle, tmp_path: Path
) -> None:
    pytest.importorskip("corrupt_tta")
    data = ["--data", "digits"]
    commands: dict[str, list[object]] = {
        "corruptions": ["corruptions", digits_run, *data, "--images", 5, "--severity", 1, "--corruption", "contrast"],
        "transfer": ["transfer", digits_run, *data, "--method", "prototypes", "--shots", 2],
        "probe": ["probe", "prototypes", digits_run, *data],
        "convergence": ["convergence", digits_run, "--baseline", digits_run],
    }
    words: list[object] = []
    for kind, command in commands.items():
        status, _, err = protozoo(*command, "--out", tmp_path / f"{kind}.json")
        assert status == 0, err
        words += [f"--{kind}", tmp_path / f"{kind}.json"]
    status, _, err = protozoo("evaluate", digits_bundle.path, *data, *words, "--into", tmp_path / "evaluated")
    assert status == 0, err
    evaluations = Bundle.open(tmp_path / "evaluated").record["evaluations"]
    assert [row["kind"] for row in evaluations] == ["test", *commands]
    assert "weights_sha256" not in json.dumps([{**row, "baseline": None} for row in evaluations])
    card = (tmp_path / "evaluated" / "README.md").read_text(encoding="utf-8")
    for row, heading in zip(
        evaluations[1:], ("Corruptions", "Transfer", "Cost of probing", "Convergence"), strict=True
    ):
        assert f"### {heading}\n" in card
        assert f"```sh\n{row['command']}\n```" in card


def test_the_cost_of_probes_stands_beside_that_of_fixed_prototypes(
    protozoo: Protozoo, digits_bundle: Bundle, tmp_path: Path
) -> None:
    words: list[object] = ["evaluate", digits_bundle.path, "--data", "digits", "--into", tmp_path / "evaluated"]
    for name, record in (("linear", probe_of(digits_bundle)), ("prototypes", prototypes_of(digits_bundle))):
        (tmp_path / name).write_text(json.dumps(record))
        words += ["--probe", tmp_path / name]
    status, _, err = protozoo(*words)
    assert status == 0, err
    evaluations = Bundle.open(tmp_path / "evaluated").record["evaluations"]
    assert [row.get("probe") for row in evaluations] == [None, "linear", "prototypes"]
    card = (tmp_path / "evaluated" / "README.md").read_text(encoding="utf-8")
    assert (
        "| linear probe, 100 epochs | digits | 60 | 50.00 % (25.00 % to 75.00 %) | 100 | 30.00 (cpu) | 60.0 |\n"
        "| fixed prototypes (projection) | digits | 60 | 50.00 % (25.00 % to 75.00 %) | 1 | 0.50 (cpu) | 1.0 |\n"
    ) in card


def test_a_probe_of_other_settings_stands_beside_the_first_and_one_of_the_same_in_its_place(
    digits_bundle: Bundle, tmp_path: Path
) -> None:
    few = {"epochs": 1, "shots": None, "seed": 0}
    one = add_evaluations(digits_bundle, [probe_of(digits_bundle), prototypes_of(digits_bundle)], tmp_path / "one")
    more = [probe_of(digits_bundle, settings=few), prototypes_of(digits_bundle, test_accuracy=0.75)]
    found = add_evaluations(one, more, tmp_path / "two").record["evaluations"]
    assert [(row["probe"], row["test_accuracy"]) for row in found] == [
        ("linear", 0.5),
        ("linear", 0.5),
        ("prototypes", 0.75),
    ]


def test_of_a_record_of_convergence_the_bundles_own_run_stands_in_its_card(
    protozoo: Protozoo, digits_bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "record.json").write_text(json.dumps(convergence_of(digits_bundle)))
    words = ["evaluate", digits_bundle.path, "--data", "digits", "--convergence", tmp_path / "record.json"]
    status, _, err = protozoo(*words, "--into", tmp_path / "evaluated")
    assert status == 0, err
    row = Bundle.open(tmp_path / "evaluated").record["evaluations"][1]
    assert (row["kind"], row["data"], row["run"]["targets"]["inter_erank"]["share"]) == ("convergence", "digits", 0.625)
    assert "runs" not in row
    card = (tmp_path / "evaluated" / "README.md").read_text(encoding="utf-8")
    assert "as a share of its\niterations, and to the final values of CE (run `ce`)" in card
    assert "in which the earlier values weigh 0.5." in card
    assert "| effective rank within a class | ≤ 62.50 % | not logged |\n" in card
    assert "| effective rank of the class means | 62.50 % | not reached |\n" in card


@pytest.mark.parametrize("place", ["there", "file/new"])
def test_where_the_new_bundle_cannot_stand_is_said_before_any_work(
    protozoo: Protozoo, digits_bundle: Bundle, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.evaluate.run_model", None)
    (tmp_path / "there").mkdir()
    (tmp_path / "file").write_text("")
    words = ["evaluate", digits_bundle.path, "--data", "digits", "--into", tmp_path / place]
    status, out, err = protozoo(*words)
    assert (status, out) == (2, "")
    assert {"there": "exists already", "file/new": "cannot be written"}[place] in err
    assert len(err.splitlines()) == 1


def test_an_earlier_versions_bundle_says_that_it_does_not_tell_its_run(
    protozoo: Protozoo, digits_bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "record.json").write_text(json.dumps(probe_of(digits_bundle)))
    shutil.copytree(digits_bundle.path, tmp_path / "old")
    edit_config(tmp_path / "old", lambda config: config["protozoo"]["weights"].pop("run_sha256"))
    words = ["evaluate", tmp_path / "old", "--data", "digits", "--probe", tmp_path / "record.json"]
    status, _, err = protozoo(*words, "--into", tmp_path / "new")
    assert status == 2
    assert "give `protozoo probe` this bundle; which run it was exported from it, an earlier version's, does not" in err


def test_a_second_measurement_of_the_same_data_takes_the_place_of_the_first(
    digits_bundle: Bundle, tmp_path: Path
) -> None:
    def corruptions(data: str, error: float) -> dict[str, Any]:
        return {"kind": "corruptions", **corruptions_of(digits_bundle, data=data, clean_error=error)}

    one = add_evaluations(digits_bundle, [corruptions("a", 0.1), corruptions("b", 0.2)], tmp_path / "one")
    two = add_evaluations(one, [corruptions("a", 0.3)], tmp_path / "two")
    found = [(row["data"], row["clean_error"]) for row in two.record["evaluations"]]
    assert found == [("b", 0.2), ("a", 0.3)]


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("corruptions", {"weights_sha256": "0" * 64}, "of other weights than"),
        ("corruptions", {"errors": ...}, "it has no errors"),
        ("transfer", {"weights_sha256": "0" * 64}, "of other weights than"),
        ("transfer", {"sets": ...}, "it has no sets"),
        ("transfer", {"means": None}, "lacks data sets"),
        ("probe", {"weights_sha256": "0" * 64}, "give `protozoo probe` this bundle, or the run that it was exported"),
        ("probe", {"cost": ...}, "it has no cost"),
        ("convergence", {"runs": []}, "give `protozoo convergence` the run that it was exported from"),
        ("convergence", {"over": ...}, "it has no over"),
    ],
)
def test_a_record_of_another_model_or_another_form_is_refused(
    protozoo: Protozoo,
    digits_bundle: Bundle,
    tmp_path: Path,
    kind: str,
    change: dict[str, Any],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("training.evaluate.run_model", None)  # before any work
    made = {
        "corruptions": corruptions_of,
        "transfer": transfer_of,
        "probe": probe_of,
        "convergence": convergence_of,
    }[kind]
    fields = {name: value for name, value in made(digits_bundle, **change).items() if value is not ...}
    (tmp_path / "record.json").write_text(json.dumps(fields))
    words = ["evaluate", digits_bundle.path, "--data", "digits", f"--{kind}", tmp_path / "record.json"]
    status, _, err = protozoo(*words, "--into", tmp_path / "new")
    assert status == 2
    assert message in err
    assert str(tmp_path / "record.json") in err
    assert not (tmp_path / "new").exists()
    status, _, err = protozoo(*words)
    assert status == 2
    assert "give --into too" in err
