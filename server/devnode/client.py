"""The controls of a running devnode, from another thread, process or notebook. Synchronous, stdlib alone.

```python
node = DevnodeClient("http://127.0.0.1:3002")
node.pause()
node.set_mark("BTC", "60000")
node.faults.answer(429, times=3, type="clearinghouseState")
```

The methods are those of `Devnode` and of its `faults`, whose docstrings say what they do.
"""

from __future__ import annotations

import http.client
import json
import math
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

TIMEOUT_S = 60.0  # a hundred thousand blocks take some ten seconds


class ControlError(Exception):
    """The devnode refused. `status`: 400 bad value, 403 not from here, 404 no such control, 409 its machine
    won't have it, 501 can't."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class DevnodeClient:
    """One connection to the controls, opened when it is needed. Not for several threads at once.

    `url` is the base URL, for bots and for `--upstream`; `ws_url` is the websocket.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname is None:
            raise ValueError(f"a devnode's URL is http://HOST:PORT, got {url[:60]!r}")
        self.url = url.rstrip("/")
        self.ws_url = f"ws://{parts.netloc}/ws"
        self.faults = FaultsClient(self)
        self._place = (parts.hostname, parts.port or 80)
        self._timeout_s = timeout_s
        self._connection = self._connect()

    def __repr__(self) -> str:
        return f"<DevnodeClient {self.url}>"

    def __enter__(self) -> DevnodeClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(*self._place, timeout=self._timeout_s)

    # -- looking ---------------------------------------------------------------------------------------

    @property
    def addresses(self) -> list[str]:
        """The accounts there are."""
        return list(self._json("GET", "/dev/accounts"))

    def status(self) -> dict[str, Any]:
        """Time, faults in force, and under `stats` what was asked and sent since the start."""
        return dict(self._json("GET", "/dev/status"))

    def requests(self) -> list[dict[str, Any]]:
        """The newest requests as they came: `path`, `type`, `body`, and `at` in seconds of its event loop."""
        return list(self._json("GET", "/dev/requests"))

    def info(self, type: str, **fields: object) -> Any:
        """What the exchange says: one `/info` request, which meets the faults. Raises `ControlError`."""
        body = json.dumps({"type": type, **fields}).encode()
        with closing(self._connect()) as connection:
            return _ask(connection, "POST", "/info", body)

    # -- time ------------------------------------------------------------------------------------------

    def pause(self) -> None:
        self.call("pause")

    def resume(self) -> None:
        self.call("resume")

    def step(self, blocks: int = 1, quietly: bool = False) -> None:
        self.call("step", blocks=blocks, quietly=quietly)

    def advance(self, seconds: float, quietly: bool = False) -> None:
        self.call("advance", seconds=seconds, quietly=quietly)

    # -- the truth -------------------------------------------------------------------------------------

    def set_mark(self, coin: str, px: str | float, quietly: bool = False) -> None:
        self.call("set_mark", coin=coin, px=px, quietly=quietly)

    def set_oracle(self, coin: str, px: str | float, quietly: bool = False) -> None:
        self.call("set_oracle", coin=coin, px=px, quietly=quietly)

    def fund(self, user: str, usd: str | float, quietly: bool = False) -> None:
        self.call("fund", user=user, usd=usd, quietly=quietly)

    def faucet(self, user: str, usd: str | float, quietly: bool = False) -> None:
        self.call("faucet", user=user, usd=usd, quietly=quietly)

    def impersonate(
        self,
        user: str,
        action: dict[str, Any],
        nonce: int | None = None,
        vault: str | None = None,
        quietly: bool = False,
    ) -> dict[str, Any]:
        fields = {"user": user, "action": action, "nonce": nonce, "vault": vault, "quietly": quietly}
        answer: dict[str, Any] = self.call("impersonate", **fields)
        return answer

    def reset(self, seed: int | None = None, quietly: bool = False) -> None:
        self.call("reset", seed=seed, quietly=quietly)

    def snapshot(self) -> int:
        return int(self.call("snapshot"))

    def revert(self, snapshot: int, quietly: bool = False) -> None:
        self.call("revert", snapshot=snapshot, quietly=quietly)

    def save(self) -> str:
        return str(self.call("save"))

    def load(self, saved: str, quietly: bool = False) -> None:
        self.call("load", saved=saved, quietly=quietly)

    def push(self, user: str | None = None) -> None:
        self.call("push", user=user)

    def stale_push(self, user: str | None = None) -> None:
        self.call("stale_push", user=user)

    # -- the sockets -----------------------------------------------------------------------------------

    def drop_sockets(self) -> int:
        return int(self.call("drop_sockets"))

    def abort(self) -> int:
        return int(self.call("abort"))

    def hang_up_idle(self) -> int:
        return int(self.call("hang_up_idle"))

    def close_sockets(self, code: int = 1000, reason: str = "") -> int:
        return int(self.call("close_sockets", code=code, reason=reason))

    def say(self, frame: str) -> int:
        return int(self.call("say", frame=frame))

    def refuse_connections(self, seconds: float | None = None) -> None:
        self.call("refuse_connections", seconds=seconds)

    def accept_connections(self) -> None:
        self.call("accept_connections")

    # -- the wire --------------------------------------------------------------------------------------

    def call(self, verb: str, /, **fields: object) -> Any:
        """`POST /dev/<verb>`. Raises `ControlError`, and `OSError` when nobody is there."""
        # JSON has no infinity: null stands for as often as it comes.
        said = {name: None if value == math.inf else value for name, value in fields.items()}
        return self._json("POST", f"/dev/{verb}", said)["result"]

    def _json(self, method: str, path: str, content: object = None) -> Any:
        body = b"" if content is None else json.dumps(content).encode()
        fresh = self._connection.sock is None
        try:
            answer = _ask(self._connection, method, path, body)
        except ConnectionError:
            # A connection that idled out says so only now; nothing was heeded. A new one that ends is news.
            if fresh:
                raise
            answer = _ask(self._connection, method, path, body)
        return answer


def _ask(connection: http.client.HTTPConnection, method: str, path: str, body: bytes) -> Any:
    try:
        connection.request(method, path, body, {"Content-Type": "application/json"})
        with connection.getresponse() as response:
            status, answer = response.status, response.read()
    except BaseException:
        connection.close()  # what is half read can't be used for anything else
        raise
    if status != 200:
        raise ControlError(status, answer.decode(errors="replace"))
    return json.loads(answer)


class FaultsClient:
    """What shall go wrong, until `heal()`. The methods of `Faults`."""

    def __init__(self, client: DevnodeClient) -> None:
        self._call = client.call

    def heal(self) -> None:
        self._call("heal")

    def answer(
        self,
        status: int,
        body: str | bytes | None = None,
        *,
        times: float | None = math.inf,
        path: str | None = None,
        type: str | None = None,
        user: str | None = None,
        dex: str | None = None,
        content_type: str | None = None,
    ) -> None:
        text = body.decode() if isinstance(body, bytes) else body
        self._call(
            "answer",
            status=status,
            body=text,
            times=times,
            path=path,
            type=type,
            user=user,
            dex=dex,
            content_type=content_type,
        )

    def answer_429(self, times: float | None = math.inf) -> None:
        self._call("answer_429", times=times)

    def answer_raw(self, raw: str | bytes, *, path: str | None = None, times: float | None = 1) -> None:
        text = raw.decode("latin-1") if isinstance(raw, bytes) else raw
        self._call("answer_raw", raw=text, path=path, times=times)

    def answer_again(self) -> None:
        self._call("answer_again")

    def hang(
        self,
        *,
        times: float | None = math.inf,
        path: str | None = None,
        type: str | None = None,
        user: str | None = None,
        dex: str | None = None,
    ) -> None:
        self._call("hang", times=times, path=path, type=type, user=user, dex=dex)

    def latency(
        self,
        seconds: float,
        *,
        times: float | None = math.inf,
        path: str | None = None,
        type: str | None = None,
        user: str | None = None,
        dex: str | None = None,
    ) -> None:
        self._call("latency", seconds=seconds, times=times, path=path, type=type, user=user, dex=dex)

    def cut(
        self,
        stage: str,
        *,
        path: str | None = "/exchange",
        times: float | None = 1,
        type: str | None = None,
        user: str | None = None,
        dex: str | None = None,
    ) -> None:
        """`stage` is "connected", "head", "body", "read", "done" or "answer"."""
        self._call("cut", stage=stage, path=path, times=times, type=type, user=user, dex=dex)

    def cut_writes(self, stage: str, times: float | None = 1) -> None:
        self._call("cut_writes", stage=stage, times=times)

    def drop_next_push(
        self, *, times: float | None = 1, user: str | None = None, channel: str | None = None
    ) -> None:
        self._call("drop_next_push", times=times, user=user, channel=channel)

    def duplicate_next_push(
        self, *, times: float | None = 1, user: str | None = None, channel: str | None = None
    ) -> None:
        self._call("duplicate_next_push", times=times, user=user, channel=channel)

    def reorder_next_push(
        self, *, times: float | None = 1, user: str | None = None, channel: str | None = None
    ) -> None:
        self._call("reorder_next_push", times=times, user=user, channel=channel)

    def stale_next_push(
        self, *, times: float | None = 1, user: str | None = None, channel: str | None = None
    ) -> None:
        self._call("stale_next_push", times=times, user=user, channel=channel)

    def delay_next_push(
        self, seconds: float, *, times: float | None = 1, user: str | None = None, channel: str | None = None
    ) -> None:
        self._call("delay_next_push", seconds=seconds, times=times, user=user, channel=channel)

    def delay(self, seconds: float) -> None:
        self._call("delay", seconds=seconds)

    def go_silent(self, user: str | None = None) -> None:
        self._call("go_silent", user=user)

    def speak_again(self) -> None:
        self._call("speak_again")

    def refuse_subscriptions(
        self,
        text: str = "Cannot track more than 10 total users.",
        *,
        times: float | None = math.inf,
        type: str | None = None,
        user: str | None = None,
    ) -> None:
        self._call("refuse_subscriptions", text=text, times=times, type=type, user=user)

    def accept_subscriptions(self) -> None:
        self._call("accept_subscriptions")

    def go_mute(self) -> None:
        self._call("go_mute")

    def no_pongs(self) -> None:
        self._call("no_pongs")

    def ignore_close(self) -> None:
        self._call("ignore_close")

    def accept_and_drop(self, after_s: float = 0.01) -> None:
        self._call("accept_and_drop", after_s=after_s)

    def stay_up(self) -> None:
        self._call("stay_up")

    def freeze_time(self) -> None:
        self._call("freeze_time")

    def thaw_time(self) -> None:
        self._call("thaw_time")
