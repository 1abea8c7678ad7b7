"""The service's verbs as values: what is sent, and how its answer is read. Both clients send these."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote

import numpy as np
from numpy.typing import ArrayLike, NDArray

from serving.client.answers import (
    Classification,
    EnrolledClass,
    Prototypes,
    PrototypeSetInfo,
    ServedModel,
    ServiceError,
    Verification,
    calibrated,
    classification,
    enrolled_class,
    image_error,
    known_fields,
    served_model,
)
from serving.client.pictures import Part, Picture, Pictures, image_parts, is_list, npy

T = TypeVar("T")
Keep = Literal["nothing", "images"]


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request.

    Attributes:
        method, path: of HTTP.
        read: turns the JSON of the answer (None where it has no body) into what the caller gets.
        params, headers: of HTTP.
        files: parts of a multipart form.
        body: JSON.
        retry: "always" where a second time does no harm, "if refused" where it must be certain that nothing was done.
    """

    method: str
    path: str
    read: Callable[[Any], T]
    params: Mapping[str, str | list[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    files: Sequence[Part] = ()
    body: Any = None
    retry: Literal["always", "if refused"] = "always"


class ClassifyOptions(TypedDict, total=False):
    """The arguments of :func:`classify` beside the images, for type checkers."""

    k: int | None
    threshold: float | None
    fpr: float | None
    labels: str | Sequence[str] | None
    set: str | None
    prototypes: ArrayLike | None
    names: str | Sequence[str] | None
    exemplars: int


def classify(
    images: Pictures,
    *,
    k: int | None = None,
    threshold: float | None = None,
    fpr: float | None = None,
    labels: str | Sequence[str] | None = None,
    set: str | None = None,
    prototypes: ArrayLike | None = None,
    names: str | Sequence[str] | None = None,
    exemplars: int = 0,
) -> Call[Any]:
    """Classify images by the nearest prototype.

    Args:
        images: one, or a list.
        k: how many candidates.
        threshold: least cosine of a known class; or instead
        fpr: share of unknown images that may pass for known, one of those of :func:`thresholds`.
        labels: the only classes that compete, one or more.
        set: name of an enrolled set; or instead
        prototypes: (K, d), to compete in place of the model's, with
        names: K of them.
        exemplars: how many stored examples of the best class to show, for an enrolled set.

    Returns:
        A :class:`Classification`; for a list of images a list of them, with a :class:`ServiceError` in the place of an
        image that could not be read.

    Raises:
        ValueError: ``labels`` is empty: no class could compete.
    """
    if labels is not None and not labels:
        raise ValueError("labels: give one class or more; None lets all compete")
    competing = None if labels is None else _texts(labels)
    params = _params(k=k, threshold=threshold, fpr=fpr, set=set, labels=competing)
    if exemplars:
        params |= {"explain": "exemplars", "n": str(exemplars)}
    files = image_parts(images)
    if prototypes is not None:
        files.append(("prototypes", ("prototypes.npy", npy(prototypes))))
    if names is not None:
        files.append(("names", ("names.json", json.dumps(_texts(names)).encode())))

    def read(answer: Any) -> Any:
        results = [classification(result) for result in answer["results"]]
        return results if is_list(images) else _only(results)

    return Call("POST", "/v1/classify", read, params=params, files=files)


def embed(images: Pictures) -> Call[NDArray[np.float32]]:
    """Unit embeddings, float32: (d,) of one image, (N, d) of a list.

    An image that cannot be read is a :class:`ServiceError` for all; it says which one of a list it is.
    """

    def read(answer: Any) -> NDArray[np.float32]:
        rows = answer["embeddings"]
        for number, row in enumerate(rows, 1):
            if not isinstance(row, str):
                error = image_error(row)
                raise ServiceError(error.code, f"image {number} of {len(rows)}: {error.message}", error.status)
        matrix: NDArray[np.float32] = np.stack([np.frombuffer(base64.b64decode(row), "<f4") for row in rows])
        return matrix if is_list(images) else matrix[0]

    return Call("POST", "/v1/embed", read, params={"format": "base64"}, files=image_parts(images))


def verify(
    first: Picture, second: Picture, *, threshold: float | None = None, fpr: float | None = None
) -> Call[Verification]:
    """Whether two images are of one class, without naming it."""
    return Call(
        "POST",
        "/v1/verify",
        lambda answer: Verification(**known_fields(Verification, answer)),
        params=_params(threshold=threshold, fpr=fpr),
        files=image_parts([first, second]),
    )


def model() -> Call[ServedModel]:
    """What is served."""
    return Call("GET", "/v1/model", served_model)


def sets() -> Call[list[PrototypeSetInfo]]:
    """All prototype sets, the model's own first."""
    return Call(
        "GET",
        "/v1/sets",
        lambda answer: [PrototypeSetInfo(**known_fields(PrototypeSetInfo, row)) for row in answer["sets"]],
    )


def thresholds(set: str = "default") -> Call[dict[float, float]]:
    """The cosine for each share ``fpr`` of unknown images that a set is calibrated for."""
    return Call("GET", _set(set), lambda answer: calibrated(answer["thresholds"]))


def prototypes(set: str = "default") -> Call[Prototypes]:
    """The unit rows of a set."""

    def read(answer: Any) -> Prototypes:
        return Prototypes(answer["set"], tuple(answer["labels"]), np.array(answer["prototypes"], np.float32))

    return Call("GET", f"{_set(set)}/prototypes", read)


def get_class(set: str, label: str) -> Call[EnrolledClass]:
    """One enrolled class."""
    return Call("GET", _class(set, label), enrolled_class)


def enrol(
    set: str,
    label: str,
    images: Pictures | None = None,
    *,
    embeddings: ArrayLike | None = None,
    keep: Keep = "nothing",
    key: str | None = None,
) -> Call[EnrolledClass]:
    """Make a class, and its set where there is none, from images or from unit embeddings (k, d).

    Args:
        set: its name.
        label: the class's.
        images: one, or a list.
        embeddings: in their place.
        keep: "images" stores the files with the set, so that it can be made again for another model.
        key: idempotency key; by default a random one, so that a retry enrols nothing twice.
    """
    return _examples("PUT", _class(set, label), images, embeddings, keep, key, if_match=None)


def add_examples(
    set: str,
    label: str,
    images: Pictures | None = None,
    *,
    embeddings: ArrayLike | None = None,
    keep: Keep = "nothing",
    key: str | None = None,
    if_match: int | None = None,
) -> Call[EnrolledClass]:
    """Add examples to a class; with ``if_match`` only where its version is still that one."""
    return _examples("POST", f"{_class(set, label)}/examples", images, embeddings, keep, key, if_match)


def remove_example(set: str, label: str, id: int, *, if_match: int | None = None) -> Call[EnrolledClass]:
    """Remove an example by its id, as if it had never been."""
    return _once("DELETE", f"{_class(set, label)}/examples/{id:d}", enrolled_class, if_match)


def rename_class(set: str, label: str, to: str, *, if_match: int | None = None) -> Call[EnrolledClass]:
    """Give a class another name."""
    return _once("POST", f"{_class(set, label)}/rename", enrolled_class, if_match, {"to": to})


def merge_class(set: str, label: str, into: str, *, if_match: int | None = None) -> Call[EnrolledClass]:
    """Give all examples of a class to another, and delete it."""
    return _once("POST", f"{_class(set, label)}/merge", enrolled_class, if_match, {"into": into})


def delete_class(set: str, label: str, *, if_match: int | None = None) -> Call[None]:
    """Delete a class with its examples."""
    return _once("DELETE", _class(set, label), lambda answer: None, if_match)


def delete_set(set: str, *, if_match: int | None = None) -> Call[None]:
    """Delete a set with all that is in it."""
    return _once("DELETE", _set(set), lambda answer: None, if_match)


def _examples(
    method: str,
    path: str,
    images: Pictures | None,
    embeddings: ArrayLike | None,
    keep: Keep,
    key: str | None,
    if_match: int | None,
) -> Call[EnrolledClass]:
    if (images is None) == (embeddings is None):
        raise ValueError("give images or embeddings")
    return Call(
        method,
        path,
        enrolled_class,
        params=_params(keep=keep),
        headers={"Idempotency-Key": header_value("key", key or str(uuid.uuid4())), **_match(if_match)},
        files=[] if images is None else image_parts(images),
        body=None if embeddings is None else {"embeddings": np.atleast_2d(np.asarray(embeddings)).tolist()},
    )


def _once(method: str, path: str, read: Callable[[Any], T], if_match: int | None, body: Any = None) -> Call[T]:
    """What cannot be done twice: no key tells the service that it has been done."""
    return Call(method, path, read, headers=_match(if_match), body=body, retry="if refused")


def _set(name: str) -> str:
    return f"/v1/sets/{_step(name)}"


def _class(set: str, label: str) -> str:
    return f"{_set(set)}/classes/{_step(label)}"


def _step(name: str) -> str:
    # httpx goes a step up at two dots: to delete the class ".." would be to delete its set.
    if name in ("", ".", ".."):
        raise ValueError(f"no set and no class can be called {name!r}")
    return quote(name, safe="")


def header_value(name: str, text: str) -> str:
    """A text without the blanks around it, as a header is sent.

    Raises:
        ValueError: it cannot be sent. It may be a secret, and is not in the message.
    """
    text = text.strip()
    if not (text.isascii() and text.isprintable()):
        raise ValueError(f"{name}: only printable characters of ASCII can be sent")
    return text


def _match(version: int | None) -> dict[str, str]:
    return {} if version is None else {"If-Match": f'"{version}"'}


def _texts(given: str | Sequence[str]) -> list[str]:
    """A text alone is one text and not its letters."""
    return [given] if isinstance(given, str) else list(given)


def _params(**given: Any) -> dict[str, str | list[str]]:
    return {
        name: value if isinstance(value, list) else str(value) for name, value in given.items() if value is not None
    }


def _only(results: list[Classification | ServiceError]) -> Classification:
    (result,) = results
    if isinstance(result, ServiceError):
        raise result
    return result
