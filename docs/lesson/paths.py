"""Paths on which a row is pushed out, and the first float on each at which a form fails.

A path is scanned in steps of a few percent. Between the last step that holds and the first that does not, bisection over
the format's ordinals finds two neighbouring floats: the form holds at one and fails at the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lesson.forms import FORMS, Judged, judge, question
from xent_verify.core.formats import FORMATS

__all__ = ["PATHS", "Failure", "Path", "Scanned", "failure", "scan", "walk"]

Predicate = Callable[[Judged], bool]

_FINE, _COARSE = 1.07, 64.0
_FINE_UNTIL = 2e5


@dataclass(frozen=True, slots=True)
class Path:
    """Rows along one parameter; ``text`` shows them, ``loss`` their true loss, ``start`` is where the walk begins."""

    name: str
    text: str
    loss: str
    parameter: str
    place: int
    start: float
    row: Callable[[float], list[float]]


_T = "T = exp(1 − t) + exp(−1 − t)"

PATHS = {
    path.name: path
    for path in (
        Path("loser", "[t, 1, −1]", f"t − 1 + log(1 + T),   {_T}", "t", 1, 3.0, lambda t: [t, 1.0, -1.0]),
        Path("winner", "[t, 1, −1]", f"log(1 + T),   {_T}", "t", 0, 3.0, lambda t: [t, 1.0, -1.0]),
        Path("up", "[3 + c, 1 + c, −1 + c]", "L(z)", "c", 0, 1.0, lambda c: [3.0 + c, 1.0 + c, -1.0 + c]),
        Path("down", "[3 − c, 1 − c, −1 − c]", "L(z)", "c", 0, 1.0, lambda c: [3.0 - c, 1.0 - c, -1.0 - c]),
    )
}


@dataclass(frozen=True, slots=True)
class Scanned:
    """Every form's answer at every step of a path."""

    at: tuple[float, ...]
    answers: dict[str, tuple[Judged, ...]]


@dataclass(frozen=True, slots=True)
class Failure:
    """The first float found at which a form fails; the float before it holds. ``range_from``: infinite or NaN."""

    at: float
    judged: Judged
    broken_at: float | None
    broken: Judged | None


def _at(path: Path, parameter: float, fmt: str, name: str) -> Judged:
    return judge([question(np.array(path.row(parameter)), path.place, FORMATS[fmt])], name)[0]


@lru_cache
def scan(name: str, fmt: str) -> Scanned:
    """Walk a path to the largest finite value of the format."""
    return walk(name, fmt, _steps(PATHS[name].start, FORMATS[fmt].max_finite))


def walk(name: str, fmt: str, places: Sequence[float]) -> Scanned:
    """Every form at some places of a path, rounded to the format."""
    path, form = PATHS[name], FORMATS[fmt]
    held = tuple(dict.fromkeys(form.widen(form.narrow(np.array(places))).tolist()))
    asked = [question(np.array(path.row(place)), path.place, form) for place in held]
    return Scanned(held, {name: tuple(judge(asked, name)) for name in FORMS})


def _steps(start: float, end: float) -> list[float]:
    places = [start]
    while places[-1] < end:
        places.append(min(places[-1] * (_FINE if places[-1] < _FINE_UNTIL else _COARSE), end))
    return places


def failure(name: str, fmt: str, form: str) -> Failure | None:
    """Where a form first fails on a path; None where it holds to the end."""
    first = _first(name, fmt, form, lambda judged: judged.fails)
    if first is None:
        return None
    broken = _first(name, fmt, form, lambda judged: not judged.finite)
    answer = _at(PATHS[name], first, fmt, form)
    return Failure(first, answer, broken, None if broken is None else _at(PATHS[name], broken, fmt, form))


def _first(name: str, fmt: str, form: str, holds_not: Predicate) -> float | None:
    scanned = scan(name, fmt)
    verdicts = [holds_not(judged) for judged in scanned.answers[form]]
    if verdicts[0]:
        return scanned.at[0]
    for (before, good), (after, bad) in pairwise(zip(scanned.at, verdicts, strict=True)):
        if bad and not good:
            return _bisect(PATHS[name], fmt, form, holds_not, _ordinals(fmt, before, after))
    return None


def _ordinals(fmt: str, *values: float) -> NDArray[np.int64]:
    return FORMATS[fmt].ordinal(FORMATS[fmt].narrow(np.array(values)))


def _bisect(path: Path, fmt: str, form: str, holds_not: Predicate, ends: NDArray[np.int64]) -> float:
    form_of = FORMATS[fmt]
    good, bad = (int(end) for end in ends)
    while bad - good > 1:
        middle = (good + bad) // 2
        value = float(form_of.widen(form_of.from_ordinal(middle)))
        good, bad = (good, middle) if holds_not(_at(path, value, fmt, form)) else (middle, bad)
    return float(form_of.widen(form_of.from_ordinal(bad)))
