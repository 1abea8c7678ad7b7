"""What a client sends to enrol, checked; and the answers that are kept so that a retry changes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sqlalchemy import delete, insert, select

from serving.sets.database import Write
from serving.sets.embeddings import unit_rows
from serving.sets.errors import InvalidExamplesError, KeyReusedError, UnknownClassError
from serving.sets.names import checked_key
from serving.sets.records import ClassState
from serving.sets.rows import class_state
from serving.sets.tables import answers

KEPT_SECONDS = 24 * 3600
"""How long an idempotency key is remembered."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Examples of one class.

    Attributes:
        units: float32 (k, d), of unit norm.
        images: k of them, None where none is to be kept.
    """

    units: NDArray[np.float32]
    images: tuple[bytes | None, ...]

    @classmethod
    def checked(cls, embeddings: ArrayLike, dim: int, images: Sequence[bytes] | None) -> Batch:
        """Check what a client sent.

        Raises:
            InvalidExamplesError: no class can be made of it.
        """
        units = unit_rows(embeddings, dim)
        kept: tuple[bytes | None, ...] = (None,) * len(units) if images is None else tuple(images)
        if len(kept) != len(units):
            raise InvalidExamplesError(f"{len(kept)} images came with {len(units)} embeddings; one is needed for each")
        return cls(units, kept)

    @property
    def image_bytes(self) -> int:
        """Size of the images to keep."""
        return sum(len(image or b"") for image in self.images)


@dataclass(frozen=True)
class Key:
    """An idempotency key, and the digest of the request that came with it."""

    text: str
    digest: str

    @classmethod
    def checked(cls, key: str, request: Sequence[object], batch: Batch, content: bytes | None) -> Key:
        """The key of one request.

        Args:
            key: as the client sent it.
            request: what is to be done, to what: everything but the examples.
            batch: the examples.
            content: what the client sent in place of embeddings, if it was not them.

        Raises:
            InvalidKeyError: the key is none.
        """
        kept = [image is not None for image in batch.images]
        parts = [json.dumps([*request, kept]).encode()]
        parts += [batch.units.tobytes(), *(image or b"" for image in batch.images)] if content is None else [content]
        digest = hashlib.sha256()
        for part in parts:
            digest.update(hashlib.sha256(part).digest())
        return cls(checked_key(key), digest.hexdigest())


def replayed(write: Write, key: Key) -> ClassState | None:
    """The answer that was given to this key before; None where there was none.

    Name and prototype are those of the class as it is now: no copy outlives it.

    Raises:
        KeyReusedError: the request was another.
        UnknownClassError: the class has been deleted since.
    """
    row = write.connection.execute(select(answers).where(answers.c.key == key.text)).one_or_none()
    if row is None or row.created < write.now - KEPT_SECONDS:
        return None
    if row.digest != key.digest:
        raise KeyReusedError("this idempotency key came before with another request: a new request needs a new key")
    if row.class_id is None:
        raise UnknownClassError("this request was done before, and the class has been deleted or merged since")
    ids = tuple(json.loads(row.example_ids))
    first = {"version": row.version, "set_version": row.version, "n": row.n, "spread": row.spread, "example_ids": ids}
    return replace(class_state(write.connection, row.class_id), **first)


def remember(write: Write, key: Key, class_id: int, answer: ClassState) -> None:
    """Keep an answer for a retry with the same key, and drop those that are old."""
    write.connection.execute(delete(answers).where(answers.c.created < write.now - KEPT_SECONDS))
    first = {"version": answer.version, "n": answer.n, "spread": answer.spread}
    kept = {"key": key.text, "digest": key.digest, "created": write.now, "class_id": class_id}
    write.connection.execute(insert(answers).values(**kept, **first, example_ids=json.dumps(answer.example_ids)))
