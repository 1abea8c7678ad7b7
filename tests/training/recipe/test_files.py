"""Inheritance, overrides, and faults that name the file with its line, or the option."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from training.recipe import Recipe, RecipeError, load_recipe, recipe_names

MINE = "objective: ntce\narchitecture: proto_resnet20_cifar\nepochs: 2\nlr: 0.1\n"

Write = Callable[[str, str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """write("mine", text) -> the path of mine.yaml."""

    def file(name: str, text: str) -> str:
        path = tmp_path / f"{name}.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return file


def fault(name: str, overrides: dict[str, Any] | None = None) -> str:
    with pytest.raises(RecipeError) as caught:
        load_recipe(name, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


# Inheritance


def test_base_is_inherited_and_overlaid() -> None:
    recipe = load_recipe("nonl_cifar10")
    assert recipe.optimizer == "sgd"  # of _small
    assert recipe.augmentation == "crop_flip"  # of _cifar10
    assert recipe.objective == "nonl"  # its own
    digits = load_recipe("nonl_digits")
    assert (digits.batch_size, digits.optimizer) == (128, "muon")  # _digits over _small


def test_later_bases_win_and_the_file_itself_over_all(write: Write) -> None:
    write("one", "epochs: 1\nlr: 1.0\nseed: 1\n")
    write("two", "epochs: 2\nlr: 2.0\n")
    recipe = load_recipe(write("mine", "base: [one, two]\nobjective: ce\narchitecture: a\n"))
    assert (recipe.epochs, recipe.lr, recipe.seed) == (2, 2.0, 1)
    recipe = load_recipe(write("mine", "lr: 3.0\nbase: [two, one]\nobjective: ce\narchitecture: a\n"))
    assert (recipe.epochs, recipe.lr, recipe.seed) == (1, 3.0, 1)


def test_two_bases_may_share_one(write: Write) -> None:
    write("root", MINE)
    write("left", "base: root\nseed: 1\n")
    write("right", "base: root\nmomentum: 0.5\n")
    recipe = load_recipe(write("mine", "base: [left, right]\n"))
    assert (recipe.seed, recipe.momentum) == (1, 0.5)


def test_users_file_builds_on_a_packaged_recipe(write: Write) -> None:
    assert load_recipe(write("mine", "base: nonl_digits\nepochs: 3\n")) == load_recipe("nonl_digits", {"epochs": 3})
    assert load_recipe(write("mine", "base: papers/nonl_cifar10\n")) == load_recipe("papers/nonl_cifar10")
    assert load_recipe(write("mine", "base: nonl_imagenet1k\n")) == load_recipe("papers/nonl_imagenet1k")


def test_file_beside_goes_before_the_package(write: Write) -> None:
    write("nonl_cifar10", MINE)
    assert load_recipe(write("child", "base: nonl_cifar10\nlr: 0.2\n")).objective == "ntce"


def test_file_may_have_the_name_of_the_packaged_recipe_that_it_builds_on(write: Write) -> None:
    assert load_recipe(write("nonl_digits", "base: nonl_digits\nseed: 5\n")) == load_recipe("nonl_digits", {"seed": 5})


def test_bases_in_a_circle_are_refused_where_the_circle_closes(write: Write) -> None:
    egg = write("egg", "seed: 1\nbase: [_small, hen]\n")
    assert f"{egg}, line 2: base = 'hen': it builds on this recipe itself" in fault(write("hen", "base: egg\n"))
    assert "base = 'self': there is no recipe 'self'" in fault(write("self", "base: self\n"))


@pytest.mark.parametrize("base", ["3", "[]", "[_small, 3]", "{a: b}", "null"])
def test_base_that_is_no_name_is_refused(write: Write, base: str) -> None:
    mine = write("mine", f"{MINE}base: {base}\n")
    assert fault(mine).startswith(f"{mine}, line 5: base = ")


def test_unknown_base_offers_near_names_and_its_line(write: Write) -> None:
    mine = write("mine", "epochs: 1\nbase: ntce_digit\n")
    message = fault(mine)
    assert message.startswith(f"{mine}, line 2: base = 'ntce_digit'")
    assert "did you mean ntce_digits" in message


# Names


def test_unknown_recipe_offers_near_names() -> None:
    assert "did you mean nonl_digits" in fault("nonl_digit")
    assert "did you mean papers/nonl_cifar100" in fault("papers/nonl_cifr100")
    message = fault("???")
    assert all(part in message for part in ("scl_prototypes", "imagenet100", "digits"))


def test_bases_are_no_recipes() -> None:
    assert not any(name.rpartition("/")[2].startswith("_") for name in recipe_names())


# Values


def test_file_without_base_takes_the_defaults(write: Write) -> None:
    expected = Recipe(objective="ntce", architecture="proto_resnet20_cifar", epochs=2, lr=0.1)
    assert load_recipe(write("mine", MINE)) == expected


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


# Faults


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"temprature": 0.1}, "--temprature: there is no field 'temprature'; did you mean 'temperature'?"),
        ({"zzzzzz": 1}, "--zzzzzz: there is no field 'zzzzzz'"),
        ({"epochs": "many"}, "--epochs = 'many': Input should be a valid integer"),
        ({"epochs": 1.5}, "--epochs = 1.5: "),
        ({"epochs": 0}, "--epochs = 0: Input should be greater than or equal to 1"),
        ({"lr": -1}, "--lr = -1: Input should be greater than 0"),
        ({"lr": float("nan")}, "--lr = nan: "),
        ({"lr": True}, "--lr = True: Input should not be true or false"),
        ({"momentum": 1}, "--momentum = 1: Input should be less than 1"),
        ({"objective": "triplet"}, "--objective = 'triplet': Input should be 'ce', 'normface', 'ntce', "),
        ({"mean": [0.5, 0.5]}, "--mean = [0.5, 0.5]: Input has too few values"),
        ({"mean": [0.5, "a", 0.5]}, "--mean[1] = 'a': "),
        ({"temperature": 0}, "--temperature = 0: "),
        ({"batch_size": 1}, "--batch_size = 1: "),
    ],
)
def test_fault_of_an_override_names_the_option(overrides: dict[str, Any], message: str) -> None:
    assert fault("nonl_digits", overrides).startswith(message)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("learning_rate: 0.1", "learning_rate: there is no field 'learning_rate'; did you mean 'lr'?"),
        ("tempreature: 0.1", "tempreature: there is no field 'tempreature'; did you mean 'temperature'?"),
        ("batch_size: many", "batch_size = 'many': Input should be a valid integer"),
        ("weight_decay: yes", "weight_decay = 'yes': Input should be a valid number"),
        ("weight_decay: true", "weight_decay = True: Input should not be true or false"),
        ("mean: [0.1, true, 0.2]", "mean = [0.1, True, 0.2]: Input should not be true or false"),
        ("batch_size: 0x10", "batch_size = '0x10': "),
        ("warmup_epochs: 1:30", "warmup_epochs = '1:30': "),
        ("mean: {red: 0.1}", "mean = {'red': 0.1}: "),
        ("epochs: 7", "epochs is set in line 3 already; keep one of them"),
        ("base: nowhere", "base = 'nowhere': there is no recipe 'nowhere'"),
        ("[a]: b", "a field's name must stand before the colon"),
        ("seed: !!python/object/apply:os.getcwd []", "is not YAML: could not determine a constructor"),
        ("seed: *nowhere", "is not YAML: found undefined alias"),
        ("seed: !!int many", "the value of seed does not fit its tag"),
        ("seed: !!bool many", "the value of seed does not fit its tag"),
        ("seed: !!timestamp many", "the value of seed does not fit its tag"),
    ],
)
def test_fault_in_a_file_names_its_line(write: Write, line: str, message: str) -> None:
    mine = write("mine", f"{MINE}# a comment, and a blank line\n\n{line}\nmomentum: 0.5\n")
    assert fault(mine).startswith(f"{mine}, line 7: {message}")


def test_open_bracket_is_noticed_where_the_next_field_begins(write: Write) -> None:
    mine = write("mine", f"mean: [1, 2\n{MINE}")
    assert fault(mine).startswith(f"{mine}, line 2: is not YAML: ")


def test_fault_in_an_inherited_value_names_the_file_that_set_it(write: Write) -> None:
    parent = write("parent", f"{MINE}momentum: 2\n")
    mine = write("mine", "base: parent\nseed: 1\n")
    assert fault(mine).startswith(f"{parent}, line 5: momentum = 2: ")
    assert fault(mine, {"momentum": 3}).startswith("--momentum = 3: ")
    assert load_recipe(mine, {"momentum": 0.5}).momentum == 0.5


def test_missing_field_is_named(write: Write) -> None:
    mine = write("mine", MINE.replace("objective: ntce\n", ""))
    assert fault(mine) == f"{mine}: the field 'objective' is missing"


def test_fields_that_do_not_fit_together_name_the_recipe(write: Write) -> None:
    mine = write("mine", f"{MINE}schedule: step\n")
    assert fault(mine).startswith(f"{mine}: schedule = step needs milestones")
    assert fault("papers/ce_cifar10", {"readout": "bayes"}).startswith("papers/ce_cifar10: ce compares classes")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"objective: ce\nseed: \xff\n", ", line 2: is not UTF-8"),
        (b"objective: ce\nseed: \x00\n", ", line 2: is not YAML: special characters are not allowed"),
        (b"- objective\n", " must be a YAML mapping"),
        (b"", " must be a YAML mapping"),
        (b"a: 1\n---\nb: 2\n", ", line 2: is not YAML: "),
    ],
)
def test_file_that_is_no_recipe_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    assert fault(str(path)).startswith(f"{path}{message}")


def test_mark_of_byte_order_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + MINE.encode())
    assert load_recipe(str(path)).objective == "ntce"
