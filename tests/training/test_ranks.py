"""Several processes, by torch.distributed.run over gloo: the same training as one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch import nn

from tests.training.runs import Start, rows_of
from training.recipe import Recipe


def launch(recipe: Recipe, data: Path, out: Path) -> subprocess.CompletedProcess[str]:
    path = out.parent / f"{out.name}.yaml"
    path.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude_none=True)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port)]
    return subprocess.run(
        [sys.executable, *launcher, "-m", "training", path, "--data", data, "--out", out, "--track", "none"],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def assert_close_weights(first: Path, second: Path, *, atol: float, running_statistics: bool) -> None:
    one, other = load_file(first / "model.safetensors"), load_file(second / "model.safetensors")
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        if not running_statistics and ("running" in name or "tracked" in name):
            continue
        torch.testing.assert_close(
            other[name], tensor, rtol=0, atol=atol, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize(
    "fields",
    [
        {"objective": "nonl"},
        {"objective": "ntce", "micro_batch_size": 4, "head": "batchnorm", "embed_dim": None, "sync_batchnorm": False},
        {"objective": "scl", "augmentation": "contrastive"},
        {"objective": "dynamic"},
    ],
    ids=lambda fields: fields["objective"],
)
def test_two_processes_train_to_the_weights_of_one_with_the_same_global_batch(
    start: Start, tiny: Callable[..., Recipe], colours: Path, tmp_path: Path, fields: dict[str, Any]
) -> None:
    recipe = tiny(**{"precision": "fp64", "optimizer": "sgd", "epochs": 2, **fields})
    start(recipe, tmp_path / "1")
    together = launch(recipe, colours, tmp_path / "2")
    assert together.returncode == 0, together.stderr
    # Without synchronisation the main rank's running statistics are kept, which are those of its own samples.
    assert_close_weights(tmp_path / "1", tmp_path / "2", atol=1e-9, running_statistics=recipe.sync_batchnorm)
    for one, two in zip(rows_of(tmp_path / "1"), rows_of(tmp_path / "2"), strict=True):
        assert float(two["loss"]) == pytest.approx(float(one["loss"]), abs=1e-6)
    assert together.stdout.count("the run stands in") == 1, "only one rank speaks"
    if recipe.objective in ("nonl", "ntce"):
        assert "negatives: global, of the batches of all ranks" in together.stdout


def test_a_batch_that_does_not_divide_among_the_ranks_is_refused(
    tiny: Callable[..., Recipe], colours: Path, tmp_path: Path
) -> None:
    done = launch(tiny(batch_size=15), colours, tmp_path / "run")
    assert done.returncode != 0
    assert "a batch of 15 images does not divide among 2 ranks" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3, 3)])
def test_synchronised_batchnorm_in_one_process_is_torchs(shape: tuple[int, ...], single_process_group: None) -> None:
    from training.ranks import synchronise_batchnorm

    plain: nn.Module = nn.BatchNorm1d(4) if len(shape) == 2 else nn.BatchNorm2d(4)
    ours = synchronise_batchnorm(nn.Sequential(type(plain)(4)), torch.device("cpu"))[0]
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    plain, ours = plain.double(), ours.double()
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [module(value) for module, value in zip((plain, ours), inputs, strict=True)]
    torch.testing.assert_close(outputs[1], outputs[0], rtol=0, atol=1e-12)
    for output in outputs:
        output.pow(3).sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad, rtol=0, atol=1e-10)
    for name, buffer in plain.named_buffers():
        torch.testing.assert_close(dict(ours.named_buffers())[name], buffer, rtol=0, atol=1e-12)
