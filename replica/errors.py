"""What can go wrong with an upstream, in our own words. No library's exception leaves the replica.

Each carries its numbers as fields; the server turns them into statuses and bodies, once, at its edge.
"""


class ReplicaError(Exception):
    """The family. Never raised itself."""


class UpstreamError(ReplicaError):
    """The upstream failed us. Never raised itself. `sent` False: certainly no byte of the request left."""

    def __init__(self, message: str, *, sent: bool = True) -> None:
        super().__init__(message)
        self.sent = sent


class UpstreamTimeout(UpstreamError):
    """No connection or no answer within the deadline."""


class UpstreamUnavailable(UpstreamError):
    """The upstream could not be reached, cut the connection, or did not speak HTTP."""


class BudgetExhausted(ReplicaError):
    """The rate budget can't pay for the request in time, or the upstream said 429."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"rate budget exhausted, room in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


class WriteNotSent(ReplicaError):
    """No byte of the write left this machine: it certainly did not happen."""


class WriteOutcomeUnknown(ReplicaError):
    """The write may have reached the exchange, and its answer did not reach us. Never sent again by us.

    `timed_out` tells a deadline from a cut connection.
    """

    def __init__(self, message: str, *, timed_out: bool) -> None:
        super().__init__(message)
        self.timed_out = timed_out
