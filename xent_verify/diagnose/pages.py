"""Mistakes in operations that are more than a row's softmax: the page's own algorithms, run on changed logits or steps.

Where ``Op.built_on`` is "", nothing is known of the operation but its page. A mistake is then a ``Floats`` reading with one verb
changed (no maximum, probabilities rounded before the logarithm), narrower formats for the steps, or other logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import ml_dtypes
import numpy as np

from xent_verify.diagnose import inputs, shifts, values
from xent_verify.diagnose.case import Array, Case, Prediction
from xent_verify.diagnose.mistake import Mistake
from xent_verify.formats import FloatArray, format_named
from xent_verify.model import Batch
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
    Mistake("offset-cancels", "an offset of the logits stays in two terms that cancel", _offset_cancels, ("entropy",)),
    Mistake(
        values.ROUNDED_P.key, values.ROUNDED_P.sentence, _in(_RoundedP, "of rounded p"), everywhere=True, rows=True
    ),
    *(Mistake(key, sentence, _on(change), special=special) for key, sentence, change, special in inputs.CHANGES),
    Mistake(inputs.NARROW_WORK.key, inputs.NARROW_WORK.sentence, _narrow),
)
"""The table for operations that are not built on one quantity; keys and sentences are those of the other table."""
