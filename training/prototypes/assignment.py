"""Label-to-prototype assignment: prototypes stay where they are, and classes choose among them."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

from training.prototypes.means import check_momentum, class_sums, sum_over_ranks


def assign(representatives: Tensor, prototypes: Tensor) -> Tensor:
    r"""The one-to-one assignment of classes to prototypes with the largest sum of cosines.

    .. math:: A^* = \arg\min_A \sum_{c=1}^K -\bar z_c^T w_{A(c)}

    Args:
        representatives: (K, d), a unit row a class; a zero row, of a class not seen yet, takes what the others leave.
        prototypes: (P, d) unit rows, P >= K.

    Returns:
        (K,) int64 on the representatives' device: the row of ``prototypes`` for each class, no row twice.

    Raises:
        ValueError: shapes that do not fit, fewer prototypes than classes, or rows that are not finite.

    Source: eq. 9 of "Hyperspherical Classification with Dynamic Label-to-Prototype Assignment" (CVPR 2024), by the
        Hungarian algorithm.
    """
    from scipy.optimize import linear_sum_assignment

    if representatives.ndim != 2 or prototypes.ndim != 2 or representatives.shape[1] != prototypes.shape[1]:
        raise ValueError(
            "representatives must be (K, d) and prototypes (P, d), not "
            f"{tuple(representatives.shape)} and {tuple(prototypes.shape)}"
        )
    if len(prototypes) < len(representatives):
        raise ValueError(f"{len(representatives)} classes need as many prototypes, not {len(prototypes)}")
    cosines = representatives.detach().double().cpu() @ prototypes.detach().double().cpu().T
    if not bool(cosines.isfinite().all()):
        raise ValueError("representatives and prototypes must be finite numbers")
    _, columns = linear_sum_assignment(cosines.numpy(), maximize=True)
    return torch.from_numpy(columns).long().to(representatives.device)


class ClassRepresentatives(nn.Module):
    r"""A unit vector a class, moved with momentum towards the means of the class's embeddings.

    The embeddings of a batch are gathered as sums, which depend neither on the order of the samples, nor on the parts
    that the batch comes in, nor on which rank saw them; a step moves the classes seen since the last one:

    .. math:: \bar z_c \leftarrow \mathrm{unit}\Big(\alpha \bar z_c + (1-\alpha) \frac{1}{n_c}\sum_{i:\,y_i=c} u_i\Big)

    A class seen for the first time takes the direction of its mean. Momentum acts once a step, which is to be one of
    the training (line 9 of algorithm 1): 0.9 remembers some ten batches that have the class. At one step an epoch it
    would remember ten epochs, of an encoder that has become another one.

    Args:
        num_classes: K.
        dim: d.
        momentum: alpha, in [0, 1).

    Attributes:
        representatives: (K, d) float32 buffer, unit rows; zero for a class not seen yet.
        sums: (K, d) float32 buffer, of the unit embeddings since the last step.
        counts: (K,) int64 buffer, samples since the last step.

    Source: algorithm 1 and below eq. 8 of "Hyperspherical Classification with Dynamic Label-to-Prototype Assignment"
        (CVPR 2024), with the class mean in the place of single samples.
    """

    representatives: Tensor
    sums: Tensor
    counts: Tensor

    def __init__(self, num_classes: int, dim: int, *, momentum: float = 0.9) -> None:
        super().__init__()
        check_momentum(momentum)
        self.momentum = momentum
        self.register_buffer("representatives", torch.zeros(num_classes, dim))
        self.register_buffer("sums", torch.zeros(num_classes, dim))
        self.register_buffer("counts", torch.zeros(num_classes, dtype=torch.int64))

    @torch.no_grad()
    def update(self, embeddings: Tensor, labels: Tensor) -> None:
        """Gather (M, d) embeddings, scaled to unit norm, and (M,) labels, of which negative ones are left out."""
        num_classes, dim = self.sums.shape
        if embeddings.shape[1:] != (dim,):
            raise ValueError(f"embeddings must be (M, {dim}), not {tuple(embeddings.shape)}")
        sums, counts = class_sums(embeddings, labels, num_classes, dtype=self.sums.dtype)
        self.sums += sums
        self.counts += counts

    @torch.no_grad()
    def step(self, group: dist.ProcessGroup | None = None) -> None:
        """Move the representatives, of all ranks alike, and forget the gathered embeddings.

        A class whose embeddings cancel, or whose move ends at zero, stays where it is.

        Args:
            group: ranks whose embeddings count; all of them without one. Every rank of it must take the step.
        """
        sum_over_ranks(self.sums, self.counts, group=group)
        means = self.sums / self.counts.clamp_min(1)[:, None]
        moved = self.representatives.lerp(means, 1 - self.momentum)
        norms = moved.norm(dim=1, keepdim=True)
        stays = (self.counts[:, None] == 0) | (norms < 1e-6)
        self.representatives.copy_(torch.where(stays, self.representatives, moved / norms))
        self.sums.zero_()
        self.counts.zero_()


class PrototypeAssignment(nn.Module):
    """Fixed prototypes, and which of them each class has: both travel with the state dict.

    Args:
        prototypes: (P, d) unit rows.
        num_classes: K, at most P; P without it. Class c begins with prototype c.

    Attributes:
        prototypes: (P, d) buffer.
        assignment: (K,) int64 buffer, rows of ``prototypes``.
    """

    prototypes: Tensor
    assignment: Tensor

    def __init__(self, prototypes: Tensor, num_classes: int | None = None) -> None:
        super().__init__()
        count = len(prototypes) if num_classes is None else num_classes
        if prototypes.ndim != 2 or count > len(prototypes):
            raise ValueError(f"{count} classes need (P, d) prototypes, P >= {count}, not {tuple(prototypes.shape)}")
        self.register_buffer("prototypes", prototypes.detach().clone())
        self.register_buffer("assignment", torch.arange(count, device=prototypes.device))

    @property
    def targets(self) -> Tensor:
        """(K, d), the prototype of each class."""
        return self.prototypes[self.assignment]

    def update(self, representatives: Tensor) -> int:
        """Assign anew (:func:`assign`), and return how many classes changed their prototype."""
        if len(representatives) != len(self.assignment):
            raise ValueError(f"{len(self.assignment)} classes need as many rows, not {tuple(representatives.shape)}")
        assignment = assign(representatives, self.prototypes).to(self.assignment.device)
        changed = int((assignment != self.assignment).sum())
        self.assignment.copy_(assignment)
        return changed
