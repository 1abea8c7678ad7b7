from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from training import losses

WORKER = Path(__file__).with_name("ranks_worker.py")
ROOT = Path(__file__).parents[3]


def _worker() -> Any:
    spec = importlib.util.spec_from_file_location("ranks_worker", WORKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


worker = _worker()
by_world = pytest.mark.parametrize("world", worker.WORLDS)
by_case = pytest.mark.parametrize("case", worker.CASES)
pytestmark = pytest.mark.filterwarnings("ignore:a batch of one class")


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[Any, Any]]:
    """What four gloo processes computed; the first two of them also as a group of their own."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    processes = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(rank), str(folder)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(max(worker.WORLDS))
    ]
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(processes), "\n".join(outputs)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(len(processes))]


def single_process(loss: Any, case: str, world: int) -> tuple[Tensor, list[Tensor]]:
    """Value, and the gradient of each rank's rows, of the whole batch in one process."""
    rows, labels = worker.batch(case, world)
    value, gradient = worker.value_and_gradient(loss, torch.cat(rows), torch.cat(labels), None)
    return value, list(gradient.split([len(part) for part in rows]))


@by_world
@by_case
@pytest.mark.parametrize("name", worker.GLOBAL)
def test_every_rank_has_value_and_gradient_of_the_global_batch(
    ranks: list[dict[Any, Any]], name: str, case: str, world: int
) -> None:
    expected, gradients = single_process(worker.GLOBAL[name], case, world)
    for rank in range(world):
        value, gradient = ranks[rank][world, case, "global", name]
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)
        # DistributedDataParallel divides by the number of ranks.
        torch.testing.assert_close(gradient / world, gradients[rank], rtol=0, atol=1e-12)


@by_world
@by_case
@pytest.mark.parametrize("name", worker.SHARES)
def test_micro_batches_of_all_ranks_make_the_global_batch(
    ranks: list[dict[Any, Any]], name: str, case: str, world: int
) -> None:
    expected, gradients = single_process(worker.GLOBAL[name.split(maxsplit=1)[0]], case, world)
    results = [ranks[rank][world, case, "share", name] for rank in range(world)]
    torch.testing.assert_close(sum(value for value, _ in results) / world, expected, rtol=0, atol=1e-12)
    for (_, gradient), wanted in zip(results, gradients, strict=True):
        torch.testing.assert_close(gradient / world, wanted, rtol=0, atol=1e-12)


@by_world
@by_case
@pytest.mark.parametrize("name", worker.LOCAL)
def test_local_negatives_are_each_ranks_own_and_the_mean_is_global(
    ranks: list[dict[Any, Any]], name: str, case: str, world: int
) -> None:
    rows, labels = worker.batch(case, world)
    valid = [int((own >= 0).sum()) for own in labels]
    alone = [worker.value_and_gradient(worker.GLOBAL[name], a, y, None) for a, y in zip(rows, labels, strict=True)]
    weights = [count / max(sum(valid), 1) for count in valid]
    expected = sum(weight * value for weight, (value, _) in zip(weights, alone, strict=True))
    for rank in range(world):
        value, gradient = ranks[rank][world, case, "local", name]
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(gradient / world, weights[rank] * alone[rank][1], rtol=0, atol=1e-12)


@by_world
@pytest.mark.parametrize("how", ["whole", "parts"])
def test_distributed_data_parallel_gets_the_gradients_of_one_process(
    ranks: list[dict[Any, Any]], how: str, world: int
) -> None:
    rows, labels = worker.batch("uneven", world)
    model = worker.model()
    losses.nonl(model(torch.cat(rows)), torch.cat(labels)).backward()
    for rank in range(world):
        for gradient, parameter in zip(ranks[rank][world, "ddp"][how], model.parameters(), strict=True):
            torch.testing.assert_close(gradient, parameter.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("loss", [losses.ntce, losses.nonl])
def test_unknown_negatives_are_refused(loss: Any) -> None:
    with pytest.raises(ValueError, match='"global" or "local", not \'gathered\''):
        loss(torch.zeros(2, 3), torch.tensor([0, 1]), negatives="gathered")
