"""The body of a request: one raw image, or a multipart form of images and more. Nothing is fetched from elsewhere."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from serving.errors import ServingError
from serving.lengthy import parse

T = TypeVar("T")

RAW_TYPES = ("image/jpeg", "image/png", "image/webp", "application/octet-stream")
FORM_TYPE = "multipart/form-data"
JSON_TYPE = "application/json"
FIELD = "image"
_CHARSETS = (b"utf-8", b"us-ascii", b"iso-8859-1")
_RAISE = "the operator can raise it with PROTOZOO_MAX_BODY_BYTES or `protozoo serve --max-body-mib`"
_ACCEPT = {"Accept": ", ".join((*RAW_TYPES, FORM_TYPE))}
_RAW_ALIASES = (*RAW_TYPES, "image/jpg")  # the last is wrong, and what many clients send


@dataclass(frozen=True)
class Form:
    """What came in a body, in order; the bytes have not been looked into.

    Attributes:
        images: one or more.
        parts: further parts of a multipart form by their names, each at most once.
    """

    images: list[bytes]
    parts: Mapping[str, bytes]


def media_type(request: Request) -> str:
    """What a body is declared as, without parameters and in lower case; empty where it is not."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


async def read_form(request: Request, *, max_bytes: int, max_images: int, parts: Sequence[str] = ()) -> Form:
    """Read the images of a request.

    Args:
        request: its body must not have been read.
        max_bytes: largest body.
        max_images: most images in one form.
        parts: names of further parts that a multipart form may have.

    Raises:
        ServingError: the media type is not taken, the body is too large or malformed, or the form holds something
            else.
    """
    _check_encoding(request)
    declared = media_type(request)
    if declared not in (*_RAW_ALIASES, FORM_TYPE):
        raise ServingError(
            "unsupported_media_type",
            f"Content-Type {declared[:80]!r} is not taken; send an image as {', '.join(RAW_TYPES)}, or {FORM_TYPE} "
            f"with one or more `{FIELD}` files",
            _ACCEPT,
        )
    _check_length(request.headers.get("content-length"), max_bytes)
    stream = _limited(request, max_bytes)
    if declared != FORM_TYPE:
        return Form([b"".join([chunk async for chunk in stream])], {})
    return await _form(request, stream, max_bytes, max_images, parts)


async def read_json(request: Request, max_bytes: int, read: Callable[[bytes], T], advice: str = _RAISE) -> T:
    """Read a body of JSON.

    Args:
        request: its body must not have been read.
        max_bytes: largest body.
        read: makes of it what is wanted, or raises; in a thread where it is long.
        advice: what to do about a larger one.

    Raises:
        ServingError: it is declared as something else, too large, or malformed.
    """
    _check_encoding(request)
    declared = media_type(request)
    if declared != JSON_TYPE:
        message = f"Content-Type {declared[:80]!r} is not taken; send {JSON_TYPE}"
        raise ServingError("unsupported_media_type", message, {"Accept": JSON_TYPE})
    _check_length(request.headers.get("content-length"), max_bytes, advice)
    data = b"".join([chunk async for chunk in _limited(request, max_bytes, advice)])
    try:
        return await parse(data, read)
    except (ValueError, RecursionError) as error:
        raise ServingError("malformed_body", "the body is not JSON") from error


def _check_encoding(request: Request) -> None:
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ServingError(
            "unsupported_media_type", "send the body without Content-Encoding", {"Accept-Encoding": "identity"}
        )


def _check_length(text: str | None, max_bytes: int, advice: str = _RAISE) -> None:
    if text is not None and text.isdecimal() and int(text[:20]) > max_bytes:
        raise _too_large(max_bytes, advice)


async def _limited(request: Request, max_bytes: int, advice: str = _RAISE) -> AsyncGenerator[bytes, None]:
    """The body's chunks; raises as soon as they are more than ``max_bytes``, whatever length was declared."""
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > max_bytes:
            raise _too_large(max_bytes, advice)
        yield chunk


def _too_large(max_bytes: int, advice: str) -> ServingError:
    size = f"{max_bytes} bytes ({max_bytes / (1 << 20):g} MiB)"
    return ServingError("body_too_large", f"the body is larger than the limit of {size}; {advice}")


class _Parser(MultiPartParser):
    """Starlette's parser, which takes a form that was cut off for a whole one."""

    ended = False

    def on_end(self) -> None:
        self.ended = True


async def _form(
    request: Request, stream: AsyncGenerator[bytes, None], max_bytes: int, max_images: int, parts: Sequence[str]
) -> Form:
    _check_charset(request)
    # Within Starlette's own limit one image too many is told in words; above it stands the operator's.
    parser = _Parser(request.headers, stream, max_files=max(1000, max_images + len(parts)))
    parser.spool_max_size = max_bytes  # the whole body is bounded, so no part needs a temporary file
    parser.max_part_size = max_bytes
    try:
        form = await parser.parse()
    except (MultiPartException, FormParserError) as error:  # Starlette before 1.8 lets the second through
        raise ServingError("malformed_body", f"the multipart body cannot be read: {error}") from error
    try:
        if not parser.ended:
            raise ServingError("malformed_body", "the multipart body ends before its closing boundary")
        _check_names(form, parts)
        return Form(await _files(form, max_images), {name: await _bytes(form[name]) for name in parts if name in form})
    finally:
        await form.close()


def _check_charset(request: Request) -> None:
    """Refuse others than Python decodes quickly: the parser takes any codec, and Punycode takes minutes for a MiB."""
    charset = parse_options_header(request.headers["content-type"])[1].get(b"charset", _CHARSETS[0])
    if charset.lower() not in _CHARSETS:
        shown = charset[:40].decode("latin-1")
        raise ServingError("malformed_body", f"the charset {shown!r} of Content-Type is not taken; leave it out")


def _check_names(form: FormData, parts: Sequence[str]) -> None:
    for name, _ in form.multi_items():
        if name not in (FIELD, *parts):
            known = ", ".join(f"`{known}`" for known in (FIELD, *parts))
            raise ServingError("invalid_form", f"unknown form field {name[:80]!r}; a part must be named {known}")
        if name in parts and len(form.getlist(name)) > 1:
            raise ServingError("invalid_form", f"the form holds `{name}` more than once")


async def _bytes(part: UploadFile | str) -> bytes:
    return await part.read() if isinstance(part, UploadFile) else part.encode()


async def _files(form: FormData, max_images: int) -> list[bytes]:
    files = []
    for part in form.getlist(FIELD):
        if not isinstance(part, UploadFile):
            raise ServingError(
                "invalid_form", f"`{FIELD}` must be a file (a part with a filename), not text; URLs are not fetched"
            )
        files.append(await part.read())
        if len(files) > max_images:
            raise ServingError(
                "invalid_form",
                f"more than {max_images} images; send several requests, or the operator can raise PROTOZOO_MAX_IMAGES",
            )
    if not files:
        raise ServingError("invalid_form", f"the form holds no `{FIELD}` file")
    return files
