"""The two layers of a `multiSig` (page "Multi-sig"): what its signers signed, and what its sender signed."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from server.signing.catalogue import canonical_action
from server.signing.ecrecover import Signature, trimmed
from server.signing.errors import Malformed
from server.signing.l1 import agent_digest, connection_id
from server.signing.user_signed import inner_digest, is_user_signed, outer_digest
from server.signing.values import address_bytes, uint


class Envelope(NamedTuple):
    """What else of the request the signatures cover, as it came: ms, an address or None, ms or None."""

    nonce: Any
    vault_address: Any
    expires_after: Any


class MultiSig(NamedTuple):
    """A `multiSig` action taken apart. Addresses are lower-case, `action` is in canonical form."""

    signature_chain_id: Any
    signatures: tuple[Signature, ...]
    user: str
    outer_signer: str
    action: Any

    @classmethod
    def of(cls, action: Mapping[str, Any]) -> "MultiSig":
        """Raises `Malformed`. What the signatures hold is looked at when they are used."""
        signatures, payload = action.get("signatures"), action.get("payload")
        if not isinstance(signatures, list) or not isinstance(payload, dict):
            raise Malformed("multiSig: signatures and a payload are needed")
        inner = payload.get("action")
        if not isinstance(inner, dict):
            raise Malformed("payload.action: an object is needed")
        return cls(
            action.get("signatureChainId"),
            tuple(Signature.of(signature) for signature in signatures),
            _address(payload, "multiSigUser"),
            _address(payload, "outerSigner"),
            canonical_action(inner),
        )

    def outer_digest(self, envelope: Envelope, *, mainnet: bool) -> bytes:
        """What the sender signed. Raises `Malformed`, and `Unrecoverable` for an r or s that is no number."""
        # The hash is that of the action without its type. Each r and s in it is without leading zeros, even
        # if it was sent with them: the exchange writes them anew.
        body = {
            "signatureChainId": self.signature_chain_id,
            "signatures": [{"r": trimmed(r), "s": trimmed(s), "v": v} for r, s, v in self.signatures],
            "payload": {"multiSigUser": self.user, "outerSigner": self.outer_signer, "action": self.action},
        }
        hashed = connection_id(body, *envelope)
        nonce = uint(envelope.nonce, "nonce")
        return outer_digest(self.signature_chain_id, hashed, nonce, mainnet=mainnet)

    def inner_digest(self, envelope: Envelope, *, mainnet: bool) -> bytes:
        """What each of the signers signed. Raises `Malformed`."""
        if is_user_signed(self.action):
            return inner_digest(self.action, self.user, self.outer_signer, mainnet=mainnet)
        signed = [self.user, self.outer_signer, self.action]
        return agent_digest(connection_id(signed, *envelope), mainnet=mainnet)


def _address(payload: Mapping[str, Any], field: str) -> str:
    return "0x" + address_bytes(payload.get(field), f"payload.{field}").hex()
