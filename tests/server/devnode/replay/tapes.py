"""Recordings made by hand, line by line."""

import json
from pathlib import Path
from typing import Any

ALICE = "0x" + "a1" * 20
BOB = "0x" + "b0" * 20


def header(connected: bool = False) -> dict[str, Any]:
    return {
        "kind": "header",
        "at": 0,
        "wall": 0,
        "format": "hl-replica recording",
        "version": 1,
        "run": "r",
        "file": 1,
        "upstream": "",
        "connected": connected,
    }


def end(at: float) -> dict[str, Any]:
    return {"kind": "end", "at": at, "wall": 0, "why": "stopped"}


def opened(at: float) -> dict[str, Any]:
    return {"kind": "opened", "at": at, "wall": 0}


def closed(at: float, by: str = "upstream", code: int | None = None, why: str = "") -> dict[str, Any]:
    return {"kind": "closed", "at": at, "wall": 0, "by": by, "code": code, "why": why}


def refused(at: float, status: int | None = None) -> dict[str, Any]:
    return {"kind": "refused", "at": at, "wall": 0, "why": "E", "status": status}


def came(at: float, text: str) -> dict[str, Any]:
    return {"kind": "in", "at": at, "wall": 0, "text": text}


def went(at: float, message: object) -> dict[str, Any]:
    return {"kind": "out", "at": at, "wall": 0, "text": json.dumps(message)}


def subscribe(user: str = ALICE, kind: str = "allDexsClearinghouseState", **more: str) -> dict[str, Any]:
    return {"method": "subscribe", "subscription": {"type": kind, "user": user, **more}}


def over(socket: int, *lines: dict[str, Any]) -> list[dict[str, Any]]:
    """The same, over another websocket than the first."""
    return [{**line, "socket": socket} for line in lines]


def push(user: str, value: float, *dexes: str) -> str:
    """A frame as the wire has it, with a space where no encoder of ours puts one."""
    states = ",".join(f'["{dex}",{state(value)}]' for dex in ("", *dexes))
    data = f'{{"user":"{user}","clearinghouseStates":[{states}]}}'
    return f'{{"channel":"allDexsClearinghouseState", "data":{data}}}'


def state(value: float) -> str:
    return f'{{"marginSummary":{{"accountValue":"{value}"}} ,"time":{round(value * 1000)}}}'


def asked(
    at: float,
    request: object,
    answer: str | None,
    *,
    status: int = 200,
    took: float = 0.0,
    content_type: str = "application/json",
    path: str = "/info",
) -> dict[str, Any]:
    """A request that was asked at `at`; `answer` None: it failed."""
    line = {"kind": "http", "at": at + took, "wall": 0, "path": path, "took": took}
    line["request"] = {"text": json.dumps(request)}
    if answer is None:
        return {**line, "failure": "UpstreamTimeout"}
    return {**line, "status": status, "content_type": content_type, "answer": {"text": answer}}


def save(folder: Path, *lines: dict[str, Any]) -> Path:
    path = folder / "tape.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path
