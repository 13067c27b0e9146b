"""Drawing values of a format: its exp edges, its ordinals, seeded streams and shuffled cycles.

Makers of rows work in float64 and hand over exact values of the format at the end (``Draw.narrow``); what must sit on
a particular representable value goes through ordinals (``Draw.nudge``). Nothing here is typed in from a table of
constants: every edge is computed from the format's own fields.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xent_verify.core.formats import FORMATS, FloatArray, FloatFormat, IntArray
from xent_verify.regimes.portable import log

__all__ = ["Draw", "Edges", "edges_of", "stream"]


@dataclass(frozen=True, slots=True)
class Edges:
    """Arguments at which a format's exp changes class."""

    overflow: float  # log M: above it exp is infinite
    normal: float  # log of the smallest normal: below it exp is subnormal
    subnormal: float  # log of the smallest subnormal
    vanishing: float  # log of half of that: below it exp rounds to 0

    @property
    def low(self) -> tuple[float, float, float]:
        return self.normal, self.subnormal, self.vanishing


@functools.cache
def edges_of(fmt: FloatFormat) -> Edges:
    """The exp edges of one format (logarithms in float64: exact to an ulp of float64, then nudged by ordinals)."""
    smallest = float(log(fmt.smallest_subnormal))
    return Edges(float(log(fmt.max_finite)), float(log(fmt.smallest_normal)), smallest, smallest - float(log(2.0)))


def stream(*key: object) -> np.random.Generator:
    """An independent random stream for each key: the same on every machine and in every process."""
    digest = hashlib.blake2b("|".join(map(str, key)).encode(), digest_size=16).digest()
    return np.random.default_rng(np.random.SeedSequence(int.from_bytes(digest, "big")))


@dataclass(frozen=True, slots=True)
class Draw:
    """A format and a random stream: what every maker of rows is given."""

    fmt: FloatFormat
    rng: np.random.Generator

    @property
    def lowest(self) -> float:
        """The format's lowest finite value."""
        return self.fmt.lowest

    @property
    def edges(self) -> tuple[Edges, ...]:
        """The format's own edges, and float32's: narrow formats are computed there, and so, wrongly, is float64."""
        own, single = edges_of(self.fmt), edges_of(FORMATS["float32"])
        return (own,) if own == single else (own, single)

    def narrow(self, values: ArrayLike) -> NDArray[Any]:
        """Round to the format, once; finite values beyond it become the largest finite one."""
        given = np.asarray(values)
        if given.dtype == self.fmt.dtype:
            return given
        wide = np.asarray(given, dtype=np.float64)
        top = self.fmt.max_finite
        if self.fmt.bits == 32:  # the conversion of the hardware rounds once, to nearest even
            return np.where(np.abs(wide) < np.inf, np.clip(wide, -top, top), wide).astype(self.fmt.dtype)
        return self.fmt.narrow(np.where(np.isfinite(wide), np.clip(wide, -top, top), wide))

    def within(self, values: Sequence[float]) -> FloatArray:
        """Those of the values that the format can hold."""
        kept = [value for value in values if abs(value) <= self.fmt.max_finite]
        return np.array(kept or [0.0])

    def cycle(self, values: ArrayLike, rows: int) -> NDArray[Any]:
        """A column of ``rows`` entries in which each value occurs (if there is room), in shuffled order."""
        return self.rng.permutation(np.resize(np.asarray(values), rows))[:, None]

    def columns(self, rows: int, n: int) -> IntArray:
        """One column index per row: first, last, middle and random ones in turn."""
        kind = self.cycle(np.arange(4), rows)[:, 0]
        spots = [np.zeros(rows), np.full(rows, n - 1), np.full(rows, n // 2), self.rng.integers(0, max(n, 1), rows)]
        return np.choose(kind, spots).astype(np.int64)

    def place(self, rows: FloatArray, values: ArrayLike) -> FloatArray:
        """A copy with one value put into each row, at the first, last, middle or a random column."""
        result = rows.copy()
        count, n = rows.shape
        if n:
            result[np.arange(count), self.columns(count, n)] = np.broadcast_to(np.asarray(values), (count, 1))[:, 0]
        return result

    def step(self, values: ArrayLike, steps: ArrayLike) -> FloatArray:
        """Finite values moved by whole ordinals, kept finite."""
        base = self.fmt.ordinal(self.narrow(values))
        top = int(self.fmt.ordinal(np.asarray(self.fmt.max_finite, dtype=self.fmt.dtype)))
        reach = np.clip(np.asarray(steps, dtype=np.int64), -(2**62), 2**62)
        room_up, room_down = top - np.maximum(base, 0), top + np.minimum(base, 0)
        moved = base + np.clip(reach, -room_down, room_up)
        return self.fmt.widen(self.fmt.from_ordinal(moved))

    def nudge(self, values: ArrayLike, reach: int = 3) -> FloatArray:
        """Values moved a few ordinals, or up to 2 % of their size (half of the entries each)."""
        wide = np.asarray(values, dtype=np.float64)
        near = self.step(wide, self.rng.integers(-reach, reach + 1, wide.shape))
        with np.errstate(over="ignore"):
            around = np.clip(wide * self.rng.uniform(0.98, 1.02, wide.shape), self.lowest, -self.lowest)
        return np.where(self.rng.random(wide.shape) < 0.5, near, around)

    def below(self, level: ArrayLike, shape: tuple[int, ...], most: int = 6) -> FloatArray:
        """A level lowered by small whole gaps that are visible there: multiples of 1, or of its ulp if that is more."""
        top = np.broadcast_to(np.asarray(level, dtype=np.float64), shape)
        unit = np.maximum(1.0, self.fmt.ulp(top))
        steps = np.minimum(self.rng.integers(0, most + 1, shape), np.floor(top / unit - self.lowest / unit))
        lowered: FloatArray = top - steps * unit
        return lowered
