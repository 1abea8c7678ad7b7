"""How to run a training: no part of a recipe, whose weights depend on none of it but for what storage says."""

from __future__ import annotations

from dataclasses import dataclass, field

from training.data import OnBadImage, Storage
from training.open_set import FOREIGN
from training.workers import default_workers


@dataclass(frozen=True)
class Options:
    """What a resumption may change, but for the storage of images whose crops are resized.

    Attributes:
        checkpoint_steps: steps of an epoch between two checkpoints; None: by time alone.
        checkpoint_minutes: between two checkpoints; one is written after every epoch anyway.
        keep_checkpoints: the newest ones that stay.
        trackers: of accelerate ("tensorboard", "wandb", ...).
        workers: processes that decode images which do not fit in memory; see :mod:`training.workers`.
        storage: "memory" decodes all images once, "disk" at every use, "auto" chooses by their size, and at a
            resumption as the run was begun. Random resized crops are cut out of the images as evaluation sees them in
            memory, and out of those in their own size from the disk: other weights.
        on_bad_image: "fail" or "skip", which counts and names them; with as many as when the run was begun it resumes.
        foreign: data of other classes, from which the trained model is to tell its own; None: not measured.
    """

    checkpoint_steps: int | None = None
    checkpoint_minutes: float = 10.0
    keep_checkpoints: int = 2
    trackers: tuple[str, ...] = ("tensorboard",)
    workers: int = field(default_factory=default_workers)
    storage: Storage = "auto"
    on_bad_image: OnBadImage = "fail"
    foreign: str | None = FOREIGN
