"""The least that serves: Starlette and uvicorn, with protozoo's own decoder, batcher and engine."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from benchmarks.rivals import decoder_of, nearest
from serving.batcher import Batcher
from serving.engine import Engine
from zoo.bundle import Bundle


def make_app(bundle: Bundle) -> Starlette:
    engine, decoder = Engine(bundle, lanes=True), decoder_of(bundle)
    engine.warm_up()
    size = bundle.preprocessing.size
    batcher = Batcher(engine.run, (size, size, 3), lanes=engine.lanes, max_batch=engine.max_batch)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with batcher:
            yield

    async def classify(request: Request) -> Response:
        async with request.form() as form:
            data = await form["image"].read()
        (embedded,) = await batcher.embed(await decoder.decode_all([data]))
        return JSONResponse({"predictions": nearest(bundle.labels, embedded.cosines)})

    async def ready(_: Request) -> Response:
        return PlainTextResponse("")

    return Starlette(routes=[Route("/classify", classify, methods=["POST"]), Route("/ready", ready)], lifespan=lifespan)


if __name__ == "__main__":
    uvicorn.run(make_app(Bundle.open(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]), access_log=False)
