"""HTTP: which route goes where. What an answer says is decided elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from serving.api import Api
from serving.auth import READ, WRITE, Authorised
from serving.errors import ServingError, error_body, error_response
from serving.logs import Logged, id_header
from serving.metrics import Measured
from serving.model import Model
from serving.model import load as load_model
from serving.openapi import DOCUMENT, serve_document
from serving.origin import OwnName
from serving.page import ASSETS, PAGE, Page, read_files
from serving.sending import InPieces, Permitted
from serving.sets import SetError
from serving.sets_api import SetsApi
from serving.settings import Settings

Handler = Callable[[Request], Awaitable[Response]]


def create_app(
    read_settings: Callable[[], Settings],
    on_ready: Callable[[Settings], None] = lambda settings: None,
    load: Callable[[Settings], Model] = load_model,
) -> Starlette:
    """The HTTP application; ``app.state.api`` tells whether it is ready.

    Args:
        read_settings: called when the app starts, not when it is made, so that importing a module needs no settings.
        on_ready: called once the model is loaded and warmed up.
        load: gives the model when the app starts.
    """
    api = Api(read_settings, on_ready, load)
    routes = [
        *_routes(api, "/v1/classify", {"POST": api.classify}, READ),
        *_routes(api, "/v1/embed", {"POST": api.embed}, READ),
        *_routes(api, "/v1/verify", {"POST": api.verify}, READ),
        *_routes(api, "/v1/model", {"GET": api.model}),
        Route("/metrics", api.exposition, methods=["GET"], middleware=_own_name(api)),
        Route(DOCUMENT, serve_document, methods=["GET"], middleware=_own_name(api)),
        *_page_routes(api),
        *_set_routes(api, SetsApi(api)),
        # The rest of /v1 is answered in JSON too; all of its paths together are one label of the metrics.
        Route("/v1/{path:path}", _Refuse(_UNKNOWN_PATH), middleware=_measured(api, "/v1/*")),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Logged), Middleware(InPieces)],
        lifespan=api.lifespan,
        exception_handlers={
            ServingError: _answer_error,
            SetError: _answer_set_error,
            ClientDisconnect: _answer_gone,
            HTTPException: _answer_unrouted,
            Exception: _answer_unexpected,
        },
    )
    app.state.api = api
    app.router.redirect_slashes = False  # a path with a slash too many is an unknown one, and is told so in JSON
    return app


class _Refuse:
    """An ASGI endpoint that answers every method with one error."""

    def __init__(self, error: ServingError) -> None:
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await error_response(self._error)(scope, receive, send)


_UNKNOWN_PATH = ServingError(
    "not_found", "no such path; there are /v1/classify, /v1/embed, /v1/verify, /v1/model and /v1/sets"
)


def _page_routes(api: Api) -> list[Route]:
    """All assets together are one label of the metrics."""
    page = Page(read_files())
    return [
        Route(PAGE, page, middleware=[*_measured(api, PAGE), *_own_name(api)]),
        Route(f"{ASSETS}{{name}}", page, middleware=[*_measured(api, f"{ASSETS}*"), *_own_name(api)]),
    ]


def _set_routes(api: Api, sets: SetsApi) -> list[Route]:
    one = "/v1/sets/{set}"
    of_class = f"{one}/classes/{{class}}"
    return [
        *_routes(api, "/v1/sets", {"GET": sets.sets}),
        *_routes(api, one, {"GET": sets.one, "DELETE": sets.delete}),
        *_routes(api, f"{one}/prototypes", {"GET": sets.prototypes}),
        *_routes(api, of_class, {"GET": sets.one_class, "PUT": sets.enrol, "DELETE": sets.delete_class}),
        *_routes(api, f"{of_class}/examples", {"POST": sets.add}),
        *_routes(api, f"{of_class}/examples/{{id}}", {"DELETE": sets.remove}),
        *_routes(api, f"{of_class}/rename", {"POST": sets.rename}),
        *_routes(api, f"{of_class}/merge", {"POST": sets.merge}),
    ]


def _routes(api: Api, path: str, handlers: Mapping[str, Handler], access: str | None = None) -> list[Route]:
    """The routes of a path, and the refusal of other methods: the route for unknown paths would take them as its own.

    Whatever changes something asks for write access, unless ``access`` says otherwise.
    """
    routes = [
        Route(
            path,
            handler,
            methods=[method],
            middleware=[
                *_measured(api, path),
                _authorised(api, access or (READ if method == "GET" else WRITE)),
                Middleware(Permitted, permit=api.permit),
            ],
        )
        for method, handler in handlers.items()
    ]
    allowed = ", ".join("GET, HEAD" if method == "GET" else method for method in handlers)
    refusal = ServingError("method_not_allowed", f"{path} takes {allowed} only", {"Allow": allowed})
    return [*routes, Route(path, _Refuse(refusal), middleware=_measured(api, path))]


def _authorised(api: Api, access: str) -> Middleware:
    return Middleware(Authorised, settings=lambda: api.settings, access=access)


def _own_name(api: Api) -> list[Middleware]:
    return [Middleware(OwnName, settings=lambda: api.settings)]


def _measured(api: Api, route: str) -> list[Middleware]:
    return [Middleware(Measured, metrics=api.metrics, route=route)]


async def _answer_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ServingError)
    return error_response(error)


async def _answer_set_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, SetError)
    headers = {"Retry-After": "1"} if error.http_status == 503 else {}
    return JSONResponse(error_body(error.code, str(error)), error.http_status, headers)


async def _answer_gone(_: Request, error: Exception) -> Response:
    # Nobody reads it, but what has no answer would be an error of the service in its log.
    return error_response(ServingError("client_gone", "the client closed the connection"))


async def _answer_unrouted(_: Request, error: Exception) -> Response:
    # Starlette's own refusals: paths outside of /v1, those with a line break among them, and methods of /metrics.
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        return error_response(ServingError("method_not_allowed", f"this path takes {allowed} only", error.headers))
    return error_response(_UNKNOWN_PATH)


async def _answer_unexpected(request: Request, error: Exception) -> Response:
    # Starlette raises the error again after this, so that it reaches the log; the client learns nothing of it. And it
    # calls this outside of all middleware, Logged among it.
    message = "the service failed on this request; its log says why"
    return error_response(ServingError("internal_error", message, id_header(request.scope)))
