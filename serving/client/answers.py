"""Answers of the service as values. A field that this version does not know is left out, so that old clients go on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class ServiceError(Exception):
    """The service refused a request, or one image of it.

    Attributes:
        code: for programs, such as "class_exists"; "unreachable" where nothing answered.
        message: what to do about it.
        status: of HTTP; 0 where nothing answered, 200 for one image among several.
    """

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.status = status


@dataclass(frozen=True)
class Prediction:
    """One candidate; ``index`` counts in the set, ``probability`` is among those that competed."""

    label: str
    index: int
    cosine: float
    probability: float


@dataclass(frozen=True)
class Exemplar:
    """A stored example of the best class."""

    id: int
    label: str
    cosine: float


@dataclass(frozen=True)
class Classification:
    """What the service says of one image.

    Attributes:
        label, index: of the best class; None where not ``known``.
        known: whether the largest cosine reaches the threshold.
        certified: whether the triangle inequality proves that no other prototype is nearer.
        cosine, angle_deg: of the best class's prototype.
        predictions: the best first.
        exemplars: the nearest stored examples of the best class, where asked for.
    """

    label: str | None
    index: int | None
    known: bool
    certified: bool
    cosine: float
    angle_deg: float
    predictions: tuple[Prediction, ...]
    exemplars: tuple[Exemplar, ...] = ()


@dataclass(frozen=True)
class Verification:
    """Two images compared; ``same`` is None without a threshold."""

    cosine: float
    angle_deg: float
    threshold: float | None
    same: bool | None


@dataclass(frozen=True)
class ServedModel:
    """What is served.

    Attributes:
        name: of the bundle.
        revision: of the code that exported it.
        sha256: of the weights, in hexadecimal.
        architecture, objective: of the training.
        temperature: cosines are divided by it.
        readout: "cosine" where the nearest prototype wins, or "bayes" where ``offsets`` weigh the classes.
        offsets: what is added to cosine / temperature, one number a class.
        dim: D of the embeddings.
        input_size: side of what the model sees, in pixels.
        labels: the classes.
        thresholds: cosine by the share ``fpr`` of unknown images that may pass for known.
        provider: what computes, in ONNX Runtime's words.
    """

    name: str
    revision: str
    sha256: str
    architecture: str
    objective: str
    temperature: float
    readout: str
    offsets: tuple[float, ...]
    dim: int
    input_size: int
    labels: tuple[str, ...]
    thresholds: Mapping[float, float]
    provider: str


@dataclass(frozen=True)
class PrototypeSetInfo:
    """A set of prototypes; ``usable`` says whether the served model made it."""

    name: str
    weights_sha256: str
    usable: bool
    read_only: bool
    version: int
    class_count: int
    example_count: int


@dataclass(frozen=True)
class EnrolledClass:
    """A class of a set.

    Attributes:
        set, label: its names.
        n: how many examples.
        version: of the class, for ``if_match``.
        set_version: of the set at the same moment.
        spread: mean cosine of the examples to the prototype.
        nearest: (label, cosine) of the nearest other class; None where there is none.
        warning: what makes mistakes likely; None where nothing does.
        examples: ids of all examples, in the order in which they came.
    """

    set: str
    label: str
    n: int
    version: int
    set_version: int
    spread: float
    nearest: tuple[str, float] | None
    warning: str | None
    examples: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Prototypes:
    """The unit rows of a set, float32 (K, d), with their K labels."""

    set: str
    labels: tuple[str, ...]
    rows: NDArray[np.float32]


def known_fields(kind: type[T], answer: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an answer that a dataclass has fields for."""
    return {field.name: answer[field.name] for field in fields(kind) if field.name in answer}  # type: ignore[arg-type]


def classification(answer: Mapping[str, Any]) -> Classification | ServiceError:
    """One result of /v1/classify."""
    if "error" in answer:
        return image_error(answer)
    rows = {
        "predictions": tuple(Prediction(**known_fields(Prediction, row)) for row in answer["predictions"]),
        "exemplars": tuple(Exemplar(**known_fields(Exemplar, row)) for row in answer.get("exemplars", ())),
    }
    return Classification(**{**known_fields(Classification, answer), **rows})


def image_error(answer: Mapping[str, Any]) -> ServiceError:
    """The error that stands in the place of one image's answer."""
    return ServiceError(answer["error"]["code"], answer["error"]["message"], 200)


def served_model(answer: Mapping[str, Any]) -> ServedModel:
    """The answer of /v1/model."""
    changed = {
        "offsets": tuple(answer["offsets"]),
        "labels": tuple(answer["labels"]),
        "thresholds": calibrated(answer["thresholds"]),
    }
    return ServedModel(**{**known_fields(ServedModel, answer), **changed})


def calibrated(rows: Iterable[Mapping[str, float]]) -> dict[float, float]:
    """The cosine for each share of unknown images."""
    return {row["fpr"]: row["cosine"] for row in rows}


def enrolled_class(answer: Mapping[str, Any]) -> EnrolledClass:
    """The answer to whatever changes a class."""
    nearest = answer["nearest"]
    changed = {
        "nearest": (nearest["label"], nearest["cosine"]) if nearest else None,
        "examples": tuple(answer["examples"]),
    }
    return EnrolledClass(**{**known_fields(EnrolledClass, answer), **changed})
