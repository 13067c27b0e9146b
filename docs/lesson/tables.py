"""The lesson's tables: what each form gives on a handful of rows, and which step lost it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lesson.forms import FORMS, Judged, Question, judge, lost, question
from lesson.paths import failure
from xent_verify.auditing.recipes import RECIPES, true_quantities
from xent_verify.core.enclosure import Enclosure
from xent_verify.core.formats import FloatFormat
from xent_verify.truth.decimals import shown

__all__ = [
    "Cell",
    "First",
    "Grid",
    "Lost",
    "Recipe",
    "firsts",
    "grid",
    "hex_text",
    "number_text",
    "recipes",
    "value_text",
]


@dataclass(frozen=True, slots=True)
class Cell:
    """One answer: its sign (✓ within the bound, ✗ beyond it), the value, the error in ulps (empty where it is none)."""

    sign: str
    value: str
    error: str


@dataclass(frozen=True, slots=True)
class Lost:
    """``forms`` lost the digits at ``step`` in the columns ``at``; ``kind`` says how."""

    forms: tuple[str, ...]
    at: tuple[str, ...]
    step: str
    kind: str


@dataclass(frozen=True, slots=True)
class Grid:
    """Forms down, rows across."""

    columns: tuple[str, ...]
    truth: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    losses: tuple[Lost, ...]


@dataclass(frozen=True, slots=True)
class First:
    """The first failure of a form on a path in a format; empty texts where there is none.

    ``beyond``: the float at which it first exceeds the bound with a finite value; ``broken``: the one from which the
    answer is ``value``, infinite or NaN.
    """

    beyond: str
    beyond_hex: str
    ratio: str
    broken: str
    broken_hex: str
    value: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """A form as its steps."""

    name: str
    steps: tuple[str, ...]


def recipes() -> list[Recipe]:
    """The steps of each form."""
    return [Recipe(name, tuple(step.text for step in RECIPES[f"cross_entropy.{name}"].steps)) for name in FORMS]


def grid(rows: Sequence[tuple[str, Sequence[float], int]], form: FloatFormat) -> Grid:
    """Every form on every row (label, logits, target), rounded to the format."""
    asked = [question(np.array(logits, dtype=np.float64), place, form) for _, logits, place in rows]
    answers = {name: judge(asked, name) for name in FORMS}
    labels = [label for label, _, _ in rows]
    return Grid(
        tuple(labels),
        tuple(true_text(one.loss) for one in asked),
        tuple((name, tuple(_cell(judged, form) for judged in answers[name])) for name in FORMS),
        tuple(_losses(labels, asked, answers)),
    )


def _cell(judged: Judged, form: FloatFormat) -> Cell:
    error = number_text(judged.error_ulp) if judged.finite else ""
    return Cell("✗" if judged.fails else "✓", value_text(judged.value, form), error)


def _losses(labels: Sequence[str], asked: Sequence[Question], answers: dict[str, list[Judged]]) -> list[Lost]:
    """Who lost digits, where and how; forms that share the step and the columns together."""
    where: dict[tuple[str, str, str], list[str]] = {}
    for position, one in enumerate(asked):
        truth = true_quantities(one.wide, one.place)
        for name, judged in answers.items():
            found = None if judged[position].error_ulp <= 1 else lost(one, name, truth)
            if found is not None:
                where.setdefault((name, found.step, found.kind), []).append(labels[position])
    names: dict[tuple[tuple[str, ...], str, str], list[str]] = {}
    for (name, step, kind), at in where.items():
        names.setdefault((tuple(at), step, kind), []).append(name)
    return [Lost(tuple(who), at, step, kind) for (at, step, kind), who in names.items()]


def firsts(path: str, formats: Sequence[str]) -> list[tuple[str, list[First]]]:
    """Form by form, the first failure on a path in each format."""
    return [(name, [_first(path, fmt, name) for fmt in formats]) for name in FORMS]


def _first(path: str, fmt: str, name: str) -> First:
    found = failure(path, fmt, name)
    if found is None:
        return First("", "", "", "", "", "")
    finite = found.judged.finite
    beyond = (short(found.at), hex_text(found.at), _ratio(found.judged.ratio)) if finite else ("", "", "")
    if found.broken_at is None or found.broken is None:
        return First(*beyond, "", "", "")
    return First(*beyond, short(found.broken_at), hex_text(found.broken_at), f"{found.broken.value:g}")


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value < 9.995 else number_text(value)


def short(value: float) -> str:
    """Six digits."""
    return f"{value:.6g}"


def value_text(value: float, form: FloatFormat) -> str:
    """Nine digits, 13 in float64: enough to see an error of some thousand ulps; ``nan`` and ``inf`` by name."""
    return _plain(f"{value:.{13 if form.bits == 64 else 9}g}")


def number_text(value: float, *, least: float = 1e-3) -> str:
    """A measure to two digits: 0.31, 52, 8.4e6; ``< 0.001`` (one word) for less than ``least``."""
    if not math.isfinite(value) or value == 0:
        return f"{value:g}"
    if value < least:
        return f"<\u00a0{least:g}"
    return _plain(f"{value:.2g}" if value < 99.5 else f"{value:.0f}" if value < 9999.5 else f"{value:.1e}")


def hex_text(value: float) -> str:
    """The exact value as a hexadecimal float, without trailing zeros."""
    digits, _, power = float(value).hex().partition("p")
    return f"{digits.rstrip('0').rstrip('.') if '.' in digits else digits}p{power}"


def _plain(text: str) -> str:
    """1e+08 as 1e8."""
    digits, mark, power = text.partition("e")
    return f"{digits}e{int(power)}" if mark else text


def true_text(value: Enclosure, count: int = 12) -> str:
    """A true value to twelve digits, zeros at the end included."""
    digits, mark, power = shown(value, count).partition("e")
    missing = count - len(digits.replace(".", "").replace("-", "").lstrip("0"))
    return digits + "0" * (missing if "." in digits else 0) + mark + power
