"""From a recipe's objective to a module that the loop can call without knowing its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from training import losses
from training.losses import RunningDenominators
from training.losses.ranks import Group
from training.prototypes import ClassRepresentatives, PrototypeAssignment
from training.recipe import Recipe, RecipeError
from zoo.models.base import PrototypeModel

Output = Literal["logits", "embeddings"]


class Objective(nn.Module):
    """What is minimised; its buffers travel in the checkpoint.

    Attributes:
        output: what of the model it takes: "logits" (M, K) or "embeddings" (M, d), unit rows.
        additive: whether the loss of a batch is the mean over its parts.
    """

    output: Output = "logits"
    additive = True

    def end_step(self, model: PrototypeModel, step: int) -> None:
        """What is due after a step of the optimiser, on every rank; ``step`` counts from 1 over the whole training."""

    def end_epoch(self) -> dict[str, int]:
        """Numbers for the log of an epoch."""
        return {}


class OfLogits(Objective):
    """A function of logits and labels."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], *, additive: bool = True) -> None:
        super().__init__()
        self.function, self.additive = function, additive

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """(M, K), (M,) -> scalar."""
        return self.function(logits, labels)


class OfEmbeddings(Objective):
    """A function of unit embeddings and labels that contrasts all samples of a batch."""

    output: Output = "embeddings"
    additive = False

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(N, d), (N,) -> scalar."""
        return self.function(embeddings, labels)


class DynamicAssignment(Objective):
    """Regression to fixed prototypes, which the classes choose anew every few steps.

    Args:
        prototypes: (K, d) unit rows.
        momentum: of the class representatives, which move at every step.
        every: steps between assignments.
        group: ranks whose embeddings count.

    Source: algorithm 1 and eqs. 6 and 9 of "Hyperspherical Classification with Dynamic Label-to-Prototype Assignment"
        (CVPR 2024).
    """

    output: Output = "embeddings"
    changed: Tensor

    def __init__(self, prototypes: Tensor, *, momentum: float, every: int, group: Group | None = None) -> None:
        super().__init__()
        self.every, self.group = every, group
        self.representatives = ClassRepresentatives(*prototypes.shape, momentum=momentum)
        self.assignment = PrototypeAssignment(prototypes)
        self.register_buffer("changed", torch.zeros((), dtype=torch.int64))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(M, d), (M,) -> scalar."""
        self.representatives.update(embeddings, labels)
        return losses.dot_regression(embeddings @ self.assignment.targets.to(embeddings).T, labels)

    def end_step(self, model: PrototypeModel, step: int) -> None:
        """Assign where it is time, and give the model its prototypes in the order of the labels."""
        self.representatives.step(self.group)
        if step % self.every == 0 and (changed := self.assignment.update(self.representatives.representatives)):
            self.changed += changed
            model.set_prototypes(self.assignment.targets)

    def end_epoch(self) -> dict[str, int]:
        """How many labels changed their prototype since the last epoch's end, one that did so twice counted twice."""
        changed = int(self.changed)
        self.changed.zero_()
        return {"reassigned": changed}


def build_objective(
    recipe: Recipe, model: PrototypeModel, counts: Tensor, steps_per_epoch: int, group: Group | None
) -> Objective:
    """The recipe's objective.

    Args:
        recipe: what to train.
        model: whose fixed prototypes and temperature count.
        counts: (K,) training images of each class.
        steps_per_epoch: of the optimiser.
        group: all ranks; None for one process.

    Raises:
        RecipeError: the objective cannot be trained on several ranks.
    """
    across = group if recipe.negatives == "global" else None
    if recipe.denominators == "running":
        if group is not None:
            raise RecipeError("denominators = running is for one process: leave it out on several ranks")
        return OfLogits(RunningDenominators(counts, objective=recipe.objective), additive=False)  # type: ignore[arg-type]
    tau = recipe.temperature

    def columns(function: Callable[..., Tensor]) -> Objective:
        return OfLogits(lambda logits, labels: function(logits, labels, group=across), additive=False)

    def contrast_with_prototypes(embeddings: Tensor, labels: Tensor) -> Tensor:
        return losses.scl_with_prototypes(
            embeddings, labels, model.prototypes, temperature=tau, copies=recipe.copies, group=across
        )

    build: dict[str, Callable[[], Objective]] = {
        "ce": lambda: OfLogits(losses.cross_entropy),
        "normface": lambda: OfLogits(losses.normface),
        "ntce": lambda: columns(losses.ntce),
        "nonl": lambda: columns(losses.nonl),
        "etf_dr": lambda: OfLogits(lambda logits, labels: losses.dot_regression(logits * tau, labels)),
        "scl": lambda: OfEmbeddings(lambda rows, labels: losses.scl(rows, labels, temperature=tau, group=across)),
        "scl_prototypes": lambda: OfEmbeddings(contrast_with_prototypes),
        "dynamic": lambda: DynamicAssignment(
            model.prototypes.detach(),
            momentum=recipe.representative_momentum,
            every=max(1, round(recipe.assign_every * steps_per_epoch)),
            group=group,
        ),
    }
    return build[recipe.objective]()
