"""Offset cancellation: differences taken after a rounding at the size of the logits."""

from __future__ import annotations

import numpy as np

from xent_verify.implementations.entries import Fault
from xent_verify.implementations.faulty.triggers import WIDE, loss_on, on
from xent_verify.implementations.gradients import as_gradient, minus_target
from xent_verify.implementations.rows import Array, row_map
from xent_verify.implementations.stable import dot_with_log_probabilities, log_probabilities, log_sums, probabilities
from xent_verify.implementations.targets import Task, as_cross_entropy, coefficients, reduce_losses, solve

__all__ = ["FAULTS"]

CATEGORY = "offset"
FAR = [100000.0, 99999.0, 99997.0]


@row_map
def softmax_prescaled_exp2(rows: Array) -> Array:
    """exp2(x·log2 e - max·log2 e): the products round at the size of x before they are subtracted."""
    scaled = rows * rows.dtype.type(np.log2(np.e))
    terms = np.exp2(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(terms / terms.sum(axis=-1, keepdims=True))


@row_map
def softmax_pair_by_tanh(rows: Array) -> Array:
    """Two classes through (1 ± tanh(d/2))/2: the smaller probability is a difference of nearly equal numbers."""
    if rows.shape[-1] != 2:
        return probabilities(rows)
    half = np.tanh((rows[:, 0] - rows[:, 1]) / 2)
    return np.stack([(1 + half) / 2, (1 - half) / 2], axis=-1)


@row_map
def log_softmax_centred_twice(rows: Array) -> Array:
    """x - (m + log s): the sum is rounded at the size of the maximum, then subtracted from its like."""
    peak = rows.max(axis=-1, keepdims=True)
    return np.asarray(rows - (peak + np.log(np.exp(rows - peak).sum(axis=-1, keepdims=True))))


@as_cross_entropy
def cross_entropy_unshifted_smoothing(task: Task) -> Array:
    """The target's part on shifted data, the smoothing part as ε·(logsumexp(x) - mean(x)) on raw logits."""
    if task.soft or not task.label_smoothing or task.weight is not None:
        return solve(task, dot_with_log_probabilities())
    rows, terms = task.rows, coefficients(task)
    hard = -np.take_along_axis(log_probabilities(rows), terms.q.argmax(axis=-1)[:, None], axis=-1)[:, 0]
    even = log_sums(rows) - rows.mean(axis=-1)
    losses = np.where(terms.live, (1 - task.label_smoothing) * hard + task.label_smoothing * even, 0)
    return reduce_losses(losses, terms.masses, task.reduction).astype(task.logits.dtype)[()]


@as_gradient
def gradient_from_logsumexp(task: Task) -> Array:
    """exp(x - logsumexp(x)) minus the target: the saved logsumexp is rounded at the size of the logits."""
    rows = task.rows
    return minus_target(np.asarray(np.exp(rows - log_sums(rows)[:, None])), task)


FAULTS: tuple[Fault, ...] = (
    Fault("prescaled-exp2", "softmax", softmax_prescaled_exp2, CATEGORY,
          "huge common offset", "product with log2 e before the shift", on(FAR), WIDE),
    Fault("pair-by-tanh", "softmax", softmax_pair_by_tanh, CATEGORY,
          "two classes, one dominant", "complement of a probability", on([0.0, -30.0]), (*WIDE, "bfloat16")),
    Fault("centred-twice", "log_softmax", log_softmax_centred_twice, CATEGORY,
          "huge common offset", "x - logsumexp", on(FAR), WIDE),
    Fault("unshifted-smoothing", "cross_entropy", cross_entropy_unshifted_smoothing, CATEGORY,
          "huge common offset with label smoothing", "x - logsumexp in the smoothing term",
          loss_on([FAR], [0], label_smoothing=0.5), WIDE),
    Fault("from-logsumexp", "cross_entropy_grad", gradient_from_logsumexp, CATEGORY,
          "huge common offset", "x - logsumexp", loss_on([FAR], [0]), WIDE),
)  # fmt: skip
