"""One failing answer, set up for comparison with what a mistake would have given.

Most operations are built on one of three quantities of a row: p, log p or logsumexp (``Op.built_on``). A *mistake* predicts
that quantity for all rows (``Prediction``); ``Case`` turns it into the op's result (targets, weights, reduction, layout, one
rounding to the format), and counts with how many of the failing values it agrees. For the other operations a mistake is a
page's own algorithm, tampered with (``diagnose.pages``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.enclosure import Enclosure
from xent_verify.core.formats import FloatArray, FloatFormat, format_named
from xent_verify.core.model import Batch
from xent_verify.diagnose.agreement import Evidence, spread, ways
from xent_verify.implementations.gradients import minus_target
from xent_verify.implementations.targets import Coefficients, Task, assemble, coefficients, form_of
from xent_verify.ops import Op
from xent_verify.ops.limits import limits_of, run
from xent_verify.ops.machine import Machine
from xent_verify.ops.op import Quantity
from xent_verify.ops.rows import Rows
from xent_verify.verdict.policies import POLICIES
from xent_verify.verdict.properties import result_rows, rows_view

__all__ = ["Case", "Part", "Prediction", "has"]

Array = NDArray[Any]
Prediction = tuple[str, FloatArray]
"""What was computed in words, and the predicted result (float64, in the result's shape)."""

Part = Literal["", "loss", "gradient", "labels", "axis"]


def has(op: Op, part: Part) -> bool:
    """Whether an operation is a loss of rows, the gradient of one, has labels or probabilities of classes, or an axis."""
    match part:
        case "loss":
            return op.result == "loss" and op.by_row
        case "gradient":
            return op.result == "elements" and bool(op.labels)
        case "labels":
            return bool(op.named("target"))
        case "axis":
            return "axis" in op.options
        case _:
            return True


_PATTERN = 12.0
"""Bits that the pattern of one call's failing values tells at most."""

_LARGE = 20_000
"""Logits beyond which rows are sampled."""


@dataclass(frozen=True)
class Case:
    """A batch, the observed values (float64, result shape), which of them fail, and the true values as rounded."""

    op: Op
    batch: Batch
    observed: FloatArray
    failing: NDArray[np.bool_]
    true: FloatArray
    dtype: np.dtype[Any]

    @classmethod
    def of(
        cls, op: Op, batch: Batch, observed: Array, failing: NDArray[np.bool_], truth: Enclosure, passing: bool = False
    ) -> Case | None:
        """None for calls without logits, or without a failing value (unless ``passing`` ones are wanted, too).

        Of a call with a rare option nothing is known but the page.
        """
        if not batch.x.size or not (passing or failing.any()):
            return None
        form = batch.result_form
        true = form.widen(truth.rounded(form))
        working = np.dtype(np.float64 if form.bits == 64 else np.float32)
        known = op if op.plain(batch) else replace(op, built_on="")
        return cls(known, batch, observed.astype(np.float64), failing, true, working)

    @property
    def wants(self) -> Quantity:
        """The quantity that the op is built on."""
        return self.op.built_on

    @property
    def paired(self) -> bool:
        """Elementwise, on rows [x, 0]."""
        return not self.op.by_row and bool(self.wants)

    @property
    def form(self) -> FloatFormat:
        return self.batch.form

    @property
    def own(self) -> np.dtype[Any]:
        """The dtype of the logits."""
        return self.form.dtype

    @property
    def arithmetic(self) -> FloatFormat:
        """The format that the arithmetic runs in."""
        return format_named(self.dtype.name)

    def sampled(self, large: int = _LARGE) -> Case:
        """A few failing rows and a few others, as a batch of their own, where the whole one is large."""
        count = len(self.rows)
        view = rows_view(self.op, self.batch)
        if view is None or not self.op.by_row or self.batch.x.size <= large or count < 3:
            return self
        most = max(large // (2 * view.x.shape[1]), 1)
        chosen = [spread(np.flatnonzero(rows), most) for rows in (self.failing_rows, ~self.failing_rows)]
        index = np.sort(np.concatenate(chosen))
        batch = view.take(index).batch()
        shape = self.op.result_shape(batch)
        every = (self.observed, self.failing, self.true)
        observed, failing, true = (result_rows(self.op, self.batch, part)[index].reshape(shape) for part in every)
        return Case(self.op, batch, observed, failing, true, self.dtype)

    def machine(self, dtype: np.dtype[Any]) -> Machine:
        """Every step in that format."""
        return Machine(format_named(dtype.name), format_named(dtype.name), self.batch.result_form)

    def plain(self, algorithm: str) -> FloatArray:
        """What an algorithm of the page gives, as it is."""
        if algorithm not in self._plain:
            value = run(self.op, algorithm, self.batch, self.machine(self.dtype))
            self._plain[algorithm] = self.placed(value)
        return self._plain[algorithm]

    @cached_property
    def _plain(self) -> dict[str, FloatArray]:
        return {}

    def computed_in(self, dtype: np.dtype[Any]) -> Case:
        """The same case, arithmetic in another precision."""
        return replace(self, dtype=dtype)

    @cached_property
    def rows(self) -> Array:
        """The logits [R, n] in the arithmetic's precision; elementwise ops as [x, 0], where a quantity of it is wanted."""
        rows = Rows.of_call(self.op, self.batch).of(self.batch.x)
        if self.paired:
            rows = np.concatenate([rows, np.zeros_like(rows)], axis=1)
        rows = rows.astype(self.dtype)
        divisor = self.batch.options.get("temperature")
        return rows if divisor is None or not self.wants else rows / self.dtype.type(divisor)

    def with_rows(self, rows: Array) -> Case:
        """The same with other logits to work on."""
        other = replace(self)
        other.__dict__["rows"] = rows.astype(self.dtype)
        return other

    @cached_property
    def top(self) -> Array:
        """m [R, 1]."""
        return np.asarray(self.rows.max(axis=1, keepdims=True))

    @cached_property
    def gaps(self) -> Array:
        """x - m [R, n]."""
        return np.asarray(self.rows - self.top)

    @cached_property
    def terms(self) -> Array:
        """exp(x - m) [R, n]."""
        return np.asarray(np.exp(self.gaps))

    @cached_property
    def total(self) -> Array:
        """s [R, 1]."""
        return np.asarray(self.terms.sum(axis=1, keepdims=True))

    @cached_property
    def p(self) -> Array:
        return np.asarray(self.terms / self.total)

    @cached_property
    def log_p(self) -> Array:
        return np.asarray(self.gaps - np.log(self.total))

    @cached_property
    def lse(self) -> Array:
        """[R, 1]."""
        return np.asarray(self.top + np.log(self.total))

    @property
    def right(self) -> Array:
        """The right values of the quantity that the op is built on."""
        return {"p": self.p, "log p": self.log_p, "logsumexp": self.lse}[self.wants]

    @cached_property
    def task(self) -> Task:
        """The loss, with its options."""
        options = {name: value for name, value in self.batch.options.items() if name not in ("axis", "pos_weight")}
        target = self.batch.inputs["target"]
        if self.paired:
            y = target.astype(np.float64).reshape(-1)
            return Task(self.rows, np.stack([y, 1 - y], axis=1), reduction=options.get("reduction", "mean"))
        return Task(self.rows, target, **options)

    @cached_property
    def terms_of_loss(self) -> Coefficients:
        return coefficients(self.task, self.dtype)

    def loss(self, log_p: Array, terms: Coefficients | None = None, reduction: str | None = None) -> FloatArray:
        """The loss of log-probabilities [N, C], with other coefficients or another reduction if given."""
        used, how = terms or self.terms_of_loss, reduction or self.task.reduction
        value = assemble(log_p, used, how, form_of(lambda rows: rows))
        return self.placed(np.asarray(value))

    def reduced(self, losses: Array, divisor: Any = None, reduction: str | None = None) -> FloatArray:
        """Per-row losses [N] reduced as asked; the mean divides by ``divisor`` (default: the right one)."""
        how = reduction or self.task.reduction
        total = losses.sum()
        if how == "none":
            return self.placed(losses)
        return self.placed(
            total if how == "sum" else total / (self.terms_of_loss.masses.sum() if divisor is None else divisor)
        )

    def result(self, values: Array) -> FloatArray:
        """The op's result from values of the quantity it is built on ([R, n], or [R, 1])."""
        if self.op.result == "loss":
            return self.loss(values)
        if has(self.op, "gradient"):
            return self.placed(minus_target(values, self.task))
        if self.paired:
            return self.placed(values[:, 0].reshape(self.batch.x.shape))
        if self.op.result == "rows" and self.op.labels:
            return self.placed(self._at_labels(values, 0.0))
        return self.placed(Rows.of_call(self.op, self.batch).back(values[:, 0] if self.op.result == "rows" else values))

    def placed(self, values: Array) -> FloatArray:
        """As float64 in the result's shape; rounding to the format comes with the comparison."""
        wide = np.asarray(values).astype(np.float64)
        return wide.reshape(self.observed.shape) if wide.size == self.observed.size else wide

    def forms(self, reference: Array, total: Array, terms: Array, name: str, sum_name: str) -> Iterator[Prediction]:
        """The op by every usual form of a reference r [R, 1] and a sum of exp(x - r): words and result."""
        x = self.rows
        where = f"x - {name}" if name else "x"
        match self.wants:
            case "p":
                yield f"exp({where}) / {sum_name}", self.result(np.asarray(terms / total))
            case "log p":
                yield (
                    f"{f'({where})' if name else where} - log {sum_name}",
                    self.result(np.asarray((x - reference) - np.log(total))),
                )
                yield f"log(exp({where}) / {sum_name})", self.result(np.log(terms / total))
            case "logsumexp":
                lead = f"{name} + " if name else ""
                yield f"{lead}log {sum_name}", self.result(np.asarray(reference + np.log(total)))

    def observed_lse(self) -> FloatArray:
        """logsumexp [R] as the observed values imply it (NaN where they do not): from the element that tells most."""
        rows = self.rows.astype(np.float64)
        if self.op.result == "loss" and self.task.reduction == "none" and not self.task.soft:
            plain = self.task.weight is None and not self.task.label_smoothing
            ids = np.clip(self.task.target.astype(np.int64), 0, rows.shape[1] - 1)
            return self.observed.ravel() + rows[np.arange(len(rows)), ids] if plain else np.full(len(rows), np.nan)
        if self.op.result == "loss" or not self.op.by_row:
            return np.full(len(rows), np.nan)
        values = self.by_row(self.observed)
        if self.op.result == "rows":
            return self._at_labels(rows, np.nan) - values[:, 0] if self.op.labels else values[:, 0]
        best = rows.argmax(axis=1)
        if has(self.op, "gradient"):
            if self.task.soft:
                return np.full(len(rows), np.nan)
            own = self.task.target.astype(np.int64)
            best = np.where(np.arange(rows.shape[1]) == own[:, None], -np.inf, rows).argmax(axis=1)
        picked = np.arange(len(rows)), best
        logs = values[picked] if self.wants == "log p" else np.log(values[picked])
        return np.asarray(rows[picked] - logs)

    def _at_labels(self, values: Array, ignored: float) -> Array:
        """The element of each row [N] at its label."""
        labels = self.batch.inputs[self.op.labels].astype(np.int64)
        inside = (labels >= 0) & (labels < values.shape[1])
        taken = np.take_along_axis(values, np.where(inside, labels, 0)[:, None], axis=1)[:, 0]
        return np.where(inside & (labels != self.op.option(self.batch, "ignore_index")), taken, ignored)

    def by_row(self, values: FloatArray) -> FloatArray:
        """An array of the result's shape as [R, n] or [R, 1]."""
        if self.op.result == "elements" and self.op.by_row and "axis" in self.op.options:
            values = np.moveaxis(values, int(self.op.option(self.batch, "axis")), -1)
            return values.reshape(-1, values.shape[-1])
        together = self.op.result == "elements" and self.op.by_row
        return values if together and values.ndim == 2 else values.reshape(-1, 1)

    @cached_property
    def failing_rows(self) -> NDArray[np.bool_]:
        """Rows [R] with a failing value (all of them where the result is one number)."""
        if self.op.whole(self.batch):
            return np.ones(len(self.rows), np.bool_)
        return np.asarray(self.by_row(self.failing.astype(np.float64)).any(axis=1))

    @property
    def pattern(self) -> float:
        """log2 of the ways in which as many rows fail, and as many values within a row; a few bits of each."""
        rows = self.by_row(self.failing.astype(np.float64)) > 0
        bad, width = rows.sum(axis=1), rows.shape[1]
        mixed = int(((bad > 0) & (bad < width)).sum())
        return min(ways(len(rows), int((bad > 0).sum())) + min(mixed, 8) * math.log2(width), _PATTERN)

    @cached_property
    def about_specials(self) -> bool:
        """Whether every failing row holds a logit that is not finite."""
        strange = np.asarray(~np.isfinite(self.rows.astype(np.float64)).all(axis=1))
        return bool(
            strange.any() if self.failing.ndim == 0 else self.failing.any() and strange[self.failing_rows].all()
        )

    @property
    def slight(self) -> bool:
        """Whether every failing value of a narrow format is within two ulps: one rounding too many."""
        form = self.batch.result_form
        if form.bits > 16:
            return False
        true, wrong = self.true[self.failing], self.observed[self.failing]
        return bool((np.abs(wrong - true) <= 2 * form.ulp(true)).all())

    @cached_property
    def evidence(self) -> Evidence:
        """What predictions are compared with."""
        limit = limits_of(self.op, self.batch, POLICIES["textbook"].machine(self.form, self.batch.result_form)).error
        return Evidence.of(self.batch.result_form, self.observed, self.true, self.failing, limit)
