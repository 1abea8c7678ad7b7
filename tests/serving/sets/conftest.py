from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from serving.sets import ModelKey, SetStore
from tests.serving.sets.writers import MODEL


@pytest.fixture
def open_store(database_url: str) -> Iterator[Callable[..., SetStore]]:
    """open_store(model=, limits=, url=): another store on the same database, closed at the end."""
    opened: list[SetStore] = []

    def open_(model: ModelKey = MODEL, url: str = database_url, **options: object) -> SetStore:
        opened.append(SetStore.open(url, model, **options))
        return opened[-1]

    yield open_
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[..., SetStore]) -> SetStore:
    return open_store()


@pytest.fixture
def names() -> Iterator[str]:
    """Fresh names of sets, for Hypothesis, which asks one test for many."""
    return (f"set-{number}" for number in itertools.count())
