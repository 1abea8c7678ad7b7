"""What goes into the store and comes out of it: plain, immutable values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from serving.sets.embeddings import MAX_EXAMPLES
from zoo.bundle import ProtozooError


@dataclass(frozen=True)
class ModelKey:
    """The model that a set's embeddings come from.

    Attributes:
        weights_sha256: of the weights.
        dim: how many numbers an embedding has.
    """

    weights_sha256: str
    dim: int


@dataclass(frozen=True)
class Limits:
    """What an operator allows.

    Attributes:
        sets: in the database.
        classes: in one set.
        examples_per_class: at most 4096, up to which sums are exact.
        image_bytes: of the kept images of one set.

    Raises:
        ProtozooError: a limit is out of range.
    """

    sets: int = 100
    classes: int = 10_000
    examples_per_class: int = 1000
    image_bytes: int = 256 << 20

    def __post_init__(self) -> None:
        if min(self.sets, self.classes, self.examples_per_class, self.image_bytes) < 1:
            raise ProtozooError(f"every limit of the prototype sets must be 1 or more: {self}")
        if self.examples_per_class > MAX_EXAMPLES:
            raise ProtozooError(f"a class can have at most {MAX_EXAMPLES} examples: {self}")


@dataclass(frozen=True)
class SetInfo:
    """A set, without its classes.

    Attributes:
        name: of the set.
        model: that it is bound to.
        version: revision of the last write to it.
        classes, examples: how many.
        image_bytes: size of the kept images.
        created, updated: in UTC.
    """

    name: str
    model: ModelKey
    version: int
    classes: int
    examples: int
    image_bytes: int
    created: datetime
    updated: datetime


@dataclass(frozen=True, eq=False)
class ClassState:
    """A class after a write, or as it was read.

    Attributes:
        label: name of the class.
        n: how many examples.
        version: revision of the last write to it, for ``if_match``.
        set_version: of the set, at the same moment.
        spread: mean cosine of the examples to the prototype, at most 1.
        prototype: float32 (d,), of unit norm.
        example_ids: of all examples, in the order in which they came.
    """

    label: str
    n: int
    version: int
    set_version: int
    spread: float
    prototype: NDArray[np.float32]
    example_ids: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All classes of a set at one moment; the arrays are read-only.

    Attributes:
        name: of the set.
        version: revision of the last write to it.
        labels: K names, in the order in which the classes were enrolled.
        ids: int64 (K,), of the classes; the id of a deleted one never means another.
        versions: int64 (K,), of the classes.
        counts: int64 (K,), examples of each.
        sums: float64 (K, d), exact sums of unit embeddings.
        rows: float32 (K, d), the unit prototypes.
    """

    name: str
    version: int
    labels: tuple[str, ...]
    ids: NDArray[np.int64]
    versions: NDArray[np.int64]
    counts: NDArray[np.int64]
    sums: NDArray[np.float64]
    rows: NDArray[np.float32]

    def places_in(self, earlier: Snapshot) -> NDArray[np.int64]:
        """Where each class stood in an earlier snapshot, int64 (K,); -1 if it is new or was written to since."""
        return places(self.ids, self.versions, earlier)


@dataclass(frozen=True, eq=False)
class Sample:
    """Some examples of a set, or all.

    Attributes:
        classes: all of them, at the same moment.
        embeddings: float32 (n, d), of unit norm.
        owners: int64 (n,), the position of each example's class.
    """

    classes: Snapshot
    embeddings: NDArray[np.float32]
    owners: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Exemplars:
    """The examples of a class.

    Attributes:
        ids: n of them, in the order in which the examples came.
        embeddings: float32 (n, d), of unit norm.
        images_of: ids of the examples whose image was kept.
    """

    ids: tuple[int, ...]
    embeddings: NDArray[np.float32]
    images_of: tuple[int, ...]


def places(ids: NDArray[np.int64], versions: NDArray[np.int64], earlier: Snapshot) -> NDArray[np.int64]:
    """:meth:`Snapshot.places_in`, of classes (K,) that are not yet a snapshot."""
    known = {key: place for place, key in enumerate(zip(earlier.ids.tolist(), earlier.versions.tolist(), strict=True))}
    return np.array([known.get(key, -1) for key in zip(ids.tolist(), versions.tolist(), strict=True)], np.int64)
