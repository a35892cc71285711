"""The devnode's exchange: the engine served in the wire's own words."""

from server.devnode.market.channels import Channels
from server.devnode.market.source import Exchange

__all__ = ["Channels", "Exchange"]
