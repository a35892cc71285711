"""The frame of a text against a parser of somebody else."""

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame
from websockets.protocol import State
from websockets.uri import parse_uri

from server.ws.frames import text_frame


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_a_frame_reads_as_its_text(size: int) -> None:
    client = ClientProtocol(parse_uri("ws://x/ws"), state=State.OPEN)
    text = b"x" * size
    client.receive_data(text_frame(text) + text_frame(b"next"))
    frames = [event for event in client.events_received() if isinstance(event, Frame)]
    assert [bytes(frame.data) for frame in frames] == [text, b"next"]
    assert all(frame.opcode == 1 and frame.fin for frame in frames)
