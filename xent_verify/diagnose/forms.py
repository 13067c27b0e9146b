"""Forms that are fitted where no known mistake is met: wrong by a constant factor, a constant, or a factor of the row length.

A form explains a value when what it predicts is within two limits of a sound algorithm of it. It is told when it explains
every failing value of several calls, at least ``least`` of them, whose magnitudes span a factor of four: over a smaller
range a factor, a constant and most other errors look alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from xent_verify.core.formats import FloatArray

__all__ = ["Sample", "form_of"]

_NAMES = (
    ("-1", -1.0), ("2", 2.0), ("1/2", 0.5), ("log 2", math.log(2.0)), ("1 / log 2", 1 / math.log(2.0)), ("e", math.e),
)  # fmt: skip
"""Factors that have a name."""
_LENGTHS: tuple[tuple[str, Callable[[float], float]], ...] = (
    ("n", lambda n: n), ("1/n", lambda n: 1 / n), ("1/(n - 1)", lambda n: 1 / (n - 1)), ("(n - 1)/n", lambda n: (n - 1) / n),
    ("n/(n - 1)", lambda n: n / (n - 1)), ("n/(n + 1)", lambda n: n / (n + 1)), ("(n + 1)/n", lambda n: (n + 1) / n),
)  # fmt: skip
"""Factors of the row length n."""


_SPAN = 4.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The failing values of one call: true ones, given ones, the limits of a sound algorithm (1-D); the row length."""

    true: FloatArray
    given: FloatArray
    limit: FloatArray
    length: int

    @property
    def usable(self) -> Sample:
        """Without infinities, NaN, true zeros, and values without a limit."""
        keep = np.isfinite(self.true) & np.isfinite(self.given) & np.isfinite(self.limit)
        keep &= (self.true != 0) & (self.limit > 0)
        return Sample(self.true[keep], self.given[keep], self.limit[keep], self.length)


@np.errstate(all="ignore")
def form_of(samples: Sequence[Sample], least: int) -> str:
    """The form that explains all failing values, in words; "" where none does.

    >>> import numpy as np
    >>> true = np.array([0.1, 0.2, 0.3, 0.7])
    >>> form_of([Sample(true, 2 * true, np.full(4, 1e-7), 4)] * 2, least=8)
    'every failing value is 2 times the true one (8 values of 2 calls)'
    """
    found = [sample.usable for sample in samples]
    if any(len(kept.true) < len(sample.true) for kept, sample in zip(found, samples, strict=True)):
        return ""  # a form does not turn numbers into infinities
    found = [sample for sample in found if len(sample.true)]
    count = sum(len(sample.true) for sample in found)
    if count < least or len(found) < 2:
        return ""
    true, given, limit = (np.concatenate([getattr(one, name) for one in found]) for name in ("true", "given", "limit"))
    if np.abs(true).max() < _SPAN * np.abs(true).min() or len(np.unique(np.round(true, 12))) < 3:
        return ""
    told = f"({count} values of {len(found)} calls)"
    factor = _fitted(given / true, np.abs(true) / limit)
    scaled, bound = factor * true, limit * max(1.0, abs(factor))
    if (
        not _explains(np.zeros_like(given), given, limit)
        and _explains(scaled, given, bound)
        and _tells(scaled, given, true)
    ):
        return f"every failing value is {_named(factor, true, given, limit)} times the true one {told}"
    shift = _fitted(given - true, 1 / limit)
    if _explains(true + shift, given, limit) and _tells(true + shift, given, true):
        return f"every failing value is the true one {'+' if shift > 0 else '-'} {abs(shift):.6g} {told}"
    return _of_length(found, told)


def _fitted(values: FloatArray, weights: FloatArray) -> float:
    """The value that is best known."""
    return float(values[int(np.argmax(weights))])


def _explains(predicted: FloatArray, given: FloatArray, limit: FloatArray) -> bool:
    return bool((np.abs(given - predicted) <= 2 * limit).all())


def _tells(predicted: FloatArray, given: FloatArray, true: FloatArray) -> bool:
    """Whether a form takes the better part of nearly every error away."""
    return bool(np.mean(np.abs(given - predicted) <= np.abs(given - true) / 4) >= _NEARLY_ALL)


_NEARLY_ALL = 0.9


def _named(factor: float, true: FloatArray, given: FloatArray, limit: FloatArray) -> str:
    for name, value in _NAMES:
        if _explains(value * true, given, limit * max(1.0, abs(value))):
            return name
    return f"{factor:.6g}"


def _of_length(samples: Sequence[Sample], told: str) -> str:
    """A factor that depends on the row length, where calls of two lengths show it."""
    lengths = {sample.length for sample in samples}
    if len(lengths) < 2 or min(lengths) < 2:
        return ""
    for name, factor in _LENGTHS:
        if all(
            _explains(factor(one.length) * one.true, one.given, one.limit * max(1.0, factor(one.length)))
            for one in samples
        ):
            return f"every failing value is {name} times the true one, n the row length {told}"
    return ""
