"""What may be the name of a set, of a class, and an idempotency key."""

from __future__ import annotations

import re
import unicodedata

from serving.sets.errors import InvalidKeyError, InvalidNameError

RESERVED = "default"
"""The bundle's own prototypes, which are in no database."""
MAX_LABEL = 128
MAX_KEY = 200
_SET_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def is_set_name(name: str) -> bool:
    """Whether a set can have this name; the reserved one is in no database."""
    return name != RESERVED and _SET_NAME.fullmatch(name) is not None


def checked_set_name(name: str) -> str:
    """The name, where a set can have it.

    Raises:
        InvalidNameError: it cannot.
    """
    if name == RESERVED:
        raise InvalidNameError(f"the set {RESERVED!r} is the model's own and is read-only; use another name")
    if not is_set_name(name):
        raise InvalidNameError(
            f"{shown(name)} cannot name a set: 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"
        )
    return name


def normalised_label(label: str) -> str | None:
    """The name of a class in Unicode's NFC, so that one name is one sequence of bytes; None where it is no name."""
    label = unicodedata.normalize("NFC", label)
    # A slash would be two steps of a path, so that no request could name the class.
    fits = 1 <= len(label) <= MAX_LABEL and label.isprintable() and label.strip() == label and "/" not in label
    return label if fits else None


def checked_label(label: str) -> str:
    """The name of a class, in NFC.

    Raises:
        InvalidNameError: no class can have it.
    """
    normalised = normalised_label(label)
    if normalised is None:
        raise InvalidNameError(
            f"{shown(label)} cannot name a class: 1 to {MAX_LABEL} printable characters, no '/', no space at either end"
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
