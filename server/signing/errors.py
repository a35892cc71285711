"""What can be wrong with a signed request, before anyone asks what it wants."""


class SigningError(ValueError):
    """The family. `str()` of each is one line that may be shown to the client."""


class Malformed(SigningError):
    """A field that the signature covers is missing or of the wrong kind, so there is nothing to verify.

    The text names the field and is ours: the exchange answers such a body with its 422, whose words never
    change ("Failed to deserialize the JSON body into the target type").
    """


class Unrecoverable(SigningError):
    """`r`, `s` or `v` are not those of a signature. The text is the exchange's."""

    def __init__(self) -> None:
        super().__init__("Unable to recover signer.")


class InvalidNonce(SigningError):
    """The nonce was used before, or lies outside of what is taken. The text is the exchange's.

    `nonce` is the one refused, in ms. Where it is a matter of order, `bound` is the nonce it was compared
    with; for a duplicate it is None.
    """

    def __init__(self, why: str, nonce: int, bound: int | None = None) -> None:
        super().__init__(f"Invalid nonce: {why}")
        self.nonce = nonce
        self.bound = bound
