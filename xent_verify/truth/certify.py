"""Certified truth of any batch: which tier decides, and why that is a proof.

A tier's answer counts for an element only when ``Enclosure.decided`` says so: the enclosure determines the correctly
rounded result in the asked format, and error_ulp to 2**-20 ulp. The tiers are tried cheapest first:

0. special values, by definition (``special``);
1. float64 with a rigorous bound (``float64_tier``), for targets of 32 bits and fewer;
2. double-double (``dd_numpy``), first with cubic and higher terms in double (2**-79), then in full (2**-89);
3. interval arithmetic of raised precision (``exact``), which ends.

Tier 1 rests on NumPy's exp, whose last bits differ from machine to machine. It therefore answers for roundings alone,
which are the same whoever proves them; fields and errors come from tier 2 on, when somebody asks for them. Tier 2 is made of
+ - * / in a fixed order, tier 3 of integers. So results are the same bits for the same rows: however the batch is cut, however
many processes work on it, on every machine, with the extra ``fast`` or without.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from xent_verify.core.enclosure import Enclosure
from xent_verify.core.failures import UsageError
from xent_verify.core.floating import sound
from xent_verify.core.formats import FloatFormat, IntArray, format_named
from xent_verify.core.model import Batch
from xent_verify.ops import Op, op_named
from xent_verify.ops.limits import arguments_of
from xent_verify.ops.rows import Rows
from xent_verify.truth import binary, divergence, exact, gradients, losses
from xent_verify.truth.balls import Ball, Balls, enclosed
from xent_verify.truth.closer import fast_algorithm
from xent_verify.truth.compose import Problem, RowOp, certify_elements
from xent_verify.truth.engines import FAST, FLOAT64, FULL, Engine, chain, has_quick, tempered
from xent_verify.truth.rows import (
    binary_inputs,
    class_axis,
    flattened,
    loss_rows,
    normal_axis,
    output_shape,
    reduction_of,
    rows_of,
    temperature_of,
    wide,
)

__all__ = ["certify"]

_WITHOUT_TIER1 = ("softmax_temperature", "kl_divergence")


@sound
def certify(batch: Batch, *, fmt: str | FloatFormat | None = None, jobs: int = 1, errors: bool = False) -> Enclosure:
    """Certified true values of a batch, in the op's output shape, decided for ``fmt`` (default: the result's).

    ``jobs`` processes or threads share the work; the bits of the result do not depend on their number. ``errors``: those of
    answers will be asked, too, so that tier 1 would be work for nothing.
    """
    form = batch.result_form if fmt is None else format_named(fmt)
    if errors or not has_quick(form) or batch.op in _WITHOUT_TIER1:
        return _certified(batch, form, jobs, quick=False)
    rounding = _certified(batch, form, jobs, quick=True)
    if rounding.made and not (rounding.tier == FLOAT64.tier).any():
        return rounding
    inputs, options = ({n: _own(v) for n, v in part.items()} for part in (batch.inputs, batch.options))
    kept = replace(batch, inputs=inputs, options=options)
    return Enclosure.later(rounding.shape, lambda: _certified(kept, form, jobs, quick=False).fields, (form, rounding))


def _own(value: Any) -> Any:
    """Arrays as they are now: the caller may change them."""
    return np.array(value) if isinstance(value, np.ndarray) else value


def _certified(batch: Batch, form: FloatFormat, jobs: int, *, quick: bool) -> Enclosure:
    """All values; ``quick``: by tier 1 where it decides."""
    if not np.asarray(batch.x).ndim:
        return _exact(batch, form, None)
    operation = op_named(batch.op)
    if operation.formula is None:
        return _read(operation, batch, form)
    match batch.op:
        case "softmax" | "log_softmax" | "logsumexp" | "softmax_temperature":
            return _row_op(batch, form, jobs, quick=quick)
        case "cross_entropy" if np.asarray(batch.x).size:
            return _loss(batch, form, jobs, quick=quick)
        case "cross_entropy_grad" if np.asarray(batch.x).size:
            return _gradient(batch, form, jobs, quick=quick)
        case "sigmoid" | "log_sigmoid":
            x = wide(batch.x)
            problem = binary.Sigmoids(x.reshape(-1), log=batch.op == "log_sigmoid")
            return _elements(problem, batch, form, jobs, chain(2 * x.size, quick=quick)).reshape(x.shape)
        case "kl_divergence" if np.asarray(batch.x).size:
            return _divergence(batch, form, jobs)
        case "binary_cross_entropy_with_logits":
            return _binary_loss(batch, form, jobs, quick=quick)
    return _exact(batch, form, None)


_BLOCK = 1 << 15
_VANISHING = 64
"""Bits below the smallest subnormal from which on nobody asks what a value is."""


def _read(op: Op, batch: Batch, form: FloatFormat) -> Enclosure:
    """The ``fast_algorithm`` of the page on double-doubles, by blocks of rows; on exact numbers what that leaves open."""
    if not np.prod(op.result_shape(batch)):
        return _exact(batch, form, None)
    view = Rows.of_call(op, batch)
    whole = op.whole(batch)
    width, algorithm = op.result_width(batch), fast_algorithm(op)
    parts = []
    with np.errstate(all="ignore"):
        for rows in _blocks(op, batch, view, whole=whole):
            reading = Balls()
            result = algorithm(reading, **arguments_of(op, batch, reading, rows))
            shape = (1,) if rows is None else (rows.stop - rows.start, width)
            shape = result.v.shape if op.result == "shared" else shape
            parts.append(enclosed(reading.add(result, Ball(reading, np.zeros(shape)))))
    if whole:
        found = parts[0].reshape(-1)
    else:
        flat = Enclosure.concatenate(parts)
        columns = flat if op.result == "elements" and op.by_row else flat[:, 0]
        placed: list[Any] = [view.back(field) for field in columns.fields]
        found = Enclosure(*placed).reshape(-1)
    vanishes = found.exponent < np.frexp(form.smallest_subnormal)[1] - _VANISHING
    open_places = np.flatnonzero(~found.decided(form) | ((found.radius >= 3.0) & ~vanishes))
    if open_places.size:
        fields: list[Any] = [field.copy() for field in found.fields]
        patch = exact.evaluate(batch, form, open_places)
        for field, new in zip(fields, patch.fields, strict=True):
            field[open_places] = new
        found = Enclosure(*fields)
    return found.reshape(op.result_shape(batch))


def _blocks(op: Op, batch: Batch, view: Rows, *, whole: bool) -> Iterator[slice | None]:
    """The rows of a call in blocks: those of several matrices, or some of one; ``whole``: all at once (None)."""
    if whole:
        yield None
        return
    matrix = bool(op.named("matrix"))
    shared = view.shape[-2] if matrix else view.count
    step = max(_BLOCK // max(view.n * (op.scores_shape(batch)[-1] if matrix else 1), 1), 1)
    shared *= max(step // max(shared, 1), 1)
    for first in range(0, view.count, max(shared, 1)):
        end = min(first + shared, view.count)
        for start in range(first, end, step):
            yield slice(start, min(start + step, end))


def _elements(problem: Problem, batch: Batch, form: FloatFormat, jobs: int, tried: tuple[Engine, ...]) -> Enclosure:
    """A problem's elements; what the engines leave is asked of tier 3, where ``batch`` has them at the same places."""
    sink, left = certify_elements(problem, form, tried, jobs)
    if left.size:
        sink.patch(left, _exact(batch, form, left))
    return sink.finished()


def _binary_loss(batch: Batch, form: FloatFormat, jobs: int, *, quick: bool) -> Enclosure:
    reduction = reduction_of(batch.options)
    parts = binary_inputs(batch)
    x, y, weight, pos_weight = (part.reshape(-1) for part in parts)
    problem = binary.BinaryLosses(x, y, weight, pos_weight, reduction)
    if not problem.suitable or not problem.rows:
        return _exact(batch, form, None)
    tried = chain(2 * problem.rows, quick=quick)
    if reduction == "none":
        return _elements(problem, batch, form, jobs, tried).reshape(parts[0].shape)
    count = (np.full(1, float(problem.rows)), np.zeros(1))
    power = int(np.frexp(count[0][0])[1]) - 1
    mean = ((np.ldexp(count[0], -power), count[1]), power)
    total = losses.reduced_pieces(problem, float(problem.rows), lambda: mean, form, tried)
    return _exact(batch, form, None) if total is None else total.reshape(())


def _exact(batch: Batch, form: FloatFormat, index: IntArray | None) -> Enclosure:
    from xent_verify.truth import exact  # the heavy import (mpmath) waits until it is needed

    return exact.evaluate(batch, form, index)


def _row_op(batch: Batch, form: FloatFormat, jobs: int, *, quick: bool) -> Enclosure:
    x = np.asarray(batch.x)
    axis = normal_axis(int(batch.options.get("axis", -1)), x.ndim)
    rows = rows_of(x, axis)
    options = {name: value for name, value in batch.options.items() if name != "axis"}
    plain = replace(batch, inputs={"x": rows}, options=options)
    if batch.op == "softmax_temperature":
        temperature = temperature_of(options)
        turned = rows if temperature > 0 else -wide(rows)
        result = _elements(RowOp("softmax", turned), plain, form, jobs, tempered(temperature))
    else:
        result = _elements(RowOp(batch.op, rows), plain, form, jobs, chain(rows.size, quick=quick))
    lead = x.shape[:axis] + x.shape[axis + 1 :]
    if batch.op == "logsumexp":
        return result.reshape(lead)
    return result.reshape(*lead, x.shape[axis]).moveaxis(-1, axis)


def _divergence(batch: Batch, form: FloatFormat, jobs: int) -> Enclosure:
    p, q = (np.asarray(value) for value in list(batch.inputs.values())[:2])
    if p.shape != q.shape:
        raise UsageError(f"logits of shape {p.shape} and {q.shape} do not fit")
    axis = normal_axis(int(batch.options.get("axis", -1)), p.ndim)
    rows = {name: rows_of(value, axis) for name, value in zip(batch.inputs, (p, q), strict=True)}
    problem = divergence.Divergences(*rows.values())
    plain = replace(batch, inputs=rows, options={})
    result = _elements(problem, plain, form, jobs, (FAST, FULL))
    return result.reshape(p.shape[:axis] + p.shape[axis + 1 :])


def _loss(batch: Batch, form: FloatFormat, jobs: int, *, quick: bool) -> Enclosure:
    loss, op = loss_rows(batch), op_named(batch.op)
    if not op.plain(batch):
        return _read(op, flattened(batch), form).reshape(output_shape(batch))
    if not losses.suitable(loss):
        return _exact(flattened(batch), form, None).reshape(output_shape(batch))
    tried = chain(loss.logits.size, quick=quick)
    if loss.reduction != "none":
        total = losses.reduced(loss, form, tried)
        return _exact(flattened(batch), form, None) if total is None else total.reshape(())
    return _elements(losses.Losses(loss), flattened(batch), form, jobs, tried).reshape(output_shape(batch))


def _gradient(batch: Batch, form: FloatFormat, jobs: int, *, quick: bool) -> Enclosure:
    loss, x = loss_rows(batch), np.asarray(batch.x)
    axis = class_axis(x)
    if gradients.suitable(loss):
        rows = _elements(gradients.Gradients(loss), flattened(batch), form, jobs, chain(x.size, quick=quick))
    else:
        rows = _exact(flattened(batch), form, None)
    return rows.reshape(np.moveaxis(x, axis, -1).shape).moveaxis(-1, axis)
