"""The exact reading: an algorithm evaluated on intervals over the extended reals gives the truth, special values included.

A number is an ``Interval`` (rational, or open) or one of the floats inf, -inf and nan. nan stands for an undefined form:
inf - inf, 0 * inf, 0/0, inf/inf, the logarithm of a negative number. What an operation answers there is a convention.
Arrays of numbers are NumPy arrays of objects, rows [R, n] as in every reading (``ops.errors`` says what the verbs mean).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from mpmath import libmp
from numpy.typing import NDArray

from xent_verify.ops import forms
from xent_verify.ops.support import inside, reach
from xent_verify.ops.verbs import Operators, Verbs
from xent_verify.truth.intervals import BigArithmetic, Interval, IntervalRow

__all__ = ["Exact", "Reals", "UnsettledError"]

Array = NDArray[Any]
Real = Interval | float
_VAST = libmp.from_int(1 << 40)


def _fraction(x: Interval) -> Fraction:
    """A number that is known to be rational."""
    return Fraction(*libmp.to_rational(x.num)) / Fraction(*libmp.to_rational(x.den))


def _far(end: Any) -> bool:
    """Whether the logarithm of an end of an interval lies beyond +-2**38, or is none."""
    return not end[1] or abs(end[2] + end[3]) > 1 << 38


class UnsettledError(ArithmeticError):
    """An interval contains a point where the step is not continuous: a higher precision is needed."""


def _sign(x: Real) -> float:
    """-1, 0 or 1."""
    if isinstance(x, float):
        return math.copysign(1.0, x) if not math.isnan(x) else x
    if x.is_zero:
        return 0.0
    low, high = libmp.mpf_sign(x.lo), libmp.mpf_sign(x.hi)
    if low < 0 < high:
        raise UnsettledError
    return 1.0 if low + high > 0 else -1.0


def _add(x: Real, y: Real) -> Real:
    if isinstance(x, Interval) and isinstance(y, Interval):
        return x + y
    return (x if isinstance(x, float) else 0.0) + (y if isinstance(y, float) else 0.0)


def _multiply(x: Real, y: Real) -> Real:
    if isinstance(x, Interval) and isinstance(y, Interval):
        return x * y
    return (x if isinstance(x, float) else _sign(x)) * (y if isinstance(y, float) else _sign(y))


def _divide(x: Real, y: Real) -> Real:
    if isinstance(y, Interval):
        if y.is_zero:
            over = _sign(x)
            return math.nan if over == 0 or math.isnan(over) else math.copysign(math.inf, over)
        if isinstance(x, float):
            return x * _sign(y)
        try:
            return x / y
        except ZeroDivisionError:
            raise UnsettledError from None
    return math.nan if isinstance(x, float) or math.isnan(y) else x - x


def _negate(x: Real) -> Real:
    return -x


def _larger(x: Real, y: Real) -> Real:
    """NaN if either is; of overlapping intervals the interval of the larger."""
    if isinstance(x, Interval) and isinstance(y, Interval):
        if libmp.mpf_ge(x.lo, y.hi):
            return x
        if libmp.mpf_ge(y.lo, x.hi):
            return y
        if (x - y).is_zero:
            return x
        low, high = (y.lo if libmp.mpf_lt(x.lo, y.lo) else x.lo), (y.hi if libmp.mpf_lt(x.hi, y.hi) else x.hi)
        return Interval(low, high, x.prec)
    if isinstance(x, float) and (math.isnan(x) or x > 0 or isinstance(y, float)):
        return x if math.isnan(x) or (isinstance(y, float) and x >= y) or (isinstance(y, Interval) and x > 0) else y
    if isinstance(y, float):
        return y if math.isnan(y) or y > 0 else x
    return y


def _over(function: Callable[..., Real]) -> Callable[..., Array]:
    """The function of every element, as an array of objects."""
    ufunc = np.frompyfunc(function, function.__code__.co_argcount, 1)

    def applied(*arrays: Any) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(ufunc(*arrays), object)

    return applied


class Reals(Operators):
    """Numbers as an array of objects."""

    __slots__ = ("a", "v")

    def __init__(self, a: Exact, v: Array) -> None:
        self.a, self.v = a, v

    def __neg__(self) -> Reals:
        return Reals(self.a, _over(_negate)(self.v))


class Exact(Verbs):
    """The reading at ``prec`` bits. Steps raise ``UnsettledError`` where that precision does not settle a sign."""

    def __init__(self, prec: int) -> None:
        self.big = BigArithmetic(prec)
        self._zero = self.big.number(0)

    def _number(self, value: Any) -> Real:
        if isinstance(value, (Interval, int, np.integer, Fraction)):
            return self.big.number(value)
        wide = float(value)
        return self.big.number(wide) if math.isfinite(wide) else wide

    def input(self, values: Array) -> Reals:
        wide = np.asarray(values)
        wide = wide if wide.dtype.kind in "iubO" else wide.astype(np.float64)
        return Reals(self, np.asarray(np.frompyfunc(self._number, 1, 1)(wide), object))

    def row(self, values: Array) -> Reals:
        return self.input(values)

    def lift(self, value: Any) -> Reals:
        return value if isinstance(value, Reals) else Reals(self, np.asarray(self._number(value), object))

    def constant(self, value: float) -> Reals:
        """The number that was meant, not the float: log2 e and log 2 are known, others are what the float holds."""
        two = self.big.log(self.big.number(2))
        if value == forms.LN_2:
            return Reals(self, np.asarray(two, object))
        if value == forms.LOG2_E:
            return Reals(self, np.asarray(self.big.number(1) / two, object))
        return self.lift(value)

    def parameter(self, value: float) -> Reals:
        return self.lift(value)

    def add(self, x: Reals, y: Reals) -> Reals:
        return Reals(self, _over(_add)(x.v, y.v))

    def subtract(self, x: Reals, y: Reals) -> Reals:
        return Reals(self, _over(_add)(x.v, _over(_negate)(y.v)))

    def multiply(self, x: Reals, y: Reals) -> Reals:
        return Reals(self, _over(_multiply)(x.v, y.v))

    def divide(self, x: Reals, y: Reals) -> Reals:
        return Reals(self, _over(_divide)(x.v, y.v))

    def softmax(self, x: Reals) -> Reals:
        return self._of_rows(x, super().softmax, lambda row, logits: [row.p(i) for i in range(len(logits))])

    def log_softmax(self, x: Reals) -> Reals:
        def of(row: IntervalRow, logits: Array) -> list[Real]:
            return [row.log_p(i) if isinstance(logit, Interval) else -math.inf for i, logit in enumerate(logits)]

        return self._of_rows(x, super().log_softmax, of)

    def logsumexp(self, x: Reals) -> Reals:
        def general(rows: Reals) -> Reals:
            top = self.max(rows)
            infinite = isinstance(top.v[0, 0], float) and math.isinf(top.v[0, 0])
            return top if infinite else Verbs.logsumexp(self, rows)

        return self._of_rows(x, general, lambda row, _: [row.log_sum_exp()])

    def logaddexp(self, x: Reals, y: Reals) -> Reals:
        """The limit where the maximum is infinite, as for ``logsumexp``."""
        top = self.maximum(x, y)
        infinite = np.asarray(
            np.frompyfunc(lambda value: isinstance(value, float) and math.isinf(value), 1, 1)(top.v), bool
        )
        return self.where(infinite, top, super().logaddexp(x, y))

    def _of_rows(
        self, x: Reals, general: Callable[[Reals], Reals], special: Callable[[IntervalRow, Array], list[Real]]
    ) -> Reals:
        """Rows of rational logits by their exponential sums, which know what cancels; others by the general steps."""
        found = []
        for logits in x.v:
            plain = [isinstance(value, Interval) and value.num is not None for value in logits]
            masked = [isinstance(value, float) and value == -math.inf for value in logits]
            if any(plain) and all(a or b for a, b in zip(plain, masked, strict=True)):
                found.append(special(self.big.row(logits), logits))
            else:
                found.append(general(Reals(self, logits[None, :])).v[0])
        return Reals(self, np.array(found, object))

    def _function(self, x: Reals, real: Callable[[Interval], Interval], special: Callable[[float], Real]) -> Reals:
        def of(value: Real) -> Real:
            return real(value) if isinstance(value, Interval) else special(value)

        return Reals(self, _over(of)(x.v))

    def exp(self, x: Reals) -> Reals:
        return self._function(x, self._exp, lambda value: self._zero if value == -math.inf else value)

    def _exp(self, value: Interval) -> Interval:
        if value.is_zero:
            return self.big.number(1)
        try:
            return self.big.exp(value)
        except OverflowError:
            if libmp.mpf_lt(value.lo, _VAST):
                raise UnsettledError from None
            # beyond e**(2**40): larger than every format, and below 2**(2**1100)
            return Interval(libmp.mpf_shift(libmp.fone, 1 << 40), libmp.mpf_shift(libmp.fone, 1 << 1100), self.big.prec)

    def exp2(self, x: Reals) -> Reals:
        return self.exp(self.multiply(x, Reals(self, np.asarray(self.big.log(self.big.number(2)), object))))

    def log(self, x: Reals) -> Reals:
        return self._function(x, self._log, lambda value: math.nan if value == -math.inf else value)

    def _log(self, value: Interval) -> Any:
        sign = _sign(value)
        if sign <= 0:
            return -math.inf if sign == 0 else math.nan
        if value.num is not None:
            return self.big.log_of_number(value)
        if _far(value.lo) or _far(value.hi):  # exp of what lies beyond +-2**40 is told by a bound alone
            raise UnsettledError
        return self.big.log(value)

    def log2(self, x: Reals) -> Reals:
        return self.divide(self.log(x), Reals(self, np.asarray(self.big.log(self.big.number(2)), object)))

    def log1p(self, x: Reals) -> Reals:
        return self._function(x, self._log1p, lambda value: math.nan if value == -math.inf else value)

    def _log1p(self, value: Interval) -> Any:
        if value.is_zero:
            return self._zero
        return self.big.log1p(value) if _sign(value) > 0 else self._log(self.big.number(1) + value)

    def sqrt(self, x: Reals) -> Reals:
        """Rational where it is; exp(log x / 2) elsewhere."""
        exact = np.frompyfunc(self._root, 1, 1)(x.v)
        rational = np.frompyfunc(lambda value: value is not None, 1, 1)(exact).astype(bool)
        return self.where(rational, Reals(self, exact), super().sqrt(self.where(rational, 1, x)))

    def _root(self, value: Real) -> Interval | None:
        if isinstance(value, float) or value.num is None:
            return None
        number = _fraction(value)
        roots = [math.isqrt(abs(part)) for part in (number.numerator, number.denominator)]
        return self.big.number(Fraction(*roots)) if Fraction(*roots) ** 2 == number else None

    def support(self, x: Reals, power: int) -> Array:
        """On exact fractions; of other rows doubles have to tell."""
        found = np.zeros(x.v.shape, np.bool_)
        for row, values in enumerate(x.v):
            live = np.array([isinstance(value, Interval) for value in values], np.bool_)
            if not live.any() or any(isinstance(value, float) and not value < 0 for value in values):
                continue
            if all(value.num is not None for value in values[live]):
                found[row, live] = inside([_fraction(value) for value in values[live]], power)
                continue
            distance = reach(np.array([[value.middle for value in values[live]]]), power)[0]
            if (np.abs(distance - 1) <= 2.0**-20).any():
                raise UnsettledError
            found[row, live] = distance < 1
        return found

    def max(self, x: Reals) -> Reals:
        return self._reduced(x, _larger, -math.inf)

    def sum(self, x: Reals) -> Reals:
        return self._reduced(x, _add, self._zero)

    def _reduced(self, x: Reals, step: Callable[[Real, Real], Real], start: Real) -> Reals:
        rows = x.v.reshape(-1, x.v.shape[-1])
        found = np.empty((len(rows), 1), object)
        for place, row in enumerate(rows):
            found[place, 0] = functools.reduce(step, row, start)
        return Reals(self, found.reshape((*x.v.shape[:-1], 1)))

    def total(self, x: Reals) -> Reals:
        return Reals(self, self.sum(Reals(self, x.v.reshape(1, -1))).v.reshape(()))

    def shaped(self, x: Reals, shape: tuple[int, ...]) -> Reals:
        return Reals(self, x.v.reshape(shape))

    def turned(self, x: Reals) -> Reals:
        return Reals(self, np.swapaxes(x.v, -1, -2))

    def take(self, x: Reals, labels: Array) -> Reals:
        rows = max(len(labels), len(x.v))
        return Reals(self, np.take_along_axis(np.broadcast_to(x.v, (rows, x.v.shape[-1])), labels, -1))

    def where(self, mask: Array, x: Any, y: Any) -> Reals:
        return Reals(self, np.where(mask, self.lift(x).v, self.lift(y).v))

    def maximum(self, x: Reals, y: Any) -> Reals:
        return Reals(self, _over(_larger)(x.v, self.lift(y).v))

    def abs(self, x: Reals) -> Reals:
        return self.maximum(x, -x)

    def at_least(self, x: Reals, number: float) -> Array:
        def holds(value: Real) -> bool:
            if isinstance(value, float):
                return value >= number
            return number == -math.inf or _sign(value - self.big.number(number)) >= 0

        return _over(holds)(x.v).astype(bool)

    @staticmethod
    def exists(x: Reals) -> bool:
        return any(isinstance(value, float) or not value.is_zero for value in x.v.ravel())

    def weigh(self, q: Reals, x: Reals) -> Reals:
        def of(weight: Real, value: Real) -> Real:
            return weight if isinstance(weight, Interval) and weight.is_zero else _multiply(weight, value)

        return Reals(self, _over(of)(q.v, x.v))

    @staticmethod
    def nearly(x: Reals, number: float, roundings: int) -> Reals:  # noqa: ARG004 (the same verb as in other readings)
        return x

    @staticmethod
    def store(x: Reals) -> Reals:
        return x
