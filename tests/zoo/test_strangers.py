"""What a bundle of somebody else's may not do, be its digests right or not."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import zoo
from tests.tiny_bundle import edit_config, resign
from zoo.bundle import Bundle, BundleError

Config = dict[str, Any]


@pytest.fixture
def copy(digits_bundle: Bundle, tmp_path: Path) -> Path:
    return Path(shutil.copytree(digits_bundle.path, tmp_path / "copy"))


def test_no_configuration_makes_timm_open_a_file_of_the_machine(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a pickle was opened")

    evil = copy.parent / "evil.pth"
    torch.save(load_file(copy / "model.safetensors"), evil)
    monkeypatch.setattr(torch, "load", refuse)
    edit_config(copy, lambda config: config["model_args"].update(checkpoint_path=str(evil)))
    with pytest.raises(BundleError, match="has checkpoint_path in model_args, which is no argument of a model"):
        zoo.load(copy)


def test_the_digest_is_that_of_the_weights_and_of_no_file_beside_them(copy: Path) -> None:
    (copy / "decoy.bin").write_bytes((copy / "model.safetensors").read_bytes())
    tensors = load_file(copy / "model.safetensors")
    tensors["conv1.weight"] *= -3
    save_file(tensors, copy / "model.safetensors")
    edit_config(copy, lambda config: config["protozoo"]["weights"].update(file="decoy.bin"))
    with pytest.raises(BundleError, match=r"names another digest for model\.safetensors"):
        Bundle.open(copy)


def of_record(config: Config) -> None:
    config["protozoo"]["temperature"] = 5.0


def of_args(config: Config) -> None:
    config["model_args"]["temperature"] = 5.0


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (of_record, "temperature is 5.0, and 0.15 in model_args"),
        (of_args, "temperature is 0.15, and 5.0 in model_args"),
        (lambda config: config["model_args"].update(num_classes=7), "num_classes is 10, and 7 in model_args"),
        (lambda config: config["pretrained_cfg"].update(num_classes=7), "num_classes is 10, and 7 in pretrained_cfg"),
        (lambda config: config["model_args"].update(readout="bayes"), "readout is cosine, and bayes in model_args"),
        (lambda config: config.update(model_args=None), "model_args None must map names to values"),
    ],
)
def test_a_configuration_that_contradicts_itself_is_refused(
    copy: Path, edit: Callable[[Config], None], told: str
) -> None:
    edit_config(copy, edit)
    with pytest.raises(BundleError, match=told):
        Bundle.open(copy)


def test_a_temperature_that_is_not_the_weights_own_is_refused(copy: Path) -> None:
    def edit(config: Config) -> None:
        of_record(config)
        of_args(config)

    edit_config(copy, edit)
    with pytest.raises(BundleError, match=r"temperature is 5.0, and 0.15\d* in model\.safetensors"):
        Bundle.open(copy)


@pytest.mark.parametrize("argument", [{"global_pool": 5}, {"block": "x"}])
def test_arguments_that_no_model_takes_are_the_bundles_fault(copy: Path, argument: Config) -> None:
    edit_config(copy, lambda config: config["model_args"].update(argument))
    with pytest.raises(BundleError, match=r"config\.json does not describe a model of this zoo"):
        zoo.load(copy)


def test_a_configuration_that_is_nested_without_end_is_refused(copy: Path) -> None:
    (copy / "config.json").write_text("[" * 200_000 + "]" * 200_000)
    resign(copy)
    with pytest.raises(BundleError, match="not a bundle's configuration"):
        Bundle.open(copy)
