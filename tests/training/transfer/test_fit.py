from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F

import zoo
from tests.training.runs import Protozoo
from training.data import load_data
from training.pretrained import open_pretrained
from training.probes import FrozenEncoder, WhitenedClassifier, closed_form
from training.transfer import fit
from training.transfer.fit import FitOptions, calibrated_temperature
from zoo.bundle import Bundle
from zoo.errors import ProtozooError
from zoo.loading import create_model

SOURCE = "proto_resnet20_cifar.nonl_cifar10"


@pytest.fixture(scope="module")
def said() -> list[str]:
    return []


@pytest.fixture(scope="module")
def fitted(colours: Path, tmp_path_factory: pytest.TempPathFactory, said: list[str]) -> Bundle:
    out = tmp_path_factory.mktemp("fit") / "bundle"
    return fit(SOURCE, str(colours), out, tag="class_means_colours", command="protozoo fit", say=said.append)


def test_new_classes_are_told_apart_after_one_pass(fitted: Bundle, colours: Path, said: list[str]) -> None:
    assert fitted.labels == ("blue", "green", "red")
    assert fitted.record["metrics"]["test_accuracy"] > 0.8
    best = zoo.load(fitted.path).predict(colours / "val" / "red" / "00.png", k=1)[0]
    assert best.label == "red"
    assert any("60 images of 3 classes" in line for line in said)


def test_the_bundle_is_the_frozen_backbone_with_whitened_class_means(fitted: Bundle, colours: Path) -> None:
    source = open_pretrained(SOURCE)
    data = load_data(str(colours), source.preprocessing)
    features, labels = FrozenEncoder(source.model, "encoder").all(data.train, source.preprocessing)
    form = closed_form(features, labels, 3, "whitened")
    assert isinstance(form, WhitenedClassifier)
    model = create_model(f"local-dir:{fitted.path}").eval()
    torch.testing.assert_close(model.prototypes, form.prototypes.weight, atol=1e-5, rtol=1e-4)
    own, theirs = model.state_dict(), source.model.state_dict()
    backbone = [name for name in theirs if not name.startswith("head.")]
    assert backbone
    assert all(torch.equal(own[name], theirs[name]) for name in backbone)
    pixels = torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        pooled = source.model.forward_features(pixels).mean((2, 3))
        torch.testing.assert_close(
            model.embed(pixels), F.normalize(form.projection(pooled), dim=1), atol=1e-4, rtol=1e-3
        )


def test_accuracy_in_the_record_is_that_of_the_bundle(fitted: Bundle, protozoo: Protozoo, colours: Path) -> None:
    status, out, _ = protozoo("evaluate", fitted.path, "--data", colours)
    assert status == 0
    assert json.loads(out)["test_accuracy"] == fitted.record["metrics"]["test_accuracy"]
    assert json.loads(out)["test_collapse"]["mir"] == pytest.approx(fitted.record["metrics"]["test_collapse"]["mir"])


def test_the_record_says_what_it_goes_on_from_and_how_to_reject(fitted: Bundle) -> None:
    record = fitted.record
    assert record["base"]["name"] == SOURCE
    assert record["base"]["weights_sha256"] == open_pretrained(SOURCE).weights_sha256
    assert record["prototypes"]["kind"] == "class_means"
    assert record["recipe"] == {"features": "whitened", "shots": None, "seed": 0}
    assert [row["frr"] for row in record["open_set"]["rejections"]] == [0.01, 0.05, 0.1]
    assert 0 <= record["open_set"]["foreign"]["auroc"] <= 1
    card = (fitted.path / "README.md").read_text()
    assert f"frozen encoder of `{SOURCE}`" in card
    assert "false rejections at most" in card
    assert "AUROC" in card


def test_the_temperature_is_the_most_likely_one() -> None:
    generator = torch.Generator().manual_seed(0)
    cosines = torch.rand(200, 5, generator=generator) * 2 - 1
    labels = torch.distributions.Categorical(logits=cosines / 0.3).sample()
    found = calibrated_temperature(cosines, labels)

    def loss(temperature: float) -> float:
        logs = F.log_softmax(cosines.double() / temperature, dim=1)
        right, doubt = logs[range(len(labels)), labels].mean(), 1 / (len(labels) + 2)
        return float(-(1 - doubt) * right - doubt * logs.mean())

    grid = [0.01 * 1.02**step for step in range(300)]
    assert loss(found) <= min(map(loss, grid)) + 1e-6
    assert 0.2 < found < 0.45


@pytest.mark.parametrize("count", [3, 60])
def test_a_perfect_split_leaves_the_doubt_of_as_many_images(count: int) -> None:
    cosines = torch.eye(3).repeat(count // 3, 1)
    probabilities = (cosines / calibrated_temperature(cosines, torch.arange(count) % 3)).double().softmax(1)
    wrong = 1 - float(probabilities.max(1).values.mean())
    assert wrong == pytest.approx(2 / 3 / (count + 2), rel=0.01)


@pytest.mark.parametrize("features", ["encoder", "projection"])
def test_other_features_keep_the_head_that_leads_to_them(
    protozoo: Protozoo, colours: Path, tmp_path: Path, features: str
) -> None:
    out = tmp_path / "bundle"
    status, text, err = protozoo(
        "fit", SOURCE, "--data", colours, "--out", out, "--features", features, "--shots", 5, "--seed", 3, "--name", "x"
    )
    assert (status, err) == (0, "")
    assert "15 images of 3 classes" in text
    bundle = Bundle.open(out)
    assert bundle.name == "proto_resnet20_cifar.x"
    assert bundle.config["model_args"]["head"] == ("relu" if features == "encoder" else "linear")
    assert bundle.record["recipe"] == {"features": features, "shots": 5, "seed": 3}
    assert f"--features {features} --shots 5 --seed 3" in bundle.record["command"]
    if features == "projection":
        own, theirs = load_file(bundle.weights_path), open_pretrained(SOURCE).model.state_dict()
        assert torch.equal(own["head.projection.weight"], theirs["head.projection.weight"])


def test_a_folder_without_splits_has_a_fifth_held_out(protozoo: Protozoo, colours: Path, tmp_path: Path) -> None:
    status, text, _ = protozoo("fit", SOURCE, "--data", colours / "train", "--out", tmp_path / "bundle")
    assert status == 0
    assert "48 images of 3 classes" in text
    assert Bundle.open(tmp_path / "bundle").record["data"]["test_images"] == 12


def test_the_data_are_called_in_record_and_card_as_one_says(protozoo: Protozoo, colours: Path, tmp_path: Path) -> None:
    out, stated = tmp_path / "bundle", ("--data-name", "Three colours", "--data-license", "CC0-1.0")
    status, text, _ = protozoo("fit", SOURCE, "--data", colours, "--out", out, "--shots", 5, *stated)
    assert status == 0
    assert "Three colours: 15 images" in text
    bundle = Bundle.open(out)
    assert (bundle.record["data"]["name"], bundle.record["data"]["license"]) == ("Three colours", "CC0-1.0")
    assert "--data-name 'Three colours' --data-license CC0-1.0" in bundle.record["command"]
    assert "Three colours" in (out / "README.md").read_text()


def test_mistakes_are_one_line_and_leave_nothing(protozoo: Protozoo, colours: Path, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    same = tmp_path / "same"
    for name in ("a", "b"):
        (same / name).mkdir(parents=True)
        for index in range(3):
            Image.new("RGB", (8, 8)).save(same / name / f"{index}.png")
    for words, message in (
        ([SOURCE, "--data", colours, "--out", taken], f"{taken} exists already"),
        (["none", "--data", colours, "--out", tmp_path / "b"], "'none' is"),
        ([SOURCE, "--data", tmp_path / "none", "--out", tmp_path / "b"], "is neither a folder"),
        ([SOURCE, "--data", colours, "--out", tmp_path / "b", "--device", "abacus"], "'abacus' cannot be used"),
        ([SOURCE, "--data", same, "--out", tmp_path / "b"], "no scatter to whiten"),
        ([SOURCE, "--data", colours, "--out", tmp_path / "b", "--shots", 0], "--shots"),
        ([SOURCE, "--data", colours, "--out", tmp_path / "b", "--foreign", "nowhere"], "'nowhere' is neither a folder"),
    ):
        status, _, err = protozoo("fit", *words)
        assert status == 2
        assert message in err
        assert len(err.splitlines()) == 1
    assert not (tmp_path / "b").exists()


def test_without_an_exporter_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("zoo.exporter.entry_points", lambda **_: ())
    with pytest.raises(ProtozooError, match=r"pip install 'protozoo\[all\]'"):
        zoo.exporter.export_run(tmp_path, tmp_path / "out")


def test_options_default_to_the_whole_set_whitened() -> None:
    assert (FitOptions().features, FitOptions().shots) == ("whitened", None)


def test_images_that_are_left_out_are_named(protozoo: Protozoo, colours: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(colours, tmp_path / "data"))
    broken = next((data / "train" / "red").iterdir())
    broken.write_bytes(b"no image")
    words = ["fit", SOURCE, "--data", data, "--out", tmp_path / "out", "--on-bad-image", "skip"]
    status, out, _ = protozoo(*words)
    assert status == 0
    assert f"1 image that cannot be decoded left out: {broken}" in out
    assert Bundle.open(tmp_path / "out").record["data"]["skipped_images"] == 1
    assert "; 1 image could not be decoded and was left out" in (tmp_path / "out" / "README.md").read_text()
