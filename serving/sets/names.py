"""What may be the name of a set, of a class, and an idempotency key."""

from __future__ import annotations

import re
import unicodedata

from serving.sets.errors import InvalidKeyError, InvalidNameError

RESERVED = {"default": "the model's own", "request": "what a request brings along"}
"""Sets that are in no database, by the names that they have in answers and metrics."""
MAX_LABEL = 128
MAX_KEY = 200
_STEPS = (".", "..")
_SET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def is_set_name(name: str) -> bool:
    """Whether a set can have this name; the reserved ones are in no database."""
    return name not in RESERVED and _SET_NAME.fullmatch(name) is not None


def checked_set_name(name: str) -> str:
    """The name, where a set can have it.

    Raises:
        InvalidNameError: it cannot.
    """
    if name in RESERVED:
        raise InvalidNameError(f"the set {name!r} is {RESERVED[name]} and is read-only; use another name")
    if not is_set_name(name):
        raise InvalidNameError(
            f"{shown(name)} cannot name a set: 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"
        )
    return name


def normalised_label(label: str) -> str | None:
    """The name of a class in Unicode's NFC, so that one name is one sequence of bytes; None where it is no name."""
    label = unicodedata.normalize("NFC", label)
    # A slash would be two steps of a path, and clients take one or two dots for a step up: no request could name the
    # class. U+FFFD stands for bytes that were no UTF-8, whichever they were.
    nameable = "/" not in label and "\ufffd" not in label and label not in _STEPS
    fits = 1 <= len(label) <= MAX_LABEL and label.isprintable() and label.strip() == label
    return label if fits and nameable else None


def checked_label(label: str) -> str:
    """The name of a class, in NFC.

    Raises:
        InvalidNameError: no class can have it.
    """
    normalised = normalised_label(label)
    if normalised is None:
        raise InvalidNameError(
            f"{shown(label)} cannot name a class: 1 to {MAX_LABEL} printable characters of UTF-8, no '/', "
            "not '.' or '..', no space at either end"
        )
    return normalised


def checked_key(key: str) -> str:
    """The idempotency key.

    Raises:
        InvalidKeyError: it is none.
    """
    if not (1 <= len(key) <= MAX_KEY and key.isprintable()):
        raise InvalidKeyError(f"an idempotency key is 1 to {MAX_KEY} printable characters; a random UUID is a good one")
    return key


def shown(text: str) -> str:
    """What a client sent, for a message: quoted, escaped and not too long."""
    return repr(text) if len(text) <= 2 * MAX_LABEL else f"{text[:40]!r}..."
