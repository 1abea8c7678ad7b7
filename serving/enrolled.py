"""The enrolled sets as requests see them: immutable prototypes in memory, renewed when anybody has written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from serving.errors import ServingError
from serving.prototypes import PrototypeSet
from serving.sets import Limits, ModelKey, SetError, SetInfo, SetStore, Snapshot
from serving.sets.embeddings import MAX_EXAMPLES
from serving.settings import Settings, variable
from serving.threads import Threads
from zoo.bundle import Bundle, ProtozooError
from zoo.bundle.open_set import leave_out_thresholds

P = ParamSpec("P")
T = TypeVar("T")

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.25
"""How often the database is asked whether another worker or replica has written."""
CALIBRATION_EXAMPLES = 10_000
"""Most examples of a set that its thresholds are computed from: of more, some spread over all of them."""
_READERS, _WRITERS, _MOST_WRITES = 8, 4, 32
"""Threads, and writes that run or wait: where the database is locked each takes 10 s."""


def open_store(settings: Settings, bundle: Bundle) -> SetStore:
    """The sets of a bundle's model in the database that the settings name.

    Raises:
        ProtozooError: the database cannot be used.
    """
    model = ModelKey(bundle.weights_sha256, bundle.prototypes.shape[1])
    return SetStore.open(settings.database or None, model, set_limits(settings))


def set_limits(settings: Settings) -> Limits:
    """What the settings allow to enrol.

    Raises:
        ProtozooError: a class may have more examples than can be summed exactly.
    """
    if settings.max_examples > MAX_EXAMPLES:
        raise ProtozooError(
            f"{variable('max_examples')} must be at most {MAX_EXAMPLES}, up to which sums are exact; it is "
            f"{settings.max_examples}"
        )
    return Limits(settings.max_sets, settings.max_classes, settings.max_examples, settings.max_image_bytes)


class EnrolledSets:
    """Prototype sets of a store, held in memory. Use as an async context manager.

    While the database is away, what is in memory goes on answering.

    Args:
        store: closed at the end of the block.
    """

    def __init__(self, store: SetStore) -> None:
        self.store = store
        self._known: dict[str, tuple[Snapshot, PrototypeSet]] = {}
        self._fresh: set[str] = set()  # of them, those that nobody is known to have written to since
        self._changes = 0
        self._restorations = 0
        self._calibrated: dict[str, tuple[int, list[dict[str, float]]]] = {}
        self._revision = -1
        self._task: asyncio.Task[None] | None = None
        # Each waits for the database, and none for the others where that does not answer.
        self._readers = Threads("read sets", _READERS)
        self._writers = Threads("write sets", _WRITERS, most=_MOST_WRITES, waiting="writes wait for the database")
        self._watcher = Threads("watch sets", 1)

    async def __aenter__(self) -> EnrolledSets:
        self._revision = await self._watcher.run(self.store.revision)
        self._task = asyncio.create_task(self._watch(), name="enrolled sets")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._watcher.run(self.store.close)
        for threads in (self._readers, self._writers, self._watcher):
            threads.close()

    async def read(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``work`` gives, which may wait for the database."""
        return await self._readers.run(work, *args, **kwargs)

    async def write(self, name: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``work`` gives, which writes to the set ``name``, or in vain.

        Raises:
            ServingError: "busy" where too many writes wait already.
        """
        try:
            return await self._writers.run(work, *args, **kwargs)
        finally:
            self.forget(name)

    async def get(self, name: str) -> PrototypeSet:
        """The prototypes of a set; see :meth:`versioned`."""
        return (await self.versioned(name))[0]

    async def versioned(self, name: str) -> tuple[PrototypeSet, int]:
        """The prototypes of a set and its version.

        Raises:
            SetError: there is no such set, or it is another model's.
            ServingError: "empty_set".
        """
        snapshot, prototypes = await self._entry(name)
        if not len(prototypes):
            raise ServingError("empty_set", f"the prototype set {name!r} has no classes; enrol one first")
        return prototypes, snapshot.version

    async def snapshot(self, name: str) -> Snapshot:
        """A set's prototypes with their versions and counts.

        Raises:
            SetError: there is no such set, or it is another model's.
        """
        return (await self._entry(name))[0]

    async def thresholds(self, name: str) -> list[dict[str, float]]:
        """The thresholds of a set, from its own examples: dicts with "fpr" and "cosine".

        Raises:
            SetError: there is no such set, or it is another model's.
        """
        version = (await self.snapshot(name)).version
        known = self._calibrated.get(name)
        if known is None or known[0] != version:
            known = self._calibrated[name] = await self.read(self._calibrate, name)
        return known[1]

    def _calibrate(self, name: str) -> tuple[int, list[dict[str, float]]]:
        sample = self.store.sample(name, CALIBRATION_EXAMPLES)
        return sample.classes.version, leave_out_thresholds(sample.embeddings, sample.owners, sample.classes.rows)

    async def _entry(self, name: str) -> tuple[Snapshot, PrototypeSet]:
        if name in self._fresh:
            return self._known[name]
        changes, restorations, earlier = self._changes, self._restorations, self._known.get(name)
        entry = await self.read(self._read, name, earlier)
        if changes == self._changes:  # else it may be older than what has been noticed meanwhile
            self._known[name] = entry
            self._fresh.add(name)
        elif restorations == self._restorations and self._known.get(name) is earlier:
            self._known[name] = entry  # else a read that began later has ended before, and is newer
        return entry

    def _read(self, name: str, earlier: tuple[Snapshot, PrototypeSet] | None) -> tuple[Snapshot, PrototypeSet]:
        if earlier is None:
            snapshot = self.store.snapshot(name)
            # The smallest angle, quadratic in the classes, waits for the first image: a row of enrolments needs none.
            return snapshot, PrototypeSet.whole(snapshot.rows, snapshot.labels, name=name)
        before, prototypes = earlier
        snapshot = self.store.snapshot(name, before)
        return snapshot, prototypes.changed(snapshot.rows, snapshot.labels, snapshot.places_in(before))

    def forget(self, name: str) -> None:
        """Ask for what was written to a set when it is used next: this process has written to it."""
        self._changes += 1
        self._fresh.discard(name)

    async def _watch(self) -> None:
        trouble: type[Exception] | None = None
        while True:
            await asyncio.sleep(POLL_SECONDS)
            try:
                revision = await self._watcher.run(self.store.revision)
                if revision != self._revision:
                    self._drop_changed(await self._watcher.run(self.store.list_sets), revision)
                await self._watcher.run(self.store.forget_rest)
            except Exception as error:  # whatever it is: who no longer looks would answer from old sets for good
                if type(error) is not trouble:  # not four times a second
                    _tell(error)
                trouble = type(error)
            else:
                if trouble:
                    logger.warning("the database of prototype sets answers again")
                trouble = None

    def _drop_changed(self, infos: list[SetInfo], revision: int) -> None:
        versions = {info.name: info.version for info in infos}
        if revision < self._revision:
            # The database was put back to what it was: versions will come again, and mean something else.
            versions = {}
            self._restorations += 1
        self._known = {name: entry for name, entry in self._known.items() if name in versions}
        # Only what was fresh can still be: this process may have written since the versions were read.
        self._fresh = {
            name for name in self._fresh & self._known.keys() if self._known[name][0].version == versions[name]
        }
        self._calibrated = {name: entry for name, entry in self._calibrated.items() if entry[0] == versions.get(name)}
        self._changes += 1
        self._revision = revision


def _tell(error: Exception) -> None:
    """Log why nobody's writes are seen for now."""
    if isinstance(error, SetError):
        logger.warning("%s; sets in memory go on answering, nothing can be enrolled", error)
    else:
        logger.error("looking for changes of prototype sets failed, and is tried again", exc_info=error)
