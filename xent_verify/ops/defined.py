"""Whether an operation defines a call: the one place that says so, for everything that makes or reads calls."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.model import LAYOUTS, Batch
from xent_verify.ops import Op, op_named
from xent_verify.ops.op import SHARED

__all__ = ["undefined", "with_options"]

_IGNORED = -100
"""The label that counts for nothing where no option names another."""


def with_options(batch: Batch, options: Mapping[str, Any]) -> Batch:
    """The call with these options; labels that were ignored are then the new ignored one, lists are arrays of the format."""
    if not options:
        return batch
    given = {
        name: _array(value, batch) if isinstance(value, list | tuple) else value for name, value in options.items()
    }
    inputs = dict(batch.inputs)
    for name, value in inputs.items():
        if "ignore_index" in given and value.dtype.kind in "iu" and batch.x.ndim:
            beyond = (value < 0) | (value >= op_named(batch.op).scores_shape(batch)[-1])
            inputs[name] = np.where(beyond, value.dtype.type(given["ignore_index"]), value) if beyond.any() else value
    return replace(batch, inputs=inputs, options={**batch.options, **given})


def _array(value: Any, batch: Batch) -> NDArray[Any]:
    """A list as an array: of Booleans as they are, of numbers in the call's format."""
    plain = np.asarray(value)
    return plain if plain.dtype.kind == "b" else np.asarray(value, batch.form.dtype)


def undefined(op: Op, batch: Batch) -> str:
    """Why ``op`` does not define this call, in words; "" where it does.

    A call is defined when its inputs have the operation's number, formats and shapes, class labels lie in [0, C) or are
    the ignored one, and options are the operation's own and in their ranges.
    """
    for check in (_arrays, _options, _second, _together):
        why = check(op, batch)
        if why:
            return why
    return ""


def _arrays(op: Op, batch: Batch) -> str:
    if len(batch.inputs) != len(op.inputs):
        return f"{op.name} takes {' and '.join(op.inputs)}, not {len(batch.inputs)} inputs"
    if batch.fmt not in op.formats:
        return f"{op.name} is not defined in {batch.fmt}"
    if batch.x.dtype != batch.form.dtype:
        return f"{op.first} has dtype {batch.x.dtype.name}, not {batch.fmt}"
    if batch.layout not in LAYOUTS:
        return f"unknown layout {batch.layout!r}"
    if op.labels and batch.x.ndim != 2:
        return f"{op.first} has {batch.x.ndim} dimensions, not [N, C]"
    return _matrices(op, batch) if op.named("matrix") else ""


def _matrices(op: Op, batch: Batch) -> str:
    """Matrices have the leading axes of the first input, vectors of its length, and as many values as vectors."""
    first, matrix = op.first, op.named("matrix")
    lead, n = batch.x.shape[:-2], batch.x.shape[-1:]
    if batch.x.ndim < 2:
        return f"{first} has {batch.x.ndim} dimensions, should have at least 2: [.., rows, length]"
    for name, kind in op.inputs.items():
        if kind not in SHARED:
            continue
        value = batch.inputs[name]
        if value.ndim != batch.x.ndim or value.shape[:-2] != lead or (kind == "matrix" and value.shape[-1:] != n):
            return f"{name} has shape {value.shape}, which does not fit {first} of shape {batch.x.shape}"
        if value.shape[-2] != batch.inputs[matrix].shape[-2]:
            return f"{name} has {value.shape[-2]} vectors, {matrix} has {batch.inputs[matrix].shape[-2]}"
        if value.dtype != batch.form.dtype:
            return f"{name} has dtype {value.dtype.name}, not {batch.fmt}"
    return ""


def _options(op: Op, batch: Batch) -> str:
    for name, value in batch.options.items():
        if name not in op.options:
            return f"{op.name} has no option {name!r}"
        why = _option(op, batch, name, value)
        if why:
            return why
    for name, option in op.options.items():
        if option.kind == "count" and not _count(batch, op.option(batch, name)):
            return f"{name} = {op.option(batch, name)!r} is no number of logits of a row"
        if option.kind == "axis" and not _axis(batch, op.option(batch, name)):
            return f"{name} {op.option(batch, name)} is out of range for {batch.x.ndim} dimensions"
    return ""


def _option(op: Op, batch: Batch, name: str, value: Any) -> str:
    kind = op.options[name].kind
    if value is None:
        return "" if op.options[name].default is None else f"{name} = None is out of its range"
    if kind in _RANGES and not _RANGES[kind](batch, value):
        return f"{name} = {value!r} is out of its range"
    if kind in ("class_weights", "element_weights"):
        return _weights(name, op, batch, np.asarray(value))
    if kind in ("mask", "bias", "score_number"):
        return _scored(name, kind, op.scores_shape(batch), np.asarray(value))
    return ""


def _count(batch: Batch, value: Any) -> bool:
    return _whole(value) and 1 <= value <= (batch.x.shape[-1] if batch.x.ndim else 1)


def _whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _axis(batch: Batch, value: Any) -> bool:
    return isinstance(value, int | np.integer) and -batch.x.ndim <= int(value) < batch.x.ndim


_RANGES: Mapping[str, Callable[[Batch, Any], bool]] = {
    "axis": _axis,
    "reduction": lambda _, value: value in ("mean", "sum", "none"),
    "share": lambda _, value: 0.0 <= value <= 1.0,
    "divisor": lambda _, value: math.isfinite(value) and value != 0,
    "cap": lambda _, value: math.isfinite(value) and value > 0,
    "factor": lambda _, value: math.isfinite(value) and value > 0,
    "logit": lambda _, value: value < math.inf,
    "causal": lambda _, value: isinstance(value, bool | np.bool_),
    "flag": lambda _, value: isinstance(value, bool | np.bool_),
    "count": _count,
    "ignored_label": lambda _, value: _whole(value),
}
"""What an option of each kind may be."""


def _weights(name: str, op: Op, batch: Batch, value: NDArray[Any]) -> str:
    wanted = batch.x.shape[-1:] if op.by_row else batch.x.shape
    fits = value.shape == wanted
    if not op.by_row:
        fits = _broadcasts(value, wanted)
    if not fits:
        return f"{name} has shape {value.shape}, not {wanted}"
    return "" if np.isfinite(value.astype(np.float64)).all() else f"{name} is not finite"


def _scored(name: str, kind: str, wanted: tuple[int, ...], value: NDArray[Any]) -> str:
    """An option with a number or a Boolean for each score."""
    if kind == "mask" and value.dtype.kind != "b":
        return f"{name} has dtype {value.dtype.name}, not bool (True where a logit is kept)"
    if kind != "mask" and not (value.astype(np.float64) < np.inf).all():
        return f"{name} holds a NaN or +inf"
    if kind == "score_number":
        return "" if value.shape == wanted[-1:] else f"{name} has shape {value.shape}, not {wanted[-1:]}"
    return "" if _broadcasts(value, wanted) else f"{name} has shape {value.shape}, not {wanted}"


def _broadcasts(value: NDArray[Any], wanted: tuple[int, ...]) -> bool:
    return value.ndim <= len(wanted) and all(
        mine in (1, its) for mine, its in zip(value.shape[::-1], wanted[::-1], strict=False)
    )


def _second(op: Op, batch: Batch) -> str:
    """The second input, where there is one: labels or probabilities of rows, or an array like the first."""
    for (name, kind), value in list(zip(op.inputs.items(), batch.inputs.values(), strict=True))[1:]:
        if kind in ("target", "label") and value.dtype.kind in "iu":
            why = _labels(op, batch, value)
            if why:
                return why
            continue
        if kind == "label":
            return f"{name} has dtype {value.dtype.name}, not that of class labels"
        if kind in SHARED:
            continue
        wanted = batch.x.shape[:-1] if kind == "row_number" else batch.x.shape
        if kind == "upstream" and op.differentiates is not None:
            wanted = op.differentiates.result_shape(batch)
        if value.shape != wanted:
            return f"{name} has shape {value.shape}, not {wanted}"
        if value.dtype != batch.form.dtype:
            return f"{name} has dtype {value.dtype.name}, not {batch.fmt}"
    return ""


def _together(op: Op, batch: Batch) -> str:
    """A label to ignore beside probabilities, where there are no labels (torch refuses the call)."""
    given = [name for name in batch.options if op.options[name].kind == "ignored_label" and batch.options[name] >= 0]
    if given and op.labels and batch.inputs[op.labels].dtype.kind not in "iu":
        return f"{given[0]} = {batch.options[given[0]]} with probability targets: there are no labels to ignore"
    return ""


def _labels(op: Op, batch: Batch, labels: NDArray[Any]) -> str:
    rows, classes = op.scores_shape(batch)
    if labels.shape != (rows,):
        return f"target has shape {labels.shape}, not {(rows,)}"
    ignored = [name for name, option in op.options.items() if option.kind == "ignored_label"]
    live = labels[labels != (int(op.option(batch, ignored[0])) if ignored else _IGNORED)]
    if live.size and not (live.min() >= 0 and live.max() < classes):
        return f"a class label is neither in [0, {classes}) nor the ignored one"
    return ""
