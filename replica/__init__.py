"""The door: what the server may use of the replica. Everything else is the replica's own business."""

from replica.catalogue import INTERVALS, Kind, Param, StreamType, kind_of
from replica.catalogue import TYPES as SUBSCRIPTION_TYPES
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
from replica.keeping import KeepSettings
from replica.mirror import MirrorSettings, makes_room
from replica.reading import Age, LiveBounds, Reading
from replica.recording.files import Rotation
from replica.recording.recorder import Recorder, RecorderSettings
from replica.replica import Fetched, PerpDexs, Replica, ReplicaSettings
from replica.state.candles import CandleStore, read_candle
from replica.state.clearinghouse import HeldState
from replica.state.documents import LISTINGS, OUTCOMES, Document, DocumentLimits, DocumentStore
from replica.state.readiness import Phase, Readiness
from replica.state.store import Bounds, Store
from replica.streams.memory import Whole
from replica.streams.rows import Row
from replica.subscription import Subscription
from replica.upstream.feed import FeedSettings
from replica.upstream.rest import Answer
from replica.upstream.tap import Tap
from replica.upstream.usage import LedgerLimits
from replica.upstream.weight import ROWS_PER_WEIGHT, info_cost

__all__ = [
    "INTERVALS",
    "LISTINGS",
    "OUTCOMES",
    "ROWS_PER_WEIGHT",
    "SUBSCRIPTION_TYPES",
    "Age",
    "Answer",
    "Bounds",
    "BudgetExhausted",
    "CandleStore",
    "Clock",
    "Document",
    "DocumentLimits",
    "DocumentStore",
    "FeedSettings",
    "Fetched",
    "HeldState",
    "KeepSettings",
    "Kind",
    "LedgerLimits",
    "LiveBounds",
    "MirrorSettings",
    "Param",
    "PerpDexs",
    "Phase",
    "Readiness",
    "Reading",
    "Recorder",
    "RecorderSettings",
    "Replica",
    "ReplicaError",
    "ReplicaSettings",
    "Rotation",
    "Row",
    "Store",
    "StreamType",
    "Subscription",
    "Tap",
    "UpstreamError",
    "UpstreamTimeout",
    "UpstreamUnavailable",
    "Whole",
    "WriteNotSent",
    "WriteOutcomeUnknown",
    "info_cost",
    "kind_of",
    "makes_room",
    "read_candle",
]
