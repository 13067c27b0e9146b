"""How each classic form computes, as a straight line of steps: what ``explain`` replays to find the step that lost it.

A ``Step`` names what it makes and the NumPy expression that makes it from earlier results. Every quantity that a step
can make has a true value (``true_quantities``), so each rounded result is measured against the truth, in ulps of the
working format. The step that lost the digits is the first one to give an infinity, a NaN or a zero that the truth is
not, or else the one whose error is largest against the errors of what went into it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.enclosure import Enclosure
from xent_verify.core.formats import FloatFormat
from xent_verify.truth import exact
from xent_verify.truth.decimals import is_bound, shown
from xent_verify.truth.intervals import BigArithmetic, Interval

__all__ = ["RECIPES", "Loss", "Recipe", "State", "Step", "replay", "true_quantities", "worked"]

Array = NDArray[Any]
State = dict[str, Array]

_PRECISION = 512
_HUGE = 2**36
"""exp of anything larger is beyond every format; this stands in for it."""

_DIFFERENCES = ("x − L", "d − log Σ exp(d)", "d − log1p(T)")
"""Steps that may give 0 by cancelling, which is no underflow."""

_LOST = 8.0
"""Errors up to this many ulps are ordinary rounding: no step is blamed."""


@dataclass(frozen=True, slots=True)
class Step:
    """``makes`` from ``uses``; ``text`` is the expression as one would type it."""

    makes: str
    uses: tuple[str, ...]
    text: str
    run: Callable[..., Array]


@dataclass(frozen=True, slots=True)
class Recipe:
    """The steps of one form. ``own``: in the input's format; otherwise in float32 for narrower ones."""

    steps: tuple[Step, ...]
    own: bool


@dataclass(frozen=True, slots=True)
class Loss:
    """The step that lost it, and what happened in words: ``kind``, then particulars of this row."""

    step: str
    kind: str
    detail: str = ""


_SHIFT = Step("d", ("x",), "d = x − max x", lambda x: x - x.max())
_EXP_X = Step("exp x", ("x",), "exp(x)", np.exp)
_EXP_D = Step("exp d", ("d",), "exp(d)", np.exp)
_SUM_X = Step("Σ exp x", ("exp x",), "Σ exp(x)", lambda e: e.sum(keepdims=True))
_SUM_D = Step("Σ exp d", ("exp d",), "Σ exp(d)", lambda e: e.sum(keepdims=True))
_REST = Step(
    "T", ("exp d",), "T = Σ exp(d), j ≠ argmax x", lambda e: e[np.arange(e.size) != e.argmax()].sum(keepdims=True)
)
_DIVIDE_X = Step("p", ("exp x", "Σ exp x"), "exp(x) / Σ exp(x)", np.divide)
_DIVIDE_D = Step("p", ("exp d", "Σ exp d"), "exp(d) / Σ exp(d)", np.divide)
_LOG_P = Step("log p", ("p",), "log(p)", np.log)
_LOG_SUM_X = Step("L", ("Σ exp x",), "log Σ exp(x)", np.log)
_LOG_SUM_D = Step("log s", ("Σ exp d",), "log Σ exp(d)", np.log)
_LOG1P = Step("log s", ("T",), "log1p(T)", np.log1p)
_ADD_MAX = Step("L", ("x", "log s"), "L = max x + log Σ exp(d)", lambda x, log_s: x.max() + log_s)
_X_MINUS_L = Step("log p", ("x", "L"), "x − L", np.subtract)
_D_MINUS_LOG1P = Step("log p", ("d", "log s"), "d − log1p(T)", np.subtract)
_D_MINUS_LOG = Step("log p", ("d", "log s"), "d − log Σ exp(d)", np.subtract)
_EXP_LOG_P = Step("p", ("log p",), "exp(x − L)", np.exp)

_NAIVE_P = (_EXP_X, _SUM_X, _DIVIDE_X)
_SHIFTED_P = (_SHIFT, _EXP_D, _SUM_D, _DIVIDE_D)
_SHIFTED_LOG = (_SHIFT, _EXP_D, _SUM_D, _LOG_SUM_D)

_ONE_HOT = Step("loss", ("y", "log p"), "−Σ y·log p", lambda y, log_p: -(y * log_p).sum(keepdims=True))

_WEIGHTED = Step(
    "loss",
    ("y", "log p"),
    "−Σ y·log p, 0·log 0 = 0",
    lambda y, log_p: -np.where((y == 0) & ~np.isnan(log_p), 0, y * log_p).sum(keepdims=True),
)

RECIPES: Mapping[str, Recipe] = {
    "softmax.naive": Recipe(_NAIVE_P, own=True),
    "softmax.division-free": Recipe((*_SHIFTED_LOG, _ADD_MAX, _X_MINUS_L, _EXP_LOG_P), own=False),
    "softmax.stable": Recipe(_SHIFTED_P, own=False),
    "log_softmax.naive": Recipe((*_NAIVE_P, _LOG_P), own=True),
    "log_softmax.log-of-softmax": Recipe((*_SHIFTED_P, _LOG_P), own=False),
    "log_softmax.unshifted-lse": Recipe((*_SHIFTED_LOG, _ADD_MAX, _X_MINUS_L), own=False),
    "log_softmax.stable": Recipe((*_SHIFTED_LOG, _D_MINUS_LOG), own=False),
    "logsumexp.naive": Recipe((_EXP_X, _SUM_X, _LOG_SUM_X), own=True),
    "logsumexp.stable": Recipe((*_SHIFTED_LOG, _ADD_MAX), own=False),
    "cross_entropy.naive": Recipe((*_NAIVE_P, _LOG_P, _WEIGHTED), own=True),
    "cross_entropy.naive-onehot": Recipe((*_SHIFTED_P, _LOG_P, _ONE_HOT), own=False),
    "cross_entropy.naive-index": Recipe((*_SHIFTED_P, _LOG_P), own=False),
    "cross_entropy.lse-minus-logit": Recipe((*_SHIFTED_LOG, _ADD_MAX, _X_MINUS_L), own=False),
    "cross_entropy.stable": Recipe((*_SHIFTED_LOG, _D_MINUS_LOG), own=False),
    "cross_entropy.log1p": Recipe((_SHIFT, _EXP_D, _REST, _LOG1P, _D_MINUS_LOG1P), own=False),
}


def true_quantities(row: Array, place: int) -> dict[str, Enclosure]:
    """Every quantity a recipe can make, certified, from one row of finite logits (the exact numbers they are).

    ``place`` is the class whose loss is meant.
    """
    a = BigArithmetic(_PRECISION)
    x = [a.number(float(value)) for value in row]
    terms = a.row([float(value) for value in row])
    top = int(np.argmax(row))
    d = [value - x[top] for value in x]
    within = [value if float(number) < _HUGE else a.number(_HUGE) for value, number in zip(x, row, strict=True)]
    exp_x, exp_d = ([a.number(1) if value.is_zero else a.exp(value) for value in values] for values in (within, d))
    places = range(len(x))
    numbers = {
        "x": x,
        "y": [a.number(int(i == place)) for i in places],
        "d": d,
        "exp x": exp_x,
        "exp d": exp_d,
        "Σ exp x": [_total(a, exp_x)],
        "Σ exp d": [_total(a, exp_d)],
        "T": [_total(a, [value for i, value in enumerate(exp_d) if i != top])],
        "log s": [-terms.log_p(top)],
        "L": [terms.log_sum_exp()],
        "p": [terms.p(i) for i in places],
        "log p": [terms.log_p(i) for i in places],
        "loss": [-terms.log_p(place)],
    }
    return {name: exact.enclose(values) for name, values in numbers.items()}


def worked(recipe: Recipe, row: Array, form: FloatFormat, place: int) -> Iterator[tuple[Step, State]]:
    """Run the steps in the working format: after each one, the step and everything made so far.

    A subclass of ndarray stays one, so ``row`` may bring its own elementary functions.
    """
    given = row.astype(form.dtype)
    one_hot = np.arange(len(row)) == place
    state: State = {"x": given, "y": one_hot.astype(form.dtype)}
    with np.errstate(all="ignore"):
        for step in recipe.steps:
            result = np.asanyarray(step.run(*(state[name] for name in step.uses)))
            state[step.makes] = result.astype(form.dtype)
            yield step, state


def replay(recipe: Recipe, row: Array, form: FloatFormat, truth: Mapping[str, Enclosure], place: int) -> Loss | None:
    """Run the steps in the working format and name the one that lost element ``place``; None for ordinary rounding."""
    errors = {"x": np.zeros(len(row)), "y": np.zeros(len(row))}
    worst: tuple[float, Loss] | None = None
    with np.errstate(all="ignore"):
        for step, state in worked(recipe, row, form, place):
            result = state[step.makes]
            errors[step.makes] = truth[step.makes].error_ulp(result, form)
            at = place if result.size > 1 else 0
            broken = _broken(step, state, truth, form, at)
            if broken is not None:
                return broken
            growth, error = _growth(step, errors, at)
            if error > _LOST and (worst is None or growth > worst[0]):
                worst = growth, Loss(step.text, *_magnified(step, state, at))
    return worst[1] if worst else None


def _total(a: BigArithmetic, values: Sequence[Interval]) -> Interval:
    total = a.number(0)
    for value in values:
        total = total + value
    return total


def _broken(step: Step, state: State, truth: Mapping[str, Enclosure], form: FloatFormat, at: int) -> Loss | None:
    """An infinity, NaN or zero that the true value is not."""
    value, true = float(form.widen(state[step.makes])[at]), truth[step.makes][at]
    digits = shown(true, 6)
    told = "far beyond every format" if is_bound(digits) else f"the true value is {digits}"
    if np.isnan(value):
        why = "0·(−inf), a class with y = 0 whose log p is −inf" if step.makes == "loss" else "inf/inf or 0/0"
        return Loss(step.text, "is not a number", why)
    if np.isinf(value) and "log" in step.text:
        return Loss(step.text, "takes the logarithm of 0", told)
    if np.isinf(value):
        return Loss(step.text, "overflows", told)
    by_range = "log" not in step.text and step.text not in _DIFFERENCES  # a logarithm that is 0 is a large error
    if value == 0 and true.hi != 0 and by_range:
        return Loss(step.text, "underflows to 0", told)
    return None


def _growth(step: Step, errors: Mapping[str, Array], at: int) -> tuple[float, float]:
    """How much larger the error of the result is than those of the operands, and the error."""
    error = float(errors[step.makes][at])
    if errors[step.makes].size == 1:
        before = [float(np.nanmax(errors[name])) for name in step.uses]
    else:
        before = [float(errors[name][at if errors[name].size > 1 else 0]) for name in step.uses]
    return error / max(0.5, *before), error


def _magnified(step: Step, state: State, at: int) -> tuple[str, str]:
    """What a step with a large error did."""
    if step.text in _DIFFERENCES:
        return "cancels", "both are rounded at their own size, and the small difference keeps that error"
    if "log" in step.text:
        name = step.uses[-1]
        operand = float(state[name][at if state[name].size > 1 else 0])
        return (
            f"takes the logarithm of a rounded {name}",
            f"near {operand:g} what was rounded away is all of the answer",
        )
    if step.makes.startswith("Σ"):
        return "stalls", "small terms are rounded away one by one"
    return "magnifies the rounding of its argument", ""
