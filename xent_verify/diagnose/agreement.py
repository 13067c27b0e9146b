"""How well a prediction meets what was observed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray, FloatFormat, IntArray

__all__ = ["Agreement", "Evidence", "spread", "ways"]

_LOOKED_AT = 4000
"""Failing values, and others, that are compared at most: evenly spread over the result."""


def ways(count: int, chosen: int) -> float:
    """log2 of the number of ways to choose so many of a number.

    >>> ways(4, 2) == math.log2(6)
    True
    """
    every = math.lgamma(count + 1) - math.lgamma(chosen + 1) - math.lgamma(count - chosen + 1)
    return every / math.log(2)


@dataclass(frozen=True)
class Agreement:
    """How many failing values a prediction meets, which share of the others it leaves, which share it meets to the bit.

    ``telling``: how many of the values met are numbers that chance does not give: neither 0 nor infinite nor NaN, and of
    more than 8 bits. ``surprise``: for each different value of these, how many bits it tells: -log2 of the chance that a
    wrong prediction of the same size of error comes as near. ``odd``: the share met of the failing values that are, or should
    be, infinite or NaN: a mistake that explains numbers alone does not explain these. ``apart``: how many values are not met.
    """

    hits: int
    failing: int
    others: float
    exact: float = 0.0
    telling: int = 0
    surprise: Mapping[float, float] = field(default_factory=dict)
    odd: float = 1.0
    apart: int = 0

    @property
    def share(self) -> float:
        """Of the failing values, or of those among them that are odd, whichever is met less."""
        return min(self.hits / self.failing, self.odd) if self.failing else 1.0


@dataclass(frozen=True)
class Evidence:
    """The values that predictions are compared with: flat places, observed values, tolerances, which of them fail.

    A failing value is met within 4 of its ulps (2 where there are one or two) and a thousandth of its deviation, and
    nearer to what was observed than to the truth; others may differ by 16 of their bounds.
    """

    form: FloatFormat
    shape: tuple[int, ...]
    places: IntArray
    observed: FloatArray
    deviation: FloatArray
    tolerance: FloatArray
    failing: NDArray[np.bool_]

    @classmethod
    def of(
        cls, form: FloatFormat, observed: FloatArray, true: FloatArray, failing: NDArray[np.bool_], limit: FloatArray
    ) -> Evidence:
        """Spread over the result where it is large; values whose truth is NaN count only where they fail."""
        bad = spread(np.flatnonzero(failing), _LOOKED_AT)
        good = spread(np.flatnonzero(~failing & ~np.isnan(true)), _LOOKED_AT)
        places = np.concatenate([bad, good])
        y, t = observed.ravel()[places], true.ravel()[places]
        with np.errstate(all="ignore"):
            ulp = np.nan_to_num(form.ulp(y), nan=0.0)
            few = len(bad) < 3
            near = np.minimum((2 if few else 4) * ulp, 0.25 * np.abs(y - t))
            near = near + (1e-4 if few else 1e-3) * np.minimum(np.abs(y - t), np.abs(y))
            near = np.where(np.isfinite(near), near, 0.0)
            other = 16 * np.nan_to_num(np.broadcast_to(limit, observed.shape).ravel()[places], nan=np.inf) + 4 * ulp
        wrong = np.arange(len(places)) < len(bad)
        return cls(form, observed.shape, places, y, np.abs(y - t), np.where(wrong, near, other), wrong)

    def meets(self, predicted: FloatArray) -> Agreement:
        """Count what a prediction meets once it is rounded to the format; one of another shape meets nothing."""
        count = int(self.failing.sum())
        if predicted.shape != self.shape:
            return Agreement(0, count, 0.0)
        with np.errstate(all="ignore"):
            value = self.form.widen(self.form.narrow(predicted.ravel()[self.places]))
            same = (value == self.observed) | (np.isnan(value) & np.isnan(self.observed))
            met = same | (np.abs(value - self.observed) <= self.tolerance)
        others, odd = met[~self.failing], met[self.failing & ~np.isfinite(self.deviation)]
        exact = float(same[self.failing].mean()) if count else 0.0
        telling = met & self.failing & np.isfinite(self.observed) & (self.observed != 0)
        return Agreement(
            int(met[self.failing].sum()),
            count,
            float(others.mean()) if others.size else 1.0,
            exact,
            int(telling.sum()) if self.form.bits > 8 else 0,
            self._surprise(value, telling) if self.form.bits > 8 else {},
            float(odd.mean()) if odd.size else 1.0,
            int(np.count_nonzero(~met)),
        )

    def _surprise(self, predicted: FloatArray, telling: NDArray[np.bool_]) -> dict[float, float]:
        """log2(deviation / distance) of each value, its distance at least half an ulp."""
        given, first = np.unique(self.observed[telling], return_index=True)
        distance = np.abs(predicted - self.observed)[telling][first]
        deviation = self.deviation[telling][first]
        with np.errstate(all="ignore"):
            bits = np.log2(deviation / np.maximum(distance, self.form.ulp(given) / 2))
        kept = np.isfinite(bits) | np.isposinf(bits)
        bits = np.clip(bits, 0, self.form.precision)
        return dict(zip(given[kept].tolist(), bits[kept].tolist(), strict=True))


def spread(index: IntArray, most: int) -> IntArray:
    """At most ``most`` of the indices, evenly spread."""
    return index[:: max(-(-len(index) // most), 1)]
