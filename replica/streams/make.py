"""Which memory a subscription gets: by what its frames are."""

from replica.catalogue import Kind, kind_of
from replica.streams.candle import CandleMemory
from replica.streams.delta import DeltaMemory
from replica.streams.log import LogMemory
from replica.streams.memory import Memory, Tally
from replica.streams.passing import PassingMemory
from replica.streams.rows import layout_of
from replica.streams.state import StateMemory
from replica.subscription import Subscription


def memory_of(
    subscription: Subscription, tally: Tally, *, keep: int, most_waiting: int, pages: int
) -> Memory:
    """`keep` rows for joiners, `most_waiting` while healing, at most `pages` questions to heal one list."""
    kind = kind_of(subscription)
    if kind is Kind.STATE:
        return StateMemory(subscription.type, tally)
    if kind is Kind.CANDLE:
        return CandleMemory(subscription, tally)
    if kind is Kind.DELTA:
        return DeltaMemory(tally)
    if layout_of(subscription) is not None:
        return LogMemory(subscription, tally, keep=keep, most_waiting=most_waiting, pages=pages)
    return PassingMemory(tally)
