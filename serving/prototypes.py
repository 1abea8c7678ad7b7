"""From cosines to an answer: the nearest prototypes, and what can be said for certain."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from serving.closest import Closest, closest, normalised
from serving.errors import ServingError

_ROUNDING = 1e-6
"""In radians, more than the smallest angle can be off: the angle of a cosine of float64 near 1 is, by some 1e-7."""


def angle(cosine: float) -> float:
    """The angle in radians of a cosine, which rounding may have brought a little past 1."""
    return math.acos(min(max(cosine, -1.0), 1.0))


@dataclass(frozen=True)
class Prediction:
    """One candidate. ``index`` counts in the whole set, ``probability`` is among those that compete."""

    label: str
    index: int
    cosine: float
    probability: float


@dataclass(frozen=True)
class Answer:
    """What is said of one image; the fields of the HTTP contract.

    Attributes:
        label, index: the best class's; None where not ``known``.
        known: whether the largest cosine reaches the threshold; True where there is none.
        certified: whether the triangle inequality proves that no other prototype can be nearer.
        cosine, angle_deg: of the best class's prototype.
        predictions: the best first: the nearest, or with a readout of offsets the most probable.
    """

    label: str | None
    index: int | None
    known: bool
    certified: bool
    cosine: float
    angle_deg: float
    predictions: tuple[Prediction, ...]

    def as_json(self) -> dict[str, Any]:
        """The answer's part of the response."""
        # dataclasses.asdict copies each value deeply, which takes a tenth of what the service spends on a request.
        return {**vars(self), "predictions": [vars(one) for one in self.predictions]}


DEFAULT = "default"
"""Name of the set of the model's own prototypes."""
GIVEN = "request"
"""Name of the set of those that a request brings along."""


@dataclass(frozen=True, eq=False)
class PrototypeSet:
    """Immutable unit prototypes with their labels.

    Attributes:
        rows: float32 (K, d), unit rows.
        labels: K names; two classes may share one.
        indices: int64 (K,), where each row stands in the whole set, of which this may be a part.
        offsets: float32 (K,), what the model's readout adds to cosine / temperature; zeros where the nearest wins.
        name: of the set; :data:`DEFAULT` is the model's own.
        origin: what was closest in an earlier state of the set, and where each row stood there; None: not known.
    """

    rows: NDArray[np.float32]
    labels: tuple[str, ...]
    indices: NDArray[np.int64]
    offsets: NDArray[np.float32]
    name: str = DEFAULT
    origin: tuple[Closest, NDArray[np.int64]] | None = None

    @classmethod
    def whole(
        cls,
        rows: NDArray[np.float32],
        labels: Sequence[str],
        offsets: NDArray[np.float32] | None = None,
        name: str = DEFAULT,
    ) -> PrototypeSet:
        """All prototypes of a set, in its order; without offsets the nearest wins."""
        offsets = np.zeros(len(rows), np.float32) if offsets is None else offsets
        return cls(rows, tuple(labels), np.arange(len(rows)), offsets, name)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def closest(self) -> Closest:
        """Of each prototype the nearest other one."""
        return closest(self.rows, *(self.origin or ()))

    @cached_property
    def smallest_angle(self) -> float:
        """Smallest angle between any two prototypes, in radians; infinite where there is only one."""
        largest = float(self.closest.cosine.max(initial=-math.inf))
        return angle(largest) if math.isfinite(largest) else math.inf

    @property
    def unknown_angles(self) -> int:
        """How many angles must be looked at before :attr:`smallest_angle` is known; none where it is."""
        return 0 if "smallest_angle" in vars(self) else len(self) ** 2

    def changed(self, rows: NDArray[np.float32], labels: Sequence[str], came_from: NDArray[np.int64]) -> PrototypeSet:
        """The set after a change; what is known of its geometry is kept.

        Args:
            rows: float32 (K, d), unit rows.
            labels: K names.
            came_from: int64 (K,), where each row stands in this set, bit for bit the same; -1 if it does not.
        """
        if "closest" in vars(self):
            origin = self.closest, came_from
        elif self.origin is not None:  # not looked at in between: as if both changes had been one
            before, places = self.origin
            origin = before, np.append(places, -1)[came_from]
        else:
            origin = None
        return replace(PrototypeSet.whole(rows, labels, name=self.name), origin=origin)

    def subset(self, labels: Iterable[str]) -> PrototypeSet:
        """Only the prototypes of these labels, in the set's order, with the geometry among themselves.

        Raises:
            ServingError: "invalid_parameter" for a label that the set has not.
        """
        wanted = set(labels)
        unknown = sorted(wanted.difference(self.labels))
        if unknown or not wanted:
            listed = "/v1/model" if self.name == DEFAULT else f"/v1/sets/{self.name}"
            where = "the request's own names" if self.name == GIVEN else f"those that {listed} lists"
            what = f"there is no {', '.join(map(repr, unknown))}" if unknown else "none is given"
            raise ServingError("invalid_parameter", f"labels: {what}; choose among {where}")
        keep = [position for position, label in enumerate(self.labels) if label in wanted]
        labels_kept = tuple(self.labels[position] for position in keep)
        return PrototypeSet(self.rows[keep], labels_kept, self.indices[keep], self.offsets[keep], self.name)

    def cosines(self, embedding: NDArray[np.float32], of_model: NDArray[np.float32]) -> NDArray[np.float32]:
        """Cosines of an embedding, float32 (d,), with these prototypes, float32 (K,).

        Args:
            embedding: of one image.
            of_model: its cosines with all of the model's prototypes, which the model gives beside it.
        """
        return of_model[self.indices] if self.name == DEFAULT else self.rows @ embedding

    def answer(
        self,
        embedding: NDArray[np.float32],
        cosines: NDArray[np.float32],
        *,
        k: int,
        temperature: float,
        threshold: float | None = None,
    ) -> Answer:
        """The answer for one image.

        Args:
            embedding: its own, float32 (d,).
            cosines: float32 (K,), with these prototypes.
            k: how many candidates to list.
            temperature: probabilities are the softmax of cosine / temperature + offset.
            threshold: the least cosine to the nearest prototype of a known class; None means that every image is of
                a known class.
        """
        competing = cosines.astype(np.float64)
        logits = competing / temperature + self.offsets
        best_first = (-logits).argsort(kind="stable")[:k]  # of equal ones the first, on every machine
        weights = np.exp(logits - logits[best_first[0]])
        probabilities = weights[best_first] / weights.sum()
        listed = zip(
            best_first.tolist(),
            self.indices[best_first].tolist(),
            competing[best_first].tolist(),
            probabilities.tolist(),
            strict=True,
        )
        predictions = tuple(
            Prediction(self.labels[row], index, cosine, probability) for row, index, cosine, probability in listed
        )
        best = predictions[0]
        known = threshold is None or float(competing.max()) >= threshold
        return Answer(
            label=best.label if known else None,
            index=best.index if known else None,
            known=known,
            certified=self._certified(embedding, int(best_first[0])),
            cosine=best.cosine,
            angle_deg=math.degrees(angle(best.cosine)),
            predictions=predictions,
        )

    def _certified(self, embedding: NDArray[np.float32], row: int) -> bool:
        """Whether no other prototype can be nearer than one.

        By the chord between the two points: a cosine of float32, or of a device that rounds more, says little of a
        small angle.
        """
        chord = float(np.linalg.norm(normalised(embedding) - normalised(self.rows[row])))
        return 2 * math.asin(min(chord / 2, 1.0)) < self.smallest_angle / 2 - _ROUNDING
