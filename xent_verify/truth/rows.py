"""What every tier needs to know about a batch before it computes: rows, class axis, targets, options, output shape.

Nothing here rounds: float64 holds every value of every format, and parameters (temperature, smoothing, weights) are the
real numbers that their floats store.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xent_verify.core.failures import UsageError
from xent_verify.core.formats import FloatArray, IntArray
from xent_verify.core.model import Batch
from xent_verify.core.shapes import full

__all__ = [
    "LossRows",
    "binary_inputs",
    "class_axis",
    "flattened",
    "loss_rows",
    "normal_axis",
    "output_shape",
    "reduction_of",
    "rows_of",
    "temperature_of",
    "wide",
]

REDUCTIONS = ("mean", "sum", "none")
SAME_SHAPE = ("softmax", "log_softmax", "softmax_temperature", "cross_entropy_grad", "sigmoid", "log_sigmoid")
AXIS_REMOVED = ("logsumexp", "kl_divergence")


def wide(values: ArrayLike) -> FloatArray:
    """The same numbers as float64, without a copy where they already are."""
    return np.asarray(values).astype(np.float64, copy=False)


def normal_axis(axis: int, ndim: int) -> int:
    """``axis`` counted from the front; ``UsageError`` if there is no such axis."""
    if not -ndim <= axis < ndim:
        raise UsageError(f"axis {axis} is out of range for an array of {ndim} dimensions")
    return axis % ndim


def rows_of(x: NDArray[Any], axis: int) -> NDArray[Any]:
    """The 1-D slices along ``axis`` as the rows of a 2-D array (a view where strides allow)."""
    moved = np.moveaxis(x, normal_axis(axis, x.ndim), -1)
    return moved.reshape((int(np.prod(moved.shape[:-1])), moved.shape[-1]))


def class_axis(logits: NDArray[Any]) -> int:
    """torch's class axis: 1 for [N, C, ...], 0 for one sample [C]."""
    return min(1, logits.ndim - 1)


def temperature_of(options: Mapping[str, Any]) -> float:
    """The temperature option, checked."""
    value = float(options.get("temperature", 1.0))
    if not np.isfinite(value) or value == 0.0:
        raise UsageError(f"temperature must be a finite number other than 0, not {value}")
    return value


def reduction_of(options: Mapping[str, Any]) -> str:
    value = str(options.get("reduction", "mean"))
    if value not in REDUCTIONS:
        raise UsageError(f"reduction must be one of {', '.join(REDUCTIONS)}, not {value!r}")
    return value


def output_shape(batch: Batch) -> tuple[int, ...]:
    """Shape of the op's output for this batch."""
    x = np.asarray(batch.x)
    if batch.op in SAME_SHAPE:
        return x.shape
    if batch.op in AXIS_REMOVED:
        axis = normal_axis(int(batch.options.get("axis", -1)), x.ndim)
        return x.shape[:axis] + x.shape[axis + 1 :]
    if reduction_of(batch.options) != "none":
        return ()
    if batch.op == "binary_cross_entropy_with_logits":
        return x.shape
    axis = class_axis(x)
    return x.shape[:axis] + x.shape[axis + 1 :]


def binary_inputs(batch: Batch) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Logits, targets, weights and positive weights of a binary cross entropy, as float64 of one shape."""
    logits, target = (wide(value) for value in list(batch.inputs.values())[:2])
    x, y = np.broadcast_arrays(logits, target)
    weight, pos_weight = (
        full(1.0 if part is None else wide(part), x.shape)
        for part in (batch.options.get("weight"), batch.options.get("pos_weight"))
    )
    return x, y, weight, pos_weight


@dataclass(frozen=True, slots=True)
class LossRows:
    """Cross entropy (or its gradient) as rows: loss_r = -sum_c a_rc log p_rc over the rows that are not ignored.

    ``labels`` (int targets) or ``probabilities`` is set, the other is None. ``weight`` is None or one per class.
    """

    logits: NDArray[Any]
    labels: IntArray | None
    probabilities: FloatArray | None
    weight: FloatArray | None
    smoothing: float
    ignored: NDArray[np.bool_]
    reduction: str

    @property
    def classes(self) -> int:
        return int(self.logits.shape[1])

    def take(self, rows: Any) -> LossRows:
        """The same loss over some of the rows."""
        return LossRows(
            self.logits[rows],
            None if self.labels is None else self.labels[rows],
            None if self.probabilities is None else self.probabilities[rows],
            self.weight,
            self.smoothing,
            self.ignored[rows],
            self.reduction,
        )


def flattened(batch: Batch) -> Batch:
    """The same losses with 2-D logits [rows, classes]: what ``LossRows`` sees, as a batch."""
    logits, target = (np.asarray(value) for value in list(batch.inputs.values())[:2])
    axis = class_axis(logits)
    flat = target.reshape(-1) if target.dtype.kind in "iub" else rows_of(target, axis)
    return replace(batch, inputs={"logits": rows_of(logits, axis), "target": flat})


def loss_rows(batch: Batch) -> LossRows:
    """Targets and options of ``cross_entropy`` or ``cross_entropy_grad``, checked; labels of ignored rows become 0."""
    logits, target = (np.asarray(value) for value in list(batch.inputs.values())[:2])
    options = batch.options
    axis = class_axis(logits)
    rows = rows_of(logits, axis)
    weight = options.get("weight")
    smoothing = float(options.get("label_smoothing", 0.0))
    if not 0.0 <= smoothing <= 1.0:
        raise UsageError(f"label_smoothing must lie in [0, 1], not {smoothing}")
    labels = probabilities = None
    ignored = np.zeros(rows.shape[0], bool)
    if target.dtype.kind in "iub":
        labels = target.astype(np.int64).reshape(-1)
        if labels.size != rows.shape[0]:
            raise UsageError(f"target of shape {target.shape} does not fit logits of shape {logits.shape}")
        ignored = labels == int(options.get("ignore_index", -100))
        labels = np.where(ignored, 0, labels)
        if labels.size and not (labels.min() >= 0 and (labels.max() < rows.shape[1] or ignored.all())):
            raise UsageError(f"target class out of range [0, {rows.shape[1]})")
    elif target.shape == logits.shape:
        probabilities = wide(rows_of(target, axis))
    else:
        raise UsageError(f"probability target of shape {target.shape} does not fit logits of shape {logits.shape}")
    return LossRows(
        logits=rows,
        labels=labels,
        probabilities=probabilities,
        weight=None if weight is None else wide(weight).reshape(-1),
        smoothing=smoothing,
        ignored=ignored,
        reduction=reduction_of(options),
    )
