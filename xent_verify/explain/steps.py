"""A row worked step by step: the operations' first algorithms, in exact arithmetic and in a format, each step once.

softmax, log-softmax and logsumexp have most steps in common (the maximum, the differences, their exponentials, the sum), so
the three are run over one arithmetic that remembers what it has made. Each step has a letter: ``e = exp(d)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FORMATS, FloatFormat
from xent_verify.ops import op_named
from xent_verify.ops.floats import Floats
from xent_verify.ops.machine import Machine
from xent_verify.truth.decimals import shown_interval
from xent_verify.truth.intervals import Interval
from xent_verify.truth.reading import Exact

__all__ = ["Step", "steps"]

_RESULTS = {"softmax": "p", "log_softmax": "log p", "logsumexp": "L"}
_VERBS = {
    "max": ("m", "max {}"),
    "subtract": ("d", "{} − {}"),
    "exp": ("e", "exp({})"),
    "sum": ("s", "Σ {}"),
    "divide": ("q", "{} / {}"),
    "log": ("l", "log({})"),
    "add": ("t", "{} + {}"),
}
"""Verb of a reading -> the letter of what it makes, and how it is written."""

_PRECISION = 512
_DIGITS = 17


@dataclass(frozen=True, slots=True)
class Step:
    """One step: ``name`` = ``text``, its true values to 17 digits, and the values of each format that was asked for."""

    name: str
    text: str
    true: tuple[str, ...]
    computed: dict[str, tuple[float, ...]]


class _Told:
    """The steps of a reading, each made once and given a name. Beside a reading, in front of it."""

    def begin(self) -> None:
        self.made: dict[tuple[str, ...], Any] = {}
        self.names: dict[int, str] = {}
        self.texts: dict[str, str] = {}

    def name(self, value: Any, name: str) -> Any:
        """Give a value a name; a result is renamed where it was made."""
        old = self.names.get(id(value))
        if old in self.texts and old != name:
            self.texts = {name if one == old else one: text for one, text in self.texts.items()}
        self.names[id(value)] = name
        return value

    def _step(self, verb: str, *operands: Any) -> Any:
        names = [self.names[id(one)] for one in operands]
        key = (verb, *names)
        if key not in self.made:
            letter, text = _VERBS[verb]
            fresh = next(one for one in (letter, *(f"{letter}{k}" for k in range(2, 99))) if one not in self.texts)
            self.made[key] = getattr(super(), verb)(*operands)
            self.texts[fresh] = text.format(*names)
            self.names[id(self.made[key])] = fresh
        return self.made[key]

    def max(self, x: Any) -> Any:
        return self._step("max", x)

    def subtract(self, x: Any, y: Any) -> Any:
        return self._step("subtract", x, y)

    def exp(self, x: Any) -> Any:
        return self._step("exp", x)

    def sum(self, x: Any) -> Any:
        return self._step("sum", x)

    def divide(self, x: Any, y: Any) -> Any:
        return self._step("divide", x, y)

    def log(self, x: Any) -> Any:
        return self._step("log", x)

    def add(self, x: Any, y: Any) -> Any:
        return self._step("add", x, y)


class _ToldExact(_Told, Exact):
    pass


class _ToldFloats(_Told, Floats):
    pass


def steps(row: NDArray[np.float64], place: int, forms: tuple[FloatFormat, ...]) -> tuple[Step, ...]:
    """The steps from a row of finite logits to p, log p, logsumexp and the loss of class ``place``.

    Formats that cannot hold the row are left out; 16 and 8 bits work in float32, as libraries do, and show its values.
    """
    exact = _ToldExact(_PRECISION)
    true = _run(exact, row)
    computed: dict[str, dict[str, NDArray[Any]]] = {}
    for form in forms:
        held = form.widen(form.narrow(row))
        if np.isfinite(held).all():
            working = form if form.bits >= 32 else FORMATS["float32"]
            with np.errstate(all="ignore"):
                computed[form.name] = _run(_ToldFloats(Machine(working, working, working)), held)
    found = [
        _of(name, text, true[name], {key: run[name] for key, run in computed.items()})
        for name, text in exact.texts.items()
    ]
    log_p = next(step for step in found if step.name == "log p")
    losses: dict[str, tuple[float, ...]] = {key: (-values[place],) for key, values in log_p.computed.items()}
    loss = log_p.true[place]
    return (*found, Step("loss", f"−log p[{place}]", (loss.removeprefix("-"),), losses))


def _run(a: Any, row: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Every named value of the three operations' first algorithms."""
    a.begin()
    x = a.name(a.row(row[None, :]), "x")
    kept = []
    for op, name in _RESULTS.items():
        kept.append(a.name(next(iter(op_named(op).algorithms.values()))(a, x), name))
    return {a.names[id(value)]: np.asarray(value.v).reshape(-1) for value in a.made.values()}


def _of(name: str, text: str, true: NDArray[Any], computed: dict[str, NDArray[Any]]) -> Step:
    digits = tuple(shown_interval(one, _DIGITS) if isinstance(one, Interval) else f"{one:g}" for one in true)
    return Step(name, text, digits, {key: tuple(map(float, values)) for key, values in computed.items()})
