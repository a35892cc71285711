"""Whom a write names. Its effects may show in the state of each of them, not of its signer alone."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

_ADDRESS = re.compile(r"(?:0x)?([0-9a-fA-F]{40})")
_SUB_ACCOUNT = re.compile(r".* subaccount:(0x[0-9a-fA-F]{40})", re.DOTALL)  # as in "1.5 subaccount:0x…"

_NAMING = (
    "agentAddress",
    "destination",
    "destinationRecipient",  # an address of another chain, which may be an account here as well
    "fromSubAccount",
    "multiSigUser",
    "outerSigner",
    "subAccountUser",
    "tradingUser",
    "user",
    "vaultAddress",
)
"""Fields of an action that name an account. Builders and validators earn by it, but it is not their write."""


def named_accounts(action: Mapping[str, Any], vault_address: str | None) -> frozenset[str]:
    """Return the lower-case addresses that an action names beside its signer, with those in its payload.

    `vault_address` is the request's, with or without 0x: the account that is acted for. Where it is set, the
    signer is not the account. Never raises: what is no address names nobody.
    """
    return frozenset(_named(action, vault_address))


def _named(action: Mapping[str, Any], vault_address: object) -> Iterator[str]:
    yield from _address(vault_address)
    for field in _NAMING:
        yield from _address(action.get(field))
    amount = action.get("amount")
    if isinstance(amount, str) and (match := _SUB_ACCOUNT.fullmatch(amount)):
        yield match[1].lower()
    payload = action.get("payload")
    if isinstance(payload, dict):
        yield from _named(payload, None)
        inner = payload.get("action")
        if isinstance(inner, dict):
            # A payload within a payload is no action of the exchange's, and would be as deep as one likes.
            yield from _named({**inner, "payload": None}, None)


def _address(value: object) -> Iterator[str]:
    if isinstance(value, str) and (match := _ADDRESS.fullmatch(value)):
        yield "0x" + match[1].lower()
