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
from training.prototypes.means import sum_over_ranks
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

    def end_epoch(self, model: PrototypeModel) -> dict[str, int]:
        """What is due between two epochs, on every rank; numbers for the log."""
        del model
        return {}

    def collect(self, *, main: bool) -> None:
        """Before a checkpoint, on every rank: bring to the main one what the ranks keep apart."""

    def part(self, *, main: bool) -> None:
        """After a checkpoint was loaded on every rank: leave with the main one what only it may keep."""


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
    """Regression to fixed prototypes, which the classes choose anew every few epochs.

    Args:
        prototypes: (K, d) unit rows.
        momentum: of the class representatives.
        every: epochs between assignments.
        group: ranks whose embeddings count.

    Source: eqs. 6 and 9 of "Hyperspherical Classification with Dynamic Label-to-Prototype Assignment" (CVPR 2024).
    """

    output: Output = "embeddings"
    epochs: Tensor

    def __init__(self, prototypes: Tensor, *, momentum: float, every: int, group: Group | None = None) -> None:
        super().__init__()
        self.every, self.group = every, group
        self.representatives = ClassRepresentatives(*prototypes.shape, momentum=momentum)
        self.assignment = PrototypeAssignment(prototypes)
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """(M, d), (M,) -> scalar."""
        self.representatives.update(embeddings, labels)
        return losses.dot_regression(embeddings @ self.assignment.targets.to(embeddings).T, labels)

    def collect(self, *, main: bool) -> None:
        """Sum the embeddings gathered since the last assignment."""
        if self.group is not None:
            sum_over_ranks(self.representatives.sums, self.representatives.counts, group=self.group)
            self.part(main=main)

    def part(self, *, main: bool) -> None:
        """The sums of all ranks count once."""
        if not main:
            self.representatives.sums.zero_()
            self.representatives.counts.zero_()

    def end_epoch(self, model: PrototypeModel) -> dict[str, int]:
        """Assign where it is time, and give the model its prototypes in the order of the labels."""
        self.epochs += 1
        if int(self.epochs) % self.every:
            return {"reassigned": 0}
        self.representatives.step(self.group)
        changed = self.assignment.update(self.representatives.representatives)
        model.set_prototypes(self.assignment.targets)
        return {"reassigned": changed}


def build_objective(recipe: Recipe, model: PrototypeModel, counts: Tensor, group: Group | None) -> Objective:
    """The recipe's objective.

    Args:
        recipe: what to train.
        model: whose fixed prototypes and temperature count.
        counts: (K,) training images of each class.
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
            every=recipe.assign_every,
            group=group,
        ),
    }
    return build[recipe.objective]()
