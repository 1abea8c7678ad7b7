"""The handlers of prototype sets: enrolment, and what can be done with what was enrolled."""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from serving.api import Api
from serving.batcher import Embedded
from serving.body import JSON_TYPE, media_type
from serving.enrolled import EnrolledSets
from serving.errors import ServingError
from serving.lengthy import respond
from serving.prototypes import DEFAULT, angle
from serving.query import check_names
from serving.runtime import Runtime
from serving.sent import sent_embeddings
from serving.sets import ClassState, SetError, SetInfo, Snapshot
from serving.sets.embeddings import spreads
from serving.sets.rows import check_count

_QUICK_CLASSES, _QUICK_NUMBERS = 1024, 4096
"""In an answer, which take less than handing it to a thread, or not much more."""


class SetsApi:
    """The handlers below /v1/sets.

    Args:
        api: whose runtime, limits and batcher they share.
    """

    def __init__(self, api: Api) -> None:
        self._api = api

    async def sets(self, request: Request) -> Response:
        """GET /v1/sets."""
        check_names(request.query_params, ())
        runtime = self._api.running()
        infos = await runtime.enrolled.read(runtime.enrolled.store.list_sets)
        return JSONResponse({"sets": [_default_info(runtime), *(_info(info, runtime) for info in infos)]})

    async def one(self, request: Request) -> Response:
        """GET /v1/sets/{set}."""
        check_names(request.query_params, ())
        runtime, name = self._api.running(), request.path_params["set"]
        if name == DEFAULT:
            listed = {**_default_info(runtime), "thresholds": list(runtime.thresholds)}
            labels = runtime.prototypes.labels
            return await respond(
                lambda: {**listed, "classes": [{"label": label} for label in labels]},
                quick=len(labels) <= _QUICK_CLASSES,
            )
        info = await runtime.enrolled.read(runtime.enrolled.store.get_set, name)
        snapshot = await runtime.enrolled.snapshot(name)
        listed = {
            **_info(info, runtime),
            # The classes below are of the snapshot's moment, and so must be what is counted.
            "version": snapshot.version,
            "class_count": len(snapshot.labels),
            "example_count": int(snapshot.counts.sum()),
            "thresholds": await runtime.enrolled.thresholds(name),
        }
        return await respond(
            lambda: {**listed, "classes": _classes(snapshot)},
            quick=len(snapshot.labels) <= _QUICK_CLASSES,
            headers=_tag(snapshot.version),
        )

    async def delete(self, request: Request) -> Response:
        """DELETE /v1/sets/{set}."""
        check_names(request.query_params, ())
        enrolled, name = self._enrolled(request)
        await enrolled.write(name, enrolled.store.delete_set, name, if_match=_if_match(request))
        return Response(status_code=204)

    async def prototypes(self, request: Request) -> Response:
        """GET /v1/sets/{set}/prototypes."""
        check_names(request.query_params, ("format",))
        chosen = request.query_params.get("format", "json")
        if chosen not in ("json", "npy"):
            raise ServingError("invalid_parameter", f"format must be json or npy; it is {chosen[:40]!r}")
        runtime, name = self._api.running(), request.path_params["set"]
        if name == DEFAULT:
            found, tag = runtime.prototypes, {}
        else:
            found, version = await runtime.enrolled.versioned(name)
            tag = _tag(version)
        if chosen == "json":
            return await respond(
                lambda: {"set": found.name, "labels": list(found.labels), "prototypes": found.rows.tolist()},
                quick=found.rows.size <= _QUICK_NUMBERS,
                headers=tag,
            )
        return Response(await run_in_threadpool(_npy, found.rows), media_type="application/x-npy", headers=tag)

    async def enrol(self, request: Request) -> Response:
        """PUT /v1/sets/{set}/classes/{class}."""
        return await self._examples(request, "enrol")

    async def add(self, request: Request) -> Response:
        """POST /v1/sets/{set}/classes/{class}/examples."""
        return await self._examples(request, "add")

    async def _examples(self, request: Request, verb: str) -> Response:
        check_names(request.query_params, ("keep",))
        keep = request.query_params.get("keep", "nothing")
        if keep not in ("nothing", "images"):
            raise ServingError("invalid_parameter", f"keep must be nothing or images; it is {keep[:40]!r}")
        enrolled, name = self._enrolled(request)
        label = request.path_params["class"]
        if_match = _if_match(request)
        if verb == "enrol" and "if-match" in request.headers:
            raise ServingError("invalid_parameter", "If-Match means nothing for a class that is yet to be made")
        embeddings, images = await self._embeddings(request, label)
        if keep == "images" and images is None:
            raise ServingError("invalid_parameter", "keep=images needs images; embeddings were sent")
        options: dict[str, Any] = {
            "key": request.headers.get("idempotency-key"),
            "images": images if keep == "images" else None,
            "content": None if images is None else _digest(images, keep),
        }
        if verb == "enrol":
            state = await enrolled.write(name, enrolled.store.enrol, name, label, embeddings, **options)
        else:
            options["if_match"] = if_match
            state = await enrolled.write(name, enrolled.store.add_examples, name, label, embeddings, **options)
        return await self._changed(enrolled, name, state, 201 if verb == "enrol" else 200)

    async def _embeddings(self, request: Request, label: str) -> tuple[Any, list[bytes] | None]:
        """(embeddings, images) of a body; images are None where the client embedded them itself."""
        runtime = self._api.running()
        if media_type(request) == JSON_TYPE:
            check = partial(check_count, label=label, limits=runtime.enrolled.store.limits)
            return await self._api.json(request, runtime, lambda data: sent_embeddings(data, runtime.dim, check)), None
        form = await self._api.form(request, runtime)
        results = await self._api.embedded(request, runtime, form.images)
        return [_embedding(result, index, len(results)) for index, result in enumerate(results)], form.images

    async def one_class(self, request: Request) -> Response:
        """GET /v1/sets/{set}/classes/{class}."""
        check_names(request.query_params, ())
        enrolled, name = self._enrolled(request)
        state = await enrolled.read(enrolled.store.get_class, name, request.path_params["class"])
        return await self._state(enrolled, name, state)

    async def delete_class(self, request: Request) -> Response:
        """DELETE /v1/sets/{set}/classes/{class}."""
        check_names(request.query_params, ())
        enrolled, name = self._enrolled(request)
        label = request.path_params["class"]
        await enrolled.write(name, enrolled.store.delete_class, name, label, if_match=_if_match(request))
        return Response(status_code=204)

    async def remove(self, request: Request) -> Response:
        """DELETE /v1/sets/{set}/classes/{class}/examples/{id}."""
        check_names(request.query_params, ())
        enrolled, name = self._enrolled(request)
        label, example = request.path_params["class"], _example_id(request.path_params["id"])
        work, if_match = enrolled.store.remove_examples, _if_match(request)
        state = await enrolled.write(name, work, name, label, [example], if_match=if_match)
        return await self._changed(enrolled, name, state)

    async def rename(self, request: Request) -> Response:
        """POST /v1/sets/{set}/classes/{class}/rename."""
        return await self._moved(request, "to")

    async def merge(self, request: Request) -> Response:
        """POST /v1/sets/{set}/classes/{class}/merge."""
        return await self._moved(request, "into")

    async def _moved(self, request: Request, field: str) -> Response:
        check_names(request.query_params, ())
        enrolled, name = self._enrolled(request)
        runtime, label = self._api.running(), request.path_params["class"]
        other = await self._api.short_json(request, runtime, partial(_other_class, field))
        work = enrolled.store.rename_class if field == "to" else enrolled.store.merge_classes
        state = await enrolled.write(name, work, name, label, other, if_match=_if_match(request))
        return await self._changed(enrolled, name, state)

    def _enrolled(self, request: Request) -> tuple[EnrolledSets, str]:
        name = request.path_params["set"]
        if name == DEFAULT:
            raise ServingError("read_only", f"{DEFAULT!r} is the model's own set: no examples, and no changes")
        return self._api.running().enrolled, name

    async def _changed(self, enrolled: EnrolledSets, name: str, state: ClassState, status: int = 200) -> Response:
        try:
            return await self._state(enrolled, name, state, status)
        except SetError:  # somebody has deleted the set since, say: what was written was written all the same
            return JSONResponse(_state_json(name, state, None), status, _tag(state.version))

    async def _state(self, enrolled: EnrolledSets, name: str, state: ClassState, status: int = 200) -> Response:
        nearest = _nearest(state, await enrolled.snapshot(name))
        return JSONResponse(_state_json(name, state, nearest), status, _tag(state.version))


def _default_info(runtime: Runtime) -> dict[str, Any]:
    return {
        "name": DEFAULT,
        "weights_sha256": runtime.sha256,
        "usable": True,
        "read_only": True,
        "version": 0,
        "class_count": len(runtime.prototypes),
        "example_count": 0,
    }


def _info(info: SetInfo, runtime: Runtime) -> dict[str, Any]:
    return {
        "name": info.name,
        "weights_sha256": info.model.weights_sha256,
        "usable": info.model.weights_sha256 == runtime.sha256,
        "read_only": False,
        "version": info.version,
        "class_count": info.classes,
        "example_count": info.examples,
        "image_bytes": info.image_bytes,
        "created": info.created.isoformat(),
        "updated": info.updated.isoformat(),
    }


def _classes(snapshot: Snapshot) -> list[dict[str, Any]]:
    columns = (snapshot.counts, snapshot.versions, spreads(snapshot.sums, snapshot.counts))
    return [
        {"label": label, "n": n, "version": version, "spread": spread}
        for label, n, version, spread in zip(snapshot.labels, *(column.tolist() for column in columns), strict=True)
    ]


def _state_json(name: str, state: ClassState, nearest: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "set": name,
        "label": state.label,
        "n": state.n,
        "version": state.version,
        "set_version": state.set_version,
        "spread": state.spread,
        "nearest": nearest,
        "warning": _warning(state, nearest),
        "examples": list(state.example_ids),
    }


def _nearest(state: ClassState, snapshot: Snapshot) -> dict[str, Any] | None:
    """The other class of the set whose prototype is nearest."""
    cosines = snapshot.rows @ state.prototype
    cosines[[label == state.label for label in snapshot.labels]] = -np.inf
    if not np.isfinite(cosines).any():
        return None
    best = int(cosines.argmax())
    return {"label": snapshot.labels[best], "cosine": float(cosines[best])}


def _warning(state: ClassState, nearest: dict[str, Any] | None) -> str | None:
    """What makes mistakes likely: a class that scatters as far as half of the way to the next."""
    if nearest and _angle(state.spread) >= _angle(nearest["cosine"]) / 2:
        return (
            f"the examples lie {_angle(state.spread):.0f} degrees from their mean, and the prototype of "
            f"{nearest['label']!r} {_angle(nearest['cosine']):.0f} degrees: images of one will be taken for the other"
        )
    if state.n == 1:
        return "one example says nothing about how far the class scatters; add some"
    return None


def _angle(cosine: float) -> float:
    return math.degrees(angle(cosine))


def _embedding(result: Embedded | ServingError, index: int, count: int) -> Any:
    if not isinstance(result, ServingError):
        return result.embedding
    if count == 1:
        raise result
    raise ServingError(result.code, f"image {index + 1} of {count}: {result.message}; nothing was enrolled")


def _other_class(field: str, data: bytes) -> str:
    body = json.loads(data)
    if not isinstance(body, dict) or set(body) != {field} or not isinstance(body[field], str):
        raise ServingError("malformed_body", f'send {{"{field}": "name of a class"}}')
    name: str = body[field]
    return name


def _npy(rows: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, rows, allow_pickle=False)
    return buffer.getvalue()


def _digest(images: Sequence[bytes], keep: str) -> bytes:
    """What the client sent, for telling a retry from a reused key."""
    digests = [hashlib.sha256(image).hexdigest() for image in images]
    return json.dumps([keep, digests]).encode()


def _example_id(text: str) -> int:
    if not re.fullmatch("[0-9]{1,18}", text):  # int() refuses some thousand digits, and so would the route's converter
        raise ServingError("not_found", f"no example can have the id {text[:40]!r}")
    return int(text)


def _if_match(request: Request) -> int | None:
    text = request.headers.get("if-match", "*").strip()
    if text == "*":
        return None
    found = re.fullmatch(r'"?([0-9]{1,18})"?', text)
    if not found:
        raise ServingError("invalid_parameter", f"If-Match must be the version that was read; it is {text[:40]!r}")
    return int(found[1])


def _tag(version: int) -> dict[str, str]:
    return {"ETag": f'"{version}"'}
