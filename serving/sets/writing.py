"""What is written, each inside a write that its caller has begun; an error undoes all of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, delete, func, select, update

from serving.sets.archive import Archive
from serving.sets.database import Write
from serving.sets.embeddings import check_direction, class_sums, exact_sum
from serving.sets.enrolment import Batch
from serving.sets.errors import (
    ClassExistsError,
    InvalidExamplesError,
    InvalidNameError,
    LastExampleError,
    SetExistsError,
    UnknownExampleError,
    UnknownSetError,
)
from serving.sets.records import ClassState, Limits, ModelKey, SetInfo
from serving.sets.rows import (
    AnyRow,
    check_count,
    check_model,
    check_version,
    class_exists,
    class_state,
    example_ids,
    find_class,
    find_set,
    insert_classes,
    insert_examples,
    insert_set,
    set_info,
    unpack,
    unpack_sums,
    update_class,
    update_set,
)
from serving.sets.tables import classes, examples, sets


@dataclass(frozen=True)
class Target:
    """The class that a client wants to change.

    Attributes:
        name: of the set.
        label: of the class.
        if_match: the version that the client has read; None if it does not mind.
    """

    name: str
    label: str
    if_match: int | None = None

    def find(self, connection: Connection, model: ModelKey | None) -> tuple[AnyRow, AnyRow]:
        """The rows of the set and the class; ``model`` is the one that the set must have, None takes any.

        Raises:
            UnknownSetError, UnknownClassError, OtherModelError, StaleVersionError: by their names.
        """
        set_row = find_set(connection, self.name)
        if model is not None:
            check_model(set_row, model)
        row = find_class(connection, set_row, self.label)
        check_version(row, self.if_match, f"the class {row.label!r}")
        return set_row, row


def enrol(write: Write, model: ModelKey, limits: Limits, target: Target, batch: Batch) -> tuple[int, ClassState]:
    """Create a class, and its set where there is none; both names have been checked. Gives its id and state."""
    check_count(len(batch.units), target.label, limits)
    row = _set_to_enrol(write, model, limits, target.name)
    if class_exists(write.connection, row.id, target.label):
        raise ClassExistsError(
            f"the prototype set {target.name!r} has a class {target.label!r} already: add examples to it, or delete it"
        )
    total = exact_sum(batch.units)[None]
    check_direction(total, np.array([len(batch.units)]), [target.label])
    class_id = insert_classes(write, row.id, [target.label], [len(batch.units)], total)[0]
    insert_examples(write, [class_id] * len(batch.units), batch.units, batch.images)
    update_set(write, row, limits, classes=1, examples=len(batch.units), image_bytes=batch.image_bytes)
    return class_id, class_state(write.connection, class_id)


def add(write: Write, model: ModelKey, limits: Limits, target: Target, batch: Batch) -> tuple[int, ClassState]:
    """Add examples to a class. Gives its id and state."""
    set_row, row = target.find(write.connection, model)
    n = row.n + len(batch.units)
    check_count(n, row.label, limits)
    update_class(write, row, n, unpack_sums([row.sum], set_row.dim)[0] + exact_sum(batch.units))
    insert_examples(write, [row.id] * len(batch.units), batch.units, batch.images)
    update_set(write, set_row, limits, examples=len(batch.units), image_bytes=batch.image_bytes)
    return row.id, class_state(write.connection, row.id)


def remove(write: Write, limits: Limits, target: Target, ids: Collection[int]) -> ClassState:
    """Remove examples of a class, but not all."""
    set_row, row = target.find(write.connection, None)
    removed = _removable(example_ids(write.connection, row.id), set(ids), row.label)
    mine = examples.c.id.in_(removed)
    found = write.connection.execute(select(examples.c.embedding, examples.c.image_bytes).where(mine)).all()
    taken = exact_sum(unpack((one.embedding for one in found), set_row.dim))
    update_class(write, row, row.n - len(removed), unpack_sums([row.sum], set_row.dim)[0] - taken)
    write.connection.execute(delete(examples).where(mine))
    size = sum(one.image_bytes for one in found)
    update_set(write, set_row, limits, examples=-len(removed), image_bytes=-size)
    return class_state(write.connection, row.id)


def rename(write: Write, model: ModelKey, limits: Limits, target: Target, new: str) -> ClassState:
    """Give a class another name, which has been checked."""
    set_row, row = target.find(write.connection, model)
    if class_exists(write.connection, set_row.id, new):
        raise ClassExistsError(
            f"the prototype set {target.name!r} has a class {new!r} already: merge them, if they are one"
        )
    changed = update(classes).where(classes.c.id == row.id)
    write.connection.execute(changed.values(label=new, version=write.revision))
    update_set(write, set_row, limits)
    return class_state(write.connection, row.id)


def merge(write: Write, model: ModelKey, limits: Limits, source: Target, into: str) -> ClassState:
    """Give all examples of a class to another and delete it."""
    set_row, row = source.find(write.connection, model)
    other = find_class(write.connection, set_row, into)
    if row.id == other.id:
        raise InvalidNameError(f"the class {row.label!r} cannot be merged into itself: name two")
    n = row.n + other.n
    check_count(n, other.label, limits)
    update_class(write, other, n, unpack_sums([row.sum, other.sum], set_row.dim).sum(axis=0))
    moved = update(examples).where(examples.c.class_id == row.id)
    write.connection.execute(moved.values(class_id=other.id))
    write.connection.execute(delete(classes).where(classes.c.id == row.id))
    update_set(write, set_row, limits, classes=-1)
    return class_state(write.connection, other.id)


def erase_class(write: Write, limits: Limits, target: Target) -> None:
    """Delete a class with its examples, of whatever model."""
    set_row, row = target.find(write.connection, None)
    size = select(func.coalesce(func.sum(examples.c.image_bytes), 0)).where(examples.c.class_id == row.id)
    image_bytes = int(write.connection.execute(size).scalar_one())
    write.connection.execute(delete(classes).where(classes.c.id == row.id))
    update_set(write, set_row, limits, classes=-1, examples=-row.n, image_bytes=-image_bytes)


def erase_set(write: Write, name: str, if_match: int | None) -> None:
    """Delete a set with all that is in it, of whatever model."""
    row = find_set(write.connection, name)
    check_version(row, if_match, f"the prototype set {name!r}")
    write.connection.execute(delete(sets).where(sets.c.id == row.id))
    write.count()


def restore(write: Write, limits: Limits, name: str, archive: Archive) -> SetInfo:
    """Create a set from a file; the name has been checked."""
    counts = archive.counts.tolist()
    for label, n in zip(archive.labels, counts, strict=True):
        check_count(n, label, limits)
    if write.connection.execute(select(sets.c.id).where(sets.c.name == name)).one_or_none():
        raise SetExistsError(f"there is a prototype set {name!r} already: delete it first, or choose another name")
    owners = np.repeat(np.arange(len(counts)), counts)
    sums = class_sums(archive.embeddings, owners, len(counts))
    check_direction(sums, archive.counts, archive.labels)
    row = insert_set(write, name, archive.model, limits)
    ids = np.array(insert_classes(write, row.id, archive.labels, counts, sums), np.int64)
    insert_examples(write, ids[owners].tolist(), archive.embeddings, archive.images)
    image_bytes = sum(len(image or b"") for image in archive.images)
    update_set(write, row, limits, classes=len(counts), examples=len(owners), image_bytes=image_bytes)
    return set_info(find_set(write.connection, name))


def _set_to_enrol(write: Write, model: ModelKey, limits: Limits, name: str) -> AnyRow:
    try:
        row = find_set(write.connection, name)
    except UnknownSetError:
        return insert_set(write, name, model, limits)
    check_model(row, model)
    return row


def _removable(own: Sequence[int], wanted: set[int], label: str) -> list[int]:
    if not wanted:
        raise InvalidExamplesError("no ids of examples were given")
    unknown = wanted.difference(own)
    if unknown:
        named = ", ".join(str(one)[:20] for one in sorted(unknown)[:5])
        raise UnknownExampleError(f"ids of examples that the class {label!r} does not have: {named}")
    if len(wanted) == len(own):
        raise LastExampleError(
            f"these are all examples of the class {label!r}, which cannot be without any: delete the class"
        )
    return sorted(wanted)
