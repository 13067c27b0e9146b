"""The float reading: an algorithm run step by step in the formats of a ``Machine`` is an implementation of it.

Every step rounds to ``machine.steps``, sums to ``machine.sums``, the result to ``machine.store``. ``trace`` records what
each step made, in order: the worked steps of a row.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.shapes import full
from xent_verify.ops.machine import Machine
from xent_verify.ops.verbs import Operators, Verbs

__all__ = ["Floats", "Number"]

Array = NDArray[Any]


class Number(Operators):
    """An array of the format of the machine's steps."""

    __slots__ = ("a", "v")

    def __init__(self, a: Floats, v: Any) -> None:
        self.a, self.v = a, v

    def __neg__(self) -> Number:
        return Number(self.a, -self.v)


class Floats(Verbs):
    """The reading for one machine. ``Errors`` has the same verbs, and says what each of them means."""

    def __init__(self, machine: Machine, trace: list[tuple[str, Array]] | None = None) -> None:
        self.machine, self.trace = machine, trace
        self._steps, self._sums = machine.steps.dtype, machine.sums.dtype
        self.large = machine.large

    def step(self, name: str, value: Any) -> Number:
        """A step's result, rounded to the machine's steps."""
        held = np.asarray(value, self._steps)
        if self.trace is not None:
            self.trace.append((name, held))
        return Number(self, held)

    def _wide(self, x: Number) -> Array:
        """Elementary functions of narrow formats are taken in float32 and rounded once."""
        return np.asarray(x.v if self._steps.itemsize > 2 else x.v.astype(np.float32))

    def input(self, values: Array) -> Number:
        return Number(self, np.asarray(values).astype(self._steps))

    def row(self, values: Array) -> Number:
        return self.input(values)

    def lift(self, value: Any) -> Number:
        return value if isinstance(value, Number) else Number(self, np.asarray(value, np.float64).astype(self._steps))

    def constant(self, value: float) -> Number:
        return self.lift(value)

    def parameter(self, value: float) -> Number:
        return self.lift(value)

    def add(self, x: Number, y: Number) -> Number:
        return self.step("+", x.v + y.v)

    def subtract(self, x: Number, y: Number) -> Number:
        return self.step("-", x.v - y.v)

    def multiply(self, x: Number, y: Number) -> Number:
        return self.step("*", x.v * y.v)

    def divide(self, x: Number, y: Number) -> Number:
        return self.step("/", x.v / y.v)

    def exp(self, x: Number) -> Number:
        return self.step("exp", np.exp(self._wide(x)))

    def exp2(self, x: Number) -> Number:
        return self.step("exp2", np.exp2(self._wide(x)))

    def log(self, x: Number) -> Number:
        return self.step("log", np.log(self._wide(x)))

    def log2(self, x: Number) -> Number:
        return self.step("log2", np.log2(self._wide(x)))

    def log1p(self, x: Number) -> Number:
        return self.step("log1p", np.log1p(self._wide(x)))

    def tanh(self, x: Number) -> Number:
        return self.step("tanh", np.tanh(self._wide(x)))

    def power(self, x: Number, y: Number) -> Number:
        return self.step("power", np.power(self._wide(x), self._wide(y)))

    def max(self, x: Number) -> Number:
        if x.v.shape[-1] == 0:
            return self.step("max", np.full((*x.v.shape[:-1], 1), -math.inf))
        return self.step("max", x.v.max(axis=-1, keepdims=True))

    def sum(self, x: Number) -> Number:
        if self.machine.summation == "loop":
            with_zero = np.concatenate([np.zeros((*x.v.shape[:-1], 1), self._sums), x.v.astype(self._sums)], axis=-1)
            return self.step("sum", np.add.accumulate(with_zero, axis=-1)[..., -1:])
        return self.step("sum", x.v.astype(self._sums).sum(axis=-1, keepdims=True, dtype=self._sums))

    def total(self, x: Number) -> Number:
        return Number(self, self.sum(Number(self, x.v.reshape(1, -1))).v.reshape(()))

    def shaped(self, x: Number, shape: tuple[int, ...]) -> Number:
        return Number(self, x.v.reshape(shape))

    def turned(self, x: Number) -> Number:
        return Number(self, np.swapaxes(x.v, -1, -2))

    def take(self, x: Number, labels: Array) -> Number:
        rows = max(len(labels), len(x.v))
        return Number(self, np.take_along_axis(full(x.v, (rows, x.v.shape[-1])), labels, -1))

    def where(self, mask: Array, x: Any, y: Any) -> Number:
        return Number(self, np.where(mask, self.lift(x).v, self.lift(y).v))

    def maximum(self, x: Number, y: Any) -> Number:
        return Number(self, np.maximum(x.v, self.lift(y).v))

    def abs(self, x: Number) -> Number:
        return Number(self, np.abs(x.v))

    @staticmethod
    def at_least(x: Number, number: float) -> Array:
        return np.asarray(x.v >= number)

    @staticmethod
    def exists(x: Number) -> bool:
        return bool(np.any(x.v != 0))

    def weigh(self, q: Number, x: Number) -> Number:
        return self.where(q.v == 0, 0, q * x)

    def nearly(self, x: Number, number: float, roundings: int) -> Number:
        near = np.abs(x.v.astype(np.float64) - number) <= roundings * self.machine.store.unit_roundoff
        return self.where(near, number, x)

    def store(self, x: Number) -> Number:
        return Number(self, x.v.astype(self.machine.store.dtype).astype(self._steps))
