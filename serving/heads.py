"""The largest head of a request: the other limits hold for its body, and this is read before any of ours is asked.

Of uvicorn's two parsers h11 stops at 64 KiB; httptools, which is faster and taken wherever it is installed, takes a
head of any size into memory, and as many headers after a body in chunks, its trailers.
"""

from __future__ import annotations

from uvicorn.protocols.http import auto
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_BYTES = 64 << 10
_TOO_LARGE = f"The head of the request, its trailers included, is larger than {MOST_BYTES} bytes."


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which answers 400 and closes the connection where head and trailers are too large.

    A line that has not ended is the parser's: of those only what the socket gives is counted, some 256 KiB at once.
    """

    _in_head = True
    _head_bytes = 0
    _moved = False  # since data came: a head has ended, or a part of a body has come, or its end
    _unended_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        self._moved = False
        super().data_received(data)
        self._unended_bytes = 0 if self._moved else self._unended_bytes + len(data)
        if self._unended_bytes > MOST_BYTES:
            self.send_400_response(_TOO_LARGE)

    def send_400_response(self, msg: str) -> None:
        """Refuse what has come, and close the connection; nothing is written into an answer or after it."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        if cycle is not None and cycle.response_started and not (cycle.response_complete and self._in_head):
            self.transport.close()
        else:
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        """Another request begins."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the address has come."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header or a trailer has ended."""
        self._count(len(name) + len(value) + len(": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head has ended."""
        self._in_head, self._moved = False, True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body has come."""
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body has ended: what comes next is another request's head."""
        self._in_head = self._moved = True
        super().on_message_complete()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MOST_BYTES:
            self.send_400_response(_TOO_LARGE)
            raise ValueError(_TOO_LARGE)  # the parser stops, and looks at nothing more of what the socket gave


def bound_heads() -> None:
    """Let uvicorn choose the bounded protocol, before a server is made: BentoML has no setting for it."""
    auto.AutoHTTPProtocol = BoundedProtocol
