"""Parts of one image, which BatchNorm cannot normalise over, are refused before the first step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.runs import Start, result_of
from training.batchnorm import norms_of_one_value
from training.build import build_parts
from training.recipe import Recipe, RecipeError

SMALL = {"architecture": "proto_resnet18_cifar", "input_size": 8}


@pytest.mark.parametrize(
    ("images", "fields", "norm"),
    [
        (12, {"head": "batchnorm", "batch_size": 4, "micro_batch_size": 1}, "head.projection"),
        (12, {"head": "batchnorm", "batch_size": 9, "micro_batch_size": 4}, "head.projection"),
        (9, {"head": "batchnorm", "batch_size": 16, "micro_batch_size": 4}, "head.projection"),
        (12, {**SMALL, "batch_size": 4, "micro_batch_size": 1}, "layer4"),
    ],
    ids=["of one", "of one at the end", "of fewer images than a batch", "of one pixel"],
)
def test_a_part_of_one_image_is_refused(
    tiny: Callable[..., Recipe], images: int, fields: dict[str, Any], norm: str
) -> None:
    with pytest.raises(RecipeError, match=rf"has a part of one, over which {norm}.* cannot normalise: choose another"):
        build_parts(tiny(embed_dim=None, **fields), np.arange(images) % 3, 3, 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"head": "batchnorm", "embed_dim": None, "batch_size": 9, "micro_batch_size": 3},
        {"batch_size": 3, "micro_batch_size": 1},  # of several pixels, in all layers
        {"head": "batchnorm", "embed_dim": None, "batch_size": 13, "micro_batch_size": 4},  # twelve images are there
    ],
)
def test_parts_that_can_be_normalised_over_are_trained(
    start: Start, tiny: Callable[..., Recipe], tmp_path: Path, fields: dict[str, Any]
) -> None:
    start(tiny(epochs=1, shots=4, objective="normface", optimizer="sgd", **fields), tmp_path / "run")
    assert result_of(tmp_path / "run")["data"]["train_images"] == 12


def test_a_backbone_that_stays_as_it_is_normalises_by_what_it_knows(tiny: Callable[..., Recipe]) -> None:
    labels = np.arange(3)
    whole = build_parts(tiny(**SMALL), labels, 3, 1).model
    assert all(name.startswith("layer4") for name in norms_of_one_value(whole, 8))
    assert norms_of_one_value(whole, 8)
    frozen = build_parts(tiny(**SMALL), labels, 3, 1).model
    for name, parameter in frozen.named_parameters():
        parameter.requires_grad_(name.startswith("head."))
    assert not norms_of_one_value(frozen, 8)
