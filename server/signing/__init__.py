"""Who signed a write, whom it names, and whether its nonce is fresh. Pure: bytes and numbers in, values out.

The schemes are those of the official documentation's pages "Signing", "Exchange endpoint", "Nonces and API
wallets" and "Multi-sig". What an address means (an account, its agent, nobody) is not known here.

- `recover(request, mainnet=...)`: the address that signed the body of an `/exchange` request
- `recover_inner(request, mainnet=...)`: the addresses that signed inside a `multiSig`
- `is_user_signed(action)`: whether only the account itself may sign it, never an agent
- `inner_nonce(action)`: the nonce that such an action repeats inside, to be compared with the outer one
- `named_accounts(action, vault_address)`: the accounts it names beside its signer
- `Nonces`: the nonces each signer has used

Everything they raise is a `SigningError`.
"""

from server.signing.accounts import named_accounts
from server.signing.errors import InvalidNonce, Malformed, SigningError, Unrecoverable
from server.signing.nonces import Nonces
from server.signing.signers import recover, recover_inner
from server.signing.user_signed import inner_nonce, is_user_signed

__all__ = [
    "InvalidNonce",
    "Malformed",
    "Nonces",
    "SigningError",
    "Unrecoverable",
    "inner_nonce",
    "is_user_signed",
    "named_accounts",
    "recover",
    "recover_inner",
]
