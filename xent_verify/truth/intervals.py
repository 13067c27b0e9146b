"""Interval arithmetic on exact dyadic ends: what the textbook formulas of ``ops`` are evaluated with.

Ends are mpmath's raw ``mpf`` tuples; +, -, *, / round outward with mpmath's directed rounding, which works on exact
integers; exp and log come from ``series``. A number whose ends are equal is exact. ``BigArithmetic(prec)`` fixes the
precision; ``row`` gives the exponential sums from which every operation is built::

    d_j = x_j - m (exact),  K = number of maximal logits,  T = sum of exp(d_j) over the others,  s = K + T
    log s = log K + log1p(T / K)

K is an exact integer and T is summed apart from it, so log s keeps its relative accuracy when T is 1e-1000 (the naive
log(sum exp) loses all of it there) and p_i - y_i is formed without cancellation (``p_minus``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from mpmath import libmp

from xent_verify.truth import series

__all__ = ["BigArithmetic", "Interval", "IntervalRow"]

Mpf = Any


class Interval:
    """A real number between two dyadic ends, at the precision of its arithmetic."""

    __slots__ = ("hi", "lo", "prec")

    def __init__(self, lo: Mpf, hi: Mpf, prec: int) -> None:
        self.lo = lo
        self.hi = hi
        self.prec = prec

    @property
    def is_zero(self) -> bool:
        """True when the number is exactly zero."""
        return bool(self.lo == libmp.fzero and self.hi == libmp.fzero)

    @property
    def is_exact(self) -> bool:
        """True when both ends are the number."""
        return bool(self.lo == self.hi)

    def __add__(self, other: Interval) -> Interval:
        return Interval(
            libmp.mpf_add(self.lo, other.lo, self.prec, "f"),
            libmp.mpf_add(self.hi, other.hi, self.prec, "c"),
            self.prec,
        )

    def __neg__(self) -> Interval:
        return Interval(libmp.mpf_neg(self.hi), libmp.mpf_neg(self.lo), self.prec)

    def __sub__(self, other: Interval) -> Interval:
        return self + -other

    def __mul__(self, other: Interval) -> Interval:
        if not (self.lo[0] or other.lo[0]):  # both are non-negative
            return Interval(
                libmp.mpf_mul(self.lo, other.lo, self.prec, "f"),
                libmp.mpf_mul(self.hi, other.hi, self.prec, "c"),
                self.prec,
            )
        products = [libmp.mpf_mul(a, b) for a in (self.lo, self.hi) for b in (other.lo, other.hi)]
        return Interval(*_outward(products, self.prec), self.prec)

    def __truediv__(self, other: Interval) -> Interval:
        if other.lo[0] != other.hi[0] or not (other.lo[1] and other.hi[1]):
            raise ZeroDivisionError("the divisor's interval contains zero")
        pairs = [(a, b) for a in (self.lo, self.hi) for b in (other.lo, other.hi)]
        low = [libmp.mpf_div(a, b, self.prec, "f") for a, b in pairs]
        high = [libmp.mpf_div(a, b, self.prec, "c") for a, b in pairs]
        return Interval(_smallest(low), _largest(high), self.prec)


def _smallest(values: Sequence[Mpf]) -> Mpf:
    least = values[0]
    for value in values[1:]:
        if libmp.mpf_lt(value, least):
            least = value
    return least


def _largest(values: Sequence[Mpf]) -> Mpf:
    most = values[0]
    for value in values[1:]:
        if libmp.mpf_gt(value, most):
            most = value
    return most


def _outward(values: Sequence[Mpf], prec: int) -> tuple[Mpf, Mpf]:
    return libmp.mpf_pos(_smallest(values), prec, "f"), libmp.mpf_pos(_largest(values), prec, "c")


class IntervalRow:
    """The exponential sums of one row (``ops.op.ExpSum``); -inf logits have p = 0 and are left out of all sums."""

    def __init__(self, arithmetic: BigArithmetic, logits: Sequence[Any], divisor: Interval | None = None) -> None:
        self._a = arithmetic
        self._x = [None if _is_infinite(value) else arithmetic.number(value) for value in logits]
        self._divisor = divisor
        finite = [value for value in self._x if value is not None]
        if not finite:
            raise ValueError("a row without a finite logit has no exponential sum")
        self._top = _extreme(finite, smallest=divisor is not None and bool(divisor.lo[0]))

    def _scaled(self, value: Interval) -> Interval:
        return value if self._divisor is None else value / self._divisor

    @cached_property
    def _d(self) -> list[Interval | None]:
        exact = [None if value is None else self._a.difference(value, self._top) for value in self._x]
        return [None if d is None else self._scaled(d) for d in exact]

    @cached_property
    def _e(self) -> list[Interval | None]:
        """exp(d_j); None where d_j is 0 (a maximal logit) or the logit is -inf."""
        return [None if d is None or d.is_zero else self._a.exp(d) for d in self._d]

    @cached_property
    def _ties(self) -> Interval:
        return self._a.number(sum(d is not None and d.is_zero for d in self._d))

    @cached_property
    def _rest(self) -> Interval:
        total = self._a.number(0)
        for term in self._e:
            if term is not None:
                total = total + term
        return total

    @cached_property
    def _s(self) -> Interval:
        return self._ties + self._rest

    @cached_property
    def _log_s(self) -> Interval:
        rest = self._a.log1p(self._rest / self._ties)
        return rest if self._ties.lo == libmp.fone else self._a.log(self._ties) + rest

    def p(self, i: int) -> Interval:
        d, e = self._d[i], self._e[i]
        if d is None:
            return self._a.number(0)
        return (self._a.number(1) if e is None else e) / self._s

    def log_p(self, i: int) -> Interval:
        d = self._d[i]
        if d is None:
            raise ValueError("log p of a -inf logit is -inf: a special value")
        return d - self._log_s

    def log_sum_exp(self) -> Interval:
        return self._scaled(self._top) + self._log_s

    def p_minus(self, i: int, y: Interval, total: Interval) -> Interval:
        """(e_i total - y s) / s, with s = K + T split so that equal exact parts cancel exactly."""
        d, e = self._d[i], self._e[i]
        if d is None or total.is_zero:
            return -y
        if y.is_zero:
            return self.p(i) * total
        if e is None:
            return ((total - y * self._ties) - y * self._rest) / self._s
        return (e * total - y * self._s) / self._s


class BigArithmetic:
    """Numbers and functions at ``prec`` bits (``ops.op.Arithmetic``)."""

    def __init__(self, prec: int) -> None:
        self.prec = prec

    def number(self, value: Any) -> Interval:
        """An exact number from an int, a float, a NumPy scalar; numbers of this arithmetic pass through."""
        if isinstance(value, Interval):
            return value
        if isinstance(value, (int, np.integer)):
            raw = libmp.from_int(int(value))
        else:
            wide = float(value)
            if not math.isfinite(wide):
                raise ValueError(f"{wide} is not a real number")
            raw = libmp.from_float(wide)
        return Interval(raw, raw, self.prec)

    def row(self, logits: Sequence[Any], divisor: Interval | None = None) -> IntervalRow:
        """The exponential sums of ``logits``, or of ``logits / divisor`` (an exact number)."""
        return IntervalRow(self, logits, divisor)

    def difference(self, a: Interval, b: Interval) -> Interval:
        """a - b of exact numbers, exactly."""
        raw = libmp.mpf_sub(a.lo, b.lo)
        return Interval(raw, raw, self.prec)

    def exp(self, d: Interval) -> Interval:
        low, high = series.exp_bounds(d.lo, self.prec)
        return Interval(low, high if d.is_exact else series.exp_bounds(d.hi, self.prec)[1], self.prec)

    def log(self, a: Interval) -> Interval:
        low, high = series.log_bounds(a.lo, self.prec)
        return Interval(low, high if a.is_exact else series.log_bounds(a.hi, self.prec)[1], self.prec)

    def log1p(self, t: Interval) -> Interval:
        low, high = series.log1p_bounds(t.lo, self.prec)
        return Interval(low, high if t.is_exact else series.log1p_bounds(t.hi, self.prec)[1], self.prec)

    def unproved(self, value: Interval) -> Interval:
        """Both ends moved outward by one unit in the last place, unless the number is exact."""
        if value.is_exact:
            return value
        below, above = (libmp.mpf_shift(libmp.mpf_abs(end), -self.prec) for end in (value.lo, value.hi))
        low = libmp.mpf_sub(value.lo, below, self.prec, "f")
        return Interval(low, libmp.mpf_add(value.hi, above, self.prec, "c"), self.prec)


def _is_infinite(value: Any) -> bool:
    """Infinite logits have p = 0: -inf, or +inf under a negative divisor (other rows with +inf are special values)."""
    return isinstance(value, (float, np.floating)) and bool(np.isinf(value))


def _extreme(values: Sequence[Interval], *, smallest: bool) -> Interval:
    best = values[0]
    for value in values:
        if (libmp.mpf_lt if smallest else libmp.mpf_gt)(value.lo, best.lo):
            best = value
    return best
