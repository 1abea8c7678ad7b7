from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.runs import Protozoo
from training.data import load_data
from training.few_shot import with_shots
from training.pretrained import open_pretrained
from zoo.bundle import Preprocessing

KINDS = ("prototypes", "linear", "normalized", "cached")


@pytest.mark.parametrize("kind", KINDS)
def test_help_has_an_example(protozoo: Protozoo, kind: str) -> None:
    status, out, _ = protozoo("probe", kind, "--help")
    assert status == 0
    assert f"Example: protozoo probe {kind} runs/scl --data cifar10" in " ".join(out.split())


def settings_of(kind: str) -> dict[str, Any]:
    given = {"epochs": 2, "batch_size": 30, "lr": 0.5, "milestones": [1], "seed": 3, "weight_decay": 0.01}
    return {"seed": 3} if kind == "prototypes" else given


@pytest.mark.parametrize(
    ("kind", "passes", "images"), [("prototypes", 1, 60), ("linear", 3, 180), ("normalized", 2, 120), ("cached", 1, 60)]
)
def test_each_probe_prints_a_line_of_json_and_writes_it(
    protozoo: Protozoo, run: Path, colours: Path, tmp_path: Path, kind: str, passes: int, images: int
) -> None:
    settings = settings_of(kind)
    words = [word for name, value in settings.items() for word in (f"--{name}", str(value).strip("[]"))]
    status, out, err = protozoo("probe", kind, run, "--data", colours, "--out", tmp_path / "record.json", *words)
    assert (status, err) == (0, "")
    assert len(out.splitlines()) == 1
    record = json.loads(out)
    assert record == json.loads((tmp_path / "record.json").read_text())
    assert record["probe"] == kind
    assert record["model"] == "proto_resnet20_cifar.scl_colours"
    assert (record["train_images"], record["test_images"]) == (60, 12)
    assert 0 <= record["test_accuracy"] <= 1
    assert (record["cost"]["passes"], record["cost"]["images"]) == (passes, images)
    assert record["settings"].items() >= settings.items()


@pytest.mark.parametrize("features", ["encoder", "whitened"])
def test_the_encoders_features_can_be_the_prototypes(
    protozoo: Protozoo, run: Path, colours: Path, features: str
) -> None:
    status, out, _ = protozoo("probe", "prototypes", run, "--data", colours, "--features", features)
    assert status == 0
    assert json.loads(out)["features"] == "encoder"
    assert json.loads(out)["settings"]["features"] == features


@pytest.mark.parametrize("kind", KINDS)
def test_classes_that_the_model_has_never_seen_are_probed_on_a_few_images(
    protozoo: Protozoo, run: Path, kind: str
) -> None:
    epochs = [] if kind == "prototypes" else ["--epochs", 2]
    record = json.loads(protozoo("probe", kind, run, "--data", "digits", "--shots", 5, *epochs)[1])
    assert record["train_images"] == 50
    assert record["test_images"] == 360
    assert record["settings"]["shots"] == 5


def test_the_same_seed_gives_the_same_accuracy_and_the_settings_tell_augmentation_and_temperature(
    protozoo: Protozoo, run: Path, colours: Path
) -> None:
    words = ["probe", "normalized", run, "--data", colours, "--epochs", 1, "--temperature", 0.3, "--batch-size", 20]
    words += ["--augmentation", "crop"]
    first, again = (json.loads(protozoo(*words)[1]) for _ in range(2))
    assert first["test_accuracy"] == again["test_accuracy"]
    assert first["settings"]["temperature"] == 0.3
    assert first["settings"]["augmentation"] == "crop"


def test_a_run_on_a_long_tail_is_probed_on_the_images_that_it_had(protozoo: Protozoo, run: Path, colours: Path) -> None:
    result = json.loads((run / "result.json").read_text())
    result["recipe"] |= {"imbalance": 0.25, "seed": 7}
    (run / "result.json").write_text(json.dumps(result))
    record = json.loads(protozoo("probe", "prototypes", run, "--data", colours)[1])
    assert record["train_images"] == record["cost"]["images"] == 20 + 10 + 5
    assert record["data"] == "colours, long-tailed (0.25)"


def test_a_run_of_few_shots_is_probed_on_the_images_that_it_had(
    protozoo: Protozoo, run: Path, colours: Path, preprocessing: Preprocessing
) -> None:
    result = json.loads((run / "result.json").read_text())
    result["recipe"] |= {"shots": 3, "seed": 7}
    (run / "result.json").write_text(json.dumps(result))
    record = json.loads(protozoo("probe", "prototypes", run, "--data", colours)[1])
    assert (record["train_images"], record["data"]) == (9, "colours, 3 images a class")
    same = with_shots(load_data(str(colours), preprocessing), 3, seed=7)
    assert np.array_equal(open_pretrained(str(run)).load(str(colours)).train.images, same.train.images)  # type: ignore[union-attr]
    # Shots of `fit` gave prototypes to an encoder that they did not train.
    result |= {"objective": "class_means"}
    (run / "result.json").write_text(json.dumps(result))
    assert len(open_pretrained(str(run)).load(str(colours)).train.labels) == 60


def test_mistakes_are_one_line_and_status_2(protozoo: Protozoo, run: Path, colours: Path, tmp_path: Path) -> None:
    for words, message in (
        (["prototypes", run, "--data", colours, "--shots", "0"], "--shots"),
        (["prototypes", tmp_path / "none", "--data", colours], "neither a folder nor a pretrained model"),
        (["linear", run, "--data", tmp_path / "none"], str(tmp_path / "none")),
        (["linear", run, "--data", colours, "--lr", "fast"], "--lr"),
        (["cached", run, "--data", colours, "--epochs", "0"], "epochs = 0"),
        (["cached", run, "--data", colours, "--protocol", "mnist"], "cifar, imagenet100, imagenet1k"),
        (["cached", run, "--data", colours, "--device", "abacus"], "device 'abacus' cannot be used"),
        (["cached", run], "--data"),
    ):
        status, out, err = protozoo("probe", *words)
        assert (status, out) == (2, "")
        assert message in err
        assert len(err.splitlines()) == 1


def test_an_unfinished_run_is_one_line_and_status_2(protozoo: Protozoo, run: Path, colours: Path) -> None:
    (run / "result.json").unlink()
    status, _, err = protozoo("probe", "linear", run, "--data", colours)
    assert status == 2
    assert err == f"protozoo: {run} is not finished: run its `protozoo train` again\n"


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_that_could_not_be_written_is_refused_before_any_work(
    protozoo: Protozoo, run: Path, colours: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.probes.record.open_pretrained", None)
    status, out, err = protozoo("probe", kind, run, "--data", colours, "--out", tmp_path / "none" / "a.json")
    assert (status, out) == (2, "")
    assert "none/a.json cannot be written (No such file or directory): make its folder" in err
    assert len(err.splitlines()) == 1


def test_a_disk_that_has_become_full_does_not_cost_the_record(
    protozoo: Protozoo, run: Path, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("training.record_files.write_atomically", full)
    status, out, err = protozoo("probe", "prototypes", run, "--data", colours, "--out", tmp_path / "a.json")
    assert status == 2
    assert json.loads(out)["probe"] == "prototypes"
    assert "a.json cannot be written (No space left on device)" in err
    assert len(err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir() if "a.json" in path.name] == []


def test_the_record_tells_whose_it_is_and_how_it_was_made(
    protozoo: Protozoo, run: Path, colours: Path, tmp_path: Path
) -> None:
    words = ["--epochs", 2, "--lr", 0.5, "--milestones", "1,2", "--batch-size", 30, "--device", "cpu"]
    record = json.loads(protozoo("probe", "cached", run, "--data", colours, "--out", tmp_path / "r.json", *words)[1])
    assert record["kind"] == "probe"
    assert record["weights_sha256"] == hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
    assert record["command"] == (
        "protozoo probe cached run --data colours --out RECORD --epochs 2 --lr 0.5 --milestones 1,2 --batch-size 30"
    )
    low, high = record["test_accuracy_interval"]
    assert low <= record["test_accuracy"] <= high
    assert 0 < record["weight_alignment"] < 4
    record = json.loads(protozoo("probe", "prototypes", run, "--data", colours, "--features", "whitened")[1])
    assert record["command"] == "protozoo probe prototypes run --data colours --out RECORD --features whitened"
    assert "weight_alignment" not in record
