"""Results of the wrong dtype or shape."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from xent_verify.implementations.entries import Fault
from xent_verify.implementations.faulty.triggers import NARROW, loss_on, on
from xent_verify.implementations.rows import Array, working_dtype
from xent_verify.implementations.stable import (
    dot_with_log_probabilities,
    log_softmax_stable,
    logsumexp_stable,
    softmax_stable,
)
from xent_verify.implementations.targets import Task, as_cross_entropy, solve

__all__ = ["FAULTS"]

CATEGORY = "results"


def softmax_promotes(x: ArrayLike, axis: int = -1) -> Array:
    """Narrow formats come back in the working precision."""
    return softmax_stable(np.asarray(x).astype(working_dtype(np.asarray(x).dtype)), axis)


def softmax_vector_to_matrix(x: ArrayLike, axis: int = -1) -> Array:
    """A vector comes back as a matrix of one row."""
    return np.atleast_2d(softmax_stable(x, axis))


def log_softmax_squeezes(x: ArrayLike, axis: int = -1) -> Array:
    """Axes of length 1 are removed."""
    return np.squeeze(log_softmax_stable(x, axis))


def logsumexp_keeps_axis(x: ArrayLike, axis: int = -1) -> Array:
    """Any axis but the last is kept with length 1."""
    result = logsumexp_stable(x, axis)
    return result if axis in (-1, np.ndim(x) - 1) else np.expand_dims(result, axis)


@as_cross_entropy
def cross_entropy_squeezes_single(task: Task) -> Array:
    """One row with reduction none gives a scalar."""
    losses = solve(task, dot_with_log_probabilities())
    return losses[0] if losses.shape == (1,) else losses


@as_cross_entropy
def cross_entropy_drops_ignored(task: Task) -> Array:
    """With reduction none the ignored rows are left out of the result."""
    losses = solve(task, dot_with_log_probabilities())
    if task.reduction != "none" or task.soft:
        return losses
    return np.asarray(losses[task.target.astype(np.int64) != task.ignore_index])


@as_cross_entropy
def cross_entropy_weighted_promotes(task: Task) -> Array:
    """A weighted mean comes back in float64, or in float32 for float64."""
    loss = solve(task, dot_with_log_probabilities())
    if task.weight is None or task.reduction != "mean":
        return loss
    return loss.astype(np.float32 if task.logits.dtype == np.float64 else np.float64)


FAULTS: tuple[Fault, ...] = (
    Fault("promotes", "softmax", softmax_promotes, CATEGORY,
          "formats below float32", "working precision returned", on([0.0, 1.0]), NARROW, "dtype"),
    Fault("vector-to-matrix", "softmax", softmax_vector_to_matrix, CATEGORY,
          "one-dimensional input", "shape", on([0.0, 1.0]), shows="shape"),
    Fault("squeezes", "log_softmax", log_softmax_squeezes, CATEGORY,
          "an axis of length 1", "shape", on([[0.0], [1.0], [2.0]]), shows="shape"),
    Fault("keeps-axis", "logsumexp", logsumexp_keeps_axis, CATEGORY,
          "an axis that is not the last", "shape", on([[0.0, 1.0], [2.0, 3.0]], axis=0), shows="shape"),
    Fault("squeezes-single", "cross_entropy", cross_entropy_squeezes_single, CATEGORY,
          "one row, reduction none", "shape", loss_on([[0.0, 1.0]], [0], reduction="none"), shows="shape"),
    Fault("drops-ignored", "cross_entropy", cross_entropy_drops_ignored, CATEGORY,
          "ignored rows, reduction none", "shape",
          loss_on([[0.0, 1.0]] * 2, [0, -100], reduction="none"), shows="shape"),
    Fault("weighted-promotes", "cross_entropy", cross_entropy_weighted_promotes, CATEGORY,
          "class weights, reduction mean", "dtype", loss_on([[0.0, 1.0]], [0], weight=[1.0, 2.0]), shows="dtype"),
)  # fmt: skip
