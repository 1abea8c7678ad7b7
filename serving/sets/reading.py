"""What is read of a set, each at one moment."""

from __future__ import annotations

import numpy as np
from sqlalchemy import Connection, select

from serving.sets.archive import Archive
from serving.sets.embeddings import prototypes
from serving.sets.records import ClassState, Exemplars, ModelKey, Sample, Snapshot
from serving.sets.rows import AnyRow, check_model, class_state, find_class, find_set, unpack, unpack_sums
from serving.sets.tables import classes, examples


def read_class(connection: Connection, model: ModelKey, name: str, label: str) -> ClassState:
    """One class."""
    return class_state(connection, find_class(connection, _own_set(connection, model, name), label).id)


def read_snapshot(connection: Connection, model: ModelKey, name: str) -> Snapshot:
    """All classes of a set."""
    row = _own_set(connection, model, name)
    query = select(classes.c.label, classes.c.version, classes.c.n, classes.c.sum)
    found = connection.execute(query.where(classes.c.set_id == row.id).order_by(classes.c.id)).all()
    sums = unpack_sums((one.sum for one in found), row.dim)
    units = prototypes(sums)
    versions = np.array([one.version for one in found], np.int64)
    counts = np.array([one.n for one in found], np.int64)
    for array in (versions, counts, units):
        array.setflags(write=False)  # as the sums are: several threads look at them
    return Snapshot(name, row.version, tuple(one.label for one in found), versions, counts, sums, units)


def read_sample(connection: Connection, model: ModelKey, name: str, most: int) -> Sample:
    """At most so many examples of a set, spread over all of them."""
    snapshot = read_snapshot(connection, model, name)
    row = find_set(connection, name)
    position = {label: index for index, label in enumerate(snapshot.labels)}
    query = select(classes.c.label, examples.c.embedding).join(classes).where(classes.c.set_id == row.id)
    step = max(1, -(-row.examples // most))
    found = connection.execute(query.where(examples.c.id % step == 0).order_by(examples.c.id).limit(most)).all()
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
