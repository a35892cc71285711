"""A recording of `hl-replica record` in the place of the upstream that was recorded."""

from server.devnode.replay.node import Replay

__all__ = ["Replay"]
