"""The end of a piece of work that may take only so long."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from xent_verify.core.interrupts import raise_pending
from xent_verify.core.model import Batch, NotOffered, Outcome

__all__ = ["ENDLESS", "USUAL", "Clock"]

USUAL = {"quick": 300.0, "standard": 900.0, "deep": 3600.0}
"""Seconds after which the audit of one target, operation and format is given up, per profile: a sound NumPy function takes
less than a fiftieth of that."""


@dataclass(frozen=True, slots=True)
class Clock:
    """A moment (``time.monotonic``) after which nothing new is begun.

    >>> Clock.after(60.0).spent
    False
    """

    ends: float = math.inf

    @staticmethod
    def after(seconds: float) -> Clock:
        return Clock(time.monotonic() + seconds)

    @property
    def left(self) -> float:
        """Seconds that are left; negative when they are spent."""
        return self.ends - time.monotonic()

    @property
    def spent(self) -> bool:
        return self.left <= 0

    def part(self, share: float) -> Clock:
        """The clock of a part of the work: that share of what is left."""
        return self if math.isinf(self.ends) else Clock.after(max(self.left, 0.0) * share)

    def sooner(self, seconds: float) -> Clock:
        """This clock, or the one that ends after so many seconds, whichever ends first."""
        return min(self, Clock.after(seconds), key=lambda clock: clock.ends)

    def watched(self, ask: Callable[[Batch], Outcome]) -> Callable[[Batch], Outcome]:
        """``ask``, which is not asked any more once the time is spent or the program was told to end."""
        return partial(self._answer, ask)

    def _answer(self, ask: Callable[[Batch], Outcome], batch: Batch) -> Outcome:
        raise_pending()
        return NotOffered("no time is left") if self.spent else ask(batch)


ENDLESS = Clock()
