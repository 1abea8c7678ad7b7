from __future__ import annotations

import pytest

from training.workers import default_workers


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (3, 3), (64, 4)])
def test_there_are_four_workers_or_as_many_as_cores(monkeypatch, cores, workers):
    monkeypatch.setattr("training.workers.available_cores", lambda: cores)
    assert default_workers() == workers
