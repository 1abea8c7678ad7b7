from __future__ import annotations

import pytest
import torch

from training import losses


def test_value_and_gradient_are_those_of_the_formula() -> None:
    cosines = torch.rand(9, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    labels = torch.tensor([0, 1, -1, 3, 3, 2, -100, 0, 0])
    leaf = cosines.clone().requires_grad_()
    value = losses.dot_regression(leaf, labels)
    value.backward()
    valid = [i for i in range(9) if labels[i] >= 0]
    expected = sum((float(cosines[i, labels[i]]) - 1) ** 2 / 2 for i in valid) / len(valid)
    gradient = torch.zeros_like(cosines)
    for i in valid:
        gradient[i, labels[i]] = (cosines[i, labels[i]] - 1) / len(valid)
    assert value.item() == pytest.approx(expected, abs=1e-12)
    torch.testing.assert_close(leaf.grad, gradient, rtol=0, atol=1e-12)


def test_it_is_dot_regression_of_any_norms_at_norm_one() -> None:
    """Yang et al.: (w.h - sqrt(E_W E_H))^2 / (2 sqrt(E_W E_H)), with |h| = sqrt(E_H) and |w| = sqrt(E_W)."""
    rows = torch.nn.functional.normalize(torch.randn(6, 3, dtype=torch.float64), dim=1)
    prototypes = torch.eye(3, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    general = ((rows * prototypes[labels]).sum(1) - 1) ** 2 / 2
    torch.testing.assert_close(losses.dot_regression(rows @ prototypes.T, labels), general.mean())


def test_a_sample_in_place_is_left_alone() -> None:
    cosines = torch.tensor([[1.0, -0.5], [0.2, 0.3]], requires_grad=True)
    losses.DotRegression()(cosines, torch.tensor([0, 1])).backward()
    assert cosines.grad is not None
    assert cosines.grad.tolist() == [[0, 0], [0, pytest.approx(-0.35)]]


def test_without_labels_it_is_a_connected_zero() -> None:
    cosines = torch.rand(3, 2, requires_grad=True)
    value = losses.dot_regression(cosines, torch.full((3,), -1))
    value.backward()
    assert value == 0
    assert torch.equal(cosines.grad, torch.zeros(3, 2))


def test_half_precision_is_reduced_in_float32() -> None:
    assert losses.dot_regression(torch.rand(3, 2).bfloat16(), torch.tensor([0, 1, 1])).dtype == torch.float32


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"cosines must be \(M, K\).*\(3, 2\) and \(2,\)"):
        losses.dot_regression(torch.rand(3, 2), torch.tensor([0, 1]))
