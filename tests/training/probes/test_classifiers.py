from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from training.data import epoch_order
from training.probes import CosineClassifier, LinearClassifier, fit_linear
from training.probes.classifiers import initial
from training.recipe import Recipe
from zoo.errors import ProtozooError

Sgd = Callable[..., Recipe]


def overlapping(count: int = 300, dim: int = 4) -> tuple[Tensor, Tensor]:
    """Three classes that no plane separates, so that the best linear classifier is finite."""
    generator = torch.Generator().manual_seed(3)
    labels = torch.arange(count) % 3
    centres = torch.randn(3, dim, generator=generator)
    return centres[labels] + 1.5 * torch.randn(count, dim, generator=generator), labels


def scaled(features: Tensor) -> Tensor:
    """Mean zero, and squared norms that are one in the mean."""
    rows = features - features.mean(0)
    return rows / rows.square().sum(1).mean().sqrt()


def test_linear_probe_reaches_the_optimum_of_logistic_regression(sgd: Sgd) -> None:
    features, labels = overlapping()
    recipe = sgd(epochs=400, batch_size=300, milestones=(300,), lr=2.0)
    found = fit_linear(features, labels, 3, recipe)
    assert isinstance(found, LinearClassifier)
    best = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000).fit(features.numpy(), labels.numpy())
    expected = torch.from_numpy(best.predict_log_proba(features.numpy())).float()
    # Probabilities, because a shift of all classes' weights by one vector changes nothing.
    torch.testing.assert_close(found(features).log_softmax(1), expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("objective", ["ce", "normface"])
def test_training_is_sgd_with_momentum_and_steps_as_written_out(sgd: Sgd, objective: str) -> None:
    features, labels = overlapping(count=50)
    recipe = sgd(objective=objective, epochs=5, batch_size=15, milestones=(2, 4), weight_decay=0.01, temperature=0.3)
    found = fit_linear(features, labels, 3, recipe)
    start = initial(4, 3, recipe, torch.device("cpu"))
    values = [
        start.weight.double(),
        start.bias.double() if isinstance(start, LinearClassifier) else torch.zeros(3).double(),
    ]
    speeds = [torch.zeros_like(value) for value in values]
    trained = 2 if objective == "ce" else 1
    for epoch in range(5):
        lr = 0.5 * (0.2 if epoch >= 2 else 1) * (0.2 if epoch >= 4 else 1)
        for picked in epoch_order(labels.numpy(), 15, batches="shuffled", seed=recipe.seed, epoch=epoch):
            values = [value.detach().requires_grad_() for value in values]
            weight, bias = values
            rows = features[picked].double()
            if objective == "ce":
                rows = scaled(features.double())[picked]
            else:
                rows = rows / rows.norm(dim=1, keepdim=True)
                weight = weight / weight.norm(dim=1, keepdim=True) / 0.3
            scores = rows @ weight.T + bias
            loss = (scores.exp().sum(1).log() - scores[torch.arange(len(picked)), labels[picked]]).mean()
            for index, gradient in enumerate(torch.autograd.grad(loss, values[:trained])):
                speeds[index] = 0.9 * speeds[index] + gradient + 0.01 * values[index].detach()
                values[index] = values[index].detach() - lr * speeds[index]
    weight, bias = (value.detach() for value in values)
    if isinstance(found, CosineClassifier):
        torch.testing.assert_close(found.weight.double(), weight, atol=1e-5, rtol=1e-5)
    else:
        expected = scaled(features.double()) @ weight.T + bias
        torch.testing.assert_close(found(features).double(), expected, atol=1e-5, rtol=1e-5)


def test_the_normalised_classifier_knows_directions_alone(sgd: Sgd) -> None:
    features, labels = overlapping(count=30)
    found = fit_linear(features, labels, 3, sgd(objective="normface", temperature=0.5))
    assert isinstance(found, CosineClassifier)
    assert vars(found).keys() == {"weight", "temperature"}
    logits = found(features)
    torch.testing.assert_close(found(100 * features), logits)
    cosines = torch.nn.functional.cosine_similarity(features[:, None], found.weight[None], dim=2)
    torch.testing.assert_close(logits, cosines / 0.5)


@pytest.mark.parametrize("objective", ["ce", "normface"])
def test_the_seed_decides_and_the_global_generator_is_left_alone(sgd: Sgd, objective: str) -> None:
    features, labels = overlapping(count=50)
    before = torch.get_rng_state()
    first, again, other = (
        fit_linear(features, labels, 3, sgd(objective=objective, seed=seed)).weight for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_result_needs_no_gradient(sgd: Sgd) -> None:
    found = fit_linear(*overlapping(count=30), 3, sgd())
    assert isinstance(found, LinearClassifier)
    assert not found.weight.requires_grad
    assert not found.bias.requires_grad


def test_a_linear_probe_is_of_the_features_whatever_their_size_and_place(sgd: Sgd) -> None:
    features, labels = overlapping()
    recipe = sgd(lr=5.0, epochs=10, milestones=(6, 8, 9))
    found = fit_linear(features, labels, 3, recipe)(features)
    for larger, by in ((40 * features, 1e-4), (features + 40, 1e-2)):
        torch.testing.assert_close(fit_linear(larger, labels, 3, recipe)(larger), found, atol=by, rtol=by)


@pytest.mark.parametrize("value", [3.0, 1e-3])  # of the second the mean of squares is not the square of the mean
def test_features_that_do_not_vary_leave_the_frequencies_of_the_classes(sgd: Sgd, value: float) -> None:
    labels = torch.tensor([0, 0, 0, 1] * 25)
    found = fit_linear(torch.full((100, 7), value), labels, 2, sgd(epochs=40, batch_size=100))
    assert isinstance(found, LinearClassifier)
    assert found(torch.full((1, 7), value)).softmax(1)[0].tolist() == pytest.approx([0.75, 0.25], abs=0.01)
    assert found.weight.abs().max() < 1


@pytest.mark.parametrize("lr", [1e4, 1e38])
def test_a_loss_that_diverges_says_what_to_lower(sgd: Sgd, lr: float) -> None:
    features, labels = overlapping(count=50)
    with pytest.raises(ProtozooError, match=r"diverges, with a loss of .*: lower --lr"):
        fit_linear(features, labels, 3, sgd(lr=lr))
