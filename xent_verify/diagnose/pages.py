"""Mistakes in operations that are more than a row's softmax: the page's own algorithms, run on changed logits or steps.

Where ``Op.built_on`` is "", nothing is known of the operation but its page. A mistake is then a ``Floats`` reading with one verb
changed (no maximum, probabilities rounded before the logarithm), narrower formats for the steps, or other logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np

from xent_verify.core.formats import FloatArray, format_named
from xent_verify.core.model import Batch
from xent_verify.diagnose import inputs, shifts, values
from xent_verify.diagnose.case import Array, Case, Prediction
from xent_verify.diagnose.mistake import Mistake
from xent_verify.ops import forms
from xent_verify.ops.floats import Floats, Number
from xent_verify.ops.limits import run
from xent_verify.ops.machine import Machine
from xent_verify.ops.rows import Rows

__all__ = ["MISTAKES"]


class _Unshifted(Floats):
    """No maximum is subtracted."""

    def max(self, x: Number) -> Number:
        return self.lift(np.zeros((*x.v.shape[:-1], 1)))


class _RoundedP(Floats):
    """Probabilities are stored in the result's format before anything is made of them, their logarithm too."""

    def softmax(self, x: Number) -> Number:
        return self.store(forms.shifted_softmax(self, x))

    def log_softmax(self, x: Number) -> Number:
        return self.log(self.softmax(x))


class _RowMaximum(Floats):
    """The maximum is that of the row alone: a term of the denominator that is not in the row is left out of it."""

    def maximum(self, x: Number, y: Any) -> Number:
        return x if x.v.shape[-1] == 1 else super().maximum(x, y)


def _filling(number: float) -> type[Floats]:
    """Masked logits are a finite number, not -inf."""

    class Filled(Floats):
        def where(self, mask: Array, x: Any, y: Any) -> Number:
            return super().where(mask, x, number if isinstance(y, float) and y == -np.inf else y)

    return Filled


def _machine(case: Case, dtype: np.dtype[np.generic]) -> Machine:
    steps = format_named(dtype.name)
    return Machine(steps, steps, case.batch.result_form)


def _answers(case: Case, reading: type[Floats], dtype: np.dtype[np.generic]) -> Iterator[tuple[str, FloatArray]]:
    """Each algorithm of the page in a reading, its steps in ``dtype``."""
    for name in case.op.algorithms:
        yield f"'{name}'", case.placed(run(case.op, name, case.batch, _machine(case, dtype), reading))


def _in(reading: type[Floats], words: str) -> Callable[[Case], Iterator[Prediction]]:
    def model(case: Case) -> Iterator[Prediction]:
        for name, value in _answers(case, reading, case.dtype):
            yield f"{name} {words}", value

    return model


def _narrow(case: Case) -> Iterator[Prediction]:
    for dtype in (np.dtype(np.float32), case.own, np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)):
        if dtype.itemsize < case.dtype.itemsize:
            for name, value in _answers(case, Floats, dtype):
                yield f"{name}, all of it in {dtype.name}", value


def _masks(case: Case) -> dict[str, Array]:
    """The masks that the call was given."""
    given = case.batch.options.items()
    return {name: value for name, value in given if case.op.options[name].kind == "mask" and value is not None}


def _finite_mask(case: Case) -> Iterator[Prediction]:
    for number in (
        (-1e4, -1e9, *inputs.FILLED, -case.form.max_finite, -case.arithmetic.max_finite) if _masks(case) else ()
    ):
        for name, value in _answers(case, _filling(number), case.dtype):
            yield f"{name} with {number:g} for masked logits", value


def _masked_late(case: Case) -> Iterator[Prediction]:
    masks = _masks(case)
    if masks and case.op.result == "elements" and not case.op.named("values"):
        options = {name: value for name, value in case.batch.options.items() if name not in masks}
        bare = replace(case, batch=replace(case.batch, options=options))
        kept = np.all([np.broadcast_to(mask, case.op.scores_shape(case.batch)) for mask in masks.values()], axis=0)
        for name, value in _answers(bare, Floats, case.dtype):
            yield f"{name} without a mask, and 0 for what is masked", np.where(kept, value, 0.0)


def _on(change: inputs.Changed) -> Callable[[Case], Iterator[Prediction]]:
    """The first algorithm on other logits [R, n]."""

    def model(case: Case) -> Iterator[Prediction]:
        first = next(iter(case.op.algorithms))
        for words, rows in change(case):
            yield words, case.placed(run(case.op, first, _with_logits(case, rows), _machine(case, case.dtype)))

    return model


def _with_logits(case: Case, rows: Array) -> Batch:
    logits = Rows.of_call(case.op, case.batch).back(rows if case.op.by_row else rows[:, 0])
    return replace(case.batch, inputs={**case.batch.inputs, case.op.first: logits})


def _offset_cancels(case: Case) -> Iterator[Prediction]:
    """logsumexp(x) - Σ p·x in the working precision, and in the logits' own format: entropy, as trainers compute it."""
    for dtype in dict.fromkeys((case.dtype, case.own)):
        own = case.computed_in(dtype)
        yield (
            f"logsumexp(x) - Σ p·x in {dtype.name}",
            own.placed(own.lse[:, 0] - (own.p * own.rows).sum(axis=1)),
        )


MISTAKES: tuple[Mistake, ...] = (
    Mistake("no-shift", shifts.NO_SHIFT, _in(_Unshifted, "on exp(x) as it is"), everywhere=True, rows=True),
    Mistake("mask-filled", inputs.MASK_FILLED, _finite_mask, everywhere=True),
    Mistake("mask-after", "masked results are put to 0, their part of the sum stays", _masked_late, everywhere=True),
    Mistake(
        "maximum-of-the-row",
        "the maximum leaves out a term of the denominator",
        _in(_RowMaximum, "with the row's own maximum"),
        everywhere=True,
        rows=True,
    ),
    Mistake("offset-cancels", "an offset of the logits stays in two terms that cancel", _offset_cancels, ("entropy",)),
    Mistake(
        values.ROUNDED_P.key, values.ROUNDED_P.sentence, _in(_RoundedP, "of rounded p"), everywhere=True, rows=True
    ),
    *(Mistake(key, sentence, _on(change), special=special) for key, sentence, change, special in inputs.CHANGES),
    Mistake(inputs.NARROW_WORK.key, inputs.NARROW_WORK.sentence, _narrow),
)
"""The table for operations that are not built on one quantity; keys and sentences are those of the other table."""
