"""The statements: each function reads or changes rows of one set, on a connection that its caller has opened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, Row, Select, func, insert, select, update

from serving.sets.database import Write
from serving.sets.embeddings import check_direction, prototypes, spreads
from serving.sets.errors import OtherModelError, SetFullError, StaleVersionError, UnknownClassError, UnknownSetError
from serving.sets.names import is_set_name, normalised_label, shown
from serving.sets.records import ClassState, Limits, ModelKey, SetInfo
from serving.sets.tables import classes, examples, sets

AnyRow = Row[Any]
_F4, _F8 = np.dtype("<f4"), np.dtype("<f8")


def pack(rows: NDArray[np.float32]) -> list[bytes]:
    """Embeddings (k, d) as k cells of a table."""
    return [row.tobytes() for row in rows.astype(_F4)]


def pack_sum(total: NDArray[np.float64]) -> bytes:
    """A sum (d,) as a cell of a table."""
    return total.astype(_F8).tobytes()


def unpack(cells: Iterable[bytes], dim: int) -> NDArray[np.float32]:
    """The embeddings (k, d) of k cells; read-only."""
    return np.frombuffer(b"".join(cells), _F4).reshape(-1, dim)


def unpack_sums(cells: Iterable[bytes], dim: int) -> NDArray[np.float64]:
    """The sums (K, d) of K cells; read-only."""
    return np.frombuffer(b"".join(cells), _F8).reshape(-1, dim)


def find_set(connection: Connection, name: str) -> AnyRow:
    """The row of a set.

    Raises:
        UnknownSetError: there is none.
    """
    row = connection.execute(select(sets).where(sets.c.name == name)).one_or_none() if is_set_name(name) else None
    if row is None:
        raise UnknownSetError(f"there is no prototype set {shown(name)}")
    return row


def find_class(connection: Connection, set_row: AnyRow, label: str) -> AnyRow:
    """The row of a class.

    Raises:
        UnknownClassError: the set has none of this name.
    """
    normalised = normalised_label(label)
    row = None if normalised is None else connection.execute(_class(set_row.id, normalised)).one_or_none()
    if row is None:
        raise UnknownClassError(f"the prototype set {set_row.name!r} has no class {shown(label)}")
    return row


def class_exists(connection: Connection, set_id: int, label: str) -> bool:
    """Whether a set has a class of this name, which is one already."""
    return connection.execute(_class(set_id, label)).one_or_none() is not None


def _class(set_id: int, label: str) -> Select[Any]:
    return select(classes).where(classes.c.set_id == set_id, classes.c.label == label)


def check_model(set_row: AnyRow, model: ModelKey) -> None:
    """Refuse a set that is bound to another model.

    Raises:
        OtherModelError: it is.
    """
    if (set_row.weights_sha256, set_row.dim) != (model.weights_sha256, model.dim):
        raise OtherModelError(
            f"the prototype set {set_row.name!r} was enrolled with another model (weights "
            f"{set_row.weights_sha256[:12]}, this one's are {model.weights_sha256[:12]}): delete it and enrol its "
            "classes again; where all of its images were kept, the operator can have them embedded again"
        )


def check_version(row: AnyRow, if_match: int | None, what: str) -> None:
    """Refuse a write whose client read an older state than ``row``.

    Raises:
        StaleVersionError: it did.
    """
    if if_match is not None and row.version != if_match:
        raise StaleVersionError(f"{what} is at version {row.version}, not {if_match}: read it again, then decide")


def set_info(row: AnyRow) -> SetInfo:
    """What a row of a set says."""
    model = ModelKey(row.weights_sha256, row.dim)
    created, updated = (datetime.fromtimestamp(seconds, timezone.utc) for seconds in (row.created, row.updated))
    return SetInfo(row.name, model, row.version, row.classes, row.examples, row.image_bytes, created, updated)


def example_ids(connection: Connection, class_id: int) -> tuple[int, ...]:
    """Of a class, in the order in which they came."""
    query = select(examples.c.id).where(examples.c.class_id == class_id).order_by(examples.c.id)
    return tuple(connection.execute(query).scalars())


def class_state(connection: Connection, class_id: int) -> ClassState:
    """A class as it is now."""
    set_version = sets.c.version.label("set_version")
    query = select(classes, set_version, sets.c.dim).join(sets).where(classes.c.id == class_id)
    row = connection.execute(query).one()
    total = unpack_sums([row.sum], row.dim)
    return ClassState(
        label=row.label,
        n=row.n,
        version=row.version,
        set_version=row.set_version,
        spread=float(spreads(total, np.array([row.n]))[0]),
        prototype=prototypes(total)[0],
        example_ids=example_ids(connection, class_id),
    )


def insert_set(write: Write, name: str, model: ModelKey, limits: Limits) -> AnyRow:
    """Create an empty set.

    Raises:
        SetFullError: there are as many as the limit allows.
    """
    if write.connection.execute(select(func.count()).select_from(sets)).scalar_one() >= limits.sets:
        raise SetFullError(f"there are {limits.sets} prototype sets, as many as this service allows: delete one first")
    counts = {"classes": 0, "examples": 0, "image_bytes": 0}
    key = {"name": name, "weights_sha256": model.weights_sha256, "dim": model.dim, "version": write.revision}
    write.connection.execute(insert(sets).values(**key, **counts, created=write.now, updated=write.now))
    return find_set(write.connection, name)


def insert_classes(
    write: Write, set_id: int, labels: Sequence[str], counts: Sequence[int], sums: NDArray[np.float64]
) -> list[int]:
    """Add classes with sums (K, d); their ids come back."""
    if not labels:
        return []
    rows = [
        {"set_id": set_id, "label": label, "version": write.revision, "n": n, "sum": pack_sum(total)}
        for label, n, total in zip(labels, counts, sums, strict=True)
    ]
    inserted = insert(classes).returning(classes.c.id, sort_by_parameter_order=True)
    return list(write.connection.execute(inserted, rows).scalars())


def insert_examples(
    write: Write, class_ids: Sequence[int], units: NDArray[np.float32], images: Sequence[bytes | None]
) -> None:
    """Add examples (k, d), each to the class of its id. Sums and counts are the caller's."""
    rows = [
        {"class_id": class_id, "embedding": cell, "image": image, "image_bytes": len(image or b"")}
        for class_id, cell, image in zip(class_ids, pack(units), images, strict=True)
    ]
    for start in range(0, len(rows), 1000):
        write.connection.execute(insert(examples), rows[start : start + 1000])


def update_class(write: Write, row: AnyRow, n: int, total: NDArray[np.float64]) -> None:
    """Give a class another count and sum (d,).

    Raises:
        InvalidExamplesError: its examples would cancel out.
    """
    check_direction(total[None], np.array([n]), [row.label])
    changed = {"version": write.revision, "n": n, "sum": pack_sum(total)}
    write.connection.execute(update(classes).where(classes.c.id == row.id).values(**changed))


def update_set(write: Write, row: AnyRow, limits: Limits, **added: int) -> None:
    """Note a write to a set, and how many ``classes``, ``examples`` and ``image_bytes`` it has added or taken.

    Raises:
        SetFullError: it would hold more than the limits allow.
    """
    after = {name: getattr(row, name) + count for name, count in added.items()}
    for name, limit in (("classes", limits.classes), ("image_bytes", limits.image_bytes)):
        if added.get(name, 0) > 0 and after[name] > limit:
            raise SetFullError(
                f"the prototype set {row.name!r} would hold {after[name]} {name.replace('_', ' ')}, and this service "
                f"allows {limit}: delete some first, or use another set"
            )
    write.count()
    changed = update(sets).where(sets.c.id == row.id)
    write.connection.execute(changed.values(version=write.revision, updated=write.now, **after))


def check_count(n: int, label: str, limits: Limits) -> None:
    """Refuse a class of more examples than the limit.

    Raises:
        SetFullError: it has.
    """
    if n > limits.examples_per_class:
        raise SetFullError(
            f"the class {label!r} would have {n} examples, and this service allows {limits.examples_per_class}: remove "
            "some first"
        )
