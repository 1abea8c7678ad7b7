"""The databases that tests run on, as fixtures; a conftest imports them by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.sets.postgresql import INSTALL, Cluster, binaries


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """A PostgreSQL of the tests' own, with fsync, ended with them."""
    if binaries() is None:
        pytest.skip(INSTALL)
    with Cluster.started() as cluster:
        yield cluster


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a fresh database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/sets.sqlite"
    url: str = request.getfixturevalue("postgresql").fresh_url()
    return url
