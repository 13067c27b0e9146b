"""The double-double reading: an algorithm evaluated on pairs of doubles with a running radius gives the truth, fast.

A number is hi + lo with |t - (hi + lo)| <= radius; radius 0 means exact. Every step adds the bound of its kernel
(``truth.doubledouble``) to what its operands' radii come to; radii are kept above their own rounding by ``_UP``. Sums measure
what their low words lose, and products and quotients that are no more than two words add nothing: so the products of short
numbers, their sums and what follows from them stay exact, and so do values that are themselves midpoints. Where a
radius is infinite nothing is known: values beyond doubles, undefined forms, a sign that is not settled. What is left
undecided goes to the exact reading (``truth.reading``).
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.enclosure import TIERS, Enclosure
from xent_verify.core.shapes import clipped, full
from xent_verify.ops import forms
from xent_verify.ops.support import inside, margin, reach
from xent_verify.ops.verbs import Operators, Verbs
from xent_verify.truth import doubledouble as dd

__all__ = ["Ball", "Balls", "enclosed"]

Array = NDArray[Any]
_UP = 1 + 2.0**-40
"""More than the roundings of one radius."""

_TINY = 2.0**-1060
"""What products lose below 2**-969 (``doubledouble``)."""

_MULTIPLY, _DIVIDE, _EXP, _LOG = 2.0**-100, 2.0**-98, 2.0**-88, 2.0**-88
_SMALL, _NEAR = 2.0**-20, 2.0**-10
_LN_2 = (0.6931471805599453, 2.3190468138462996e-17)
_LOG2_E = (1.4426950408889634, 2.0355273740931033e-17)


def _gathered(e: Array, *lows: Array) -> tuple[Array, Array]:
    """e + the low words of a sum, and a bound of what their additions lose."""
    lost = np.zeros_like(e)
    for low in lows:
        e, off = dd.two_sum(e, low)
        lost += np.abs(off)
    return e, lost


def _tree(high: Array, low: Array) -> tuple[dd.Pair, Array]:
    """Sums of rows as ``doubledouble.tree_sum`` makes them, [.., 1], and a bound of what the additions of low words lose."""
    first = high.ndim - 1, *range(high.ndim - 1)
    high, low = high.transpose(first), low.transpose(first)
    lost = np.zeros(high.shape[1:])
    words = bool(low.any())
    while (width := len(high)) > 1:
        half = (width + 1) // 2
        pairs = width - half
        s, e = dd.two_sum(high[:pairs], high[half:])
        if words:
            e, off = _gathered(e, low[:pairs], low[half:])
            lost += off.sum(axis=0)
        words = words or bool(e.any())
        high = s if pairs == half else np.concatenate((s, high[pairs:half]))
        low = e if pairs == half else np.concatenate((e, low[pairs:half]))
    total = dd.two_sum(high, low) if len(high) else (np.zeros((1, *lost.shape)),) * 2
    last = *range(1, high.ndim), 0
    return (total[0].transpose(last), total[1].transpose(last)), lost[..., None]


def _power_of_two(x: Ball) -> Array:
    """Where a number is +-2**k, far from the ends of the range."""
    size = np.abs(x.v)
    usual = (size > 2.0**-200) & (size < 2.0**200)
    return np.asarray(usual & (np.frexp(size)[0] == 0.5) & (x.lo == 0) & (x.r == 0))


def _two_words(x: Ball, y: Ball, product: Array) -> Array:
    """Where the product of the two centres is held without a rounding: one word each, or one is a power of two."""
    size = np.abs(product)
    usual = (size > 2.0**-900) & (size < 2.0**900)
    if not (x.lo.any() or y.lo.any()):
        return np.asarray(usual)
    exact = (x.lo == 0) & (y.lo == 0)
    for one, other in ((x, y), (y, x)):
        exact = exact | (_power_of_two(one) & ((other.lo == 0) | (np.abs(other.lo) > 2.0**-700)))
    return np.asarray(usual & exact)


def _exact_product(a: Balls, x: Array, y: Array) -> Ball | None:
    """The product of exact numbers of one word each, where all of it is exact; None elsewhere."""
    value = x * y
    size = np.abs(value)
    if not (((size > 2.0**-900) & (size < 2.0**900)) | ((x == 0) & np.isfinite(y)) | ((y == 0) & np.isfinite(x))).all():
        return None
    if _single(x) and _single(y):
        return Ball(a, value)
    return Ball(a, *dd.two_product(full(x, value.shape), full(y, value.shape)))


def _single(x: Array) -> bool:
    """Whether all are numbers of float32, whose products are one word."""
    return bool((x.astype(np.float32) == x).all())


def _lost_of(*radii: Array) -> Array:
    """What a product with a radius may lose below the range of doubles."""
    return np.asarray(_TINY * np.logical_or.reduce(np.broadcast_arrays(*(radius > 0 for radius in radii))))


def _is_product(a: Array, b: Array, product: Array) -> Array:
    """Where a * b is exactly this, far from the ends of the range."""
    top, rest = dd.two_product(a, b)
    sizes = (np.abs(a), np.abs(b), np.abs(product))
    usual = np.logical_and.reduce([(size > 2.0**-900) & (size < 2.0**900) for size in sizes])
    return np.asarray(usual & (top == product) & (rest == 0))


class Ball(Operators):
    """hi + lo within radius."""

    __slots__ = ("a", "lo", "r", "v")

    def __init__(self, a: Balls, v: Array, lo: Array | float = 0.0, r: Array | float = 0.0) -> None:
        self.a = a
        self.v = v if isinstance(v, np.ndarray) and v.ndim else np.atleast_1d(np.asarray(v, np.float64))
        self.lo = lo if isinstance(lo, np.ndarray) else np.asarray(lo, np.float64)
        self.r = r if isinstance(r, np.ndarray) else np.asarray(r, np.float64)

    def __neg__(self) -> Ball:
        return Ball(self.a, -self.v, -self.lo, self.r)

    @property
    def pair(self) -> dd.Pair:
        """hi and lo in the full shape, as arrays of their own."""
        shape = self.shape
        return full(self.v, shape).copy(), full(self.lo, shape).copy()

    @property
    def parts(self) -> tuple[Array, Array, Array]:
        """hi, lo and radius in the full shape, as arrays of their own."""
        shape = self.shape
        return full(self.v, shape).copy(), full(self.lo, shape).copy(), full(self.r, shape).copy()

    @property
    def shape(self) -> tuple[int, ...]:
        shape = self.v.shape
        others = {part.shape for part in (self.lo, self.r)} - {shape, ()}
        return np.broadcast_shapes(shape, *others) if others else shape


class Balls(Verbs):
    """The reading. ``Errors`` has the same verbs, and says what each of them means."""

    def __init__(self) -> None:
        self._abouts: dict[Ball, tuple[Array, Ball, Ball, Ball, Ball]] = {}  # softmax and its logarithm share them

    def input(self, values: Array) -> Ball:
        return Ball(self, np.asarray(values).astype(np.float64))

    def row(self, values: Array) -> Ball:
        return self.input(values)

    def lift(self, value: Any) -> Ball:
        return value if isinstance(value, Ball) else Ball(self, np.array([float(value)]))

    def constant(self, value: float) -> Ball:
        """log 2 and log2 e are the numbers that were meant, others what the float holds."""
        known = {forms.LN_2: _LN_2, forms.LOG2_E: _LOG2_E}.get(value)
        return self.lift(value) if known is None else Ball(self, np.array([known[0]]), known[1], 2.0**-106)

    def parameter(self, value: float) -> Ball:
        return self.lift(value)

    def _made(self, pair: dd.Pair, radius: Array, *sources: Ball) -> Ball:
        """A result that is no number is exact where an operand is none (NaN: an undefined form); else nothing is known."""
        high, low = pair
        odd = ~np.isfinite(high) | np.isnan(radius) | np.isnan(low)
        if not odd.any():
            return Ball(self, high, low, radius * _UP)
        given, known = np.zeros(high.shape, np.bool_), np.ones(high.shape, np.bool_)
        for source in sources:
            given |= full(~np.isfinite(source.v) & (source.r == 0), high.shape)
            known &= full(np.isfinite(source.r), high.shape)
        radius = np.where(odd, np.where(given & known & ~np.isfinite(high), 0.0, np.inf), radius * _UP)
        return Ball(self, high, np.where(odd, 0.0, low), radius)

    def _sum_of_two(self, x: Ball, y: Ball) -> Ball:
        shape = np.broadcast_shapes(x.shape, y.shape)
        plain = full(x.v + y.v, shape)
        high, low = dd.two_sum(full(x.v, shape), full(y.v, shape))
        radius = full(x.r + y.r, shape)
        if x.lo.any() or y.lo.any():
            low, lost = _gathered(low, full(x.lo, shape), full(y.lo, shape))
            high, low = dd.two_sum(high, low)
            radius = radius + lost
        return self._made((np.where(np.isinf(plain), plain, high), low), radius, x, y)

    def add(self, x: Ball, y: Ball) -> Ball:
        return self._sum_of_two(x, y)

    def subtract(self, x: Ball, y: Ball) -> Ball:
        return self._sum_of_two(x, -y)

    def multiply(self, x: Ball, y: Ball) -> Ball:
        shape = np.broadcast_shapes(x.shape, y.shape)
        known = not (x.lo.any() or y.lo.any() or x.r.any() or y.r.any())
        if known and (exact := _exact_product(self, x.v, y.v)) is not None:
            return exact
        if x.lo.any() or y.lo.any():
            product = dd.multiply(*((full(z.v, shape), full(z.lo, shape)) for z in (x, y)))
        else:
            product = dd.two_product(full(x.v, shape), full(y.v, shape))
        error = np.abs(x.v) * y.r + np.abs(y.v) * x.r + x.r * y.r
        rounding = np.where(_two_words(x, y, product[0]), 0.0, _MULTIPLY * np.abs(product[0]) + _TINY)
        error = error * (1 + 2.0**-50) + np.maximum(rounding, _lost_of(x.r, y.r))
        zero = (x.v == 0) & (x.r == 0) & np.isfinite(y.v) & np.isfinite(y.r)
        zero |= (y.v == 0) & (y.r == 0) & np.isfinite(x.v) & np.isfinite(x.r)
        if np.isinf(x.v).any() or np.isinf(y.v).any():  # infinity times what may be 0 is not known
            whole = full(x.v * y.v, shape)
            unsure = (np.isinf(x.v) & (np.abs(y.v) <= y.r) & (y.r > 0)) | (
                np.isinf(y.v) & (np.abs(x.v) <= x.r) & (x.r > 0)
            )
            product = np.where(np.isfinite(whole), product[0], np.where(unsure, 0.0, whole)), product[1]
            error = np.where(unsure, np.inf, error)
        return self._made(product, np.where(zero, 0.0, error), x, y)

    def divide(self, x: Ball, y: Ball) -> Ball:
        if y.shape == (1,) and y.v == 1 and y.lo == 0 and y.r == 0:
            return x
        shape = np.broadcast_shapes(x.shape, y.shape)
        inverse, off = self._reciprocal(y)
        found = self.multiply(x, Ball(self, inverse[0], inverse[1], off))
        plain = (x.lo == 0) & (y.lo == 0) & (y.r == 0)
        if plain.any():
            whole = x.v / y.v
            exact = plain & _is_product(whole, full(y.v, whole.shape), full(x.v, whole.shape))
            error = x.r / np.abs(y.v) * _UP + _lost_of(x.r)
            parts = ((whole, found.v), (0.0, found.lo), (error, found.r))
            found = Ball(self, *(np.where(exact, mine, theirs) for mine, theirs in parts))
        by_infinity = full(np.isinf(y.v) & (y.r == 0), shape) & np.isfinite(full(x.v, shape))
        zero = by_infinity | full((x.v == 0) & (x.r == 0) & (np.abs(y.v) > y.r), shape)
        by_zero = full((y.v == 0) & (y.r == 0), shape) & (np.abs(x.v) > x.r)
        nothing = (y.v == 0) & (y.r == 0) & (x.v == 0) & (x.r == 0)
        nothing = nothing | (np.isnan(y.v) & (y.r == 0) & np.isfinite(x.r))
        undefined = full(nothing | (np.isinf(y.v) & np.isinf(x.v) & (x.r == 0) & (y.r == 0)), shape)
        odd = by_zero | undefined
        value = np.where(zero, 0.0, np.where(undefined, np.nan, np.where(by_zero, np.copysign(np.inf, x.v), found.v)))
        return Ball(self, value, np.where(zero | odd, 0.0, found.lo), np.where(zero | odd, 0.0, found.r))

    def _reciprocal(self, y: Ball) -> tuple[dd.Pair, Array]:
        """1 / y, scaled into [1, 2), and the bound of its error."""
        high, low = y.pair
        _, exponent = np.frexp(high)
        sign = np.where(high < 0, -1.0, 1.0)
        scaled = (np.ldexp(np.abs(high), 1 - exponent), np.ldexp(low * sign, 1 - exponent))
        top, rest = dd.reciprocal(scaled)
        value = np.ldexp(top, 1 - exponent) * sign, np.ldexp(rest, 1 - exponent) * sign
        room = np.abs(high) - y.r
        error = np.where(room > 0, np.abs(value[0]) * (y.r / np.where(room > 0, room, 1.0)), np.inf)
        rounding = np.where(_power_of_two(y), 0.0, _DIVIDE * np.abs(value[0]) + _TINY)
        return value, error * (1 + 2.0**-50) + rounding

    def exp(self, x: Ball) -> Ball:
        high, low = x.pair
        inside = np.abs(high) <= 20000
        top, rest, exponent = dd.exp(np.where(inside, high, 0.0), np.where(inside, low, 0.0), full=True)
        value = np.ldexp(top, exponent), np.ldexp(rest, exponent)
        error = value[0] * np.expm1(x.r) * (1 + 2.0**-50) + _EXP * value[0] + _TINY
        below = high + x.r < -20000
        zero = np.isneginf(high) & (x.r == 0)
        gone = below | zero
        error = np.where(inside, error, np.where(gone, np.where(zero, 0.0, _TINY), np.inf))
        one = (high == 0) & (low == 0) & (x.r == 0)
        same = (np.isnan(high) | np.isposinf(high)) & (x.r == 0)
        error = np.where(one | same, 0.0, error)
        top = np.where(gone, 0.0, np.where(same, high, value[0]))
        return Ball(self, top, np.where(gone | same, 0.0, value[1]), error * _UP)

    def expm1(self, x: Ball) -> Ball:
        """exp(x) - 1, near 0 to the digits of x."""
        whole: Ball = self.exp(x) - 1
        high, low = x.pair
        near = (np.abs(high) <= _NEAR) & (x.r <= _NEAR)
        if not near.any():
            return whole
        at = np.where(near, high, 0.0), np.where(near, low, 0.0)
        value = dd.add(at, dd.square_times_series(at))
        error = _EXP * np.abs(value[0]) + _TINY + x.r * (1 + 4 * _NEAR)
        parts = ((value[0], whole.v), (value[1], whole.lo), (np.where((high == 0) & (x.r == 0), 0.0, error), whole.r))
        return Ball(self, *(np.where(near, one, other) for one, other in parts))

    def exp2(self, x: Ball) -> Ball:
        return self.exp(x * self.constant(forms.LN_2))

    def log(self, x: Ball) -> Ball:
        """log x = k log 2 + log f, x = 2**k f, 0.75 <= f < 1.5."""
        high, low = x.pair
        positive = high - x.r > 0
        safe = np.where(positive & np.isfinite(high), high, 1.0)
        _, k = np.frexp(safe / 1.5)
        f = np.ldexp(safe, -k), np.ldexp(np.where(positive, low, 0.0), -k)
        part = self._log_near_one(dd.add(f, (np.full_like(f[0], -1.0), np.zeros_like(f[0]))))
        ln_2 = np.full_like(safe, _LN_2[0]), np.full_like(safe, _LN_2[1])
        times = dd.multiply((k.astype(np.float64), np.zeros_like(safe)), ln_2)
        value = dd.add(times, part)
        error = _LOG * np.abs(part[0]) + 2.0**-100 * (np.abs(times[0]) + np.abs(part[0]))
        error = error + -np.log1p(-np.minimum(x.r / safe, 1 - 2.0**-30)) * (1 + 2.0**-40)
        error = np.where(positive & (x.r / safe < 0.5), error, np.inf)
        zero = (high == 0) & (x.r == 0)
        one = (high == 1) & (low == 0) & (x.r == 0)
        none = (np.isnan(high) | (high < 0)) & (np.abs(high) > x.r) & np.isfinite(x.r) | (np.isnan(high) & (x.r == 0))
        same = np.isposinf(high) & (x.r == 0)
        top = np.where(one, 0.0, np.where(zero, -np.inf, np.where(same, np.inf, np.where(none, np.nan, value[0]))))
        special = zero | one | same | none
        return Ball(self, top, np.where(special, 0.0, value[1]), np.where(special, 0.0, error * _UP))

    def _log_near_one(self, t: dd.Pair) -> dd.Pair:
        """log(1 + t) for -0.25 <= t < 0.5, relative error 2**-88."""
        small = np.abs(t[0]) < _SMALL
        negative = (t[0] < 0) & ~small
        one = np.ones_like(t[0])
        high, low = np.where(small, 1.0, t[0]), np.where(small, 0.0, t[1])
        if negative.any():
            base = dd.add(
                (np.where(negative, 1.0, 2.0), np.zeros_like(one)),
                (np.where(negative, t[0], 0.0), np.where(negative, t[1], 0.0)),
            )
            inverse = dd.reciprocal((base[0] * 2, base[1] * 2))
            turned = dd.multiply((-t[0], -t[1]), (inverse[0] * 2, inverse[1] * 2))
            high, low = np.where(negative, turned[0], high), np.where(negative, turned[1], low)
        usual = dd.log1p((high, low))
        sign = np.where(negative, -1.0, 1.0)
        if not small.any():
            return sign * usual[0], sign * usual[1]
        series: dd.Pair = (np.full_like(one, 0.2), np.zeros_like(one))
        for top, rest in ((-0.25, 0.0), (1 / 3, 1.850371707708594e-17), (-0.5, 0.0), (1.0, 0.0)):
            series = dd.add((one * top, one * rest), dd.multiply(t, series))
        near = dd.multiply(t, series)
        return np.where(small, near[0], sign * usual[0]), np.where(small, near[1], sign * usual[1])

    def log2(self, x: Ball) -> Ball:
        return self.multiply(self.log(x), self.constant(forms.LOG2_E))

    def log1p(self, x: Ball) -> Ball:
        """By the kernel where x is small and positive; else log(1 + x)."""
        high, low = x.pair
        fit = (high >= 2.0**-100) & (high < 1) & (x.r < high / 2)
        kernel = dd.log1p((np.where(fit, high, 0.5), np.where(fit, low, 0.0)))
        error = _LOG * np.abs(kernel[0]) + x.r * (1 + 2.0**-40)
        tiny = (np.abs(high) < 2.0**-100) & (x.r < 2.0**-100)  # log(1 + x) = x - x**2/2 + ...
        error = np.where(tiny, x.r + np.abs(high) * 2.0**-100, error)
        value = np.where(tiny, high, kernel[0]), np.where(tiny, low, kernel[1])
        known = tiny | fit
        if not known.all():
            whole = self.log(self.add(self.lift(1.0), x))
            value = np.where(known, value[0], whole.v), np.where(known, value[1], whole.lo)
            error = np.where(known, error, whole.r)
        return self._made(value, error, x)

    def max(self, x: Ball) -> Ball:
        if x.v.shape[-1] == 0:
            return Ball(self, np.full((*x.v.shape[:-1], 1), -np.inf))
        high, low = x.pair
        radius = full(x.r, high.shape)
        order = high.argmax(axis=-1)[..., None]
        top, rest, r = (np.take_along_axis(part, order, -1) for part in (high, low, radius))
        if x.r.any() or x.lo.any():
            below = np.where(
                np.isfinite(top), (high - top) * (1 - 2.0**-50), 0.0
            )  # at most 0; its own rounding given back
            above = below + (np.abs(low - rest) + radius) * (1 + 2.0**-50)
            r = np.maximum(r, above.max(axis=-1, keepdims=True) * _UP)
        nan = np.isnan(high).any(axis=-1, keepdims=True)
        known = np.isfinite(radius).all(axis=-1, keepdims=True)
        return Ball(
            self, np.where(nan, np.nan, top), np.where(nan, 0.0, rest), np.where(nan, np.where(known, 0.0, np.inf), r)
        )

    def sum(self, x: Ball) -> Ball:
        high, low = x.pair
        n = high.shape[-1]
        if n == 1:
            return x
        error = full(x.r, high.shape).sum(axis=-1, keepdims=True)
        finite = np.isfinite(high)
        if finite.all():
            value, lost = _tree(high, low)
            return Ball(self, *value, (error + lost) * (1 + n * 2.0**-52) * _UP)
        value, lost = _tree(np.where(finite, high, 0.0), np.where(finite, low, 0.0))
        error = error + lost
        odd = np.where(finite, 0.0, high).sum(axis=-1, keepdims=True)
        radius = error * (1 + n * 2.0**-52)
        radius = np.where((odd != 0) & np.isfinite(error), 0.0, radius) * _UP
        return Ball(self, np.where(odd == 0, value[0], odd), np.where(odd == 0, value[1], 0.0), radius)

    def _about(self, x: Ball) -> tuple[Array, Ball, Ball, Ball, Ball]:
        """(where it is, c, x - c, exp(x - c) but for its own 1, their sum T): c = x_k, the first of the largest.

        log p_i = (x_i - c) - log1p(T) for any k, so that log p_k keeps its relative accuracy; a row without a finite c is
        no such row.
        """
        if x not in self._abouts:
            self._abouts[x] = self._found_about(x)
        return self._abouts[x]

    def _found_about(self, x: Ball) -> tuple[Array, Ball, Ball, Ball, Ball]:
        high = x.pair[0]
        k = high.argmax(axis=-1)[..., None]
        here = np.arange(high.shape[-1]) == k
        c = self._each(x, lambda part: np.take_along_axis(part, k, -1))
        d = self.where(here, 0, x - c)
        e = self.where(here, 0, self.exp(d))
        return here, c, d, e, self.sum(e)

    def softmax(self, x: Ball) -> Ball:
        """exp(x - c) / (1 + T)."""
        if not x.v.shape[-1]:
            found: Ball = super().softmax(x)
            return found
        here, c, _, e, rest = self._about(x)
        usual = self.where(here, 1, e) / (1 + rest)
        return usual if np.isfinite(c.v).all() else self.where(np.isfinite(c.v), usual, super().softmax(x))

    def log_softmax(self, x: Ball) -> Ball:
        """(x - c) - log1p(T)."""
        if not x.v.shape[-1]:
            found: Ball = super().log_softmax(x)
            return found
        _, c, d, _, rest = self._about(x)
        usual = d - self.log1p(rest)
        return usual if np.isfinite(c.v).all() else self.where(np.isfinite(c.v), usual, super().log_softmax(x))

    def logsumexp(self, x: Ball) -> Ball:
        """c + log1p(T); where the maximum is infinite its limit: -inf of -inf alone, +inf beside one."""
        if not x.v.shape[-1]:
            found: Ball = super().logsumexp(x)
            return found
        _, c, _, _, rest = self._about(x)
        return self.where(np.isfinite(c.v), c + self.log1p(rest), self.max(x))

    def logaddexp(self, x: Ball, y: Ball) -> Ball:
        """The limit where the maximum is infinite, as for ``logsumexp``."""
        top = self.maximum(x, y)
        return self.where(np.isinf(top.v) & (top.r == 0), top, super().logaddexp(x, y))

    def support(self, x: Ball, power: int) -> Array:
        """On exact fractions where doubles do not tell."""
        found = super().support(x, power)
        high, low = x.pair
        for row in np.flatnonzero(self._unsure(x, power) & ~self._moved(x)):
            live = np.isfinite(high[row])
            values = [Fraction(v) + Fraction(w) for v, w in zip(high[row][live], low[row][live], strict=True)]
            found[row, live] = inside(values, power)
        return found

    def threshold(self, x: Ball, power: int) -> Ball:
        """Unknown where it is not known which elements lie above it."""
        tau: Ball = super().threshold(x, power)
        lost = np.isinf(full(x.r, x.shape)).any(axis=-1)
        unknown = (lost | (self._unsure(x, power) & self._moved(x)))[:, None]
        return Ball(self, tau.v, tau.lo, np.where(unknown, np.inf, tau.r))

    @staticmethod
    def _unsure(x: Ball, power: int) -> Array:
        """The rows [R] with an element for which doubles do not tell whether it lies above the threshold."""
        n = x.shape[-1]
        off = margin(n) + 4 * n * np.where(np.isfinite(x.v), x.r, 0).max(axis=-1, keepdims=True, initial=0.0)
        return np.asarray((np.abs(reach(x.pair[0], power) - 1) <= off).any(axis=-1))

    @staticmethod
    def _moved(x: Ball) -> Array:
        """The rows [R] that are not known exactly."""
        return np.asarray((full(x.r, x.shape) > 0).any(axis=-1))

    def total(self, x: Ball) -> Ball:
        high, low = x.pair
        flat = Ball(self, high.reshape(1, -1), low.reshape(1, -1), full(x.r, high.shape).reshape(1, -1))
        return self._each(self.sum(flat), lambda array: array.reshape(1))

    def _each(self, x: Ball, change: Callable[[Array], Array]) -> Ball:
        return Ball(self, *(change(full(part, x.shape)) for part in (x.v, x.lo, x.r)))

    def shaped(self, x: Ball, shape: tuple[int, ...]) -> Ball:
        return self._each(x, lambda part: part.reshape(shape))

    def turned(self, x: Ball) -> Ball:
        return self._each(x, lambda part: np.swapaxes(part, -1, -2))

    def take(self, x: Ball, labels: Array) -> Ball:
        rows = max(len(labels), x.shape[0])
        return self._each(x, lambda part: np.take_along_axis(full(part, (rows, part.shape[-1])), labels, -1))

    def where(self, mask: Array, x: Any, y: Any) -> Ball:
        first, second = self.lift(x), self.lift(y)
        pairs = ((first.v, second.v), (first.lo, second.lo), (first.r, second.r))
        return Ball(self, *(np.where(mask, one, other) for one, other in pairs))

    def maximum(self, x: Ball, y: Any) -> Ball:
        other = self.lift(y)
        larger = self.where((x.v > other.v) | ((x.v == other.v) & (x.lo >= other.lo)), x, other)
        unsure = np.abs(x.v - other.v) <= (x.r + other.r + np.abs(x.lo) + np.abs(other.lo)) * _UP
        both = np.maximum(x.r, other.r) + np.abs(x.lo) + np.abs(other.lo) + np.abs(x.v - other.v)
        exact = (x.r == 0) & (other.r == 0)
        made = Ball(self, larger.v, larger.lo, np.where(unsure & ~exact, both * _UP, larger.r))
        nan = np.isnan(x.v) | np.isnan(other.v)
        known = nan & np.isfinite(x.r) & np.isfinite(other.r)
        return Ball(self, np.where(nan, np.nan, made.v), made.lo, np.where(known, 0.0, np.where(nan, np.inf, made.r)))

    def abs(self, x: Ball) -> Ball:
        negative = x.v < 0
        return self.where(negative, -x, x)

    def at_least(self, x: Ball, number: float) -> Array:
        """Where x >= number; the branches of sound algorithms agree where that is not settled."""
        return np.asarray(x.v >= number)

    @staticmethod
    def exists(x: Ball) -> bool:
        return bool(np.any(x.v != 0))

    def weigh(self, q: Ball, x: Ball) -> Ball:
        return self.where((q.v == 0) & (q.r == 0), 0, q * x)

    @staticmethod
    def nearly(x: Ball, number: float, roundings: int) -> Ball:  # noqa: ARG004 (the same verb as in other readings)
        return x

    @staticmethod
    def store(x: Ball) -> Ball:
        return x


def enclosed(x: Ball) -> Enclosure:
    """Balls as enclosures: normalised to 1 <= |hi| < 2. Where nothing is known the radius spans the number and 0."""
    high, low = (np.array(part) for part in x.pair)
    radius = np.array(full(x.r, high.shape))
    special = ~np.isfinite(high) & (radius == 0)
    known = np.isfinite(high) & np.isfinite(radius)
    mantissa, exponent = np.frexp(np.where(known, high, 1.0))
    exponent = np.where(high == 0, 0, exponent - 1).astype(np.int64)
    hi = np.where(special, high, np.where(known, mantissa * 2, 1.0))
    shift = clipped(-exponent, -1074, 1074).astype(np.int32)
    lo = np.where(known, np.ldexp(np.where(known, low, 0.0), shift), 0.0)
    dropped = known & (low != 0) & (np.abs(lo) < 2.0**-900)
    r = np.where(special, 0.0, np.where(known, np.ldexp(np.where(known, radius, 0.0), shift) * _UP, 3.0))
    r = np.where((radius > 0) & (r < 2.0**-900), 2.0**-900, r)  # scaled to 0 it is no 0
    r = np.where(dropped, 2 * np.maximum(r, 2.0**-900), r)
    empty = (hi == 0) & (r > 0)  # an interval around 0: no digit is known, but how small it is
    exponent = np.where(empty & known, np.frexp(np.where(known, radius, 1.0) * _UP)[1], exponent).astype(np.int64)
    lo = np.where(dropped, 0.0, lo)
    tier = np.where(special, 0, TIERS.index("double-double")).astype(np.uint8)
    return Enclosure(np.where(empty, 1.0, hi), np.where(empty, 0.0, lo), exponent, np.where(empty, 3.0, r), tier)
