"""What an operator can set, read from the environment in this one place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from zoo.bundle import ProtozooError
from zoo.cores import available_cores

DEVICES = ("cpu", "cuda")
DECODES = ("exact", "fast")
LOGS = ("text", "json")
MIB = 1 << 20
TIMEOUT_SECONDS = 120
"""Of a whole request, a backstop: the shorter ones, of its parts, say what took so long."""
PACKED = "packed-bundle"
"""Beside this package inside of a Bento: what to serve where the environment names nothing."""


@dataclass(frozen=True)
class Settings:
    """How to serve one bundle. Every field is an environment variable: ``max_images`` is ``PROTOZOO_MAX_IMAGES``.

    Attributes:
        bundle: folder, zoo name or hf-hub:owner/name of the bundle; inside of a Bento, its own unless set.
        device: "cpu" or "cuda".
        gpu: with "cuda" the first worker's, counted from 0 among those that are visible; each further worker takes the
            next.
        max_body_bytes: largest body of a request, in bytes.
        max_pixels: largest picture, in pixels; while it is decoded each takes up to 17 bytes.
        max_images: most images in one request.
        max_requests: most requests at a time, each of which may hold a body or an answer in memory.
        max_queue: most images that wait for the device.
        decode: "exact" (equal to timm's evaluation) or "fast" (large JPEGs are decoded at a part of their size).
        decode_threads: threads that decode.
        body_seconds: time in which a body must have arrived.
        answer_seconds: time in which a whole body must have been answered.
        database: where enrolled sets are kept: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME; empty means
            SQLite in the user's own folder for data.
        max_classes: most prototypes that a request may bring along, or a set may hold.
        max_sets: most enrolled sets in the database.
        max_examples: most examples of a class, at most 4096.
        max_image_bytes: most bytes of the images that are kept with one set.
        read_token: where set, /v1 asks for it (or for the other) as a bearer token.
        write_token: where set, enrolment asks for it.
        hosts: with commas between: where no token is asked for, further names of the service, and hosts whose pages may
            write to it.
        log: "text" or "json", the form of the lines on standard error.
        url: where clients reach the service; set by ``protozoo serve``, printed when ready. May be empty. Where it is
            loopback, no other host's name is answered without a token.
    """

    bundle: str
    device: str = "cpu"
    gpu: int = 0
    max_body_bytes: int = 20 * MIB
    max_pixels: int = 64_000_000
    max_images: int = 64
    max_requests: int = 128
    max_queue: int = 256
    decode_threads: int = min(available_cores(), 16)
    body_seconds: int = 30
    answer_seconds: int = 30
    database: str = field(default="", repr=False)
    max_classes: int = 10_000
    max_sets: int = 100
    max_examples: int = 1000
    max_image_bytes: int = 256 * MIB
    read_token: str = field(default="", repr=False)
    write_token: str = field(default="", repr=False)
    decode: str = "exact"
    hosts: str = ""
    log: str = "text"
    url: str = ""

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise ProtozooError(
                    f"{variable(name)} must be one of {', '.join(choices)}; it is {getattr(self, name)!r}"
                )
        for number, least in _LEAST.items():
            if getattr(self, number) < least:
                raise ProtozooError(f"{variable(number)} must be {least} or more; it is {getattr(self, number)}")
        if self.body_seconds + self.answer_seconds >= TIMEOUT_SECONDS:
            raise ProtozooError(
                f"{variable('body_seconds')} ({self.body_seconds}) and {variable('answer_seconds')} "
                f"({self.answer_seconds}) together must be less than {TIMEOUT_SECONDS}"
            )
        if self.max_queue < self.max_images:
            raise ProtozooError(
                f"{variable('max_queue')} ({self.max_queue}) must be at least {variable('max_images')} "
                f"({self.max_images}), or a full request could never be answered"
            )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the variables; one that is unset or empty means the default.

        Raises:
            ProtozooError: no bundle is named, or a value is not of its type or out of range.
        """
        environ = os.environ if environ is None else environ
        texts = {known.name: environ.get(variable(known.name), "").strip() for known in fields(cls)}
        packed = Path(__file__).resolve().parent.parent / PACKED
        if not texts["bundle"] and packed.is_dir():
            texts["bundle"] = str(packed)
        if not texts["bundle"]:
            raise ProtozooError(
                f"{variable('bundle')} must name what to serve: a folder, a zoo name or hf-hub:owner/name"
            )
        given: dict[str, Any] = {
            name: _integer(name, text) if name in _LEAST else text for name, text in texts.items() if text
        }
        return cls(**given)


_CHOICES = {"device": DEVICES, "decode": DECODES, "log": LOGS}
_LEAST = {"gpu": 0} | dict.fromkeys(
    (
        "max_body_bytes",
        "max_pixels",
        "max_images",
        "max_requests",
        "max_queue",
        "decode_threads",
        "body_seconds",
        "answer_seconds",
        "max_classes",
        "max_sets",
        "max_examples",
        "max_image_bytes",
    ),
    1,
)
"""Of the whole numbers."""


METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client's variable for the folder where several processes count together; read when it is imported."""


def variable(name: str) -> str:
    """The environment variable of a field of :class:`Settings`."""
    return f"PROTOZOO_{name.upper()}"


def _integer(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ProtozooError(f"{variable(name)} must be a whole number; it is {text!r}") from None
