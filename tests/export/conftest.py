from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.export.hub_desk import Desk, open_desk
from tests.hub_double import running_hub
from tests.tiny_bundle import make_tiny_bundle, resign


@pytest.fixture(scope="package")
def shared_desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """One process for all commands."""
    with running_hub() as hub, open_desk(tmp_path_factory.mktemp("desk"), hub) as desk:
        yield desk


@pytest.fixture
def desk(shared_desk: Desk) -> Desk:
    """Somebody at a command line, before a hub without repositories."""
    shared_desk.hub.clear()
    return shared_desk


@pytest.fixture(scope="package")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two bundles of other weights, the first with a file more."""
    folder = tmp_path_factory.mktemp("bundles")
    paths = [make_tiny_bundle(folder / f"bundle{seed}", seed=seed).path for seed in range(2)]
    (paths[0] / "notes.txt").write_text("how it was made")
    resign(paths[0])
    return paths
