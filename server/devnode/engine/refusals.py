"""The exchange's words of refusal. Those marked (ours) stand where no recorded text is known."""

from __future__ import annotations

# One for the whole action
NO_WALLET = "User or API Wallet {} does not exist."
NO_DEPOSIT = "Must deposit before performing actions. User: {}"
NO_VAULT = "Vault not registered: {}"
TOO_FAR = "Order price cannot be more than 80% away from the reference price"
INVALID_SIZE = "Order has invalid size."
ZERO_SIZE = "Order has zero size."
INVALID_PRICE = "Order has invalid price."
NO_ORDERS = "Orders are empty"
TOO_HEAVY = "Signed action over weight limit of 200."
TRIGGER_COUNT = "Unexpected number of trigger orders"
CHILD_NOT_REDUCING = "TP/SL orders must be reduce only."  # (ours)
NO_ASSET = "Invalid asset: {}"  # (ours)
NO_BUILDER = "Builder fee has not been approved."
DEAD_ORDER = "Cannot modify canceled or filled order"
DURING_MODIFY = "Error placing new order during modify: "

# One for each order
TICK = ("tickRejected", "Price must be divisible by tick size.")
MIN_NOTIONAL = ("minTradeNtlRejected", "Order must have minimum value of $10.")
MIN_SPOT_NOTIONAL = ("minTradeNtlRejected", "Order must have minimum value of 10 USDC.")
MARGIN = ("perpMarginRejected", "Insufficient margin to place order.")
REDUCE_ONLY = ("reduceOnlyRejected", "Reduce only order would increase position.")
BAD_ALO = ("badAloPxRejected", "Post only order would have immediately matched, bbo was {}.")
IOC = ("iocCancelRejected", "Order could not immediately match against any resting orders.")
BAD_TRIGGER = ("badTriggerPxRejected", "Invalid TP/SL price.")
NO_LIQUIDITY = ("marketOrderNoLiquidityRejected", "No liquidity available for market order.")
SPOT_BALANCE = ("insufficientSpotBalanceRejected", "Insufficient spot balance")
MAX_POSITION = (
    "perpMaxPositionRejected",
    "Order would cause position to exceed margin tier limit at current leverage",
)
TOO_MANY = ("tooManyOpenOrdersRejected", "Too many open orders")
NO_ORDER = "Order was never placed, already canceled, or filled."

# TWAPs
TWAP_DURATION = "Invalid TWAP duration: {} min(s)"
NO_TWAP = "TWAP was never placed, already canceled, or filled."
SMALL_TWAP = "TWAP order value too small. Min is ${}, which is $10 per minute."
TWAP_REDUCE_ONLY = "Reduce-only TWAP order would increase position."

# Settings, transfers, agents
LEVERAGE_TYPE = "Cannot switch leverage type with open position."
NO_CROSS = "Cross margin is not allowed for this asset."
INVALID_LEVERAGE = "Invalid leverage value"
CROSS_LEVERAGE = "Cross position does not have sufficient margin available to decrease leverage."
ISOLATED_LEVERAGE = "Isolated position does not have sufficient margin available to decrease leverage."
NOT_ISOLATED = "Position does not use isolated margin."
NO_MARGIN_TO_ADD = "Insufficient margin available to add to isolated position."  # (ours)
STRICT_ISOLATED = "Cannot remove margin from this position."  # (ours)
WITHDRAWAL = "Insufficient balance for withdrawal"
TRANSFER = "Insufficient balance for token transfer"
INVALID_SEND = "Invalid send"
SUB_TRANSFER = "Invalid sub-account transfer from {} to {}"
AGENT_SEND = "Agent can only send asset to same user or their sub-accounts."
AGENT_EXPIRED = "Agent valid_until already expired."
AGENT_USED = "Extra agent already used."
TOO_MANY_AGENTS = "Too many extra agents for cumulative volume traded. Current limit is {}"
RESERVATION = "Insufficient balance to reserve request weight"  # (ours)
BUILDER_RATE = "Invalid builder fee rate."  # (ours)
CANCEL_TOO_SOON = "Scheduled cancel time too early, must be at least 5 seconds from now."  # (ours)
TOO_MANY_CANCELS = "Too many scheduled cancels triggered for the day. Limit is 10."
HAS_CODE = "Referral code already registered for this user"
CODE_TAKEN = "Referral code already registered"
NO_CODE_YET = "Cannot generate referral code until enough volume traded"
HAS_REFERRER = "Referrer already set"
SELF_REFERRAL = "Cannot self-refer"
NO_REFERRER = "Referral code does not exist"  # (ours)
UNKNOWN_ACTION = "Unsupported action: {}"  # (ours)


class Refused(Exception):
    """The whole action is refused; the message is the response's text."""
