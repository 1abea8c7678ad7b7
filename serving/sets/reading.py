"""What is read of a set, each at one moment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, func, select

from serving.sets.archive import Archive
from serving.sets.embeddings import prototypes
from serving.sets.records import ClassState, Exemplars, ModelKey, Sample, Snapshot, places
from serving.sets.rows import AnyRow, check_model, class_state, find_class, find_set, unpack, unpack_sums
from serving.sets.tables import classes, examples

T = TypeVar("T", bound=np.generic)


def read_class(connection: Connection, model: ModelKey, name: str, label: str) -> ClassState:
    """One class."""
    return class_state(connection, find_class(connection, _own_set(connection, model, name), label).id)


def read_snapshot(connection: Connection, model: ModelKey, name: str, earlier: Snapshot | None = None) -> Snapshot:
    """All classes of a set.

    Args:
        connection: within a transaction.
        model: of the set.
        name: of the set.
        earlier: of the same set; only what was written since is read. None: everything is.
    """
    row = _own_set(connection, model, name)
    if earlier is not None and earlier.version > row.version:  # a database that was put back to what it was
        earlier = None
    mine = classes.c.set_id == row.id
    query = select(classes.c.id, classes.c.label, classes.c.version, classes.c.n).where(mine)
    found = connection.execute(query.order_by(classes.c.id)).all()
    ids, versions, counts = (np.array(column, np.int64) for column in _columns(found, ("id", "version", "n")))
    since = -1 if earlier is None else earlier.version
    changed = select(classes.c.sum).where(mine, classes.c.version > since).order_by(classes.c.id)
    sums = unpack_sums(connection.execute(changed).scalars(), row.dim)
    units = prototypes(sums)
    if earlier is not None:
        came_from = places(ids, versions, earlier)
        sums, units = _merged(sums, earlier.sums, came_from), _merged(units, earlier.rows, came_from)
    for array in (ids, versions, counts, sums, units):
        array.setflags(write=False)  # several threads look at them
    return Snapshot(name, row.version, tuple(one.label for one in found), ids, versions, counts, sums, units)


def _columns(rows: Sequence[Any], names: Sequence[str]) -> list[list[Any]]:
    return [[getattr(row, name) for row in rows] for name in names]


def _merged(new: NDArray[T], old: NDArray[T], came_from: NDArray[np.int64]) -> NDArray[T]:
    """Rows that stood in ``old``, by where they stood, and the ``new`` ones in their order in place of each -1."""
    merged = np.empty((len(came_from), new.shape[1]), new.dtype)
    merged[came_from >= 0] = old[came_from[came_from >= 0]]
    merged[came_from < 0] = new
    return merged


def read_sample(connection: Connection, model: ModelKey, name: str, most: int) -> Sample:
    """At most so many examples of a set, spread over all of them."""
    snapshot = read_snapshot(connection, model, name)
    row = find_set(connection, name)
    position = {label: index for index, label in enumerate(snapshot.labels)}
    # Counted class by class: ids are all sets' together, and where two take turns every second one is another's.
    place = func.row_number().over(order_by=(classes.c.id, examples.c.id)).label("place")
    mine = select(examples.c.id, place).join(classes).where(classes.c.set_id == row.id).subquery()
    step = max(1, -(-row.examples // most))
    query = select(classes.c.label, examples.c.embedding).join(classes).join(mine, mine.c.id == examples.c.id)
    found = connection.execute(query.where(mine.c.place % step == 0).order_by(examples.c.id)).all()
    owners = np.array([position[one.label] for one in found], np.int64)
    return Sample(snapshot, unpack((one.embedding for one in found), row.dim), owners)


def read_exemplars(connection: Connection, model: ModelKey, name: str, label: str) -> Exemplars:
    """The examples of a class, without the bytes of their images."""
    row = _own_set(connection, model, name)
    class_id = find_class(connection, row, label).id
    query = select(examples.c.id, examples.c.embedding, examples.c.image.is_not(None).label("kept"))
    found = connection.execute(query.where(examples.c.class_id == class_id).order_by(examples.c.id)).all()
    embeddings = unpack((one.embedding for one in found), row.dim)
    return Exemplars(tuple(one.id for one in found), embeddings, tuple(one.id for one in found if one.kept))


def read_images(connection: Connection, name: str, label: str) -> dict[int, bytes]:
    """The kept images of a class by the id of their example, of whatever model."""
    class_id = find_class(connection, find_set(connection, name), label).id
    query = select(examples.c.id, examples.c.image).where(examples.c.class_id == class_id)
    found = connection.execute(query.where(examples.c.image.is_not(None)).order_by(examples.c.id))
    return {row.id: row.image for row in found}


def read_archive(connection: Connection, name: str) -> Archive:
    """A set with everything in it, of whatever model."""
    row = find_set(connection, name)
    mine = classes.c.set_id == row.id
    named = connection.execute(select(classes.c.label, classes.c.n).where(mine).order_by(classes.c.id)).all()
    query = select(examples.c.embedding, examples.c.image).join(classes).where(mine)
    found = connection.execute(query.order_by(classes.c.id, examples.c.id)).all()
    return Archive(
        name=name,
        model=ModelKey(row.weights_sha256, row.dim),
        labels=tuple(one.label for one in named),
        counts=np.array([one.n for one in named], np.int64),
        embeddings=unpack((one.embedding for one in found), row.dim),
        images=tuple(one.image for one in found),
    )


def _own_set(connection: Connection, model: ModelKey, name: str) -> AnyRow:
    row = find_set(connection, name)
    check_model(row, model)
    return row
