"""What all readings of an algorithm share: operators of numbers, and verbs made of other verbs.

A *reading* is an arithmetic that algorithms are written over: on values with error bounds (``ops.errors``), on floats of a
format (``ops.floats``), on exact numbers (``truth.reading``). Its numbers are arrays: rows [R, n], one number a row [R, 1],
or a scalar.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.ops import forms
from xent_verify.ops.support import reach

__all__ = ["Operators", "Verbs"]

Array = NDArray[Any]


class Operators:
    """A number ``v`` of a reading ``a``: + - * / and whole powers are the reading's steps."""

    __array_ufunc__ = None  # NumPy arrays on the left defer to these operators
    __slots__ = ()

    a: Any
    v: Any

    def __add__(self, other: Any) -> Any:
        return self.a.add(self, self.a.lift(other))

    def __sub__(self, other: Any) -> Any:
        return self.a.subtract(self, self.a.lift(other))

    def __mul__(self, other: Any) -> Any:
        return self.a.multiply(self, self.a.lift(other))

    def __truediv__(self, other: Any) -> Any:
        return self.a.divide(self, self.a.lift(other))

    def __radd__(self, other: Any) -> Any:
        return self.a.add(self.a.lift(other), self)

    def __rsub__(self, other: Any) -> Any:
        return self.a.subtract(self.a.lift(other), self)

    def __rmul__(self, other: Any) -> Any:
        return self.a.multiply(self.a.lift(other), self)

    def __rtruediv__(self, other: Any) -> Any:
        return self.a.divide(self.a.lift(other), self)

    def __pow__(self, power: int) -> Any:
        """Repeated multiplication."""
        result: Any = self
        for _ in range(power - 1):
            result = result * self
        return result


class Verbs:
    """Verbs that are the same in every reading, or are made of its other verbs."""

    input: Any
    large: float = 64.0
    """x from which exp(-x) is below half the unit roundoff."""

    def narrower(self, values: Array) -> Any:
        """Weights of elements, of a narrower format than the inputs'."""
        return self.input(values)

    def softmax(self, x: Any) -> Any:
        """exp(x_i) / sum exp(x_j) of each row."""
        return forms.shifted_softmax(self, x)

    def log_softmax(self, x: Any) -> Any:
        """x_i - log sum exp(x_j) of each row."""
        return forms.shifted_log_softmax(self, x)

    def logsumexp(self, x: Any) -> Any:
        """log sum exp(x_j) of each row, [R, 1]."""
        return forms.shifted_logsumexp(self, x)

    def softplus(self, x: Any) -> Any:
        """log(1 + exp(x))."""
        return forms.softplus(self, x)

    def logaddexp(self, x: Any, y: Any) -> Any:
        """log(exp(x) + exp(y))."""
        return forms.logaddexp(self, x, y)

    def sigmoid(self, x: Any) -> Any:
        """1 / (1 + exp(-x))."""
        return forms.sigmoid(self, x)

    def tanh(self: Any, x: Any) -> Any:
        """(1 - e) / (1 + e) with the sign of x, e = exp(-2 |x|)."""
        e = self.exp(self.abs(x) * -2)
        t = (1 - e) / (1 + e)
        return self.where(self.at_least(x, 0), t, -t)

    def power(self: Any, x: Any, y: Any) -> Any:
        """x**y of x >= 0 and y > 0."""
        return self.exp(y * self.log(x))

    def sqrt(self: Any, x: Any) -> Any:
        """The square root."""
        return self.power(x, self.lift(0.5))

    def support(self, x: Any, power: int) -> Array:
        """Which elements of each row lie above its ``threshold``, [R, n]."""
        return np.asarray(reach(x.v, power) < 1)

    def threshold(self: Any, x: Any, power: int) -> Any:
        """t with sum max(x_i - t, 0)**power = 1 of each row, [R, 1]; ``power`` 1 or 2.

        From the mean and the squares of the elements above it. One that lies at t moves it by no more than t's own roundings.
        """
        mask = self.support(x, power)
        count = self.input(np.count_nonzero(mask, axis=-1, keepdims=True).astype(np.float64))
        total = self.sum(self.where(mask, x, 0))
        if power == 1:
            return (total - 1) / count
        mean = total / count
        d = self.where(mask, x - mean, 0)
        return mean - self.sqrt((1 - self.sum(d * d)) / count)

    def kept(self: Any, x: Any, power: int) -> Any:
        """1 where an element lies above its row's ``threshold``, 0 elsewhere."""
        return self.where(self.support(x, power), 1, 0)

    def roots(self: Any, x: Any, power: int) -> tuple[Any, Any]:
        """z = (x - max x) / power, and max(z - t, 0) for the ``threshold`` t of z."""
        z = x - self.max(x)
        z = z * 0.5 if power == 2 else z
        return z, self.maximum(z - self.threshold(z, power), 0)

    def entmax(self: Any, x: Any, power: int) -> Any:
        """The powers of the ``roots``, whose sum is 1: sparsemax (power 1), entmax with alpha = 1.5 (power 2)."""
        return self.roots(x, power)[1] ** power

    def reduce(self: Any, x: Any, divisor: Any, reduction: str) -> Any:
        """One value a row [R, 1] as it is ("none"), their sum, or their sum over a divisor ("mean")."""
        if reduction == "none":
            return x
        total = self.total(x)
        return total if reduction == "sum" else total / divisor

    def only(self: Any, x: Any) -> Any:
        """The sum of each row, [R, 1]; no rounding where one element alone is not 0."""
        return self.sum(x)

    def share(self: Any, x: Any, y: Any) -> Any:
        """x / y; no rounding where both are the same."""
        return x / y

    def product(self: Any, x: Any, matrix: Any) -> Any:
        """x_i . m_j of each row i and each vector j of its matrix: x [R, n] and [G, k, n], R / G rows each, give [R, k]."""
        groups, k, n = matrix.v.shape
        rows = self.count(x)
        every = self.shaped(x, (groups, rows // max(groups, 1), 1, n)) * self.shaped(matrix, (groups, 1, k, n))
        return self.shaped(self.sum(every), (rows, k))

    def mix(self: Any, weights: Any, vectors: Any) -> Any:
        """sum_j w_ij v_j of each row i of weights [R, k] and its vectors [G, k, m]: [R, m]."""
        return self.product(weights, self.turned(vectors))

    def minimum(self: Any, x: Any, y: Any) -> Any:
        """The smaller one, elementwise."""
        return -self.maximum(-x, -self.lift(y))

    @staticmethod
    def ranking(x: Any) -> Array:
        """Places of the elements of each row from the largest to the smallest, the first of equals first, int64 [R, n]."""
        values = x.v
        if values.dtype == object:
            values = np.frompyfunc(lambda one: one if isinstance(one, float) else one.middle, 1, 1)(values)
        return np.asarray(np.argsort(-values.astype(np.float64), axis=-1, kind="stable"))

    @staticmethod
    def hot(labels: Array, n: int) -> Array:
        """True at the label of each row, [R, n]."""
        return np.asarray(np.arange(n) == labels)

    @staticmethod
    def width(x: Any) -> int:
        """n, the length of a row."""
        return int(x.v.shape[-1])

    @staticmethod
    def count(x: Any) -> int:
        """R, the number of rows."""
        return int(x.v.shape[0])

    @staticmethod
    def is_labels(target: Any) -> bool:
        """Class labels, not probabilities."""
        return not isinstance(target, Operators)
