from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.training.runs import Protozoo
from training.recipe import Recipe
from training.recipe_options import limits, values


@pytest.mark.parametrize("command", ["train", "finetune"])
def test_help_says_what_each_field_takes(protozoo: Protozoo, command: str) -> None:
    status, printed, _ = protozoo(command, "--help")
    assert status == 0
    text = re.sub(r"\s+", " ", printed)
    for expected in (
        "--head [linear|batchnorm|mlp|relu] ",
        "--prototypes [learned|fixed|class_means] ",
        "--milestones FLOAT,... ",
        "--mean FLOAT,FLOAT,FLOAT ",
        "--compile [true|false] ",
        "--temperature FLOAT logits are cosines divided by it [0<x]",
        "--epochs INTEGER passes over the training set [1<=x]",
        "[0<=x<1]",
        "--optimizer TEXT ",
    ):
        assert expected in text, expected


def test_every_field_has_words_for_its_values_and_ranges_are_those_that_are_checked() -> None:
    for name, field in Recipe.model_fields.items():
        assert re.fullmatch(r"TEXT|INTEGER|\[.*\]|FLOAT(,FLOAT)*(,\.\.\.)?", values(field.annotation)), name
    ranges = {name: limits(field.metadata) for name, field in Recipe.model_fields.items()}
    assert ranges["frequent_cosine"] == "  [-1<=x<1]"
    assert ranges["layer_decay"] == "  [0<x<=1]"
    assert ranges["batch_size"] == "  [2<=x]"
    assert ranges["weight_decay"] == "  [0<=x]"
    assert ranges["optimizer"] == ""


@pytest.mark.parametrize("word", ["3,4", "3, 4", "[3, 4]", " [3,4]"])
def test_a_list_is_written_with_commas_or_as_in_yaml(protozoo: Protozoo, word: str) -> None:
    words = ("train", "nonl_digits", "--schedule", "step", "--milestones", word, "--print-recipe")
    status, printed, _ = protozoo(*words)
    assert status == 0
    assert "milestones: [3.0, 4.0]" in printed


def test_a_list_of_the_wrong_length_is_one_line(protozoo: Protozoo, tmp_path: Path) -> None:
    status, _, err = protozoo("train", "nonl_digits", "--mean", "0.5,0.5", "--print-recipe")
    assert status == 2
    assert "mean" in err
    assert len(err.splitlines()) == 1
