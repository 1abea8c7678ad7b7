"""The client's way to the app in tests."""

from __future__ import annotations

import httpx

URL = "http://127.0.0.1"


class Through(httpx.BaseTransport):
    """From the client's httpx to the app, by TestClient, which may speak another httpx inside."""

    def __init__(self, client):
        self._client = client

    def handle_request(self, request):
        answer = self._client.request(
            request.method, str(request.url), content=request.read(), headers=dict(request.headers)
        )
        return httpx.Response(answer.status_code, headers=dict(answer.headers), content=answer.content)
