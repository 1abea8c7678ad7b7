"""How the tests speak to the app."""

from __future__ import annotations

import httpx
import numpy as np

JPEG = {"Content-Type": "image/jpeg"}
ROUTES = ("/v1/classify", "/v1/embed")


def post(client, data, path="/v1/classify", content_type="image/jpeg", **params):
    headers = {"Content-Type": content_type} if content_type else {}
    return client.post(path, content=data, headers=headers, params=params)


def form(*files, field="image"):
    return [(field, ("name.bin", data)) for data in files]


def assert_error(response, status, code=None):
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert set(response.json()) == {"error"}
    assert set(error) == {"code", "message"}
    assert "Traceback" not in response.text
    assert "/tmp" not in response.text
    if code:
        assert error["code"] == code
    return error["message"]


def enrol(client, name, label, *images, **params):
    return client.put(f"/v1/sets/{name}/classes/{label}", files=form(*images), params=params)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def in_process(client, scenario):
    """Run ``scenario(httpx client)`` on the app's own loop, for what TestClient cannot send."""

    async def run():
        transport = httpx.ASGITransport(client.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as other:
            return await scenario(other)

    return client.portal.call(run)
