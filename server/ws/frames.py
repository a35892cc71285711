"""A text as the bytes of one websocket frame. Pure.

What a server sends is not masked (RFC 6455, 5.1), so a frame is a short head and the text: made once, the
same bytes go to every client.
"""

import struct

_FIN_TEXT = 0x81


def text_frame(text: bytes) -> bytes:
    """The frame of one whole text message."""
    size = len(text)
    if size < 126:
        head = struct.pack("!BB", _FIN_TEXT, size)
    elif size < 65_536:
        head = struct.pack("!BBH", _FIN_TEXT, 126, size)
    else:
        head = struct.pack("!BBQ", _FIN_TEXT, 127, size)
    return head + text
