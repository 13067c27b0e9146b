"""The condition on a call's form that sets the failing calls of an audit apart: sizes, options, formats, layouts.

A condition is an interval of a number (row length, rows, dimensions, an option), one word (layout, format of labels or of
an option, reduction, what occurs among labels and logits), or two words together. It is told when every failing call meets it,
at least ``_INSIDE`` of the calls that meet it fail, and chance would put them there once in 2**``_TOLD``: of m failing calls all
lie in a part q of the calls with probability q**m, times the number of conditions that were tried.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.model import Batch
from xent_verify.ops import Op

__all__ = ["Conditions"]

_TOLD = 6.0
_INSIDE = 0.3
_MORE = 6.0
"""Bits by which two words must be more telling than one condition."""

Fact = tuple[str, float | str]
"""What is told of a call's form: words with a place for a number or a word, and it."""


@dataclass(slots=True)
class Conditions:
    """Counts of calls, right and wrong ones, by their form."""

    op: Op
    _seen: dict[tuple[Fact, ...], list[int]] = field(default_factory=dict)

    def add(self, batch: Batch, *, wrong: bool) -> None:
        """Count one judged call."""
        self._seen.setdefault(tuple(_facts(self.op, batch)), [0, 0])[wrong] += 1

    def text(self) -> str:
        """The condition, as in ``rows of 50257 logits``; "" where none sets the failing calls apart."""
        calls = [(dict(facts), right, wrong) for facts, (right, wrong) in self._seen.items()]
        count, failing = sum(right + wrong for _, right, wrong in calls), sum(wrong for *_, wrong in calls)
        if not failing or failing == count:
            return ""
        names = {name for facts, *_ in calls for name in facts}
        best, words = _TOLD, ""
        for name in sorted(names):
            for bits, text in _conditions(name, calls, count, failing, len(names)):
                if bits > best:
                    best, words = bits, text
        bits, text = _pair(calls, count, failing)
        return text if bits > best + _MORE * bool(words) else words


def _facts(op: Op, batch: Batch) -> Iterator[Fact]:
    shape = batch.x.shape
    axis = int(op.option(batch, "axis")) if "axis" in op.options else -1
    n = shape[axis] if shape else 1
    if op.by_row:
        yield "rows of {} logits", float(op.scores_shape(batch)[-1] if op.named("matrix") else n)
        yield "{} rows", float(batch.x.size // n if n else math.prod(shape[:-1]))
    else:
        yield "{} elements", float(batch.x.size)
    yield "arrays of {} dimensions", float(len(shape))
    yield "layout {}", batch.layout
    if batch.threads > 1 or batch.times > 1:
        yield "calls that are made {}", "at once" if batch.threads > 1 else "again and again"
    labels = batch.inputs.get(op.labels) if op.labels else None
    if labels is not None:
        yield "{}", "probability targets" if labels.dtype.kind == "f" else f"{labels.dtype.name} labels"
        if labels.dtype.kind in "iu":
            beyond = (labels < 0) | (labels >= op.scores_shape(batch)[-1]) | (labels == _ignored(op, batch))
            yield from _present("labels to ignore", beyond)
    wide = batch.form.widen(batch.x)
    yield from _present("logits of -inf", np.isneginf(wide))
    yield from _present("NaN", np.isnan(wide))
    for name, option in op.options.items():
        if option.kind == "reduction" and name not in batch.options:
            yield f"{name} = {{}}", str(option.default)
    for name, value in batch.options.items():
        single = name in op.options and op.options[name].kind == "reduction" and value == "none"
        if not single:  # sums hide what is wrong in one loss, so that this tells nothing
            yield from _of_option(op, name, value)


def _present(what: str, where: NDArray[np.bool_]) -> Iterator[Fact]:
    if where.any():
        yield f"calls with {what}{{}}", ""


def _ignored(op: Op, batch: Batch) -> int:
    """The label that counts for nothing; -100 where no option says so, which is outside of all classes."""
    return next((int(op.option(batch, name)) for name, one in op.options.items() if one.kind == "ignored_label"), -100)


def _of_option(op: Op, name: str, value: Any) -> Iterator[Fact]:
    default = op.options[name].default if name in op.options else None
    if isinstance(value, np.ndarray):
        yield f"{name} {{}}", f"of {value.dtype.name}"
    elif isinstance(value, str | bool | np.bool_):
        yield f"{name} = {{}}", str(value)
    elif isinstance(value, int | float | np.number) and value != default:
        yield f"{name} {{}}", float(value)


def _conditions(
    name: str, calls: Sequence[tuple[Mapping[str, Any], int, int]], count: int, failing: int, names: int
) -> Iterator[tuple[float, str]]:
    """(bits, words) of the one condition on this fact that all failing calls meet, where there is one."""
    wrong = [facts[name] for facts, _, wrong in calls if wrong and name in facts]
    if len(wrong) < sum(bool(wrong) for *_, wrong in calls):
        return
    values = {facts[name] for facts, *_ in calls if name in facts}
    if isinstance(wrong[0], str):
        if len(set(wrong)) > 1:
            return
        inside = [(right, bad) for facts, right, bad in calls if facts.get(name) == wrong[0]]
        tried, text = len(values) * names, name.format(wrong[0])
    else:
        low, high = min(wrong), max(wrong)
        inside = [(right, bad) for facts, right, bad in calls if name in facts and low <= facts[name] <= high]
        tried, text = len(values) ** 2 * names, name.format(_interval(low, high, values))
    within = sum(right + bad for right, bad in inside)
    if failing < _INSIDE * within or within == count:
        return
    yield failing * math.log2(count / within) - math.log2(tried), text


def _pair(calls: Sequence[tuple[Mapping[str, Any], int, int]], count: int, failing: int) -> tuple[float, str]:
    """(bits, words) of the best two words that all failing calls have."""
    wrong = [facts for facts, _, bad in calls if bad]
    shared = {name: value for name, value in wrong[0].items() if all(facts.get(name) == value for facts in wrong)}
    words = [name for name, value in shared.items() if isinstance(value, str)]
    pairs = list(itertools.combinations(words, 2))
    best, told = 0.0, ""
    for one, other in pairs:
        inside = [r + b for facts, r, b in calls if facts.get(one) == shared[one] and facts.get(other) == shared[other]]
        within = sum(inside)
        if failing < _INSIDE * within or within == count:
            continue
        bits = failing * math.log2(count / within) - math.log2(4 * len(pairs))
        if bits > best:
            best, told = bits, f"{one.format(shared[one])} and {other.format(shared[other])}"
    return best, told


def _interval(low: Any, high: Any, values: set[Any]) -> str:
    if low == high:
        return f"{low:.9g}"
    if high == max(values):
        return f"≥ {low:.9g}"
    if low == min(values):
        return f"≤ {high:.9g}"
    return f"{low:.9g} to {high:.9g}"
