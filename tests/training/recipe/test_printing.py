from __future__ import annotations

from pathlib import Path

import pytest

from training.recipe import Recipe, load_recipe, recipe_names
from training.recipe.parsing import parse_value
from training.recipe.printing import printed


def load_printed(text: str, folder: Path) -> Recipe:
    path = folder / "printed.yaml"
    path.write_text(text, encoding="utf-8")
    return load_recipe(str(path))


@pytest.mark.parametrize("name", recipe_names())
def test_printed_recipe_loads_as_the_same(name: str, tmp_path: Path) -> None:
    assert load_printed(printed(name), tmp_path) == load_recipe(name)


@pytest.mark.parametrize(
    "word",
    ["yes", "1e-3", "010", "null", "", " # no comment", "a: b", "[", "'", '"', "two\nlines", "é" * 200, "...", "-"],
)
def test_word_that_looks_like_something_else_is_printed_as_a_word(word: str, tmp_path: Path) -> None:
    assert load_printed(printed("nonl_digits", {"data_name": word}), tmp_path).data_name == word


def test_every_field_is_printed_in_order_with_its_description() -> None:
    lines = printed("nonl_digits").splitlines()
    for line, (name, field) in zip(lines, Recipe.model_fields.items(), strict=True):
        assert line.startswith(f"{name}: ")
        assert f"  # {field.description}" in line


def test_who_set_a_field_is_printed_beside_it() -> None:
    lines = dict(line.split(": ", 1) for line in printed("nonl_cifar10", {"seed": 3}).splitlines())
    assert lines["lr"] == "0.2  # peak learning rate (_small.yaml)"
    assert lines["epochs"].endswith("(_cifar10.yaml)")
    assert lines["objective"].endswith("(nonl_cifar10.yaml)")
    assert lines["seed"].endswith("(--seed)")
    assert lines["crop_padding"].endswith("before the random crop")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("1e-3", 1e-3),
        (".5", 0.5),
        ("3", 3),
        ("010", 10),
        ("-1", -1),
        ("yes", "yes"),
        ("true", True),
        ("null", None),
        ("1:30", "1:30"),
        ("2026-01-01", "2026-01-01"),
        ("[0.1, 1e-2]", [0.1, 1e-2]),
        ("[", "["),
        ("CIFAR: a: b", "CIFAR: a: b"),
    ],
)
def test_word_of_the_command_line_means_what_it_does_in_a_file(word: str, value: object) -> None:
    parsed = parse_value(word)
    assert parsed == value
    assert type(parsed) is type(value)
