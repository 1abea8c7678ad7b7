from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from export.bundle import export_run
from training.recipe import load_recipe
from training.train import train
from zoo.bundle import Bundle


@pytest.fixture(scope="session", autouse=True)
def _no_sets_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Services that are started here keep what is enrolled in a folder of the tests'."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two epochs on the digits."""
    out = tmp_path_factory.mktemp("runs") / "digits"
    recipe = load_recipe("nonl_digits", {"epochs": 2, "warmup_epochs": 0.5, "temperature": 0.15, "precision": "fp32"})
    train(recipe, "digits", out, name="nonl_digits", command="protozoo train nonl_digits", say=lambda line: None)
    return out


@pytest.fixture(scope="session")
def digits_bundle(digits_run: Path) -> Bundle:
    """The bundle of that run. Copy it before you change it."""
    return export_run(digits_run, digits_run.parent / "digits-bundle")
