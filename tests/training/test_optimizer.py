from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import timm.optim.muon
import torch
from torch import Tensor

from training.build import build_parts
from training.optimizer import optimizer_step
from training.recipe import Recipe, RecipeError

# modded-nanogpt's, which timm calls quintic.
COEFFICIENTS = (
    (4.0848, -6.8946, 2.9270),
    (3.9505, -6.3029, 2.6377),
    (3.7418, -5.5913, 2.3037),
    (2.8769, -3.1427, 1.2046),
    (2.8366, -3.0525, 1.2012),
)


def orthogonalised(gradient: Tensor) -> Tensor:
    """The Newton-Schulz iterations of Muon, written down plainly, in float64."""
    matrix = gradient.double().flatten(1)
    matrix = matrix / matrix.norm()
    transposed = matrix.shape[0] > matrix.shape[1]
    matrix = matrix.T if transposed else matrix
    for a, b, c in COEFFICIENTS:
        gram = matrix @ matrix.T
        matrix = a * matrix + (b * gram + c * gram @ gram) @ matrix
    return (matrix.T if transposed else matrix).view_as(gradient)


def moved(tiny: Callable[..., Recipe], precision: str) -> tuple[Tensor, Tensor]:
    """The gradient of a convolution, and how far one step without decay has moved it."""
    recipe = tiny(precision=precision, weight_decay=0.0, momentum=0.0, warmup_epochs=0)
    parts = build_parts(recipe, np.arange(3), 3, 1)
    kernel = next(p for name, p in parts.model.named_parameters() if name.endswith("layer1.0.conv1.weight"))
    generator = torch.Generator().manual_seed(0)
    for parameter in parts.model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(parameter)
    before = kernel.detach().clone()
    optimizer_step(parts.optimizer, precision)
    return kernel.grad, kernel.detach() - before


@pytest.mark.parametrize("name", ["adahessian", "lookahead_adahessian"])
def test_an_optimizer_of_second_derivatives_is_refused(tiny: Callable[..., Recipe], name: str) -> None:
    with pytest.raises(RecipeError, match=f"optimizer = '{name}' needs second derivatives"):
        build_parts(tiny(optimizer=name), np.arange(3), 3, 1)


@pytest.mark.parametrize(("precision", "least", "most"), [("bf16", 1e-3, 5e-2), ("fp32", 0, 1e-4), ("fp64", 0, 1e-6)])
def test_muon_orthogonalises_in_the_precision_of_the_recipe(
    tiny: Callable[..., Recipe], precision: str, least: float, most: float
) -> None:
    gradient, step = moved(tiny, precision)
    expected = orthogonalised(gradient)
    cosine = -torch.sum(step.double() * expected) / (step.double().norm() * expected.norm())
    apart = (2 * (1 - cosine.clamp(max=1))).sqrt().item()
    assert least <= apart <= most, apart
    assert timm.optim.muon.zeropower_via_newtonschulz.__name__ == "zeropower_via_newtonschulz"


def test_timms_function_is_as_it_was_after_a_step_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    before = timm.optim.muon.zeropower_via_newtonschulz
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    monkeypatch.setattr(optimizer, "step", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        optimizer_step(optimizer, "fp32")
    assert timm.optim.muon.zeropower_via_newtonschulz is before
