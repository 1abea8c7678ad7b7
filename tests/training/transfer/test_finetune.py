from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import training.build
from tests.training.runs import Protozoo, Start, assert_same_weights, rows_of
from training.build import build_model
from training.data import load_data
from training.model_prototypes import set_class_means
from training.pretrained import open_pretrained
from training.recipe import Recipe, RecipeError
from training.transfer.finetune import finetune_recipe
from zoo.bundle import Bundle

SOURCE = "proto_resnet20_cifar.nonl_cifar10"

Tiny = Callable[..., Recipe]


@pytest.fixture
def warm(tiny: Tiny) -> Tiny:
    """warm(field=value, ...) -> a tiny recipe that begins with the zoo's weights."""

    def recipe(**overrides: Any) -> Recipe:
        return tiny(**{"pretrained": SOURCE, "embed_dim": 64, "optimizer": "sgd", "lr": 0.05, **overrides})

    return recipe


def test_a_model_begins_with_the_weights_of_another_but_for_its_prototypes(warm: Tiny) -> None:
    own, theirs = build_model(warm(), torch.ones(3)).state_dict(), open_pretrained(SOURCE).model.state_dict()
    copied = [name for name in theirs if not name.startswith("head.fc.")]
    assert all(torch.equal(own[name], theirs[name]) for name in copied)
    assert own["head.fc.weight"].shape == (3, 64)


def test_a_projection_of_another_shape_is_new(warm: Tiny) -> None:
    own, theirs = build_model(warm(embed_dim=8), torch.ones(3)).state_dict(), open_pretrained(SOURCE).model.state_dict()
    assert torch.equal(own["conv1.weight"], theirs["conv1.weight"])
    assert own["head.projection.weight"].shape == (8, 64)


def test_weights_of_another_architecture_are_refused(warm: Tiny) -> None:
    with pytest.raises(RecipeError, match="pass --architecture proto_resnet20_cifar"):
        build_model(warm(architecture="proto_resnet32_cifar"), torch.ones(3))


def test_a_backbone_that_is_not_trained_stays_bit_for_bit(warm: Tiny, start: Start, tmp_path: Path) -> None:
    start(warm(trained="head"), tmp_path / "run")
    own, theirs = load_file(tmp_path / "run" / "model.safetensors"), open_pretrained(SOURCE).model.state_dict()
    backbone = [name for name in theirs if not name.startswith("head.")]
    assert any("running_mean" in name for name in backbone)
    assert all(torch.equal(own[name], theirs[name]) for name in backbone)
    assert not torch.equal(own["head.projection.weight"], theirs["head.projection.weight"])


def test_a_whole_model_moves_everywhere(warm: Tiny, start: Start, tmp_path: Path) -> None:
    start(warm(epochs=1), tmp_path / "run")
    own, theirs = load_file(tmp_path / "run" / "model.safetensors"), open_pretrained(SOURCE).model.state_dict()
    moved = [name for name in theirs if theirs[name].is_floating_point() and theirs[name].shape == own[name].shape]
    still = [name for name in moved if torch.equal(own[name], theirs[name])]
    assert still == ["head.fc.temperature"]


def test_prototypes_begin_as_the_class_means(
    warm: Tiny, start: Start, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = warm(initial_prototypes="class_means", epochs=1, lr=1e-12, precision="fp32")
    start(recipe, tmp_path / "run")
    model = build_model(recipe, torch.ones(3))
    preprocessing = training.build.preprocessing_of(recipe)
    set_class_means(model, load_data(str(colours), preprocessing), preprocessing)
    trained = load_file(tmp_path / "run" / "model.safetensors")["head.fc.weight"]
    torch.testing.assert_close(trained, model.prototypes.detach(), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("architecture", "layers"),
    [
        ("proto_resnet20_cifar", ["conv1", "layer1.0.conv1", "layer3.1.conv2", "layer3.2.conv2"]),
        ("proto_resnet9_cifar", ["conv1", "layer1.conv", "layer3.conv", "layer3.block0.conv2"]),
    ],
)
def test_learning_rates_fall_by_a_factor_a_layer_towards_the_input(
    tiny: Tiny, architecture: str, layers: list[str]
) -> None:
    labels = torch.arange(3).numpy()
    recipe = tiny(architecture=architecture, embed_dim=None, optimizer="sgd", layer_decay=0.5, warmup_epochs=0)
    parts = training.build.build_parts(recipe, labels, 3, 1)
    rate = parts.set_learning_rate(0)
    names = {id(parameter): name for name, parameter in parts.model.named_parameters()}
    rates = {names[id(p)]: group["lr"] for group in parts.optimizer.param_groups for p in group["params"]}
    assert rates.keys() == set(names.values())
    assert rates["head.fc.weight"] == rates["head.projection.weight"] == pytest.approx(rate)
    first, second, last_but_one, last = (rates[f"{layer}.weight"] for layer in layers)
    assert (last, last_but_one) == pytest.approx((rate / 2, rate / 4))
    assert (first, 2 * first) == pytest.approx((min(rates.values()), second))
    assert first < rate / 60
    decay = {names[id(p)]: group["weight_decay"] for group in parts.optimizer.param_groups for p in group["params"]}
    assert decay["head.fc.weight"] == decay["bn1.weight"] == 0
    assert decay["conv1.weight"] > 0


def test_a_killed_fine_tuning_goes_on_to_the_same_weights(warm: Tiny, start: Start, tmp_path: Path) -> None:
    recipe = warm(initial_prototypes="class_means", layer_decay=0.8)
    start(recipe, tmp_path / "whole")
    start(recipe, tmp_path / "again")
    (tmp_path / "again" / "result.json").unlink()
    newest = sorted((tmp_path / "again" / "checkpoints").iterdir())[-1]
    newest.unlink()
    assert any("resuming after epoch 2" in line for line in start(recipe, tmp_path / "again"))
    assert_same_weights(tmp_path / "whole", tmp_path / "again")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"trained": "head", "pretrained": None}, "trained = head needs pretrained"),
        ({"trained": "head", "head": "relu", "objective": "etf_dr"}, "there is nothing to train"),
        ({"pretrained": "none"}, "'none' is"),
    ],
)
def test_recipes_that_cannot_be_are_refused(
    warm: Tiny, start: Start, tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(Exception, match=message):
        start(warm(**fields), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_has_no_prototypes_to_serve_is_refused_before_the_training(
    protozoo: Protozoo, colours: Path, tmp_path: Path
) -> None:
    words = ["finetune", SOURCE, "--data", colours, "--out", tmp_path / "bundle"]
    for chosen in (["--objective", "ce"], ["--recipe", "ce_digits"]):
        status, _, err = protozoo(*words, *chosen)
        assert (status, len(err.splitlines())) == (2, 1)
        assert "ce's linear classifier has no prototypes to serve: train normface, ntce or nonl, or" in err
    assert not any(tmp_path.iterdir())


def test_a_recipe_takes_images_as_the_bundle_does() -> None:
    bundle, recipe = open_pretrained(SOURCE), finetune_recipe(SOURCE)
    assert training.build.preprocessing_of(recipe) == bundle.preprocessing
    assert (recipe.architecture, recipe.head, recipe.embed_dim) == ("proto_resnet20_cifar", "linear", 64)
    assert recipe.temperature == bundle.model.temperature
    assert finetune_recipe(SOURCE, overrides={"temperature": 0.05, "epochs": 2}).temperature == 0.05
    assert finetune_recipe(SOURCE, overrides={"head": "mlp"}).embed_dim is None
    with pytest.raises(RecipeError, match=f"finetune begins with {SOURCE}: leave --pretrained out"):
        finetune_recipe(SOURCE, overrides={"pretrained": "another"})
    assert finetune_recipe(SOURCE, overrides={"objective": "etf_dr"}).prototype_kind == "fixed"
    with pytest.raises(RecipeError, match="lr = 'fast'"):
        finetune_recipe(SOURCE, overrides={"lr": "fast"})


def test_the_command_writes_a_bundle_and_keeps_the_run(protozoo: Protozoo, colours: Path, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    words = ["finetune", SOURCE, "--data", colours, "--out", out, "--epochs", 3, "--shots", 8, "--batch_size", 8]
    words += ["--precision", "fp32", "--track", "none", "--storage", "memory"]
    status, text, _ = protozoo(*words)
    assert status == 0
    assert "24 training and 12 test images" in text
    bundle = Bundle.open(out)
    assert bundle.name == "proto_resnet20_cifar.nonl_colours"
    assert bundle.record["base"]["name"] == SOURCE
    assert bundle.record["recipe"]["layer_decay"] == 0.75
    assert bundle.record["command"].endswith(" --storage memory --shots 8 --epochs 3 --batch_size 8 --precision fp32")
    assert "It began with the weights of" in (out / "README.md").read_text()
    assert len(rows_of(tmp_path / "bundle.run")) == 3
    assert protozoo("verify", out)[0] == 0
    status, _, err = protozoo(*words)
    assert status == 2
    assert "exists already" in err
    # With the bundle gone, the finished run gives it again without training.
    out.rename(tmp_path / "old")
    status, text, _ = protozoo(*words)
    assert status == 0
    assert "is finished already" in text
    assert load_file(out / "model.safetensors").keys() == load_file(tmp_path / "old" / "model.safetensors").keys()
