"""Interval arithmetic on dyadic ends: what the textbook formulas of ``ops`` are evaluated with.

``BigArithmetic(prec)`` fixes the precision. An ``Interval`` is one of three things:

* a **rational** number, held as numerator / denominator of exact dyadic numbers of any length. Rationals stay rational
  under + - * /, so that what cancels exactly is known to;
* a ``LogSum``, r + sum c_k L_k with rational r and c_k and logarithms L_k. It stays one under sums and products with
  rationals. Where all c_k cancel it is rational, which no precision would show;
* anything else, known by its ends alone.

Ends are mpmath's raw ``mpf`` tuples. Every operation rounds them outward: sums by ``series.outward_sum``, products and
quotients by mpmath's directed rounding of exact integers, exp and log by ``series``.

**Every interval is exact (lo = hi) or open: lo < value < hi.** By induction: directed rounding of a rational either gives
it on both sides or misses it on both. A strictly monotonic function of an open interval is open, a product of open
intervals takes its extremes at corners only, and a factor of exactly 0 is rational. exp and log of rational numbers other
than 0 and 1 are irrational (Lindemann), while ends are dyadic. So a value arbitrarily close to a rounding boundary is
decided by an end *at* the boundary.

``row`` gives the exponential sums from which every operation is built::

    d_j = x_j - m (exact),  K = number of maximal logits,  T = sum of exp(d_j) over the others,  s = K + T
    log s = log K + log1p(T / K)

K is an exact integer and T is summed apart from it, so log s keeps its relative accuracy when T is 1e-1000 (the naive
log(sum exp) loses all of it there) and p_i - y_i is formed without cancellation (``p_minus``).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from mpmath import libmp

from xent_verify.truth import series

__all__ = ["LIMIT_POINTS", "BigArithmetic", "Interval", "IntervalRow", "LogSum", "limit_point"]

Mpf = Any


class Interval:
    """A real number between two dyadic ends, at the precision of its arithmetic."""

    __slots__ = ("den", "hi", "lo", "num", "prec")

    def __init__(self, lo: Mpf, hi: Mpf, prec: int, num: Mpf | None = None, den: Mpf = libmp.fone) -> None:
        self.lo = lo
        self.hi = hi
        self.prec = prec
        self.num = num  # None: not known to be rational
        self.den = den  # positive

    @staticmethod
    def rational(num: Mpf, den: Mpf, prec: int) -> Interval:
        """num / den; a dyadic number (den = 1) is its own ends, however long."""
        if den == libmp.fone or not num[1]:
            return Interval(num, num, prec, num)
        return Interval(libmp.mpf_div(num, den, prec, "f"), libmp.mpf_div(num, den, prec, "c"), prec, num, den)

    @property
    def is_zero(self) -> bool:
        """True when the number is exactly zero."""
        return bool(self.num == libmp.fzero)

    @property
    def middle(self) -> float:
        """A float near the number, for comparisons that need no proof."""
        return float(libmp.to_float(self.lo))

    def __add__(self, other: Interval) -> Interval:
        if isinstance(other, LogSum) and not isinstance(self, LogSum):
            return other + self
        if self.num is None or other.num is None:
            low = series.outward_sum(self.lo, other.lo, self.prec, "f")
            return Interval(low, series.outward_sum(self.hi, other.hi, self.prec, "c"), self.prec)
        if self.den == other.den:
            return self.rational(libmp.mpf_add(self.num, other.num), self.den, self.prec)
        num = libmp.mpf_add(libmp.mpf_mul(self.num, other.den), libmp.mpf_mul(other.num, self.den))
        return self.rational(num, libmp.mpf_mul(self.den, other.den), self.prec)

    def __neg__(self) -> Interval:
        num = None if self.num is None else libmp.mpf_neg(self.num)
        return Interval(libmp.mpf_neg(self.hi), libmp.mpf_neg(self.lo), self.prec, num, self.den)

    def __sub__(self, other: Interval) -> Interval:
        return self + -other

    def __mul__(self, other: Interval) -> Interval:
        if isinstance(other, LogSum) and not isinstance(self, LogSum):
            return other * self
        if self.num is not None and other.num is not None:
            num, den = libmp.mpf_mul(self.num, other.num), libmp.mpf_mul(self.den, other.den)
            return self.rational(num, den, self.prec)
        if self.is_zero or other.is_zero:
            return self.rational(libmp.fzero, libmp.fone, self.prec)
        if not (self.lo[0] or other.lo[0]):  # both are non-negative
            return Interval(
                libmp.mpf_mul(self.lo, other.lo, self.prec, "f"),
                libmp.mpf_mul(self.hi, other.hi, self.prec, "c"),
                self.prec,
            )
        products = [libmp.mpf_mul(a, b) for a in (self.lo, self.hi) for b in (other.lo, other.hi)]
        return Interval(*_outward(products, self.prec), self.prec)

    def __truediv__(self, other: Interval) -> Interval:
        if other.num is not None and other.num[1]:
            sign = libmp.mpf_neg if other.num[0] else libmp.mpf_pos
            if self.num is not None or isinstance(self, LogSum):
                return self * self.rational(sign(other.den), sign(other.num), self.prec)
        if other.lo[0] != other.hi[0] or not (other.lo[1] and other.hi[1]):
            raise ZeroDivisionError("the divisor's interval contains zero")
        if self.is_zero:
            return self
        pairs = [(a, b) for a in (self.lo, self.hi) for b in (other.lo, other.hi)]
        low = [libmp.mpf_div(a, b, self.prec, "f") for a, b in pairs]
        high = [libmp.mpf_div(a, b, self.prec, "c") for a, b in pairs]
        return Interval(_smallest(low), _largest(high), self.prec)


LIMIT_POINTS: Mapping[Mpf, float] = {libmp.finf: math.inf, libmp.fninf: -math.inf, libmp.fnan: math.nan}
"""What is no real number: the infinities, and NaN for an undefined form."""


def limit_point(value: float, prec: int) -> Interval:
    """An infinity or NaN as both ends."""
    raw = libmp.from_float(value)
    return Interval(raw, raw, prec)


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


Logs = Mapping[Hashable, tuple[Interval, Interval]]
"""For each logarithm, by a key that equal ones share: (its rational coefficient, its value)."""


class LogSum(Interval):
    """r + sum c_k L_k; r, c_k rational, c_k != 0. Its ends are worked out when they are asked for."""

    __slots__ = ("_ends", "logs", "rest")

    def __init__(self, rest: Interval, logs: Logs) -> None:
        self.prec = rest.prec
        self.num, self.den = None, libmp.fone
        self.rest = rest
        self.logs = logs
        self._ends: Interval | None = None

    @staticmethod
    def simplest(rest: Interval, logs: Logs) -> Interval:
        """The sum; a rational number where every logarithm has cancelled."""
        left = {key: term for key, term in logs.items() if not term[0].is_zero}
        return LogSum(rest, left) if left else rest

    @property
    def _whole(self) -> Interval:
        if self._ends is None:
            total = Interval(self.rest.lo, self.rest.hi, self.prec)
            for factor, log in self.logs.values():
                total = total + factor * log
            self._ends = total
        return self._ends

    @property
    def lo(self) -> Mpf:
        return self._whole.lo

    @property
    def hi(self) -> Mpf:
        return self._whole.hi

    def __add__(self, other: Interval) -> Interval:
        if other.num is not None:
            return LogSum(self.rest + other, self.logs)
        if not isinstance(other, LogSum):
            return self._whole + other
        logs = dict(self.logs)
        for key, (factor, log) in other.logs.items():
            logs[key] = (logs[key][0] + factor, log) if key in logs else (factor, log)
        return self.simplest(self.rest + other.rest, logs)

    def __neg__(self) -> Interval:
        return LogSum(-self.rest, {key: (-factor, log) for key, (factor, log) in self.logs.items()})

    def __mul__(self, other: Interval) -> Interval:
        if other.num is None:
            return self._whole * Interval(other.lo, other.hi, self.prec)
        logs = {key: (factor * other, log) for key, (factor, log) in self.logs.items()}
        return self.simplest(self.rest * other, logs)


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
        exact = [None if value is None else value - self._top for value in self._x]
        return [None if d is None else self._scaled(d) for d in exact]

    @cached_property
    def _e(self) -> list[Interval | None]:
        """exp(d_j); None where d_j is 0 (a maximal logit) or the logit is -inf."""
        return [None if d is None or d.is_zero else self._a.exp(d) for d in self._d]

    @cached_property
    def _logs(self) -> Logs:
        """log s = log g + log(s / g), where every d_j comes a multiple of g times; log g by the primes of g.

        Rows that differ by a constant, an order or a repetition share their logarithms' keys.
        """
        one = self._a.number(1)
        counts = Counter((d.num, d.den) for d in self._d if d is not None)
        common = math.gcd(*counts.values())
        logs: dict[Hashable, tuple[Interval, Interval]] = {
            prime: (self._a.number(power), self._a.log(self._a.number(prime))) for prime, power in _factors(common)
        }
        if len(counts) > 1:
            ties = self._ties / self._a.number(common)
            rest = self._a.log1p(self._rest / self._ties)
            logs[frozenset((d, count // common) for d, count in counts.items())] = (
                one,
                rest if ties.lo == libmp.fone else self._a.log(ties) + rest,
            )
        return logs

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
        return LogSum.simplest(self._a.number(0), self._logs)

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


_SMALL_WHOLE = libmp.from_int(1 << 20)


class BigArithmetic:
    """Numbers and functions at ``prec`` bits (``ops.op.Arithmetic``)."""

    def __init__(self, prec: int) -> None:
        self.prec = prec

    def number(self, value: Any) -> Interval:
        """An exact number from an int, a float, a NumPy scalar; numbers of this arithmetic pass through."""
        if isinstance(value, Interval):
            return value
        if isinstance(value, Fraction):
            return Interval.rational(libmp.from_int(value.numerator), libmp.from_int(value.denominator), self.prec)
        if isinstance(value, (int, np.integer)):
            raw = libmp.from_int(int(value))
        else:
            wide = float(value)
            if not math.isfinite(wide):
                raise ValueError(f"{wide} is not a real number")
            raw = libmp.from_float(wide)
        return Interval(raw, raw, self.prec, raw)

    def row(self, logits: Sequence[Any], divisor: Interval | None = None) -> IntervalRow:
        """The exponential sums of ``logits``, or of ``logits / divisor`` (rational)."""
        return IntervalRow(self, logits, divisor)

    def exp(self, d: Interval) -> Interval:
        return self._through(series.exp_bounds, d)

    def log(self, a: Interval) -> Interval:
        return self._through(series.log_bounds, a)

    def log_of_number(self, a: Interval) -> Interval:
        """The logarithm of a positive rational number; of a whole one below 2**20 by its primes, so that such can cancel."""
        if a.num is None or a.den != libmp.fone or a.num[2] < 0 or libmp.mpf_ge(a.num, _SMALL_WHOLE):
            return self.log(a)
        primes = _factors(libmp.to_int(a.num))
        return LogSum.simplest(self.number(0), {p: (self.number(k), self.log(self.number(p))) for p, k in primes})

    def log1p(self, t: Interval) -> Interval:
        return self._through(series.log1p_bounds, t)

    def _through(self, function: Callable[[Mpf, int], series.Pair], a: Interval) -> Interval:
        """An increasing function, which is rational at one number only, where its two bounds are equal."""
        low, high = function(a.lo, self.prec)
        if a.lo != a.hi:
            high = function(a.hi, self.prec)[1]
        return Interval(low, high, self.prec, low if low == high else None)

    def unproved(self, value: Interval) -> Interval:
        """The value as it is: every interval is exact or open. For formulas written before that held."""
        return value


def _factors(number: int) -> Iterator[tuple[int, int]]:
    """(prime, power) of a number."""
    prime = 2
    while number > 1:
        if prime * prime > number:
            prime = number
        power = 0
        while number % prime == 0:
            number //= prime
            power += 1
        if power:
            yield prime, power
        prime += 1


def _is_infinite(value: Any) -> bool:
    """Infinite logits have p = 0: -inf, or +inf under a negative divisor (other rows with +inf are special values)."""
    return isinstance(value, (float, np.floating)) and bool(np.isinf(value))


def _extreme(values: Sequence[Interval], *, smallest: bool) -> Interval:
    best = values[0]
    for value in values:
        if (value - best).lo[0] == smallest:
            best = value
    return best
