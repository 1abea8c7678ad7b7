from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from tests.training.runs import Start, assert_same_weights, result_of
from training.build import _build_gradients, build_model
from training.gradients import at_once, in_parts
from training.losses import cross_entropy, nonl, normface, ntce
from training.objectives import OfLogits
from training.recipe import Recipe, RecipeError


def make_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def batch(size: int = 10) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(size, 4, generator=generator, dtype=torch.float64), torch.arange(size) % 3


OBJECTIVES = {
    "ce": OfLogits(cross_entropy),
    "normface": OfLogits(normface),
    "ntce": OfLogits(ntce, additive=False),
    "nonl": OfLogits(nonl, additive=False),
}


@pytest.mark.parametrize("size", [3, 5, 9])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_parts_give_loss_and_gradients_of_the_whole_batch(name: str, size: int) -> None:
    model, accelerator = make_model(), Accelerator(cpu=True)
    other = copy.deepcopy(model)
    expected = at_once(model, OBJECTIVES[name], accelerator)(*batch())
    value = in_parts(other, name, OBJECTIVES[name], accelerator, size, None)(*batch())
    assert not value.requires_grad
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)
    for parameter, wanted in zip(other.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, wanted.grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("negatives", ["local", "global"])
def test_micro_batches_have_the_negatives_that_the_recipe_asks_for(
    negatives: str, tiny: Callable[..., Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []
    monkeypatch.setattr("training.build.in_parts", lambda *arguments: given.append(arguments[-1]))
    ranks = SimpleNamespace(group="all ranks", count=2)
    recipe = tiny(negatives=negatives, micro_batch_size=4)
    model = build_model(recipe, torch.ones(3))
    _build_gradients(recipe, model, OBJECTIVES["nonl"], Accelerator(cpu=True), ranks)  # type: ignore[arg-type]
    assert given == [{"local": None, "global": "all ranks"}[negatives]]


def test_a_recipe_may_ask_for_micro_batches(start: Start, tiny: Callable[..., Recipe], tmp_path: Path) -> None:
    start(tiny(epochs=1, micro_batch_size=6), tmp_path / "run")
    assert 0 <= result_of(tmp_path / "run")["metrics"]["test_accuracy"] <= 1


def test_a_recipe_may_ask_for_compilation(
    start: Start, tiny: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the compiler itself, which takes half a minute: what is compiled trains the model that is kept."""
    compiled = []

    def compile_model(model: nn.Module) -> nn.Module:
        compiled.append(model)
        return nn.Sequential(model)

    monkeypatch.setattr(torch, "compile", compile_model)
    monkeypatch.setattr("shutil.which", lambda name: name)
    start(tiny(epochs=1), tmp_path / "plain")
    assert not compiled
    start(tiny(epochs=1, compile=True), tmp_path / "compiled")
    assert len(compiled) == 1
    assert_same_weights(tmp_path / "plain", tmp_path / "compiled")


def test_without_a_compiler_a_recipe_that_wants_one_says_what_to_do(
    start: Start, tiny: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(RecipeError, match=r"C\+\+ compiler .* --compile false"):
        start(tiny(compile=True), tmp_path / "run")
    assert not (tmp_path / "run").exists()
