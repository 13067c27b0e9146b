"""How long a target is asked that dies or does not answer in time, and whether its silence is a fault."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from xent_verify.core.model import Batch, Died, NotOffered, Outcome, Returned, TimedOut

__all__ = ["Patience"]

_NEARLY = 0.9
"""Share of the calls of a kind that must take too long to be a fault of that kind."""

_OF_VALUE = ("largest", "lowest")
"""Traits of a call's values; its other traits are sizes, which make a sound target slow too."""


class Patience:
    """What a target that ends or blocks its process is still asked.

    Each such call costs a start of a process or the whole time limit. After three in one regime the rest of that regime
    is left out, and after five in a row before any answer, or eight calls out of time in all, the rest of the plan. Before
    that, once two calls took too long, those of their kind are left out: where every slow call has a trait, such as its
    largest logit or its length, at a size that no answered call has reached, calls of that size. What was left out is told.
    """

    IN_REGIME, IN_A_ROW, SLOW = 3, 5, 8

    def __init__(self) -> None:
        self.late = 0
        self._lost: dict[str, int] = {}
        self._answers = 0
        self._left_out: dict[str, int] = {}
        self._answered: dict[str, float] = {}  # trait -> its largest size in an answered call
        self._slow: dict[str, float] = {}  # trait -> its smallest size in a slow one
        self._replies: dict[str, int] = {}  # regime -> calls that did not take too long
        self._late: dict[str, list[Batch]] = {}  # regime -> calls that did

    @property
    def exhausted(self) -> bool:
        """Whether so many calls have taken too long that none is made any more."""
        return self.late >= self.SLOW

    def spent(self, batch: Batch) -> bool:
        """True when the batch is not to be asked."""
        hopeless = not self._answers and sum(self._lost.values()) >= self.IN_A_ROW
        if hopeless or self.exhausted or self._lost.get(batch.regime, 0) >= self.IN_REGIME or self._like_slow(batch):
            self._left_out[batch.regime] = self._left_out.get(batch.regime, 0) + 1
            return True
        return False

    def _like_slow(self, batch: Batch) -> bool:
        if self.late < 2:
            return False
        telling = self._telling()
        return any(size >= telling[name] for name, size in _traits(batch).items() if name in telling)

    def _telling(self) -> dict[str, float]:
        """Traits that every slow call has at a size that no answered call has reached -> that size."""
        return {name: size for name, size in self._slow.items() if size > self._answered.get(name, -np.inf)}

    def at_fault(self, ask: Callable[[Batch], Outcome]) -> bool:
        """Whether calls that took too long are a fault of the target, not of a slow or busy machine.

        They are where the target never answered, or where nearly all calls of a kind took too long and one of them does
        so again. A kind is a regime, or logits above or below all that were answered. Calls that are larger than all that
        were answered are not: a sound target may be slow.

        Args:
            ask: The target.

        Returns:
            True for a fault.
        """
        if not self._answers:
            return bool(self.late)
        telling = self._telling()
        sizes = telling.keys() - set(_OF_VALUE)
        for regime, late in self._late.items():
            nearly_all = len(late) >= 2 and len(late) >= _NEARLY * (len(late) + self._replies.get(regime, 0))
            by_value = self.late >= 2 and telling.keys() & set(_OF_VALUE)
            if (nearly_all or by_value) and not sizes and isinstance(ask(late[0]), TimedOut):
                return True
        return False

    def saw(self, batch: Batch, outcome: Outcome) -> None:
        """Take note of an outcome."""
        if isinstance(outcome, Died | TimedOut):
            self._lost[batch.regime] = self._lost.get(batch.regime, 0) + 1
        else:
            self._answers += 1
        if isinstance(outcome, TimedOut):
            self.late += 1
            self._late.setdefault(batch.regime, []).append(batch)
            for name, size in _traits(batch).items():
                self._slow[name] = min(size, self._slow.get(name, np.inf))
            return
        self._replies[batch.regime] = self._replies.get(batch.regime, 0) + 1
        if self.late or isinstance(outcome, Returned):
            for name, size in _traits(batch).items():
                self._answered[name] = max(size, self._answered.get(name, -np.inf))

    def watched(self, ask: Callable[[Batch], Outcome]) -> Callable[[Batch], Outcome]:
        """``ask`` for companion calls: two of them may take too long, then nothing is asked any more."""
        last = self.late + 2

        def call(batch: Batch) -> Outcome:
            if self.late >= last:
                return NotOffered("no more calls after so many timeouts")
            outcome = ask(batch)
            self.late += isinstance(outcome, TimedOut)
            return outcome

        return call

    def notes(self) -> list[str]:
        """A line for each regime that was cut short."""
        return [
            f"not asked (after repeated crashes or timeouts): {regime}, {count} call{'s' * (count != 1)}"
            for regime, count in sorted(self._left_out.items())
        ]


def _traits(batch: Batch) -> dict[str, float]:
    """Sizes of a call that may make it slow."""
    wide = batch.form.widen(batch.x)
    if not wide.size:
        return {}
    high, low = float(np.fmax.reduce(wide, axis=None)), float(np.fmin.reduce(wide, axis=None))
    found = {"largest": high, "lowest": -low, "length": wide.shape[-1] if wide.ndim else 1, "logits": wide.size}
    return {name: float(size) for name, size in found.items() if not np.isnan(size)}
