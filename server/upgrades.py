"""uvicorn's HTTP protocol, reading a request that offers an upgrade as one that offers none.

Who serves no other protocol may do so (RFC 9110, 7.8), and has to: `curl --http2` and the HTTP client of Java
offer h2c with their first request, body and all. uvicorn's parser takes that body for the new protocol's and
drops it.
"""

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class UpgradeIgnored(HttpToolsProtocol):
    """One client connection. A websocket's, where there is a class for it, is handed over to that.

    `_handed_over` from then on: the transport is not ours any more.
    """

    _ignored = False
    _handed_over = False

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if self._ignored:
                    # Once more from its beginning, without the offer.
                    self._ignored = False
                    data = self._head_without_offer() + data[upgrade.args[0] :]
                    continue
                if self._should_upgrade():
                    self._handed_over = True
                    self.handle_websocket_upgrade()
            except httptools.HttpParserError:
                message = "Invalid HTTP request received."
                self.logger.warning(message)
                self.send_400_response(message)
            return

    def _should_upgrade(self) -> bool:
        # Not behind a request whose answer is still to be written: it would be in the way of the frames.
        answered = self.cycle is None or self.cycle.response_complete
        return super()._should_upgrade() and answered and self.parser.get_method() == b"GET"

    def on_headers_complete(self) -> None:
        # A CONNECT is an upgrade by its method: it stays one without the header.
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._ignored = not self._should_upgrade()
        if not self._ignored:
            super().on_headers_complete()

    def on_message_complete(self) -> None:
        if not self._ignored:
            super().on_message_complete()

    def _head_without_offer(self) -> bytes:
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        lines = [b"%s %s HTTP/%s\r\n" % (method, self.url, version)]
        lines += [b"%s: %s\r\n" % header for header in self.headers if header[0] != b"upgrade"]
        return b"".join((*lines, b"\r\n"))
