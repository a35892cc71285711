"""The truth of a local Hyperliquid: accounts, books, margin, and the ledger of events they follow from."""

from server.devnode.engine.engine import Engine
from server.devnode.engine.makers import Makers

__all__ = ["Engine", "Makers"]
