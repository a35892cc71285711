"""The door: what the server may use of the replica. Everything else is the replica's own business."""

from replica.clock import Clock
from replica.errors import (
    BudgetExhausted,
    ReplicaError,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnavailable,
    WriteNotSent,
    WriteOutcomeUnknown,
)
from replica.recording.files import Rotation
from replica.recording.recorder import Recorder, RecorderSettings
from replica.replica import Fetched, PerpDexs, Replica, ReplicaSettings
from replica.state.clearinghouse import HeldState
from replica.state.readiness import Phase, Readiness
from replica.state.store import Bounds, Store
from replica.upstream.feed import FeedSettings
from replica.upstream.ledger import LedgerLimits
from replica.upstream.rest import Answer
from replica.upstream.tap import Tap

__all__ = [
    "Answer",
    "Bounds",
    "BudgetExhausted",
    "Clock",
    "FeedSettings",
    "Fetched",
    "HeldState",
    "LedgerLimits",
    "PerpDexs",
    "Phase",
    "Readiness",
    "Recorder",
    "RecorderSettings",
    "Replica",
    "ReplicaError",
    "ReplicaSettings",
    "Rotation",
    "Store",
    "Tap",
    "UpstreamError",
    "UpstreamTimeout",
    "UpstreamUnavailable",
    "WriteNotSent",
    "WriteOutcomeUnknown",
]
