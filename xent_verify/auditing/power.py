"""The power of somebody's own check: which faults of the zoo it would let through, and which sound forms it rejects.

A check is ``allclose:rtol,atol`` (random normal logits against a float64 reference, what most test suites do) or a
callable ``check(candidate) -> bool`` (or ``check(candidate, op)``) that says whether a candidate function passes.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.candidates.resolve import load
from xent_verify.core.failures import UnknownNameError, UsageError
from xent_verify.implementations import IMPLEMENTATIONS, ZOO, find
from xent_verify.ops import OPS

__all__ = ["DEGENERATE", "Power", "Trial", "measure_power"]

DEGENERATE = "degenerate"
"""The category of candidates that compute nothing."""

Check = Callable[[Callable[..., Any], str], bool]
_ROWS, _CLASSES, _REPEATS = 16, 64, 5


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate under the check. ``error`` is the exception's text where the check itself raised (it then rejects)."""

    name: str
    op: str
    category: str
    mistake: str
    faulty: bool
    passed: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class Power:
    """All trials of one check."""

    check: str
    trials: tuple[Trial, ...]

    @property
    def faults(self) -> tuple[Trial, ...]:
        return tuple(trial for trial in self.trials if trial.faulty and trial.category != DEGENERATE)

    @property
    def fooled_by(self) -> tuple[Trial, ...]:
        """Candidates that compute nothing, and pass."""
        return tuple(trial for trial in self.trials if trial.category == DEGENERATE and trial.passed)

    @property
    def idle(self) -> bool:
        """Whether it passes whatever it is given, as a check does that compares a value with itself."""
        return bool(self.trials) and all(trial.passed for trial in self.trials)

    @property
    def let_through(self) -> tuple[Trial, ...]:
        return tuple(trial for trial in self.faults if trial.passed)

    @property
    def false_alarms(self) -> tuple[Trial, ...]:
        return tuple(trial for trial in self.trials if not trial.faulty and not trial.passed)

    @property
    def share(self) -> float:
        """Share of the faults that the check catches."""
        return 1 - len(self.let_through) / len(self.faults) if self.faults else 0.0

    def by_category(self) -> list[tuple[str, int, int]]:
        """(category, caught, faults)."""
        names = sorted({trial.category for trial in self.faults})
        groups = [[trial for trial in self.faults if trial.category == name] for name in names]
        return [
            (name, sum(not trial.passed for trial in group), len(group))
            for name, group in zip(names, groups, strict=True)
        ]


def measure_power(check: str | Callable[..., Any], *, ops: Sequence[str] = (), seed: int = 0) -> Power:
    """Run the check over the zoo and over the sound implementations of the same operations (float32).

    ``ops`` limits the operations. ``UsageError`` for a check that cannot be understood.
    """
    for name in ops:
        if name not in OPS:
            raise UnknownNameError("op", name, OPS)
    called, text = _check(check, seed)
    wanted = set(ops) or {fault.op for fault in ZOO}
    trials = [
        _trial(called, fault.call, fault.name, fault.op, fault.category, fault.mistake, faulty=True)
        for fault in ZOO
        if fault.op in wanted
    ]
    trials += [
        _trial(called, candidate, name, op, DEGENERATE, mistake, faulty=True)
        for op in sorted(wanted)
        for name, mistake, candidate in _degenerate(op)
    ]
    trials += [
        _trial(called, entry.call, entry.name, entry.op, "sound", "", faulty=False)
        for entry in IMPLEMENTATIONS
        if entry.sound and entry.op in wanted
    ]
    return Power(text, tuple(trials))


def _degenerate(op: str) -> Iterator[tuple[str, str, Callable[..., Any]]]:
    """(name, what it gives, the candidate): results of the right shape in which nothing was computed."""
    right = find("stable", op).call

    def filled(value: Callable[[Any], float]) -> Callable[..., Any]:
        def candidate(x: Any, *more: Any, **options: Any) -> Any:
            found = np.asarray(right(x, *more, **options))
            return np.full(found.shape, value(x), found.dtype)

        return candidate

    yield "zeros", "zeros everywhere", filled(lambda _: 0.0)
    yield "NaN", "NaN everywhere", filled(lambda _: math.nan)
    yield "constant", "one half everywhere", filled(lambda _: 0.5)
    yield "uniform", "1/n everywhere, n the row length", filled(lambda x: 1 / max(np.shape(x)[-1:] or (1,)))
    if OPS[op].result == "elements":
        yield "identity", "the input itself", lambda x, *_, **__: np.asarray(x).copy()


def _trial(
    check: Check, call: Callable[..., Any], name: str, op: str, category: str, mistake: str, *, faulty: bool
) -> Trial:
    try:
        with np.errstate(all="ignore"):
            return Trial(name, op, category, mistake, faulty, bool(check(call, op)))
    except Exception as error:  # noqa: BLE001  a check that raises (an assertion, mostly) rejects its candidate
        return Trial(name, op, category, mistake, faulty, False, f"{type(error).__name__}: {error}"[:200])


def _check(check: str | Callable[..., Any], seed: int) -> tuple[Check, str]:
    if callable(check):
        return _adapted(check), getattr(check, "__qualname__", "check")
    kind, _, arguments = check.partition(":")
    if kind == "allclose":
        return _allclose(*_two_numbers(check, arguments), seed), check
    if ":" not in check:
        raise UsageError(f"check {check!r}: write allclose:rtol,atol or module:function or file.py:function")
    return _adapted(load(check, "", {}).function), check


def _two_numbers(check: str, arguments: str) -> tuple[float, float]:
    try:
        rtol, atol = (float(part) for part in arguments.split(","))
    except ValueError:
        raise UsageError(f"check {check!r}: needs two numbers, allclose:rtol,atol") from None
    if not (math.isfinite(rtol) and math.isfinite(atol) and rtol >= 0 and atol >= 0):
        raise UsageError(f"check {check!r}: tolerances are finite and not negative")
    return rtol, atol


def _adapted(function: Callable[..., Any]) -> Check:
    """A user's check of one or two arguments; one that returns None (assertions only) passes unless it raises."""
    try:
        takes_op = len(inspect.signature(function).parameters) > 1
    except (TypeError, ValueError):
        takes_op = False

    def called(candidate: Callable[..., Any], op: str) -> bool:
        answer = function(candidate, op) if takes_op else function(candidate)
        return answer is None or bool(answer)

    return called


def _beside(kind: str, rng: np.random.Generator) -> NDArray[Any]:
    """A further input of that kind for rows of ``_CLASSES`` numbers."""
    if kind in ("target", "label"):
        return rng.integers(0, _CLASSES, _ROWS)
    if kind == "probabilities":
        return rng.random((_ROWS, _CLASSES))
    shapes = {"matrix": (_CLASSES, _CLASSES), "values": (_CLASSES, 4), "row_number": (_ROWS,)}
    return rng.standard_normal(shapes.get(kind, (_ROWS, _CLASSES)))


def _allclose(rtol: float, atol: float, seed: int) -> Check:
    """Random normal logits in float32 against the stable form in float64."""

    def check(candidate: Callable[..., Any], op: str) -> bool:
        rng = np.random.default_rng(seed)
        reference = find("stable", op).call
        for _ in range(_REPEATS):
            x = rng.standard_normal((_ROWS, _CLASSES))
            more = [_beside(kind, rng) for kind in list(OPS[op].inputs.values())[1:]]
            single = [value if value.dtype.kind == "i" else value.astype(np.float32) for value in (x, *more)]
            double = [value if value.dtype.kind == "i" else value.astype(np.float64) for value in single]
            got, wanted = np.asarray(candidate(*single)), np.asarray(reference(*double))
            if got.shape != wanted.shape or not np.allclose(got, wanted, rtol=rtol, atol=atol, equal_nan=True):
                return False
        return True

    return check
