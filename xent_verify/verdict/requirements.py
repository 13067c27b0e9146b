"""What a caller asks of a target beyond the policy: the same bits whatever surrounds a row, and a class.

``--require`` takes words. ``invariance``: a row's bits do not change with batch size, position, neighbours, padding,
chunks, layout, repetition or threads; ``invariance:K``: they move by K ulps at most. The name of a class
(``policies.CLASSES``): every finite answer keeps that class or a stricter one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from xent_verify.core.failures import UnknownNameError, UsageError
from xent_verify.verdict.policies import CLASSES

__all__ = ["Requirements", "words_of"]

_INVARIANCE = "invariance"


@dataclass(frozen=True, slots=True)
class Requirements:
    """The words, read. ``ulps``: how far a row's values may move (None: not asked); ``keeps``: a class ("": none)."""

    ulps: float | None = None
    keeps: str = ""

    @staticmethod
    def of(words: Iterable[str]) -> Requirements:
        """Read words; of two of one kind the stricter counts. ``UsageError`` for a word that says nothing.

        >>> Requirements.of(["invariance:2", "stored"])
        Requirements(ulps=2.0, keeps='stored')
        """
        ulps: list[float] = []
        classes: list[str] = []
        for word in words:
            name, colon, number = word.partition(":")
            if name == _INVARIANCE:
                ulps.append(_ulps(word, number) if colon else 0.0)
            elif word in CLASSES:
                classes.append(word)
            else:
                raise UnknownNameError("requirement", word, [_INVARIANCE, f"{_INVARIANCE}:K", *CLASSES])
        return Requirements(min(ulps, default=None), min(classes, key=CLASSES.index, default=""))

    def met_by(self, keeps: str) -> bool:
        """Whether a target of that class ("": nothing was answered) has the class that is asked for, or a stricter one."""
        if not self.keeps or not keeps:
            return True
        return keeps in CLASSES and CLASSES.index(keeps) <= CLASSES.index(self.keeps)


def words_of(given: str | Iterable[str]) -> tuple[str, ...]:
    """One word, several with commas between, or a list of them, each once."""
    text = [given] if isinstance(given, str) else given
    return tuple(dict.fromkeys(word.strip() for part in text for word in part.split(",") if word.strip()))


def _ulps(word: str, number: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise UsageError(f"requirement {word!r}: needs a number of ulps of at least 0 after the colon")
    return value
