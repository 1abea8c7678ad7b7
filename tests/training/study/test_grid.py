"""What a grid says, and what is told of one before any work is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from training.study import load_grid
from training.study.grid import Cell, shortened
from zoo.errors import ProtozooError


def test_grids_that_share_a_cell_train_it_alike() -> None:
    """So that one folder serves both, and no run is made twice."""
    found = {name: {cell.name: cell for cell in load_grid(name)[1]} for name in ("cpu", "long_tail")}
    shared = sorted(set(found["cpu"]) & set(found["long_tail"]))
    assert shared == [f"cifar10.{name}.lt100" for name in ("ce", "etf_dr", "nonl", "normface", "ntce")]
    for name in shared:
        cpu, tails = found["cpu"][name], found["long_tail"][name]
        assert (cpu.recipe, cpu.fields) == (tails.recipe, tails.fields)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"colour": 1}, "colour"),
        ({"evaluations": {}}, "no evaluation 'fixed'"),
        ({"evaluations": {"fixed": {"kind": "guess"}}}, "evaluations.fixed"),
        ({"evaluations": {"f": {"kind": "probe", "probe": "prototypes", "options": {"lr": 1}}}}, "has no option lr"),
        ({"evaluations": {"f": {"kind": "probe", "probe": "cached", "options": {"feature": 1}}}}, "no option feature"),
        ({"evaluations": {"f": {"kind": "probe", "probe": "prototypes", "options": {"features": 1}}}}, "features must"),
        ({"blocks": [{"data": "mine", "recipes": {"a": "nonl_nothing"}, "seeds": [0]}]}, "mine.a: "),
        (
            {"blocks": [{"data": "mine", "recipes": {"a": "nonl_digits"}, "seeds": [0], "fields": {"lr": -1}}]},
            "lr = -1",
        ),
        ({"blocks": [{"data": "mine", "recipes": {"a": "nonl_digits"}, "seeds": [0, 0]}]}, "twice"),
        ({"fields": {"elsewhere": {"lr": 1}}}, "fields for elsewhere, which is no data"),
        (
            {
                "blocks": [
                    {"data": "mine", "recipes": {"ce": "ce_digits"}, "seeds": [0]},
                    {"data": "mine", "recipes": {"a": "nonl_digits"}, "seeds": [0], "evaluations": ["convergence"]},
                ]
            },
            "mine.a: convergence is against mine.ce, and no cell of that name has it too",
        ),
        (
            {
                "blocks": [
                    {"data": "mine", "recipes": {"ce": "ce_digits"}, "seeds": [0], "evaluations": ["convergence"]},
                    {
                        "data": "mine",
                        "recipes": {"a": "nonl_digits"},
                        "seeds": [0],
                        "fields": {"collapse_images": "both"},
                        "evaluations": ["convergence"],
                    },
                ]
            },
            "mine.a: convergence is against mine.ce, which has collapse_images test and not both: give the evaluation",
        ),
        (
            {
                "blocks": [{"data": "mine", "recipes": {"ce": "ce_digits"}, "seeds": [0], "evaluations": ["late"]}],
                "evaluations": {"late": {"kind": "convergence", "baseline": "ce", "images": "train"}},
            },
            "mine.ce: late is of the training images, whose collapse is logged with collapse_images: both",
        ),
        (
            {
                "blocks": [{"data": "mine", "recipes": {"ce": "ce_digits"}, "seeds": [0], "evaluations": ["bayes"]}],
                "evaluations": {"bayes": {"kind": "readout", "prior": "uniform"}},
            },
            "mine.ce: bayes is a readout, which NTCE and NONL alone have",
        ),
        ({"evaluations": {"f": {"kind": "corruptions", "corruptions": ["rain"]}}}, "no corruption 'rain'; there are g"),
        ({"evaluations": {"f": {"kind": "corruptions", "severities": [9]}}}, "less than or equal to 5"),
        (
            {"evaluations": {"f": {"kind": "probe", "probe": "linear", "options": {"protocol": "x"}}}},
            "protocol must be",
        ),
        ({"base": "nowhere"}, "no grid 'nowhere'"),
        ({"blocks": [{"data": "My-data", "recipes": {"a": "nonl_digits"}, "seeds": [0]}]}, "small letters"),
        ({"claims": [{"claim": "c", "source": "s", "theirs": "t"}]}, "either test or not_tested"),
        (
            {"claims": [{"claim": "c", "source": "s", "theirs": "t", "test": "mean(a, b.c) > 1"}]},
            "b.c, which is no cell",
        ),
        (
            {"claims": [{"claim": "c", "source": "s", "theirs": "t", "test": "largest_cosine(simplex_etf, 9, 4) > 1"}]},
            "9 ",
        ),
    ],
)
def test_a_mistake_in_a_grid_is_told_before_the_work(
    grid_file: Callable[..., Path], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ProtozooError, match=message):
        load_grid(str(grid_file(**changes)))


def test_a_base_may_have_a_base(tmp_path: Path) -> None:
    block = {"data": "cifar10", "recipes": {"ce": "ce_cifar10"}, "seeds": [0], "evaluations": ["means"]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"base": "long_tail", "blocks": [block], "claims": []}))
    (cell,) = load_grid(str(tmp_path / "mine.yaml"))[1]
    assert cell.load(0).architecture == "proto_resnet9_cifar"  # of `cpu`, the base of `long_tail`
    assert cell.asked("means") == {"kind": "probe", "probe": "prototypes", "data": None, "options": {}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"base": str(tmp_path / "mine.yaml")}))
    with pytest.raises(ProtozooError, match=r"mine\.yaml is its own base"):
        load_grid(str(tmp_path / "mine.yaml"))


def test_milestones_move_with_the_epochs() -> None:
    cell = Cell("d.x", "d", "nonl_digits", {"epochs": 20, "schedule": "step", "milestones": [10, 15]}, (0, 1), {})
    (shorter,) = shortened([cell], epochs_factor=0.2)
    assert shorter.load(1).epochs == 4
    assert shorter.load(1).milestones == (2, 3)
    assert shortened([cell]) == (cell,)


def test_a_grid_on_another_says_only_what_is_different(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    fields = {"digits": {"lr": 0.5, "embed_dim": 16}}
    path.write_text(yaml.safe_dump({"base": "digits", "name": "wide", "epochs_factor": 2, "fields": fields}))
    (grid, cells), (base, before) = load_grid(str(path)), load_grid("digits")
    assert grid.name == "wide"
    assert grid.claims == base.claims
    assert [cell.name for cell in cells] == [cell.name for cell in before]
    for cell, other in zip(cells, before, strict=True):
        recipe = cell.load(0)
        assert (recipe.lr, recipe.embed_dim) == (0.5, 16)
        assert recipe.epochs == 2 * other.load(0).epochs


def test_a_grid_on_another_may_leave_data_out(tmp_path: Path) -> None:
    """For a few cells of a large grid, as a machine of its own trains them."""
    path = tmp_path / "part.yaml"
    block = {"data": "cifar10", "recipes": {"nonl": "nonl_cifar10"}, "seeds": [3]}
    part = {"base": "cpu", "name": "part", "blocks": [block], "claims": []}
    path.write_text(yaml.safe_dump(part))
    (cell,) = load_grid(str(path))[1]
    assert (cell.name, cell.load(3).architecture) == ("cifar10.nonl", "proto_resnet9_cifar")
    # What the file itself says must be of use.
    path.write_text(yaml.safe_dump({**part, "fields": {"elsewhere": {"lr": 1}}}))
    with pytest.raises(ProtozooError, match="fields for elsewhere, which is no data"):
        load_grid(str(path))


def test_a_variant_is_over_the_fields_of_its_data() -> None:
    found = {cell.name: cell.load(0) for cell in load_grid("gpu")[1]}
    assert (found["cifar10.nonl.batch16"].batch_size, found["cifar10.nonl.batch16"].lr) == (16, 0.0125)
    assert found["cifar10.nonl.lt100"].epochs == 192
    assert found["cifar10.nonl"].batch_size == found["tiny.ce"].batch_size == 512
    assert found["tiny.dynamic"].architecture == "proto_resnet18_64"


def test_fields_of_a_recipe_are_over_those_of_its_data_and_under_those_of_a_variant(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    fields = {"cifar10": {"lr": 0.4}, "cifar10.nonl": {"lr": 0.1, "embed_dim": 32}}
    path.write_text(yaml.safe_dump({"base": "cpu", "fields": fields}))
    found = {cell.name: cell.load(0) for cell in load_grid(str(path))[1]}
    assert (found["cifar10.nonl"].lr, found["cifar10.nonl"].embed_dim) == (0.1, 32)
    assert found["cifar10.nonl.relu"].lr == 0.1
    assert found["cifar10.nonl.batch16"].lr == 0.0125
    assert found["cifar10.ntce"].lr == 0.4


def test_numbers_of_probes_on_features_as_they_were_are_not_those_of_scaled_ones() -> None:
    (cell,) = (cell for cell in load_grid("cpu")[1] if cell.name == "cifar10.scl")
    scaled = [name for name in cell.evaluations if "scaling" in cell.asked(name)]
    assert scaled == ["linear", "cached", "to_tiny"]


@pytest.mark.parametrize("name", ["digits", "cpu", "gpu", "heads", "long_tail"])
def test_the_grids_of_the_package_can_be_read(name: str) -> None:
    grid, cells = load_grid(name)
    assert grid.claims
    assert cells
