"""The store: every operation on prototype sets, each one transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

from numpy.typing import ArrayLike
from sqlalchemy import select

from serving.sets import reading, writing
from serving.sets.archive import pack_archive, unpack_archive
from serving.sets.connect import parse_url
from serving.sets.database import Database, Write
from serving.sets.enrolment import Batch, Key, remember, replayed
from serving.sets.names import checked_label, checked_set_name
from serving.sets.records import ClassState, Exemplars, Limits, ModelKey, Sample, SetInfo, Snapshot
from serving.sets.reembed import Embed, reembed
from serving.sets.rows import find_set, set_info
from serving.sets.tables import sets, state
from serving.sets.writing import Target

T = TypeVar("T")


class SetStore:
    """Prototype sets in a database, for one model.

    Safe to share between threads, and one database between processes and hosts. A version is the revision of a write,
    a number that counts all writes to the database: a class and a set carry that of the last write to them. So it
    grows with every write, and never comes back, not even where a name is deleted and used again.

    What erases (:meth:`remove_examples`, :meth:`delete_class`, :meth:`delete_set`) and what does not look at
    embeddings works on any set; the rest asks for a set of this store's model. An error of :mod:`serving.sets.errors`
    undoes the whole operation. After a ``DatabaseAwayError`` alone a write may have been done: with ``key`` it can be
    sent again.

    Args:
        database: open.
        model: that embeddings come from.
        limits: what the operator allows.
    """

    def __init__(self, database: Database, model: ModelKey, limits: Limits) -> None:
        self.model = model
        self.limits = limits
        self._database = database

    @classmethod
    def open(cls, url: str | None, model: ModelKey, limits: Limits | None = None) -> SetStore:
        """Open a database, and create the tables where there are none.

        Args:
            url: ``sqlite:///path``, ``postgresql://user:password@host/database``, or None for SQLite at
                :func:`serving.sets.connect.default_path`.
            model: that embeddings come from.
            limits: the default ones if None.

        Raises:
            ProtozooError: the URL cannot be used, or another version of protozoo has written the database.
            DatabaseAwayError: it cannot be reached.
        """
        return cls(Database(parse_url(url)), model, limits or Limits())

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def forget_rest(self) -> None:
        """Overwrite what was deleted while others read, and so was kept for them. To be called now and then."""
        self._database.forget_rest()

    def __repr__(self) -> str:
        return f"SetStore({self._database.location!r}, {self.model})"

    def revision(self) -> int:
        """How many writes there have been, to any set, by anybody; a later read finds at least these."""
        return self._database.read(lambda connection: int(connection.execute(select(state.c.revision)).scalar_one()))

    def list_sets(self) -> list[SetInfo]:
        """All sets, of whatever model, by name."""
        found = self._database.read(lambda connection: connection.execute(select(sets)).all())
        return sorted(map(set_info, found), key=lambda info: info.name)

    def get_set(self, name: str) -> SetInfo:
        """One set, of whatever model."""
        return self._database.read(lambda connection: set_info(find_set(connection, name)))

    def get_class(self, name: str, label: str) -> ClassState:
        """One class."""
        return self._database.read(lambda connection: reading.read_class(connection, self.model, name, label))

    def snapshot(self, name: str, earlier: Snapshot | None = None) -> Snapshot:
        """All classes of a set: what images are matched against.

        Args:
            name: of the set.
            earlier: a snapshot of it, beside which only what was written since is read; None: everything is.
        """
        return self._database.read(lambda connection: reading.read_snapshot(connection, self.model, name, earlier))

    def exemplars(self, name: str, label: str) -> Exemplars:
        """The examples of a class, without the bytes of their images."""
        return self._database.read(lambda connection: reading.read_exemplars(connection, self.model, name, label))

    def sample(self, name: str, most: int) -> Sample:
        """At most so many examples of a set, the same ones each time, with all classes as they were at that moment."""
        return self._database.read(lambda connection: reading.read_sample(connection, self.model, name, most))

    def images(self, name: str, label: str) -> dict[int, bytes]:
        """The kept images of a class, by the id of their example; of whatever model."""
        return self._database.read(lambda connection: reading.read_images(connection, name, label))

    def enrol(
        self,
        name: str,
        label: str,
        embeddings: ArrayLike,
        *,
        images: Sequence[bytes] | None = None,
        key: str | None = None,
        content: bytes | None = None,
    ) -> ClassState:
        """Create a class, and its set where there is none.

        Args:
            name: of the set.
            label: of the class.
            embeddings: (k, d), one for each example; brought to unit norm.
            images: k files to keep; None keeps none.
            key: idempotency key: for 24 hours a retry with the same key and content gets the first answer.
            content: what the client sent in place of embeddings, to tell a retry from a reuse of the key, as the same
                image may get another embedding in another batch. None where the client sent the embeddings.
        """
        target = Target(checked_set_name(name), checked_label(label))
        batch = Batch.checked(embeddings, self.model.dim, images)
        checked = None if key is None else Key.checked(key, ("enrol", target.name, target.label), batch, content)
        return self._once(checked, lambda write: writing.enrol(write, self.model, self.limits, target, batch))

    def add_examples(
        self,
        name: str,
        label: str,
        embeddings: ArrayLike,
        *,
        if_match: int | None = None,
        images: Sequence[bytes] | None = None,
        key: str | None = None,
        content: bytes | None = None,
    ) -> ClassState:
        """Add examples to a class; their ids are the last of the answer's.

        Args:
            name: of the set.
            label: of the class.
            embeddings: (k, d), one for each example; brought to unit norm.
            if_match: version of the class that the client has read; None if it does not mind.
            images: k files to keep; None keeps none.
            key: idempotency key, as in :meth:`enrol`.
            content: as in :meth:`enrol`.
        """
        target = Target(name, label, if_match)
        batch = Batch.checked(embeddings, self.model.dim, images)
        checked = None if key is None else Key.checked(key, ("add", name, label, if_match), batch, content)
        return self._once(checked, lambda write: writing.add(write, self.model, self.limits, target, batch))

    def remove_examples(
        self, name: str, label: str, ids: Collection[int], *, if_match: int | None = None
    ) -> ClassState:
        """Remove examples of a class, all of these or none. Its last ones cannot be removed: delete the class."""
        target = Target(name, label, if_match)
        return self._erase(lambda write: writing.remove(write, self.limits, target, ids))

    def rename_class(self, name: str, label: str, new: str, *, if_match: int | None = None) -> ClassState:
        """Give a class another name; it keeps its place."""
        target, new = Target(name, label, if_match), checked_label(new)
        return self._erase(lambda write: writing.rename(write, self.model, self.limits, target, new))

    def merge_classes(self, name: str, label: str, into: str, *, if_match: int | None = None) -> ClassState:
        """Give all examples of a class to another, and delete it.

        Args:
            name: of the set.
            label: of the class that ends.
            into: of the class that stays, and keeps its place; its state comes back.
            if_match: version of the class that ends.
        """
        source = Target(name, label, if_match)
        return self._erase(lambda write: writing.merge(write, self.model, self.limits, source, into))

    def delete_class(self, name: str, label: str, *, if_match: int | None = None) -> None:
        """Delete a class with its examples. The set stays, if need be without classes."""
        target = Target(name, label, if_match)
        self._erase(lambda write: writing.erase_class(write, self.limits, target))

    def delete_set(self, name: str, *, if_match: int | None = None) -> None:
        """Delete a set with all that is in it."""
        self._erase(lambda write: writing.erase_set(write, name, if_match))

    def dump(self, name: str) -> bytes:
        """A set with its examples and kept images as one safetensors file; of whatever model."""
        return pack_archive(self._database.read(lambda connection: reading.read_archive(connection, name)))

    def load(self, data: bytes, *, name: str | None = None) -> SetInfo:
        """Create a set from a file of :meth:`dump`.

        The set is bound to the model that the file names, be it another than this store's: it can be embedded again
        where its images were kept.

        Args:
            data: the file.
            name: of the new set; the one in the file if None.
        """
        archive = unpack_archive(data)
        checked = checked_set_name(archive.name if name is None else name)
        return self._database.write(lambda write: writing.restore(write, self.limits, checked, archive))

    def reembed(self, name: str, embed: Embed) -> SetInfo:
        """Embed the kept images of a set again and bind it to this store's model.

        Args:
            name: of the set.
            embed: from k files to embeddings (k, d), in order.

        Raises:
            ImagesMissingError: not all images were kept; names the classes.
            StaleVersionError: somebody has written to the set meanwhile.
        """
        return reembed(self._database, name, self.model, embed, self.limits)

    def _once(self, key: Key | None, work: Callable[[Write], tuple[int, ClassState]]) -> ClassState:
        def done(write: Write) -> ClassState:
            if key is None:
                return work(write)[1]
            first = replayed(write, key)
            if first is None:
                class_id, first = work(write)
                remember(write, key, class_id, first)
            return first

        return self._database.write(done)

    def _erase(self, work: Callable[[Write], T]) -> T:
        """Do what leaves something behind that is to be forgotten, if only a name."""
        result = self._database.write(work)
        self._database.forget()
        return result
