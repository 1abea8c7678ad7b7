"""Requests to the service as values: what is sent, and how its answer is read."""

from __future__ import annotations

import base64
import io
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, Union
from urllib.parse import quote

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.client.answers import (
    Classification,
    EnrolledClass,
    Prototypes,
    PrototypeSetInfo,
    ServiceError,
    Verification,
    classification,
    enrolled_class,
    image_error,
    known_fields,
)

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage

T = TypeVar("T")
Picture = Union[str, Path, bytes, "PILImage"]
Pictures = Picture | Sequence[Picture]


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request.

    Attributes:
        method, path: of HTTP.
        read: turns the JSON of the answer (None where it has no body) into what the caller gets.
        params, headers: of HTTP.
        files: parts of a multipart form: name and (file name, bytes).
        body: JSON.
        retry: "always" where a second time does no harm, "if refused" where it must be certain that nothing was done.
    """

    method: str
    path: str
    read: Callable[[Any], T]
    params: Mapping[str, str | list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[tuple[str, tuple[str, bytes]]] = ()
    body: Any = None
    retry: Literal["always", "if refused"] = "always"


def classify(
    images: Pictures,
    *,
    k: int | None,
    threshold: float | None,
    fpr: float | None,
    labels: Sequence[str] | None,
    set: str | None,
    prototypes: ArrayLike | None,
    names: Sequence[str] | None,
    exemplars: int,
) -> Call[Any]:
    """POST /v1/classify; one image gives one answer, a list of images a list."""
    params = _params(k=k, threshold=threshold, fpr=fpr, set=set, labels=list(labels) if labels is not None else None)
    if exemplars:
        params |= {"explain": "exemplars", "n": str(exemplars)}
    files = _files(images)
    if prototypes is not None:
        files.append(("prototypes", ("prototypes.npy", _npy(prototypes))))
    if names is not None:
        files.append(("names", ("names.json", json.dumps(list(names)).encode())))

    def read(answer: Any) -> Any:
        results = [classification(result) for result in answer["results"]]
        return results if _is_list(images) else _only(results)

    return Call("POST", "/v1/classify", read, params=params, files=files)


def embed(images: Pictures) -> Call[Any]:
    """POST /v1/embed."""

    def read(answer: Any) -> Any:
        rows = answer["embeddings"]
        for row in rows:
            if not isinstance(row, str):
                raise image_error(row)
        matrix = np.stack([np.frombuffer(base64.b64decode(row), "<f4") for row in rows])
        return matrix if _is_list(images) else matrix[0]

    return Call("POST", "/v1/embed", read, params={"format": "base64"}, files=_files(images))


def verify(first: Picture, second: Picture, *, threshold: float | None, fpr: float | None) -> Call[Verification]:
    """POST /v1/verify."""
    params = _params(threshold=threshold, fpr=fpr)
    return Call(
        "POST",
        "/v1/verify",
        lambda answer: Verification(**known_fields(Verification, answer)),
        params=params,
        files=_files([first, second]),
    )


def model() -> Call[dict[str, Any]]:
    """GET /v1/model."""
    return Call("GET", "/v1/model", dict)


def sets() -> Call[list[PrototypeSetInfo]]:
    """GET /v1/sets."""
    return Call(
        "GET",
        "/v1/sets",
        lambda answer: [PrototypeSetInfo(**known_fields(PrototypeSetInfo, row)) for row in answer["sets"]],
    )


def prototypes(set: str) -> Call[Prototypes]:
    """GET /v1/sets/{set}/prototypes."""

    def read(answer: Any) -> Prototypes:
        return Prototypes(answer["set"], tuple(answer["labels"]), np.array(answer["prototypes"], np.float32))

    return Call("GET", f"{_set(set)}/prototypes", read)


def get_class(set: str, label: str) -> Call[EnrolledClass]:
    """GET /v1/sets/{set}/classes/{class}."""
    return Call("GET", _class(set, label), enrolled_class)


def enrol(
    method: str,
    set: str,
    label: str,
    images: Pictures | None,
    *,
    embeddings: ArrayLike | None,
    keep: str,
    key: str | None,
    if_match: int | None = None,
) -> Call[EnrolledClass]:
    """PUT of a class, or POST of more examples; with a key, so that a retry enrols nothing twice."""
    if (images is None) == (embeddings is None):
        raise ValueError("give images or embeddings")
    path = _class(set, label) + ("/examples" if method == "POST" else "")
    return Call(
        method,
        path,
        enrolled_class,
        params=_params(keep=keep),
        headers={"Idempotency-Key": key or str(uuid.uuid4()), **_match(if_match)},
        files=[] if images is None else _files(images),
        body=None if embeddings is None else {"embeddings": np.atleast_2d(np.asarray(embeddings)).tolist()},
    )


def remove_example(set: str, label: str, id: int, *, if_match: int | None) -> Call[EnrolledClass]:
    """DELETE /v1/sets/{set}/classes/{class}/examples/{id}."""
    path = f"{_class(set, label)}/examples/{id:d}"
    return Call("DELETE", path, enrolled_class, headers=_match(if_match), retry="if refused")


def move(verb: str, set: str, label: str, other: str, *, if_match: int | None) -> Call[EnrolledClass]:
    """POST /v1/sets/{set}/classes/{class}/rename or .../merge."""
    body = {"to" if verb == "rename" else "into": other}
    path = f"{_class(set, label)}/{verb}"
    return Call("POST", path, enrolled_class, headers=_match(if_match), body=body, retry="if refused")


def delete(set: str, label: str | None, *, if_match: int | None) -> Call[None]:
    """DELETE of a class, or of a set."""
    path = _set(set) if label is None else _class(set, label)
    return Call("DELETE", path, lambda answer: None, headers=_match(if_match), retry="if refused")


def _set(name: str) -> str:
    return f"/v1/sets/{quote(name, safe='')}"


def _class(set: str, label: str) -> str:
    return f"{_set(set)}/classes/{quote(label, safe='')}"


def _match(version: int | None) -> dict[str, str]:
    return {} if version is None else {"If-Match": f'"{version}"'}


def _params(**given: Any) -> dict[str, str | list[str]]:
    return {
        name: value if isinstance(value, list) else str(value) for name, value in given.items() if value is not None
    }


def _is_list(images: Pictures) -> bool:
    return isinstance(images, Sequence) and not isinstance(images, (str, bytes))


def _only(results: list[Classification | ServiceError]) -> Classification:
    (result,) = results
    if isinstance(result, ServiceError):
        raise result
    return result


def _files(images: Pictures) -> list[tuple[str, tuple[str, bytes]]]:
    several: Sequence[Picture] = images if _is_list(images) else [images]  # type: ignore[assignment,list-item]
    if not several:
        raise ValueError("give one image or more")
    return [("image", ("image", _bytes(image))) for image in several]


def _bytes(image: Picture) -> bytes:
    if isinstance(image, bytes):
        return image
    if isinstance(image, (str, Path)):
        return Path(image).read_bytes()
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _npy(rows: ArrayLike) -> bytes:
    matrix: NDArray[np.float32] = np.asarray(rows, np.float32)
    buffer = io.BytesIO()
    np.save(buffer, matrix, allow_pickle=False)
    return buffer.getvalue()
