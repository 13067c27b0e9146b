"""The forms of one row's loss that the lesson compares: value, error, verdict, and the step that lost it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lesson.arithmetic import careful
from xent_verify.auditing.recipes import RECIPES, Loss, Recipe, replay, true_quantities, worked
from xent_verify.core.enclosure import Enclosure
from xent_verify.core.formats import FORMATS, FloatFormat
from xent_verify.core.model import Batch
from xent_verify.ops import op_named
from xent_verify.truth import exact
from xent_verify.verdict.policies import POLICIES

__all__ = ["FORMS", "Judged", "Question", "judge", "lost", "question"]

OP = "cross_entropy"
FORMS = ("naive", "naive-onehot", "naive-index", "lse-minus-logit", "stable", "log1p")
"""Names of implementations (``xent-verify list implementations``), in the order of the page."""


@dataclass(frozen=True, slots=True)
class Question:
    """One row of a format with a target: its true loss, and the largest error of a sound implementation."""

    row: NDArray[Any]
    place: int
    form: FloatFormat
    loss: Enclosure
    limit: float

    @property
    def wide(self) -> NDArray[np.float64]:
        """The numbers that the row holds."""
        return self.form.widen(self.row)


@dataclass(frozen=True, slots=True)
class Judged:
    """What a form answers. ``ratio``: error ÷ the bound of policy ``standard``; beyond 1, or NaN, it fails."""

    value: float
    error_ulp: float
    ratio: float

    @property
    def fails(self) -> bool:
        return not self.ratio <= 1

    @property
    def finite(self) -> bool:
        return math.isfinite(self.value)


def question(logits: NDArray[np.float64], place: int, form: FloatFormat) -> Question:
    """The row rounded to the format, and what is true of the rounded row."""
    row = form.narrow(logits)
    op = op_named(OP)
    batch = Batch(OP, form.name, "lesson", {op.first: row[None, :], "target": np.array([place])})
    loss = exact.evaluate(batch)
    limit = float(POLICIES["standard"].limits(op, batch, loss).error.reshape(-1)[0])
    return Question(row, place, form, loss, _shortened(limit))


def _shortened(limit: float) -> float:
    """To 30 bits: bounds are worked out with the machine's exp, whose last digits must not decide a verdict."""
    significand, exponent = math.frexp(limit)
    return math.ldexp(round(math.ldexp(significand, 30)), exponent - 30)


def judge(asked: Sequence[Question], name: str) -> list[Judged]:
    """The losses by one form, every step correctly rounded, against the truth; all questions of one format."""
    if not asked:
        return []
    values = np.array([_answer(one, name) for one in asked])
    truth = Enclosure.concatenate([one.loss.reshape(1) for one in asked])
    errors = truth.error_ulp(values, asked[0].form)
    units = np.ldexp(1.0, truth.units(asked[0].form).quantum.astype(np.int32))
    limits = np.array([one.limit for one in asked])
    with np.errstate(all="ignore"):
        ratios = np.where(errors == 0, 0.0, errors * units / limits)
    columns = (values.tolist(), errors.tolist(), ratios.tolist())
    return [Judged(*row) for row in zip(*columns, strict=True)]


def _answer(asked: Question, name: str) -> float:
    """The loss that a form gives, rounded to the format."""
    recipe = RECIPES[f"{OP}.{name}"]
    for step, state in worked(recipe, careful(asked.row), _working(recipe, asked.form), asked.place):
        made, result = step.makes, state[step.makes]
    whole = made == "loss"
    one = float(np.asarray(result).astype(np.float64)[0 if whole else asked.place])
    return float(asked.form.widen(asked.form.narrow(one if whole else -one))) + 0.0  # -0.0 is 0


def lost(asked: Question, name: str, truth: Mapping[str, Enclosure] | None = None) -> Loss | None:
    """The step at which the form lost digits, if it lost more than rounding loses."""
    recipe = RECIPES[f"{OP}.{name}"]
    known = true_quantities(asked.wide, asked.place) if truth is None else truth
    return replay(recipe, careful(asked.row), _working(recipe, asked.form), known, asked.place)


def _working(recipe: Recipe, form: FloatFormat) -> FloatFormat:
    """Narrow formats compute in float32, unless the form is typed in the input's own."""
    return form if form.bits >= FORMATS["float32"].bits or recipe.own else FORMATS["float32"]
