"""The largest head of a request: the other limits hold for its body, and this is read before any of ours is asked.

Of uvicorn's two parsers h11 stops at 64 KiB; httptools, which is faster and taken wherever it is installed, takes a
head of any size into memory.
"""

from __future__ import annotations

from uvicorn.protocols.http import auto
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_BYTES = 64 << 10


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which answers 400 and closes the connection where a head does not end.

    What the socket gives at once is looked at as a whole (some 256 KiB), so that a head may be larger by that.
    """

    _in_head = True
    _head_ended = False
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        began_in_head, self._head_ended = self._in_head, False
        super().data_received(data)
        if began_in_head and not self._head_ended:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_BYTES and not self.transport.is_closing():
                self.send_400_response(f"The head of the request is larger than {MOST_BYTES} bytes.")

    def on_headers_complete(self) -> None:
        """The head has ended."""
        self._in_head, self._head_ended, self._head_bytes = False, True, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body has ended: what comes next is another request's head."""
        self._in_head = True
        super().on_message_complete()


def bound_heads() -> None:
    """Let uvicorn choose the bounded protocol, before a server is made: BentoML has no setting for it."""
    auto.AutoHTTPProtocol = BoundedProtocol
