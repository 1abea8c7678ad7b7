from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from training.recipe import Recipe


@pytest.fixture(scope="module")
def recipes(tiny: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Short name -> file of a recipe."""
    folder, found = tmp_path_factory.mktemp("recipes"), {}
    for objective in ("ce", "nonl"):
        path = folder / f"{objective}_colours.yaml"
        fields = tiny(objective=objective, epochs=1, imbalance=0.5).model_dump(mode="json")
        path.write_text(yaml.safe_dump(fields))
        found[objective] = str(path)
    return found


@pytest.fixture
def settings(recipes: dict[str, str]) -> dict[str, Any]:
    """Of a small grid."""
    return {
        "name": "colours",
        "blocks": [
            {
                "data": "mine",
                "recipes": recipes,
                "fields": {"collapse_images": "both"},
                "seeds": [0, 1],
                "evaluations": ["fixed", "transfer", "corruptions", "convergence"],
            },
            {"data": "absent", "recipes": {"nonl": recipes["nonl"]}, "seeds": [0], "evaluations": ["fixed"]},
        ],
        "evaluations": {
            "fixed": {"kind": "probe", "probe": "prototypes"},
            "transfer": {"kind": "probe", "probe": "cached", "data": "digits", "options": {"epochs": 1, "shots": 5}},
            "corruptions": {
                "kind": "corruptions",
                "images": 6,
                "corruptions": ["gaussian_noise", "contrast"],
                "severities": [5],
                "baseline": "ce",
            },
            "convergence": {"kind": "convergence", "baseline": "ce"},
        },
        "tables": [{"title": "Accuracy", "columns": {"accuracy": "test", "transfer": "digits"}}],
        "claims": [
            {
                "claim": "Something is above zero",
                "source": "Table 1",
                "theirs": "94.9",
                "test": "mean(accuracy, mine.nonl) > 0",
            },
            {"claim": "Elsewhere", "source": "Table 2", "theirs": "1", "test": "mean(accuracy, absent.nonl) > 0"},
            {"claim": "Of no metric", "source": "Table 3", "theirs": "1", "test": "mean(nothing, mine.ce) > 0"},
            {
                "claim": "Sooner than an epoch",
                "source": "Table 5",
                "theirs": "1.8 %",
                "test": "mean(convergence_inter_erank, mine.nonl) < 50",
            },
            {"claim": "ImageNet", "source": "Table 4", "theirs": "1", "not_tested": "it is not here"},
        ],
    }


@pytest.fixture
def grid_file(settings: dict[str, Any], tmp_path: Path) -> Callable[..., Path]:
    """grid_file(key=value, ...) -> the file of a grid."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "grid.yaml"
        path.write_text(yaml.safe_dump({**settings, **changes}, sort_keys=False))
        return path

    return write
