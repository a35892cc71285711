"""Is the replica worth asking? Three states and a generation.

    PENDING --everything followed is held and live--> READY --something is not--> PENDING ...
       `------------------------- stop -------------------------> STOPPED

The generation grows each time READY is entered, so that a waiter can tell that readiness was lost and
regained behind its back.
"""

from enum import Enum


class Phase(Enum):
    PENDING = "pending"
    READY = "ready"
    STOPPED = "stopped"


class Readiness:
    """Call `assess` with the reasons against; it keeps the phase and the generation."""

    def __init__(self) -> None:
        self.phase = Phase.PENDING
        self.generation = 0
        self.reasons: tuple[str, ...] = ("starting",)

    def assess(self, reasons: tuple[str, ...]) -> None:
        """No reasons against means READY."""
        if self.phase is Phase.STOPPED:
            return
        self.reasons = reasons
        if reasons:
            self.phase = Phase.PENDING
        elif self.phase is Phase.PENDING:
            self.phase = Phase.READY
            self.generation += 1

    def stop(self) -> None:
        """Stopping is for good."""
        self.phase = Phase.STOPPED
        self.reasons = ("stopping",)

    def __repr__(self) -> str:
        return f"<Readiness {self.phase.value} generation {self.generation}>"
