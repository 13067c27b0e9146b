"""The error reading: an algorithm evaluated on values with a bound of their error gives the limit of that algorithm.

Every quantity is held as its value v in exact arithmetic, known to float64 accuracy, with a bound on the distance of
what a ``Machine`` computes: |computed - v| <= e + r, r being the last step's own rounding. The rules are those of
rounding-error analysis without dropping terms in u**2 (Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed.,
chapters 2 and 3)::

    a + b, a - b   ea + eb                        + u (|v| + ea + eb)
    a * b          |a| eb + |b| ea + ea eb        + max(u (|v| + ...), eta/2)
    a / b          (ea + |v| eb) / (|b| - eb)     + max(u (|v| + ...), eta/2);  unbounded where eb >= |b|
    exp a          v (exp(ea) - 1)                + k_exp max(u v exp(ea), eta/2)
    log a          -log(1 - ea / a)               + k_log u (|v| + ...);       unbounded where ea >= a
    sum a_j        sum ea_j + sigma(n) u sum (|a_j| + ea_j)
    max a_j        max(ea_k, max_j (a_j + ea_j) - a_k) at the largest a_k

A bound may be infinite: then the algorithm promises nothing there, and an element is not judged.

Where inputs come near the end of the format's range, two masks travel along. ``wild``: an intermediate may leave the
machine's range, so that an infinity may come out. ``free``: what left the range meets its like or a factor of 0, so that
a NaN may come out.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatFormat, format_named
from xent_verify.core.shapes import full
from xent_verify.ops.machine import Machine
from xent_verify.ops.support import reach
from xent_verify.ops.verbs import Operators, Verbs

__all__ = ["Approximate", "Errors"]

Array = NDArray[Any]
Mask = NDArray[np.bool_] | None
Step = Callable[..., "Approximate"]

_SAFE = 0.99
"""Values above this share of M may round to infinity, by errors on the way."""


class Approximate(Operators):
    """A value and the bound of its error, elementwise: rows [R, n], one number a row [R, 1], or a scalar."""

    __slots__ = ("a", "e", "error", "free", "held", "r", "v", "wild")

    def __init__(
        self, a: Errors, v: Array, e: Array, r: Array | float = 0.0, wild: Mask = None, free: Mask = None, *,
        held: bool = False,
    ) -> None:  # fmt: skip
        self.a, self.v, self.e, self.r, self.wild, self.free = a, v, e, r, wild, free
        self.error: Array = np.asarray(e + r)  # the last rounding included
        self.held = held  # a number of the result's format

    def __neg__(self) -> Approximate:
        return Approximate(self.a, -self.v, self.e, self.r, self.wild, self.free, held=self.held)


def _once(step: Step) -> Step:
    """A step that algorithms share is taken once: its result is kept beside its operands."""

    @functools.wraps(step)
    def taken(self: Errors, *operands: Any) -> Approximate:
        key = (step.__name__, *(id(value) for value in operands))
        known = self.taken.get(key)
        if known is None:
            known = self.taken[key] = step(self, *operands), operands  # the operands live as long as their ids
        return known[0]

    return taken


def _either(*masks: Mask) -> Mask:
    found = [mask for mask in masks if mask is not None]
    if not found:
        return None
    total = found[0]
    for mask in found[1:]:
        total = total | mask
    return total


def _both(first: Mask, second: Mask) -> Mask:
    return None if first is None or second is None else first & second


class Errors(Verbs):
    """The reading for one machine.

    ``special``: inputs hold infinities or NaN; their error is 0. ``watch``: inputs are so large that an intermediate may
    leave the machine's range. ``number``: NumPy type of values and bounds, ``np.longdouble`` where float64's range is short.
    """

    def __init__(self, machine: Machine, *, special: bool, watch: bool, number: type = np.float64) -> None:
        self.machine, self.special, self.watch, self.number = machine, special, watch, number
        self.taken: dict[tuple[Any, ...], tuple[Approximate, tuple[Any, ...]]] = {}
        self.u, self.half_eta = _rounding(machine.steps)
        self.large = machine.large
        if machine.flushes:
            self.half_eta = self.number(machine.steps.smallest_normal)
        self.u_sum, _ = _rounding(machine.sums)
        self.u_store, self.half_eta_store = _rounding(machine.store)
        self._top = self.number(machine.steps.max_finite) * self.number(_SAFE)
        self._top_store = self.number(machine.store.max_finite) * self.number(_SAFE)

    # What enters

    def input(self, values: Array) -> Approximate:
        """Exact numbers: what the input array holds; of a wider format than the steps they are rounded to that first."""
        given = np.asarray(values)
        v: Array = given.astype(np.float64).astype(self.number)
        if given.dtype.kind != "f" or given.dtype.itemsize * 8 <= self.machine.steps.bits:
            return Approximate(self, v, np.zeros((), self.number))
        held: Array = self.machine.steps.widen(self.machine.steps.narrow(given)).astype(self.number)
        return Approximate(self, v, np.where(np.isfinite(held), np.abs(v - held), 0))

    def narrower(self, values: Array) -> Approximate:
        """w of a narrower format: one rounding of w or of w - 1 there, since arrays of one format are computed with in it."""
        w = self.input(values)
        u, half_eta = _rounding(format_named(np.asarray(values).dtype.name))
        return Approximate(self, w.v, np.where(np.isfinite(w.v), w.error + (1 + np.abs(w.v)) * u + half_eta, 0))

    def row(self, values: Array) -> Approximate:
        """Logits: exact, or moved as the machine says (backward stability, Higham, section 1.5)."""
        x = self.input(values)
        if not self.machine.moved:
            return x
        size = np.abs(x.v).max(axis=-1, keepdims=True, initial=0.0, where=np.isfinite(x.v))
        return Approximate(self, x.v, np.where(np.isfinite(x.v), size * (self.machine.moved * self.u), 0))

    def lift(self, value: Any) -> Approximate:
        """A Python number that every format holds exactly."""
        if isinstance(value, Approximate):
            return value
        return Approximate(self, self.number(value), self.number(0), held=True)

    @_once
    def constant(self, value: float) -> Approximate:
        """A real constant, rounded to the machine's format (float64 itself rounds it: one more u)."""
        v: Any = self.number(value)
        held: Any = self.machine.steps.widen(self.machine.steps.narrow(value)).astype(self.number)
        return Approximate(self, v, abs(v - held) + (self.u * abs(v) if self.machine.steps.bits == 64 else 0))

    def parameter(self, value: float) -> Approximate:
        """An option's number: exact, or rounded once to the format of the result."""
        held: Any = self.machine.store.widen(self.machine.store.narrow(float(value))).astype(self.number)
        return Approximate(self, self.number(value), abs(self.number(value) - held))

    # + - * /

    def _made(
        self, v: Array, e: Array, r: Array, wild: Mask, free: Mask, sources: tuple[Array, ...], top: Any = None
    ) -> Approximate:
        if self.special or self.watch:
            odd = ~np.isfinite(v)
            if odd.any():  # exact where an operand is infinite or NaN; else this reading itself left its range
                finite = functools.reduce(np.logical_and, map(np.isfinite, sources))
                e, r = np.where(odd, np.where(finite, np.inf, 0), e), np.where(odd, 0, r)
        if self.watch:
            size = np.abs(v)
            beyond = np.asarray((size + e > (self._top if top is None else top)) & (size < np.inf))
            if beyond.any():
                wild = _either(wild, beyond)
        return Approximate(self, v, e, r, wild, free)

    def add(self, x: Approximate, y: Approximate) -> Approximate:
        """x + y."""
        return self._sum_of_two(x, y, np.add)

    def subtract(self, x: Approximate, y: Approximate) -> Approximate:
        """x - y."""
        return self._sum_of_two(x, y, np.subtract)

    @_once
    def _sum_of_two(self, x: Approximate, y: Approximate, step: Callable[[Array, Array], Array]) -> Approximate:
        """Sums in the subnormal range are exact (Hauser, ACM TOPLAS 18, 1996)."""
        v: Any = step(x.v, y.v)
        e = x.error + y.error
        free = _either(x.free, y.free, _both(x.wild, y.wild))
        return self._made(v, e, (np.abs(v) + e) * self.u, _either(x.wild, y.wild), free, (x.v, y.v))

    @_once
    def multiply(self, x: Approximate, y: Approximate) -> Approximate:
        """x y; exact by a power of two that is itself exact."""
        v = x.v * y.v
        ex, ey = x.error, y.error
        e = np.abs(x.v) * ey + np.abs(y.v) * ex + ex * ey
        free = _either(x.free, y.free)
        if self.watch or self.special:
            gone = _either(_over_zero(x, y), _over_zero(y, x))
            free = _either(free, gone)
        r = self._rounded(v, e, exact=_power(x) or _power(y))
        return self._made(v, e, r, _either(x.wild, y.wild), free, (x.v, y.v))

    @_once
    def divide(self, x: Approximate, y: Approximate) -> Approximate:
        """x / y; exact by a power of two that is itself exact."""
        if y.v.ndim == 0 and y.v == 1 and not y.error:
            return x
        v = x.v / y.v
        room = np.abs(y.v) - y.error
        e = (x.error + np.abs(v) * y.error) / np.where(room > 0, room, 1)
        if (room <= 0).any():
            e = np.where(room > 0, e, np.where((e == 0) & (y.error == 0), 0, np.inf))
        r = self._rounded(v, e, exact=_power(y) and self.machine.k_div == 1.0) * self.machine.k_div
        free = _either(x.free, y.free, _both(x.wild, y.wild))
        return self._made(v, e, r, _either(x.wild, y.wild), free, (x.v, y.v))

    def _rounded(self, v: Array, e: Array, *, exact: bool = False) -> Array:
        if exact:
            return np.zeros((), self.number)
        size = np.abs(v) + e
        return np.asarray(np.maximum(size * self.u, self.half_eta * (size > 0)))  # an exact 0 is not rounded

    # Elementary functions

    @_once
    def exp(self, x: Approximate) -> Approximate:
        """e**x."""
        return self._exponential(x, np.exp, 1.0)

    @_once
    def exp2(self, x: Approximate) -> Approximate:
        """2**x."""
        return self._exponential(x, np.exp2, math.log(2.0))

    def _exponential(self, x: Approximate, power: Callable[[Array], Array], unit: float) -> Approximate:
        v, moved = power(x.v), x.error * unit
        e = v * np.expm1(moved)
        if (moved > 1).any():  # v may be 0 where exp(x + error) is not
            e = np.where(moved > 1, power(x.v + x.error) - v, e)
        if self.special:
            e = np.where(x.v == -np.inf, 0, e)
        r = np.maximum((v + e) * self.u, self.half_eta) * self.machine.k_exp
        if self.special:
            r = np.where(x.v == -np.inf, 0, r)
        wild = x.wild if x.wild is None else x.wild & (x.v > 0)  # exp of what left the range below is 0, as it should
        return self._made(v, e, r, wild, x.free, (x.v,))

    @_once
    def log(self, x: Approximate) -> Approximate:
        """Natural logarithm."""
        return self._logarithm(x, np.log(x.v), x.v, x.error, 1.0)

    def log2(self, x: Approximate) -> Approximate:
        """Logarithm to base 2."""
        return self._logarithm(x, np.log2(x.v), x.v, x.error, 1 / math.log(2.0))

    @_once
    def log1p(self, x: Approximate) -> Approximate:
        """log(1 + x)."""
        return self._logarithm(x, np.log1p(x.v), 1 + x.v, x.error, 1.0)

    def _logarithm(self, x: Approximate, v: Array, argument: Array, error: Array, unit: float) -> Approximate:
        share = np.where(error == 0, 0, error / argument)
        e = np.where(share < 1, -np.log1p(-np.minimum(share, 1)) * unit, np.inf)
        r = np.maximum((np.abs(v) + e) * self.u, self.half_eta) * self.machine.k_log
        if self.machine.log_floor:
            near = (argument > 0.5 - error) & (argument < 2 + error)
            r = np.where(near, np.maximum(r, self.machine.log_floor * unit * self.u), r)
        return self._made(v, e, r, x.wild, x.free, (x.v,))

    @_once
    def tanh(self, x: Approximate) -> Approximate:
        """tanh x, as good as an exponential; its slope is largest where |x| is smallest."""
        v, nearest = np.tanh(x.v), np.maximum(np.abs(x.v) - x.error, 0)
        e = x.error / np.cosh(np.minimum(nearest, 300)) ** 2
        e = np.where(x.error < np.inf, e, 2)
        r = np.maximum((np.abs(v) + e) * self.u, self.half_eta * (np.abs(v) + e > 0)) * self.machine.k_exp
        return self._made(v, e, r, None, x.free, (x.v,))

    @_once
    def power(self, x: Approximate, y: Approximate) -> Approximate:
        """x**y, as good as an exponential."""
        v, some = np.power(x.v, y.v), np.where(x.v > 0, x.v, 1)
        share = x.error / some
        e = v * np.maximum(np.expm1(y.v * np.log1p(share)), -np.expm1(y.v * np.log1p(-np.minimum(share, 1))))
        e = np.where(x.v > 0, e, np.power(x.error, y.v))
        e = e + (v + e) * np.expm1(np.abs(np.log(some)) * y.error)
        r = np.maximum((v + e) * self.u, self.half_eta) * self.machine.k_exp
        return self._made(v, e, r, x.wild, x.free, (x.v, y.v))

    # Rows

    @_once
    def max(self, x: Approximate) -> Approximate:
        """Largest of each row, [R, 1]."""
        if x.v.shape[-1] == 0:
            return Approximate(self, np.full((*x.v.shape[:-1], 1), -np.inf, self.number), np.zeros((), self.number))
        v = x.v.max(axis=-1, keepdims=True)
        if not np.any(x.error):
            e: Any = np.zeros((), self.number)
        else:
            at = x.v.argmax(axis=-1)[..., None]
            error = full(x.error, x.v.shape)
            reach = (x.v + error).max(axis=-1, keepdims=True)
            e = np.maximum(np.take_along_axis(error, at, -1), np.where(reach == v, 0, reach - v))
        return Approximate(self, v, e, 0.0, self._at_top(x, x.wild), self._any(x.free))

    def _at_top(self, x: Approximate, mask: Mask) -> Mask:
        if mask is None:
            return None
        at = x.v.argmax(axis=-1)[..., None]
        return np.take_along_axis(full(mask, x.v.shape), at, -1)

    @staticmethod
    def _any(mask: Mask) -> Mask:
        return None if mask is None else np.asarray(mask.any(axis=-1, keepdims=True))

    @_once
    def sum(self, x: Approximate) -> Approximate:
        """Sum of each row, [R, 1]."""
        n = x.v.shape[-1]
        if n == 1:
            return x
        v = x.v.sum(axis=-1, keepdims=True)
        error = full(x.error, x.v.shape).sum(axis=-1, keepdims=True)
        size = np.abs(x.v).sum(axis=-1, keepdims=True)
        e = error + (size + error) * (self.machine.sigma(n) * self.u_sum)
        r: Any = np.zeros((), self.number)
        if self.machine.sums is not self.machine.steps:  # the sum goes back to the format of the steps
            r = self._rounded(v, e)
        made = self._made(v, e, r, self._any(x.wild), self._any(x.free), (size,))
        if x.wild is not None:  # infinities of both signs
            infinite = x.wild | np.isinf(x.v)
            made.free = _either(made.free, _both(self._any(infinite & (x.v > 0)), self._any(infinite & (x.v < 0))))
        if self.watch:
            beyond = np.asarray((size + e > self._top) & (size < np.inf))
            made.wild = _either(made.wild, beyond if beyond.any() else None)
        return made

    def only(self, x: Approximate) -> Approximate:
        """The sum of each row, [R, 1]; the element itself where no other is different from 0."""
        alone = np.count_nonzero(x.v, axis=-1, keepdims=True) <= 1
        exact = Approximate(self, x.v.sum(axis=-1, keepdims=True), full(x.error, x.v.shape).sum(-1, keepdims=True))
        return self.where(alone, exact, self.sum(x))

    def share(self, x: Approximate, y: Approximate) -> Approximate:
        """x / y; 1 where both are the same exact number."""
        same = (x.v == y.v) & (x.error == 0) & (y.error == 0)
        return self.where(same, 1, x / y)

    @_once
    def product(self, x: Approximate, matrix: Approximate) -> Approximate:
        """n products of each row and vector, added up in any order: [R, n] and [G, k, n] give [R, k].

        Where they cancel v is off by what this reading's own sum loses; the bound has room for that on both sides.
        """
        groups, k, n = matrix.v.shape
        rows = len(x.v)

        def dot(left: Array, right: Array) -> Array:
            grouped = full(left, x.v.shape).reshape(groups, rows // max(groups, 1), n)
            return np.asarray(grouped @ np.swapaxes(right, -1, -2)).reshape(rows, k)

        size_x, size_m = np.abs(x.v), np.abs(matrix.v)
        v, size = dot(x.v, matrix.v), dot(size_x, size_m)
        e: Any = np.zeros((), self.number)
        if np.any(x.error):
            e = dot(full(x.error, x.v.shape), size_m)
        if np.any(matrix.error):
            e = e + dot(size_x + x.error, full(matrix.error, matrix.v.shape))
        size = size + e
        e = e + size * self.u + np.where(size > 0, n * self.half_eta, 0)
        e = e + size * (1 + self.u) * (self.machine.sigma(n) * self.u_sum)
        e = e + size * ((n + 2) * float(np.finfo(self.number).eps))
        r: Any = np.zeros((), self.number)
        if self.machine.sums is not self.machine.steps:
            r = self._rounded(v, e)
        odd = np.where(np.isfinite(x.v).all(axis=-1, keepdims=True) & np.isfinite(matrix.v).all(), 0, np.inf)

        def of_vectors(mask: Mask) -> Mask:
            if mask is None:
                return None
            vectors = np.broadcast_to(mask, matrix.v.shape).any(axis=-1)
            return np.repeat(vectors, rows // max(groups, 1), axis=0)

        wild = _either(self._any(x.wild), of_vectors(matrix.wild))
        free = _either(self._any(x.free), of_vectors(matrix.free), wild)
        made = self._made(v, e, r, wild, free, (odd,))
        if self.watch:
            beyond = np.asarray((size * (1 + self.u) > self._top) & (size < np.inf))
            if beyond.any():  # terms of both signs may leave the range
                made.wild, made.free = _either(made.wild, beyond), _either(made.free, beyond)
        return made

    def shaped(self, x: Approximate, shape: tuple[int, ...]) -> Approximate:
        """The elements in another shape."""
        return self._each(x, lambda array: array.reshape(shape))

    def turned(self, x: Approximate) -> Approximate:
        """The last two axes exchanged."""
        return self._each(x, lambda array: np.swapaxes(array, -1, -2))

    def total(self, x: Approximate) -> Approximate:
        """Sum of all rows' values [R, 1], a scalar."""
        flat = Approximate(
            self, x.v.reshape(1, -1), full(x.error, x.v.shape).reshape(1, -1), 0.0,
            None if x.wild is None else full(x.wild, x.v.shape).reshape(1, -1),
            None if x.free is None else full(x.free, x.v.shape).reshape(1, -1),
            held=x.held,
        )  # fmt: skip
        return self._each(self.sum(flat), lambda array: array.reshape(()))

    def kept(self, x: Approximate, power: int) -> Approximate:
        """Open where the roundings of a sum decide."""
        found = super().kept(x, power)
        most = np.count_nonzero(found.v, axis=-1, keepdims=True) + 1
        off = most * ((self.machine.sigma(x.v.shape[-1]) + 8) * max(self.u, self.u_sum))
        return Approximate(self, found.v, np.where(np.abs(reach(x.v, power) - 1) <= off, 1.0, 0.0))

    # Choices

    def _each(self, x: Approximate, change: Callable[[Array], Array]) -> Approximate:
        """The same choice made of value, bound and masks."""

        def of(array: Any) -> Any:
            return change(full(array, x.v.shape))

        wild, free = (None if mask is None else of(mask) for mask in (x.wild, x.free))
        return Approximate(self, change(x.v), of(x.e), of(x.r), wild, free, held=x.held)

    def take(self, x: Approximate, labels: Array) -> Approximate:
        """The element of each row at its label, [R, 1]; ``labels``: int64 [R, 1]."""
        rows = max(len(labels), len(x.v))

        def pick(array: Array) -> Array:
            return np.take_along_axis(full(array, (rows, array.shape[-1])), labels, -1)

        return self._each(x, pick)

    def where(self, mask: Array, x: Any, y: Any) -> Approximate:
        """x where the mask is true, y elsewhere."""
        x, y = self.lift(x), self.lift(y)

        def pick(first: Mask, second: Mask) -> Mask:
            if first is None and second is None:
                return None
            return np.where(mask, False if first is None else first, False if second is None else second)

        v = np.where(mask, x.v, y.v)
        e, r = np.where(mask, x.e, y.e), np.where(mask, x.r, y.r)
        return Approximate(self, v, e, r, pick(x.wild, y.wild), pick(x.free, y.free), held=x.held and y.held)

    def maximum(self, x: Approximate, y: Any) -> Approximate:
        """The larger one, elementwise."""
        y = self.lift(y)
        e = np.maximum(x.error, y.error)
        if np.any(e):  # one that is the smaller whatever its error does not count
            e = np.where(x.v - x.error > y.v + y.error, x.error, np.where(y.v - y.error > x.v + x.error, y.error, e))
        return Approximate(self, np.maximum(x.v, y.v), e, 0.0, _either(x.wild, y.wild), x.free)

    def abs(self, x: Approximate) -> Approximate:
        """|x|."""
        return Approximate(self, np.abs(x.v), x.e, x.r, x.wild, x.free)

    @staticmethod
    def at_least(x: Approximate, number: float) -> Array:
        """Where x is a number or more."""
        return np.asarray(x.v >= number)

    def weigh(self, q: Approximate, x: Approximate) -> Approximate:
        """q x, and 0 where q is 0 whatever x is (a class without weight contributes nothing)."""
        product = q * x
        nothing = (q.v == 0) & ~(q.error > 0)
        made = self.where(nothing, 0, product)
        made.free = _either(made.free, None if x.wild is None else x.wild & nothing)
        return made

    @staticmethod
    def exists(x: Approximate) -> bool:
        """A number that is not exactly 0."""
        return bool(np.any(x.v != 0))

    def nearly(self, x: Approximate, number: float, roundings: int) -> Approximate:
        """x, or ``number`` in its place where x is that but for so many roundings of inputs to the result's format."""
        off = np.abs(x.v - number)
        return Approximate(self, x.v, np.where(off <= roundings * self.u_store, np.maximum(x.error, off), x.error))

    # What leaves

    def store(self, x: Approximate) -> Approximate:
        """The value rounded to the format of the result, once. What the steps make in that format is rounded already."""
        if x.held or self.machine.steps is self.machine.store:
            return x
        r = np.maximum((np.abs(x.v) + x.error) * self.u_store, self.half_eta_store)
        made = self._made(x.v, x.error, r, x.wild, x.free, (x.v,), self._top_store)
        made.held = True
        return made


def _rounding(form: FloatFormat) -> tuple[float, float]:
    """u and half the smallest subnormal: largest relative and absolute error of one rounding.

    Half of float64's smallest subnormal is no float64; the whole one stands for it.
    """
    return form.unit_roundoff, max(form.smallest_subnormal / 2, math.ulp(0.0))


def _power(x: Approximate) -> bool:
    """A scalar that is an exact power of two."""
    return x.v.ndim == 0 and not np.any(x.error) and bool(abs(np.frexp(x.v)[0]) == 0.5)


def _over_zero(x: Approximate, y: Approximate) -> Mask:
    """Where x left the range (or is infinite beside a y that rounds to 0), and y is or may be 0."""
    small = np.abs(y.v) <= y.error
    mask = None if x.wild is None else x.wild & small
    infinite = np.isinf(x.v)
    if infinite.any():
        mask = _either(mask, infinite & small & ((y.v != 0) | (y.error > 0)))
    return mask if mask is not None and mask.any() else None
