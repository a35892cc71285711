"""A simulated upstream that speaks the exchange's wire over real sockets, to run without a network."""

from server.devnode.devnode import Devnode
from server.devnode.foreground import serve
from server.devnode.limits import Limits
from server.devnode.recorded import Recorded
from server.devnode.recordings import RecordingError
from server.devnode.replay import Replay
from server.devnode.stats import Stats

__all__ = ["Devnode", "Limits", "Recorded", "RecordingError", "Replay", "Stats", "serve"]
