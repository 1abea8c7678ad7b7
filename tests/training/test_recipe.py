from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from training.recipe import Recipe, RecipeError, load_recipe, recipe_names

MINE = "objective: ntce\narchitecture: proto_resnet20_cifar\nepochs: 2\nlr: 0.1\n"


def write(folder: Path, name: str, text: str) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", recipe_names())
def test_packaged_recipe_is_valid_and_trains_what_its_name_says(name: str) -> None:
    assert load_recipe(name).objective == name.partition("_")[0]


def test_every_objective_has_a_recipe_for_each_data_set() -> None:
    expected = {f"{loss}_{data}" for loss in ("ce", "normface", "ntce", "nonl") for data in ("digits", "cifar10")}
    assert expected <= set(recipe_names())
    assert not any(name.startswith("_") for name in recipe_names())


def test_base_is_inherited_and_overlaid() -> None:
    recipe = load_recipe("nonl_cifar10")
    assert recipe.optimizer == "sgd"  # of _small
    assert recipe.augmentation == "crop_flip"  # of _cifar10
    assert recipe.objective == "nonl"  # its own
    digits = load_recipe("nonl_digits")
    assert (digits.batch_size, digits.optimizer) == (128, "muon")  # _digits over _small


def test_users_file_builds_on_a_packaged_recipe(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, "mine", "base: nonl_digits\nepochs: 3\n"))
    assert recipe == load_recipe("nonl_digits", {"epochs": 3})


def test_users_file_builds_on_a_file_beside_it(tmp_path: Path) -> None:
    write(tmp_path, "parent", MINE)
    recipe = load_recipe(write(tmp_path, "child", "base: parent\nlr: 0.2\n"))
    assert (recipe.objective, recipe.epochs, recipe.lr) == ("ntce", 2, 0.2)


def test_file_may_have_the_name_of_the_packaged_recipe_that_it_builds_on(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, "nonl_digits", "base: nonl_digits\nseed: 5\n"))
    assert recipe == load_recipe("nonl_digits", {"seed": 5})


def test_bases_in_a_circle_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "egg", "base: hen\n")
    with pytest.raises(RecipeError, match=r"egg\.yaml: the base 'hen' builds on this recipe itself"):
        load_recipe(write(tmp_path, "hen", "base: egg\n"))


def test_file_without_base_takes_the_defaults(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, "mine", MINE))
    expected = Recipe(objective="ntce", architecture="proto_resnet20_cifar", epochs=2, lr=0.1)
    assert recipe == expected


def test_overrides_are_typed() -> None:
    recipe = load_recipe(
        "nonl_digits", {"lr": "1e-3", "epochs": 4, "mean": [0.1, 0.2, 0.3], "embed_dim": None, "temperature": 1}
    )
    assert recipe.lr == 1e-3
    assert isinstance(recipe.lr, float)
    assert recipe.mean == (0.1, 0.2, 0.3)
    assert recipe.embed_dim is None
    assert isinstance(recipe.temperature, float)
    assert recipe.epochs == 4


def test_recipe_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_recipe("nonl_digits").epochs = 3


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"temprature": 0.1}, "there is no field 'temprature'; did you mean 'temperature'?"),
        ({"zzzzzz": 1}, "there is no field 'zzzzzz'"),
        ({"epochs": "many"}, "epochs = 'many'"),
        ({"epochs": 1.5}, "epochs = 1.5"),
        ({"epochs": 0}, "epochs = 0: Input should be greater than or equal to 1"),
        ({"lr": -1}, "lr = -1: Input should be greater than 0"),
        ({"lr": float("nan")}, "lr = nan"),
        ({"momentum": 1}, "momentum = 1: Input should be less than 1"),
        ({"objective": "triplet"}, "objective = 'triplet': Input should be 'ce', 'normface', 'ntce' or 'nonl'"),
        ({"mean": [0.5, 0.5]}, "mean"),
        ({"temperature": 0}, "temperature = 0"),
        ({"batch_size": 1}, "batch_size = 1"),
    ],
)
def test_fault_names_the_recipe_and_the_field(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe("nonl_digits", overrides)
    assert str(caught.value).startswith("nonl_digits: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_field_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the field 'objective' is missing"):
        load_recipe(write(tmp_path, "mine", MINE.replace("objective: ntce\n", "")))


def test_unknown_recipe_offers_near_names() -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'nonl_digit'.*did you mean nonl_digits"):
        load_recipe("nonl_digit")
    with pytest.raises(RecipeError, match=r"no recipe '\?\?\?'") as caught:
        load_recipe("???")
    assert all(name in str(caught.value) for name in recipe_names())


def test_unknown_base_offers_near_names(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'ntce_digit'.*ntce_digits"):
        load_recipe(write(tmp_path, "mine", "base: ntce_digit\n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"objective: [nonl\n", "is not YAML"),
        (b"\xff\xfe\x00", "is not YAML"),
        (b"- objective\n", "must be a YAML mapping"),
        (b"", "must be a YAML mapping"),
        (b"!!python/object/apply:os.getcwd []\n", "is not YAML"),
    ],
)
def test_file_that_is_no_recipe_is_refused_by_name_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", recipe_names())
def test_no_packaged_recipe_names_data_that_a_user_may_not_have_trained_on(name: str) -> None:
    recipe = load_recipe(name)
    assert (recipe.data_name, recipe.data_license) == (None, None)
