from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.data import DataError, ImageData
from training.pretrained import open_pretrained
from training.probes import probe_recipe
from training.recipe import RecipeError
from zoo.bundle import BundleError, Preprocessing, embedded_names, find
from zoo.errors import ProtozooError
from zoo.models.base import PrototypeModel

BUNDLE = "proto_resnet20_cifar.nonl_cifar10"


def edit(run: Path, change: Callable[[dict[str, object]], object]) -> None:
    result = json.loads((run / "result.json").read_text())
    change(result)
    (run / "result.json").write_text(json.dumps(result))


def test_a_finished_run_gives_its_model_and_what_it_expects(
    run: Path, model: PrototypeModel, preprocessing: Preprocessing
) -> None:
    found = open_pretrained(str(run))
    assert found.name == "proto_resnet20_cifar.scl_colours"
    assert found.preprocessing == preprocessing
    assert found.labels == ("blue", "green", "red")
    state = found.model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_what_goes_on_from_a_model_can_name_it(run: Path) -> None:
    lineage = open_pretrained(str(run)).lineage
    assert lineage["name"] == "proto_resnet20_cifar.scl_colours"
    assert lineage["weights_sha256"] == hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
    assert lineage["objective"] == "scl"
    assert lineage["command"].startswith("protozoo train ")
    assert lineage["data"] == {"name": "colours", "license": "CC0-1.0"}
    assert "test_accuracy" not in lineage  # its record has none
    bundle = open_pretrained(BUNDLE)
    weights = find(BUNDLE) / "model.safetensors"
    assert bundle.lineage["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()
    assert bundle.lineage["test_accuracy"] == bundle.record["metrics"]["test_accuracy"]


def test_a_bundle_is_found_by_name() -> None:
    assert BUNDLE in embedded_names()
    found = open_pretrained(BUNDLE)
    assert found.name == BUNDLE
    assert found.labels[0] == "airplane"
    assert found.recipe["augmentation"] == "crop_flip"


def test_an_unfinished_run_says_how_to_finish_it(run: Path) -> None:
    (run / "result.json").unlink()
    with pytest.raises(ProtozooError, match=r"is not finished: run its `protozoo train` again"):
        open_pretrained(str(run))


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda run: (run / "result.json").write_text("{"), "Expecting property name"),
        (lambda run: (run / "model.safetensors").write_bytes(b"short"), "header"),
        (lambda run: (run / "model.safetensors").unlink(), "No such file"),
        (lambda run: edit(run, lambda result: result.pop("label_names")), "label_names"),
        (lambda run: edit(run, lambda result: result.update(embed_dim=9)), "state_dict"),
        (lambda run: edit(run, lambda result: result.update(architecture="proto_none")), "proto_none"),
    ],
)
def test_a_damaged_run_is_named_in_one_line(run: Path, damage: Callable[[Path], object], reason: str) -> None:
    damage(run)
    with pytest.raises(ProtozooError, match="cannot be read as a finished run") as caught:
        open_pretrained(str(run))
    assert reason in str(caught.value)
    assert str(run) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_neither_bundle_nor_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        open_pretrained(str(tmp_path))
    with pytest.raises(BundleError, match="neither a folder nor a pretrained model"):
        open_pretrained("no-such-thing")


def test_data_of_other_classes_is_refused(run: Path, data: ImageData) -> None:
    found = open_pretrained(str(run))
    assert data.for_model(found.labels, found.name) is data
    for classes in (("cat", "dog", "frog"), ("red", "green", "pink")):
        with pytest.raises(DataError, match=r"give data with the same classes$"):
            replace(data, classes=classes).for_model(found.labels, found.name)


@pytest.mark.parametrize(
    ("protocol", "epochs", "lr", "milestones"),
    [
        ("cifar", 100, 5.0, (60, 75, 90)),
        ("imagenet100", 90, 2.0, (30, 60, 80)),
        ("imagenet1k", 90, 0.8, (30, 60, 80)),
    ],
)
def test_protocols_are_those_of_the_papers_appendix(
    run: Path, protocol: str, epochs: int, lr: float, milestones: tuple[int, ...]
) -> None:
    recipe = probe_recipe("ce", open_pretrained(str(run)), protocol)
    assert (recipe.epochs, recipe.lr, recipe.milestones) == (epochs, lr, milestones)
    assert (recipe.momentum, recipe.weight_decay, recipe.schedule, recipe.step_decay) == (0.9, 0.0, "step", 0.2)


def test_the_normalised_protocol_divides_by_the_papers_temperature(run: Path) -> None:
    assert probe_recipe("normface", open_pretrained(str(run))).temperature == 0.2


def test_other_epochs_move_the_milestones_unless_they_are_given(run: Path) -> None:
    found = open_pretrained(str(run))
    assert probe_recipe("ce", found, "cifar", {"epochs": 20}).milestones == (12, 15, 18)
    assert probe_recipe("ce", found, "cifar", {"epochs": 20, "milestones": (5,)}).milestones == (5,)


@pytest.mark.parametrize(("before", "after"), [("contrastive", "resized_crop"), ("crop", "crop"), ("none", "none")])
def test_images_are_augmented_as_in_the_pretraining_but_for_colours(run: Path, before: str, after: str) -> None:
    found = open_pretrained(str(run))
    recipe = {**found.recipe, "augmentation": before, "crop_scale": [0.3, 1.0]}
    found = replace(found, record={**found.record, "recipe": recipe})
    recipe = probe_recipe("ce", found)
    assert recipe.augmentation == after
    assert recipe.crop_padding == 2
    assert recipe.crop_scale == (0.3, 1.0)
    assert probe_recipe("ce", found, "cifar", {"augmentation": "crop_flip"}).augmentation == "crop_flip"


@pytest.mark.parametrize(
    ("protocol", "overrides", "message"),
    [
        ("mnist", {}, "there is no protocol 'mnist'; there are cifar, imagenet100, imagenet1k"),
        ("cifar", {"epochs": 0}, "epochs = 0: "),
        ("cifar", {"milestones": ["6", "many"]}, "milestones = 'many': "),
    ],
)
def test_settings_that_do_not_fit_are_named(
    run: Path, protocol: str, overrides: dict[str, object], message: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        probe_recipe("ce", open_pretrained(str(run)), protocol, overrides)
    assert message in str(caught.value)
