"""Requests in, addresses out: which of the schemes applies, and what it covers."""

from collections.abc import Mapping
from typing import Any

from server.signing.catalogue import canonical_action
from server.signing.ecrecover import Signature, signer
from server.signing.errors import Malformed
from server.signing.l1 import agent_digest, connection_id
from server.signing.multi_sig import Envelope, MultiSig
from server.signing.user_signed import is_user_signed, user_digest


def recover(request: Mapping[str, Any], *, mainnet: bool) -> str:
    """Return the lower-case address that signed the decoded body of an `/exchange` request.

    Of a user-signed action that is the account; of an L1 action the account or its agent; of a `multiSig`
    its sender, the outer signer or an agent of that. A body that was signed otherwise than it reads, or for
    the other network, gives an address that nobody has: the caller will not know it.

    Raises `Malformed` and `Unrecoverable`.
    """
    action = _action(request)
    signature = Signature.of(request.get("signature"))
    envelope = _envelope(request)
    if is_user_signed(action):
        signed = user_digest(action, mainnet=mainnet)
    elif action.get("type") == "multiSig":
        signed = MultiSig.of(action).outer_digest(envelope, mainnet=mainnet)
    else:
        signed = agent_digest(connection_id(canonical_action(action), *envelope), mainnet=mainnet)
    return signer(signed, signature)


def recover_inner(request: Mapping[str, Any], *, mainnet: bool) -> tuple[str, ...]:
    """Return the lower-case addresses that signed inside a `multiSig`, in the order of its `signatures`.

    Each is an authorized user or the agent of one; an address may come twice. Raises `Malformed`, also for
    any other action, and `Unrecoverable` if that is true of one of them.
    """
    action = _action(request)
    if action.get("type") != "multiSig":
        raise Malformed("type: multiSig is needed")
    multi_sig = MultiSig.of(action)
    signed = multi_sig.inner_digest(_envelope(request), mainnet=mainnet)
    return tuple(signer(signed, signature) for signature in multi_sig.signatures)


def _action(request: Mapping[str, Any]) -> dict[str, Any]:
    action = request.get("action")
    if not isinstance(action, dict):
        raise Malformed("action: an object is needed")
    return action


def _envelope(request: Mapping[str, Any]) -> Envelope:
    return Envelope(request.get("nonce"), request.get("vaultAddress"), request.get("expiresAfter"))
