from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.runs import Protozoo
from training.naming import tag_for, trained_tag
from training.recipe import Recipe, load_recipe, recipe_names


@pytest.mark.parametrize(
    ("data", "tag"),
    [("digits", "x_digits"), ("/data/My Photos/", "x_my_photos"), ("hfds/who/some-set@main", "x_some_set")],
)
def test_weights_are_named_after_objective_and_data(data: str, tag: str) -> None:
    assert tag_for("x", data) == tag


@pytest.mark.parametrize(
    ("recipe", "objective", "data", "tag"),
    [
        ("nonl_digits", "nonl", "digits", "nonl_digits"),
        ("nonl_cifar10", "nonl", "/data/cifar10-jpeg", "nonl_cifar10"),
        ("nonl_tiny_imagenet", "nonl", "tiny-imagenet-200", "nonl_tiny_imagenet"),
        ("papers/nonl_cifar100", "nonl", "cifar100", "nonl_cifar100"),
        ("nonl_digits", "nonl", "birds", "nonl_birds"),
        ("nonl_cifar10", "nonl", "cifar100", "nonl_cifar100"),
        ("nonl_digits", "ntce", "digits", "ntce_digits"),
    ],
)
def test_a_recipe_names_weights_only_where_its_name_is_true(recipe: str, objective: str, data: str, tag: str) -> None:
    assert trained_tag(recipe, objective, data) == tag


def test_a_file_of_the_user_names_its_weights(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("base: nonl_digits\n")
    assert trained_tag(str(tmp_path / "mine.yaml"), "nonl", "digits") == "mine"
    (tmp_path / "my recipe.v2.yaml").write_text("base: nonl_digits\n")
    assert trained_tag(str(tmp_path / "my recipe.v2.yaml"), "nonl", "digits") == "my_recipe_v2"


def test_every_recipe_of_the_package_is_named_after_its_objective() -> None:
    for name in recipe_names():
        assert Path(name).stem.startswith(f"{load_recipe(name).objective}_"), name


def test_train_takes_the_name_that_is_asked_for(
    protozoo: Protozoo, colours: Path, tiny: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe, out = tmp_path / "mine.yaml", tmp_path / "run"
    recipe.write_text(json.dumps(tiny(epochs=1).model_dump(mode="json")))
    status, _, _ = protozoo("train", recipe, "--data", colours, "--out", out, "--name", "birds_v2")
    assert status == 0
    result = json.loads((out / "result.json").read_bytes())
    assert result["tag"] == "birds_v2"
    assert "--name birds_v2" in result["command"]


@pytest.mark.parametrize("command", [("train", "nonl_digits"), ("fit", "x"), ("finetune", "x")])
@pytest.mark.parametrize("tag", ["", "a/b", "a.b", "a b", "../x", "é"])
def test_a_name_that_is_no_tag_is_refused_before_the_work(
    protozoo: Protozoo, tmp_path: Path, command: tuple[str, str], tag: str
) -> None:
    out = tmp_path / "out"
    status, _, err = protozoo(*command, "--data", "digits", "--out", out, "--name", tag)
    assert status == 2
    assert "letters, digits, underscores and hyphens" in err
    assert len(err.splitlines()) == 1
    assert not out.exists()
