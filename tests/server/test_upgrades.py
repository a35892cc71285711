"""Requests that offer an upgrade, driven by hand: the body is theirs, whole, wherever the bytes are cut."""

import asyncio

import pytest

from tests.server.test_fastpath import QUICK, SLOW, Connection

OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


def request(body: bytes, more: bytes = OFFER) -> bytes:
    return b"POST /info HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s" % (more, len(body), body)


@pytest.mark.parametrize("at", range(1, len(request(QUICK))))
async def test_the_offer_is_passed_over_wherever_the_bytes_are_cut(at: int) -> None:
    it = Connection()
    it.protocol.data_received(request(QUICK)[:at])
    it.protocol.data_received(request(QUICK)[at:])
    assert it.texts() == [b"quick from 10.9.8.7"]
    assert not it.transport.closed


async def test_what_comes_behind_it_is_answered_too() -> None:
    it = Connection()
    it.protocol.data_received(request(SLOW) + request(QUICK) + request(QUICK, b""))
    it.answers.gate.set()
    await asyncio.sleep(1)
    assert it.texts() == [b"slow from 10.9.8.7", *[b"quick from 10.9.8.7"] * 2]


async def test_a_chunked_body_is_whole_too() -> None:
    it = Connection()
    head = b"POST /info HTTP/1.1\r\nHost: x\r\n%sTransfer-Encoding: chunked\r\n\r\n" % OFFER
    it.protocol.data_received(head + b"5\r\nquick\r\n")
    it.protocol.data_received(b"0\r\n\r\n")
    assert it.texts() == [b"quick from 10.9.8.7"]


@pytest.mark.parametrize(
    "junk", [b"\x16\x03\x01", b"POST /info HTTP/1.1\r\n%sContent-Length: -1\r\n\r\n" % OFFER]
)
async def test_what_is_no_http_is_refused_and_cut_off(junk: bytes) -> None:
    it = Connection()
    it.protocol.data_received(junk)
    assert it.transport.writes[0].startswith(b"HTTP/1.1 400")
    assert it.transport.closed


async def test_a_connect_is_no_way_round_and_does_not_go_on_for_ever() -> None:
    it = Connection()
    it.protocol.data_received(b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(1)
    assert it.transport.closed or it.transport.writes
