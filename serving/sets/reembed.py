"""A set under another model: its kept images are embedded again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, bindparam, select, update

from serving.sets.database import Database, Write
from serving.sets.embeddings import check_direction, class_sums, unit_rows
from serving.sets.errors import ImagesMissingError, InvalidExamplesError
from serving.sets.records import Limits, ModelKey, SetInfo
from serving.sets.rows import AnyRow, check_version, find_set, pack, pack_sum, set_info, update_set
from serving.sets.tables import classes, examples, sets

Embed = Callable[[list[bytes]], NDArray[np.float32]]
_CHUNK = 64


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is to be embedded.

    Attributes:
        row: of the set, as it was read.
        classes: rows with id, label and n.
        example_ids, owners: of each example, and of the class it belongs to as a position in ``classes``.
    """

    row: AnyRow
    classes: Sequence[Any]
    example_ids: list[int]
    owners: NDArray[np.int64]


def reembed(database: Database, name: str, model: ModelKey, embed: Embed, limits: Limits) -> SetInfo:
    """Embed the kept images of a set again and bind it to ``model``; see :meth:`serving.sets.SetStore.reembed`."""
    plan = database.read(lambda connection: _plan(connection, name))
    parts = [np.empty((0, model.dim), np.float32)]
    for start in range(0, len(plan.example_ids), _CHUNK):  # no transaction stays open while a model works
        ids = plan.example_ids[start : start + _CHUNK]
        images = database.read(partial(_images, ids=ids))
        check_version(database.read(lambda connection: find_set(connection, name)), plan.row.version, _what(name))
        parts.append(_embedded(embed, images, model))
    units = np.concatenate(parts)
    info = database.write(lambda write: _rebind(write, name, model, limits, plan, units))
    database.forget()
    return info


def _plan(connection: Connection, name: str) -> _Plan:
    row = find_set(connection, name)
    mine = classes.c.set_id == row.id
    query = select(classes.c.id, classes.c.label, classes.c.n).where(mine).order_by(classes.c.id)
    found = connection.execute(query).all()
    joined = select(examples.c.id, examples.c.class_id, examples.c.image.is_(None).label("missing")).join(classes)
    each = connection.execute(joined.where(mine).order_by(examples.c.id)).all()
    positions = {one.id: position for position, one in enumerate(found)}
    owners = np.array([positions[one.class_id] for one in each], np.int64)
    missing = sorted({positions[one.class_id] for one in each if one.missing})
    if missing:
        named = ", ".join(repr(found[position].label) for position in missing[:10])
        more = f" and {len(missing) - 10} more" if len(missing) > 10 else ""
        raise ImagesMissingError(
            f"the prototype set {name!r} cannot be embedded again: not every image was kept of the classes "
            f"{named}{more}; delete these, or enrol them again from their images"
        )
    return _Plan(row, found, [one.id for one in each], owners)


def _images(connection: Connection, *, ids: list[int]) -> list[bytes]:
    query = select(examples.c.image).where(examples.c.id.in_(ids)).order_by(examples.c.id)
    return list(connection.execute(query).scalars())


def _embedded(embed: Embed, images: list[bytes], model: ModelKey) -> NDArray[np.float32]:
    units = unit_rows(embed(images), model.dim)
    if len(units) != len(images):
        raise InvalidExamplesError(f"{len(images)} images gave {len(units)} embeddings")
    return units


def _rebind(
    write: Write, name: str, model: ModelKey, limits: Limits, plan: _Plan, units: NDArray[np.float32]
) -> SetInfo:
    row = find_set(write.connection, name)
    check_version(row, plan.row.version, _what(name))
    counts = np.array([one.n for one in plan.classes], np.int64)
    sums = class_sums(units, plan.owners, len(counts))
    check_direction(sums, counts, [one.label for one in plan.classes])
    if plan.classes:
        cells = [{"b_id": one, "b_cell": cell} for one, cell in zip(plan.example_ids, pack(units), strict=True)]
        changed = update(examples).where(examples.c.id == bindparam("b_id"))
        write.connection.execute(changed.values(embedding=bindparam("b_cell")), cells)
        totals = [{"b_id": one.id, "b_sum": pack_sum(total)} for one, total in zip(plan.classes, sums, strict=True)]
        moved = update(classes).where(classes.c.id == bindparam("b_id"))
        write.connection.execute(moved.values(sum=bindparam("b_sum"), version=write.revision), totals)
    bound = update(sets).where(sets.c.id == row.id)
    write.connection.execute(bound.values(weights_sha256=model.weights_sha256, dim=model.dim))
    update_set(write, row, limits)
    return set_info(find_set(write.connection, name))


def _what(name: str) -> str:
    return f"the prototype set {name!r}"
