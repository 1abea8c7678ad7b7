"""Query parameters: every one is checked, an unknown one is an error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import QueryParams

from serving.errors import ServingError
from serving.prototypes import DEFAULT, PrototypeSet

DEFAULT_K = 5
_QUICK = 1024
MOST_CANDIDATES = 100_000
"""Of several images together in one answer, which is some 10 MB then; of one image all may be listed."""


@dataclass(frozen=True)
class ClassifyQuery:
    """What a client asks of /v1/classify, checked.

    Attributes:
        k: how many candidates; None means the default.
        threshold: least cosine of a known class; None where it was not asked for.
        fpr: share of unknown images that may pass for known; None where it was not asked for.
        labels: the only ones that compete, each value one or several with commas between; None means all.
        set: name of the prototypes that compete; None means the request's own where it brings some, else the model's.
        exemplars: how many of the nearest examples of the best class to show; 0 means none.
    """

    k: int | None
    threshold: float | None
    fpr: float | None
    labels: tuple[str, ...] | None
    set: str | None
    exemplars: int

    def of(self, prototypes: PrototypeSet, thresholds: Sequence[dict[str, Any]]) -> Question:
        """What it means for a set.

        Args:
            prototypes: the set.
            thresholds: the set's calibrated ones, with "fpr" and "cosine".

        Raises:
            ServingError: the set has not got one of the labels, more candidates are asked for than compete, or
                ``fpr`` is not calibrated.
        """
        chosen = prototypes
        if self.labels is not None:
            chosen = prototypes.subset(_labels(self.labels, set(prototypes.labels)))
        threshold = self.threshold if self.fpr is None else calibrated(self.fpr, thresholds)
        return Question(chosen, self._candidates(len(chosen)), threshold, self.exemplars)

    def _candidates(self, competing: int) -> int:
        if self.k is None:
            return min(DEFAULT_K, competing)
        if self.k > competing:
            raise _invalid(f"k must be from 1 to the number of competing labels, {competing}; it is {self.k}")
        return self.k


@dataclass(frozen=True)
class Question:
    """What is to be answered of every image.

    Attributes:
        competing: the prototypes, of which there is one or more.
        k: how many candidates to list.
        threshold: least cosine of a known class; None means none.
        exemplars: how many of the nearest examples of the best class to show.
    """

    competing: PrototypeSet
    k: int
    threshold: float | None
    exemplars: int

    def check_images(self, images: int) -> None:
        """Refuse more candidates than an answer may list.

        Raises:
            ServingError: "invalid_parameter".
        """
        if images > 1 and images * self.k > MOST_CANDIDATES:
            raise _invalid(
                f"k={self.k} of {images} images are {images * self.k} candidates, and {MOST_CANDIDATES} are listed at "
                "most: ask for fewer, or send fewer images at a time"
            )

    def is_quick(self, images: int) -> bool:
        """Whether the answer is some thousand numbers, and takes less than handing it to a thread."""
        return not self.exemplars and images * len(self.competing) + self.competing.unknown_angles <= _QUICK


def classify_query(query: QueryParams) -> ClassifyQuery:
    """Read the query of /v1/classify.

    Raises:
        ServingError: a parameter is unknown, repeated, malformed or out of range.
    """
    check_names(query, ("k", "threshold", "fpr", "labels", "set", "explain", "n"), repeatable=("labels",))
    threshold, fpr = _limits(query)
    return ClassifyQuery(
        k=_count("k", query["k"]) if "k" in query else None,
        threshold=threshold,
        fpr=fpr,
        labels=tuple(query.getlist("labels")) if "labels" in query else None,
        set=query.get("set"),
        exemplars=_exemplars(query),
    )


def verify_query(query: QueryParams, thresholds: Sequence[dict[str, Any]]) -> float | None:
    """Read the query of /v1/verify: the least cosine at which two images are of one class; None means none."""
    check_names(query, ("threshold", "fpr"))
    threshold, fpr = _limits(query)
    return threshold if fpr is None else calibrated(fpr, thresholds)


def calibrated(fpr: float, thresholds: Sequence[dict[str, Any]]) -> float:
    """The cosine for a share of unknown images.

    Args:
        fpr: the share.
        thresholds: those of the prototypes that compete, with "fpr" and "cosine".

    Raises:
        ServingError: they have none for it.
    """
    for row in thresholds:
        if float(row["fpr"]) == fpr:
            return float(row["cosine"])
    if not thresholds:
        raise _invalid(
            "these prototypes have no calibrated thresholds (an enrolled set has them from 10 examples of two classes "
            "on), so fpr cannot be used; give threshold"
        )
    listed = ", ".join(f"{row['fpr']:g}" for row in thresholds)
    raise _invalid(f"fpr={fpr:g} is not calibrated; these prototypes have {listed}")


def _limits(query: QueryParams) -> tuple[float | None, float | None]:
    """(threshold, fpr), at most one of which is given."""
    if "threshold" in query and "fpr" in query:
        raise _invalid("give threshold or fpr, not both")
    if "fpr" in query:
        return None, _number("fpr", query["fpr"])
    if "threshold" not in query:
        return None, None
    threshold = _number("threshold", query["threshold"])
    if not -1 <= threshold <= 1:
        raise _invalid(f"threshold is a cosine, from -1 to 1; it is {query['threshold'][:40]!r}")
    return threshold, None


def embed_format(query: QueryParams) -> str:
    """Read the query of /v1/embed: "float" or "base64"."""
    check_names(query, ("format",))
    chosen = query.get("format", "float")
    if chosen not in ("float", "base64"):
        raise _invalid(f"format must be float or base64; it is {chosen!r}")
    return chosen


def check_names(query: QueryParams, allowed: Sequence[str], repeatable: Sequence[str] = ()) -> None:
    """Refuse a parameter that is not ``allowed`` (a typing error would otherwise change nothing, unnoticed).

    Raises:
        ServingError: a parameter is unknown, or given twice where it makes no sense.
    """
    for name in query:
        if name not in allowed:
            known = f"known are: {', '.join(allowed)}" if allowed else "this request takes none"
            raise _invalid(f"unknown query parameter {name!r}; {known}")
        if name not in repeatable and len(query.getlist(name)) > 1:
            raise _invalid(f"query parameter {name} is given more than once")


def _exemplars(query: QueryParams) -> int:
    if "explain" not in query:
        if "n" in query:
            raise _invalid("n is the number of exemplars: it needs explain=exemplars")
        return 0
    if query["explain"] != "exemplars":
        raise _invalid(f"explain must be exemplars; it is {query['explain'][:40]!r}")
    if query.get("set", DEFAULT) == DEFAULT:
        raise _invalid("explain needs set=NAME, an enrolled set: the model's own has no examples")
    return _count("n", query.get("n", "3"))


def _count(name: str, text: str) -> int:
    # isdecimal alone takes other scripts' digits, int() alone takes "1_0"; very long digits are refused by both.
    if not (text.isascii() and text.isdecimal() and len(text) <= 9) or int(text) < 1:
        raise _invalid(f"{name} must be a whole number of 1 or more; it is {text[:40]!r}")
    return int(text)


def _number(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise _invalid(f"{name} must be a finite number; it is {text[:40]!r}")
    return value


def _labels(values: Sequence[str], known: set[str]) -> tuple[str, ...]:
    """Split at commas, except where the whole value is a label with a comma in it, or with blanks around it."""
    parts = [
        part if part in known else part.strip()
        for value in values
        for part in ([value] if value in known else value.split(","))
    ]
    return tuple(dict.fromkeys(parts))


def _invalid(message: str) -> ServingError:
    return ServingError("invalid_parameter", message)
