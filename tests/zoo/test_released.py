"""The models inside the package: whole, giving the answers they were exported with, and with a card that says so."""

import shlex
from pathlib import Path

import pytest

from export.card import render_card
from export.verify import verify_bundle
from training.evaluate import evaluate_bundle
from zoo.bundle import Bundle, embedded_names, find

CARDS = Path(__file__).resolve().parents[2] / "model_cards"


@pytest.mark.parametrize("name", embedded_names())
def test_a_released_model_verifies_and_its_card_is_rendered_from_its_record(name):
    bundle = Bundle.open(find(name))
    assert bundle.name == name
    verify_bundle(bundle)
    card = (CARDS / f"{name}.md").read_text(encoding="utf-8")
    # As `protozoo card NAME --out model_cards/NAME.md` writes it: with links to the bundle's pictures.
    assert card == render_card(bundle.config, pictures=f"../zoo/weights/{name}/")
    assert (bundle.path / "README.md").read_text(encoding="utf-8") == render_card(bundle.config)


def test_every_card_is_of_a_released_model():
    assert {path.stem for path in CARDS.glob("*.md")} == set(embedded_names())


@pytest.mark.parametrize("name", embedded_names())
def test_its_commands_name_what_others_can_have(name):
    """Folders by the names that the data come with, weights that go on from others by the command that made those."""
    record = Bundle.open(find(name)).record
    commands = [record["command"], *([record["base"]["command"]] if "base" in record else [])]
    for words in map(shlex.split, commands):
        assert words[words.index("--data") + 1] in ("digits", "cifar10-jpeg", "tiny-imagenet-200")
        if "--pretrained" in words:
            assert words[words.index("--pretrained") + 1] == "BASE"
        if words[1] == "fit":
            assert words[2] == "BASE"


def test_the_cifar_model_is_small_and_its_record_names_what_it_was_trained_on():
    bundle = Bundle.open(find("proto_resnet20_cifar.nonl_cifar10"))
    assert bundle.weights_path.stat().st_size < 1.2e6
    assert bundle.record["data"] == {
        "name": "CIFAR-10, JPEG copy (quality 75)",
        "license": "not stated by its authors; for research",
        "train_images": 50000,
        "test_images": 10000,
    }
    assert bundle.record["metrics"]["test_accuracy"] >= 0.88


def test_the_smallest_model_measured_again_is_what_its_record_says():
    bundle = Bundle.open(find("proto_resnet20_cifar.nonl_digits"))
    again, told = evaluate_bundle(str(bundle.path), "digits"), bundle.record["metrics"]
    # One image of 360 may lie so near to the border of two classes that another processor decides otherwise.
    assert again["test_accuracy"] == pytest.approx(told["test_accuracy"], abs=1 / 360 + 1e-9)
    assert again["test_calibration"]["ece"] == pytest.approx(told["test_calibration"]["ece"], abs=0.004)
    for metric, value in told["test_collapse"].items():
        assert again["test_collapse"][metric] == pytest.approx(value, rel=0.02, abs=1e-3), metric


def test_no_record_names_a_folder_of_the_machine_that_trained():
    for name in embedded_names():
        for file in ("config.json", "README.md"):
            assert "/runs/" not in (find(name) / file).read_text(encoding="utf-8")
