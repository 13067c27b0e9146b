"""Derived tolerances for tests that people already have: ``limits`` and ``assert_close``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.arrays import as_numpy
from xent_verify.core.enclosure import Enclosure
from xent_verify.core.failures import UsageError
from xent_verify.core.foldings import DEEPER, FOLDINGS, Folding
from xent_verify.core.formats import FORMATS, FloatArray, FloatFormat, format_named
from xent_verify.core.model import Batch, Returned
from xent_verify.ops import Op, op_named
from xent_verify.ops.defined import undefined
from xent_verify.truth import certify
from xent_verify.truth.decimals import digits
from xent_verify.truth.reference import call_of
from xent_verify.verdict.judge import Hit, Judgement, Rules, judge
from xent_verify.verdict.policies import POLICIES, Policy, parse_policy

__all__ = ["assert_close", "limits"]

TORCH_DEFAULTS = {
    "float16": (1e-3, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
    "float32": (1.3e-6, 1e-5),
    "float64": (1e-7, 1e-7),
}
"""Format -> (rtol, atol) of ``torch.testing.assert_close``."""


def limits(
    op: str | Op, *inputs: Any, policy: str | Policy = "standard", result: str | None = None, **options: Any
) -> FloatArray:
    """The largest absolute error that a policy allows each element of the result: bit for bit the limits of an audit.

    * ``inputs``: by position or by name (``target=``), arrays of any library; they are taken as the exact numbers they hold.
      Logits with labels may be [N, C], [B, T, C] with labels [B, T], [N, C, d] with labels [N, d] …
    * ``policy``: docs/policies.md; ``result``: the format of the result, where it is not that of the first input
    * ``options``: the op's own (``axis``, ``weight``, ``reduction``, ...); ``grad``, an upstream gradient in the shape of the
      result, asks for the limits of the gradient by the first input

    The limits are float64, in the result's shape, and infinite where a sound algorithm promises nothing. Raises ``UsageError``
    for inputs or options that the operation does not have.

    >>> from xent_verify import limits
    >>> limits("softmax", [[0.0, 1.0]]).shape
    (1, 2)
    """
    batch = call_of(op, inputs, options, _result(result), one_format=True)
    operation = op_named(batch.op)
    batch, deeper = _defined(operation, batch)
    found = parse_policy(policy).limits(operation, batch, certify(batch)).error
    return found if deeper is None else deeper.back(found)


def assert_close(
    actual: Any,
    *,
    op: str | Op,
    inputs: Any,
    policy: str | Policy = "standard",
    result: str | None = None,
    **options: Any,
) -> None:
    """Raise ``AssertionError`` unless ``actual`` is what a sound implementation of ``op`` may answer to ``inputs``.

    * ``actual``: one array of any library (a number, or a list), in the shape of the result
    * ``inputs``: the first input, or all of them as a tuple or by name as a dict
    * ``policy``: docs/policies.md; ``options``: the op's own; ``grad``, an upstream gradient: ``actual`` is the gradient by the
      first input
    * ``result``: the format of the answer. Without it a wider answer than the inputs' format is judged in its own format, and
      a narrower one is an error; Python numbers are judged in the inputs' format

    No function is called. NaN, infinities, subnormals and conventions count as in an audit. The message describes the worst
    element: the given value, the true value (every digit shown is certified), the limit, the error ÷ limit, the condition
    number, and the verdict of the default tolerances of ``torch.testing.assert_close``. The condition number is the relative
    limit of the policy ``standard`` in units of one rounding: what a sound algorithm must lose at this element. Raises
    ``UsageError`` for inputs or options that the operation does not have.

    >>> from xent_verify import assert_close
    >>> assert_close([[0.5, 0.5]], op="softmax", inputs=[[3.0, 3.0]])
    """
    __tracebackhide__ = True
    positional, named = _given(op_named(op), inputs)
    batch = call_of(op, positional, {**named, **options}, _result(result), one_format=True)
    operation = op_named(batch.op)
    batch, deeper = _defined(operation, batch)
    value, batch = _answer(actual, batch, declared=result is not None)
    value = value if deeper is None else deeper.fold.rows(value, deeper.dims)
    rules = Rules(parse_policy(policy), result=batch.result)
    truth = certify(batch)
    judgement = judge(operation, batch, Returned(value, batch.result_form.name), truth, rules)
    failed = [hit for hit in judgement.hits if hit.severity == "fail"]
    if failed:
        raise AssertionError("\n".join(_told(operation, batch, value, truth, judgement, failed, rules.policy, deeper)))


def _result(name: str | None) -> str:
    return "" if name is None or name == "input" else format_named(name).name


@dataclass(frozen=True, slots=True)
class _Deeper:
    """Logits with labels in more dimensions than [N, C]: how they are folded, and the axes of the rows."""

    fold: Folding
    dims: tuple[int, ...]

    def back(self, found: FloatArray) -> FloatArray:
        """What was found of rows in the shape of the call; of a mean as it is."""
        if found.ndim == 2:
            return np.moveaxis(found.reshape(*self.dims, found.shape[1]), -1, self.fold.before)
        return found.reshape(self.dims) if found.ndim else found

    def place(self, row: tuple[int, ...]) -> tuple[int, ...]:
        """Where an element of the rows is in the call."""
        found = [int(i) for i in np.unravel_index(row[0], self.dims)] if row else []
        if len(row) == 2:
            found.insert(self.fold.before, row[1])
        return tuple(found)


def _defined(op: Op, batch: Batch) -> tuple[Batch, _Deeper | None]:
    """The call in rows, and how it had more dimensions; ``UsageError`` where the operation does not define it."""
    deeper, layout = None, _layout(batch.x)
    if op.labels and not op.shared and batch.x.ndim > 2:
        deeper = _deeper(op, batch)
        rows = {name: deeper.fold.rows(value, deeper.dims) for name, value in batch.inputs.items()}
        batch, layout = replace(batch, inputs=rows), "F" if deeper.fold.after else "C"
    why = undefined(op, batch)
    if why:
        raise UsageError(why)
    return replace(batch, layout=layout), deeper


def _deeper(op: Op, batch: Batch) -> _Deeper:
    x, labels = batch.x, batch.inputs.get(op.labels)
    fitting = [name for name in DEEPER if FOLDINGS[name].fits(x, labels)]
    shapes = f"{op.first} of shape {x.shape} and {op.labels} of shape {None if labels is None else labels.shape}"
    if not fitting:
        raise UsageError(f"{shapes} are none of [N, C], {', '.join(DEEPER)} and labels for them")
    if len(fitting) > 1:
        raise UsageError(f"{shapes} may be {' or '.join(fitting)}: give rows [N, C]")
    fold = FOLDINGS[fitting[0]]
    return _Deeper(fold, x.shape[: fold.before] + x.shape[fold.before + 1 :])


def _layout(x: NDArray[Any]) -> str:
    """The layout as limits know it: sums across memory are longer loops."""
    if x.ndim < 2 or x.flags.c_contiguous:
        return "C"
    return "F" if x.flags.f_contiguous else "broadcast" if 0 in x.strides else "C"


def _given(op: Op, inputs: Any) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """(inputs by position, inputs by name)."""
    if isinstance(inputs, Mapping):
        return (), inputs
    if isinstance(inputs, tuple) or (isinstance(inputs, list) and len(op.inputs) > 1):
        return tuple(inputs), {}
    return (inputs,), {}


def _answer(actual: Any, batch: Batch, *, declared: bool) -> tuple[NDArray[Any], Batch]:
    """(the numbers, the call in the format that they are judged in); ``AssertionError`` for a format that is not due."""
    found = as_numpy(actual)
    value = np.asarray(actual) if found is None else found
    if value.dtype.kind not in "fiu" and value.dtype.name not in FORMATS:
        raise AssertionError(f"the answer holds {value.dtype}, not numbers of a float format")
    due, name = batch.result_form, value.dtype.name
    if found is None or name == due.name:
        return value, batch
    if name not in FORMATS:
        raise AssertionError(f"the answer has dtype {name}, but should be {due.name}")
    wider = FORMATS[name].bits > due.bits
    if wider and not declared:
        return value, replace(batch, result=name)
    if wider and _holds(due, value):
        return value, batch
    raise AssertionError(f"the answer has dtype {name}, but should be {due.name} (result={name!r} where that is meant)")


def _holds(form: FloatFormat, value: NDArray[Any]) -> bool:
    """Whether every number is one of the format."""
    wide = value.astype(np.float64)
    return bool(np.array_equal(form.widen(form.narrow(wide)), wide, equal_nan=True))


def _told(
    op: Op,
    batch: Batch,
    value: NDArray[Any],
    truth: Enclosure,
    judgement: Judgement,
    failed: list[Hit],
    policy: Policy,
    deeper: _Deeper | None,
) -> Iterator[str]:
    form, errors = batch.result_form, judgement.errors
    numbers = [hit for hit in failed if hit.index is not None]
    if not numbers or errors is None or value.size != truth.size:
        yield f"{op.name}: {'; '.join(hit.message for hit in failed)}"
        return
    worst = max(numbers, key=lambda hit: (hit.ratio or 0.0, hit.ulp or 0.0))
    count = sum(hit.count for hit in numbers)
    yield f"{op.name}: {count} of {truth.size} elements fail policy {policy.name} in {form.name}: {worst.message}"
    others = [hit.message for hit in failed if hit.index is None]
    if others:
        yield f"  also       {'; '.join(others)}"
    flat = int(worst.index or 0)
    place = tuple(int(i) for i in np.unravel_index(flat, truth.shape))
    wide = form.widen(value).reshape(truth.shape)
    given, true = float(wide[place]), float(truth.to_float64()[place])
    limit = float(policy.limits(op, batch, truth).error[place])
    shown = place if deeper is None else deeper.place(place)
    yield f"  worst      [{', '.join(map(str, shown))}]" if place else "  worst      the result"
    yield f"  given      {given!r}"
    yield f"  true       {digits(batch, place)}"
    yield f"  limit      {limit:.4g}"
    error = abs(given - true)
    ulps = float(errors.ulp[place])
    yield f"  error      {error:.4g} = {float(errors.ratio[place]):.4g} × the limit" + (
        "" if np.isnan(ulps) else f" ({ulps:.4g} ulp)"
    )
    condition = float(POLICIES["standard"].limits(op, batch, truth).error[place]) / form.unit_roundoff
    if np.isfinite(true) and np.isfinite(condition):
        number = condition / max(abs(true), form.smallest_normal)
        yield f"  condition  {number:.4g} (so many roundings may a sound algorithm lose at this element)"
    yield from _as_torch(form, wide, truth.to_float64(), place)


def _as_torch(form: FloatFormat, given: FloatArray, true: FloatArray, place: tuple[int, ...]) -> Iterator[str]:
    """What the tolerances that people use would have said."""
    if form.name not in TORCH_DEFAULTS:
        return
    rtol, atol = TORCH_DEFAULTS[form.name]
    with np.errstate(all="ignore"):
        close = (given == true) | (np.abs(given - true) <= atol + rtol * np.abs(true))
    says = "accepts" if close[place] else "rejects"
    many = int(np.count_nonzero(~close))
    whole = "the whole answer" if not many else f"{close.size - many} of {close.size} elements"
    yield (
        f"  torch      the default of torch.testing for {form.name} (rtol={rtol:g}, atol={atol:g}) {says} this element, "
        f"and accepts {whole}"
    )
