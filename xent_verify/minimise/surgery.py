"""Cutting batches down: keep some rows or columns of all arguments together, replace values, say what is simpler."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from xent_verify.core.formats import FloatArray, IntArray
from xent_verify.core.model import Batch
from xent_verify.ops import op_named
from xent_verify.ops.op import BROADCAST
from xent_verify.regimes.calls import labelled

__all__ = [
    "cost",
    "flattened",
    "is_index",
    "keep",
    "keep_vectors",
    "simpler",
    "simplicity",
    "takes",
    "with_input",
    "with_options",
]

_SMALL = 1024


def is_index(array: NDArray[Any]) -> bool:
    """Whether an input holds class indices."""
    return array.dtype.kind in "iu"


def _arguments(batch: Batch) -> dict[str, NDArray[Any]]:
    arrays = {name: value for name, value in batch.options.items() if isinstance(value, np.ndarray)}
    return {**batch.inputs, **arrays}


def takes(batch: Batch) -> tuple[bool, bool]:
    """Whether the batch's op works on rows, and whether it takes any number of dimensions."""
    op = op_named(batch.op)
    return op.by_row, not labelled(op)


def keep(batch: Batch, axis: int, indices: ArrayLike) -> Batch:
    """The batch with only these positions of the first input's axis, every other argument cut to match.

    Class indices go along with axis 0 and are renumbered where classes go (a dropped class becomes 0; an ignored
    target stays as it is). Probability targets are scaled back to a sum of 1.
    """
    kept: IntArray = np.asarray(indices, dtype=np.int64)
    x = batch.x
    if op_named(batch.op).named("matrix"):
        return _keep_products(batch, axis, kept)
    last = axis == x.ndim - 1
    ignored = int(batch.options.get("ignore_index", -100))

    def cut(array: NDArray[Any]) -> NDArray[Any]:
        if array.shape == x.shape:
            return array.take(kept, axis=axis)
        if is_index(array) and array.shape == x.shape[:-1]:
            return _renumbered(array, kept, x.shape[-1], ignored) if last else array.take(kept, axis=axis)
        if array.shape == x.shape[-1:] and last:
            return array.take(kept)
        return array

    inputs = {name: cut(array) for name, array in batch.inputs.items()}
    if last and takes(batch)[0] and "target" in inputs and not is_index(inputs["target"]):
        inputs["target"] = _as_probabilities(batch, inputs["target"])
    options = {name: cut(value) if isinstance(value, np.ndarray) else value for name, value in batch.options.items()}
    for name in _broadcast(batch):
        given, place = batch.options[name], axis - x.ndim + batch.options[name].ndim
        whole = place >= 0 and given.shape[place] == x.shape[axis]
        options[name] = given.take(kept, axis=place) if whole else given
    return replace(batch, inputs=inputs, options=options)


def _keep_products(batch: Batch, axis: int, kept: IntArray) -> Batch:
    """The same where scores are products: a number of each row goes with that of each vector, a leading axis with all."""
    op, last = op_named(batch.op), batch.x.ndim - 1
    inputs = {}
    for name, value in batch.inputs.items():
        with_all = name in op.shared and axis < last - 1
        with_rows = name not in op.shared and axis < value.ndim
        with_numbers = op.inputs[name] == "matrix" and axis == last
        inputs[name] = value.take(kept, axis=axis) if with_all or with_rows or with_numbers else value
    options = dict(batch.options)
    for name in _broadcast(batch) if axis < last else []:
        options[name] = _cut_broadcast(options[name], axis - batch.x.ndim, batch.x.shape[axis], kept)
    return replace(batch, inputs=inputs, options=options)


def _cut_broadcast(value: NDArray[Any], axis: int, length: int, kept: IntArray) -> NDArray[Any]:
    """An array that broadcasts, cut along an axis counted from the end, where it has all of it."""
    whole = value.ndim >= -axis and value.shape[axis] == length
    return value.take(kept, axis=axis) if whole else value


def keep_vectors(batch: Batch, indices: ArrayLike) -> Batch:
    """The batch with only these vectors of its matrix, and what else there is one of for each."""
    kept: IntArray = np.asarray(indices, dtype=np.int64)
    op = op_named(batch.op)
    count, ignored = op.scores_shape(batch)[-1], int(batch.options.get("ignore_index", -100))
    inputs = {
        name: value.take(kept, axis=-2)
        if name in op.shared
        else _renumbered(value, kept, count, ignored)
        if name == op.labels
        else value
        for name, value in batch.inputs.items()
    }
    options = {
        name: value.take(kept)
        if op.options[name].kind == "score_number" and value is not None
        else _cut_broadcast(value, -1, count, kept)
        if name in _broadcast(batch)
        else value
        for name, value in batch.options.items()
    }
    return replace(batch, inputs=inputs, options=options)


def _broadcast(batch: Batch) -> list[str]:
    """The options that are arrays which broadcast against the first input."""
    kinds = op_named(batch.op).options
    given = batch.options.items()
    return [name for name, value in given if isinstance(value, np.ndarray) and kinds[name].kind in BROADCAST]


def _as_probabilities(batch: Batch, target: NDArray[Any]) -> NDArray[Any]:
    wide = batch.form.widen(target)
    total = wide.sum(axis=-1, keepdims=True)
    return batch.form.narrow(wide / np.where(total > 0, total, 1.0))


def _renumbered(target: NDArray[Any], kept: IntArray, classes: int, ignored: int) -> NDArray[Any]:
    number = np.zeros(classes, dtype=np.int64)
    number[kept] = np.arange(kept.size)
    wide = target.astype(np.int64)
    inside = (wide >= 0) & (wide < classes) & (wide != ignored)
    return np.where(inside, number[np.where(inside, wide, 0)], wide).astype(target.dtype)


def flattened(batch: Batch, ndim: int) -> Batch:
    """The batch as a matrix with the op's axis last (``ndim`` 2), or as a vector (1: a single row, or elementwise)."""
    x = batch.x
    if op_named(batch.op).named("matrix"):
        return _squeezed(batch) if ndim == 2 else batch
    axis = int(batch.options.get("axis", -1)) % max(x.ndim, 1)

    def flat(value: Any) -> Any:
        if not isinstance(value, np.ndarray) or value.shape != x.shape:
            return value
        moved = np.ascontiguousarray(np.moveaxis(value, axis, -1))
        return moved.reshape((math.prod(moved.shape[:-1]), x.shape[axis]) if ndim == 2 else -1)

    full = {
        name: np.broadcast_to(batch.options[name], x.shape) for name in _broadcast(batch) if batch.options[name].ndim
    }
    options = {name: flat(full.get(name, value)) for name, value in batch.options.items() if name != "axis"}
    return replace(batch, inputs={name: flat(array) for name, array in batch.inputs.items()}, options=options)


def _squeezed(batch: Batch) -> Batch:
    """Without leading axes of length 1."""
    if batch.x.ndim < 3 or math.prod(batch.x.shape[:-2]) != 1:
        return batch
    inputs = {
        name: value.reshape(value.shape[batch.x.ndim - 2 :]) if value.ndim == batch.x.ndim else value
        for name, value in batch.inputs.items()
    }
    options = {
        name: batch.options[name].reshape(batch.options[name].shape[-2:]) if name in _broadcast(batch) else value
        for name, value in batch.options.items()
    }
    return replace(batch, inputs=inputs, options=options)


def with_input(batch: Batch, name: str, values: NDArray[Any]) -> Batch:
    """The batch with one input (or one array among the options) replaced."""
    if name in batch.inputs:
        return replace(batch, inputs={**batch.inputs, name: values})
    return replace(batch, options={**batch.options, name: values})


def with_options(batch: Batch, options: Mapping[str, Any]) -> Batch:
    return replace(batch, options=dict(options))


def simplicity(values: ArrayLike) -> FloatArray:
    """How hard each number is to read: 0 is simplest, then specials, small integers by size, short significands."""
    wide = np.asarray(values).astype(np.float64)
    finite = np.isfinite(wide)
    size = np.abs(np.where(finite, wide, 0.0))
    mantissa, exponent = np.frexp(size)
    whole = np.ldexp(mantissa, 53).astype(np.int64)
    length = 54.0 - np.log2(np.maximum(whole & -whole, 1))
    small = (size == np.floor(size)) & (size <= _SMALL)
    with np.errstate(divide="ignore"):
        hard = np.where(small, 2.0 + np.log2(1.0 + size), 15.0 + length + 0.05 * np.abs(exponent))
    hard = np.where(size == 0, 0.0, hard) + 0.25 * np.signbit(wide)
    return np.where(finite, hard, 1.0)


def cost(batch: Batch) -> tuple[float, ...]:
    """What minimising makes smaller, in order of importance: logits, options, layout, dimensions, values, targets."""
    scalars = [value for value in batch.options.values() if not isinstance(value, np.ndarray)]
    hard = math.fsum(float(simplicity(array).sum()) for array in _arguments(batch).values())
    odd = sum(array.dtype != np.int64 for array in batch.inputs.values() if is_index(array))
    numbers = [value for value in scalars if isinstance(value, (int, float))]
    hard_options = math.fsum(float(simplicity(value)) for value in numbers)
    return (_size(batch), len(batch.options), batch.layout != "C", batch.x.ndim, odd, hard_options, hard)


def _size(batch: Batch) -> int:
    """Logits, and numbers of matrices."""
    return batch.x.size + sum(batch.inputs[name].size for name in op_named(batch.op).shared if name in batch.inputs)


def simpler(one: Batch, other: Batch) -> bool:
    """Whether one batch costs less than another."""
    if _size(one) != _size(other):
        return _size(one) < _size(other)
    return cost(one) < cost(other)
