"""Names and tokens before a request is made, and one line for what goes wrong in one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from zoo.bundle.hub import LOGIN, check_token, status_of
from zoo.errors import BundleError

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def writing_api() -> HfApi:
    """The Hub's interface, with the token that huggingface_hub finds.

    Raises:
        BundleError: it finds none, or something that cannot be one.
    """
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        raise BundleError(f"a push needs a token that may write: {LOGIN} and push again")
    check_token()
    return HfApi(token=True)


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn what huggingface_hub raises for requests that write into one line that says what to do.

    Args:
        where: ``owner/name@branch``, for the message.
    """
    from huggingface_hub import errors as hub

    try:
        yield
    except hub.OfflineModeIsEnabled as error:
        raise BundleError("HF_HUB_OFFLINE forbids to push: unset it") from error
    # Of an upload that breaks off it raises a RuntimeError, of a card or an upload that the Hub refuses a ValueError.
    except (OSError, RuntimeError, ValueError, hub.HTTPError) as error:  # type: ignore[attr-defined]
        raise BundleError(_advice(where, error)) from error


def _advice(where: str, error: Exception) -> str:
    status = status_of(error)
    if status == 401:
        return f"the Hub does not know the token, or it has no access to {where}: {LOGIN} with one that may write"
    if status == 403:
        return f"the token may not write to {where}: {LOGIN} with one that may, or push to a name of your own"
    if status in {409, 412}:
        return f"somebody has changed {where} since it was looked at: nothing was committed; see what it is, push again"
    if isinstance(error, ValueError) or status in range(400, 500):
        return f"the Hub refuses the push to {where} ({_reason(error)})"
    return (
        f"the push to {where} broke off ({_reason(error)}): check the network and push again, what has arrived is not "
        "sent again"
    )


def _reason(error: BaseException) -> str:
    if isinstance(error, RuntimeError) and error.__cause__ is not None:
        return f"{_one_line(error)} {_reason(error.__cause__)}"
    return f"{type(error).__name__}: {_one_line(getattr(error, 'server_message', None) or error)}"


def _one_line(error: object) -> str:
    # Addresses to upload to are signed: whoever has the query of one may use it.
    return re.sub(r"\?[^\s'\"]+", "", " ".join(str(error).split()))
