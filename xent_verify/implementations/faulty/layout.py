"""Layout and axis: memory read as if it were dense, or the wrong axis reduced."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import ArrayLike

from xent_verify.implementations.entries import Arguments, Fault
from xent_verify.implementations.faulty.triggers import loss_on, on
from xent_verify.implementations.rows import Array
from xent_verify.implementations.stable import (
    dot_with_log_probabilities,
    log_softmax_stable,
    logsumexp_stable,
    softmax_stable,
)
from xent_verify.implementations.targets import Task, as_cross_entropy, solve

__all__ = ["FAULTS"]

CATEGORY = "layout"
BLOCK_2X3 = [[0.0, 1.0, 5.0], [2.0, 4.0, -1.0]]
CUBE = np.arange(24.0).reshape(2, 3, 4) % 7


def _reversed_targets(fmt: str) -> Arguments:
    (logits, target), options = loss_on([[0.0, 1.0, 5.0]] * 3, [0, 1, 2], reduction="none")(fmt)
    return (logits, target[::-1].copy()[::-1]), options


def softmax_negative_stride(x: ArrayLike, axis: int = -1) -> Array:
    """A reversed view is read forwards in memory."""
    given = np.asarray(x)
    if given.ndim and given.size and given.strides[-1] < 0:
        return softmax_stable(given[..., ::-1], axis)
    return softmax_stable(given, axis)


def softmax_strided_as_dense(x: ArrayLike, axis: int = -1) -> Array:
    """A view of every second element is read as if its elements were neighbours."""
    given = np.asarray(x)
    owner = given.base
    if given.ndim == 0 or given.strides[-1] <= given.itemsize or not isinstance(owner, np.ndarray):
        return softmax_stable(given, axis)
    if not owner.flags.c_contiguous or owner.dtype != given.dtype or given.flags.f_contiguous:
        return softmax_stable(given, axis)
    return softmax_stable(owner.reshape(-1)[: given.size].reshape(given.shape), axis)


def softmax_broadcast_once(x: ArrayLike, axis: int = -1) -> Array:
    """Of rows that share memory (stride 0) only the first is computed."""
    given = np.asarray(x)
    result = softmax_stable(given, axis)
    if given.ndim == 2 and given.strides[0] == 0 and len(given) > 1:
        result[1:] = 0
    return result


def softmax_first_axis_twice(x: ArrayLike, axis: int = -1) -> Array:
    """Along the first of several axes the result goes through the function once more."""
    given = np.asarray(x)
    once = softmax_stable(given, axis)
    return softmax_stable(once, axis) if given.ndim > 1 and axis in (0, -given.ndim) else once


def log_softmax_square_transposed(x: ArrayLike, axis: int = -1) -> Array:
    """In a square matrix axis 0 is taken for the last one."""
    given = np.asarray(x)
    square = given.ndim == 2 and given.shape[0] == given.shape[1]
    return log_softmax_stable(given, -1 if square and axis == 0 else axis)


def log_softmax_channels_last(x: ArrayLike, axis: int = -1) -> Array:
    """Axis 1 of four is reduced as if the channels lay last in memory."""
    given = np.asarray(x)
    if given.ndim != 4 or axis not in (1, -3):
        return log_softmax_stable(given, axis)
    return log_softmax_stable(given.reshape(-1, given.shape[1])).reshape(given.shape)


def logsumexp_negative_axis(x: ArrayLike, axis: int = -1) -> Array:
    """Every axis below -1 is taken for the first."""
    return logsumexp_stable(x, 0 if axis < -1 else axis)


@as_cross_entropy
def cross_entropy_target_as_dense(task: Task) -> Array:
    """Targets that are a view are read as they lie in memory, without their stride."""
    target = task.target
    owner = target.base
    if (
        target.ndim == 1
        and isinstance(owner, np.ndarray)
        and owner.size >= target.size
        and target.strides[0] != target.itemsize
    ):
        target = owner.reshape(-1)[: target.size]
    return solve(dataclasses.replace(task, target=target), dot_with_log_probabilities())


FAULTS: tuple[Fault, ...] = (
    Fault("negative-stride", "softmax", softmax_negative_stride, CATEGORY,
          "reversed views", "negative stride ignored", on(BLOCK_2X3, view=lambda a: a[:, ::-1])),
    Fault("strided-as-dense", "softmax", softmax_strided_as_dense, CATEGORY,
          "views with a step", "stride ignored", on(np.arange(12.0).reshape(2, 6) % 5, view=lambda a: a[:, ::2])),
    Fault("broadcast-once", "softmax", softmax_broadcast_once, CATEGORY,
          "zero-stride views", "stride 0 taken for a single row",
          on([0.0, 1.0], view=lambda a: np.broadcast_to(a, (3, 2)))),
    Fault("first-axis-twice", "softmax", softmax_first_axis_twice, CATEGORY,
          "axis 0 of several", "softmax applied twice", on(BLOCK_2X3, axis=0)),
    Fault("square-transposed", "log_softmax", log_softmax_square_transposed, CATEGORY,
          "axis 0 of a square matrix", "wrong axis", on([[0.0, 1.0], [5.0, 2.0]], axis=0)),
    Fault("channels-last", "log_softmax", log_softmax_channels_last, CATEGORY,
          "axis 1 of four", "wrong axis", on(CUBE[:, :, :, None], axis=1)),
    Fault("target-as-dense", "cross_entropy", cross_entropy_target_as_dense, CATEGORY,
          "targets that are views", "stride ignored", _reversed_targets),
    Fault("negative-axis", "logsumexp", logsumexp_negative_axis, CATEGORY,
          "axis -2 of three", "wrong axis", on(CUBE[:, :2, :], axis=-2)),
)  # fmt: skip
