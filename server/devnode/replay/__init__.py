"""A recording of `hl-replica record` in the place of the upstream that was recorded."""

from server.devnode.replay.node import Replay
from server.devnode.replay.tape import RecordingError

__all__ = ["RecordingError", "Replay"]
