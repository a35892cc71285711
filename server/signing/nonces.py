"""The nonces that signers have used (page "Nonces and API wallets").

"The 100 highest nonces are stored per address. Every new transaction must have nonce larger than the smallest
nonce in this set and also never have been used before. Nonces are tracked per signer [...]. Nonces must be
within (T - 2 days, T + 1 day), where T is the unix millisecond timestamp on the block of the transaction."
"""

from bisect import bisect_left

from server.signing.errors import InvalidNonce

KEPT = 100
DAY_MS = 24 * 60 * 60 * 1000
PAST_MS = 2 * DAY_MS
FUTURE_MS = DAY_MS


class Nonces:
    """The mutable state is the sorted nonces of each signer, at most 100 of them.

    Time is given, in ms, and should be the block's. A signer all of whose nonces have left the window is
    forgotten; as the window refuses those anyway, what is lost is only how low the next ones may be.
    """

    def __init__(self) -> None:
        self._used: dict[str, list[int]] = {}
        self._sweep_at = 1024  # signers, see `_sweep`

    def __repr__(self) -> str:
        return f"<Nonces of {len(self._used)} signers>"

    def __len__(self) -> int:
        """Signers remembered."""
        return len(self._used)

    def check(self, signer: str, nonce: int, now_ms: int) -> None:
        """Raise `InvalidNonce` if `signer`, an address always written alike, may not use `nonce` now."""
        self._place(signer, nonce, now_ms)

    def use(self, signer: str, nonce: int, now_ms: int) -> None:
        """Take note that `signer` used `nonce`. Raises `InvalidNonce`, and then nothing has changed."""
        used, place = self._place(signer, nonce, now_ms)
        used.insert(place, nonce)
        if len(used) > KEPT:
            del used[0]
        self._used[signer] = used
        if len(self._used) >= self._sweep_at:
            self._sweep(now_ms)

    def _place(self, signer: str, nonce: int, now_ms: int) -> tuple[list[int], int]:
        """The signer's nonces and where in them `nonce` belongs."""
        oldest, newest = now_ms - PAST_MS, now_ms + FUTURE_MS
        if nonce <= oldest:
            raise InvalidNonce(f"nonce too low {nonce} < {oldest}", nonce, oldest)
        if nonce >= newest:
            raise InvalidNonce(f"nonce too high {nonce} > {newest}", nonce, newest)
        used = self._used.get(signer, [])
        if not used or used[-1] <= oldest:
            return [], 0
        place = bisect_left(used, nonce)
        if place < len(used) and used[place] == nonce:
            raise InvalidNonce(f"duplicate nonce {nonce}", nonce)
        if place == 0:
            raise InvalidNonce(f"nonce too low {nonce} < {used[0]}", nonce, used[0])
        return used, place

    def _sweep(self, now_ms: int) -> None:
        """Forget the forgettable. Done each time their number may have doubled, so a use costs no more."""
        oldest = now_ms - PAST_MS
        self._used = {signer: used for signer, used in self._used.items() if used[-1] > oldest}
        self._sweep_at = max(1024, 2 * len(self._used))
