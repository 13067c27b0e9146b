"""Padding and tails: the last, partial tile of a row."""

from __future__ import annotations

import numpy as np

from xent_verify.implementations.entries import Fault
from xent_verify.implementations.faulty.triggers import loss_on, on
from xent_verify.implementations.gradients import as_gradient, minus_target
from xent_verify.implementations.rows import Array, row_map, row_reduction
from xent_verify.implementations.stable import log_probabilities, log_sums, probabilities
from xent_verify.implementations.targets import Task, as_cross_entropy, form_of, solve

__all__ = ["FAULTS"]

CATEGORY = "padding"


def padded(rows: Array, tile: int, fill: float) -> Array:
    """Rows longer than a tile, filled up to a whole number of tiles."""
    n = rows.shape[-1]
    missing = -n % tile if n > tile else 0
    return np.pad(rows, ((0, 0), (0, missing)), constant_values=fill)


@row_map
def softmax_zero_padding(rows: Array) -> Array:
    """Filled up to 16 columns with 0, which is a logit like any other."""
    return probabilities(padded(rows, 16, 0.0))[:, : rows.shape[-1]]


@row_map
def log_softmax_padding_1e4(rows: Array) -> Array:
    """Filled up to 32 columns with -1e4, which dominates logits below it."""
    return log_probabilities(padded(rows, 32, -1e4))[:, : rows.shape[-1]]


@row_reduction
def logsumexp_overlapping_tail(rows: Array) -> Array:
    """The tail is read as the last eight columns: those already summed count twice."""
    n = rows.shape[-1]
    if n <= 128 or n % 8 == 0:
        return log_sums(rows)
    return log_sums(np.concatenate([rows[:, : n // 8 * 8], rows[:, -8:]], axis=-1))


@as_cross_entropy
def cross_entropy_padded_vocabulary(task: Task) -> Array:
    """The vocabulary is filled up to 64 columns with 0."""
    classes = task.logits.shape[-1]
    return solve(task, form_of(lambda rows: log_probabilities(padded(rows, 64, 0.0))[:, :classes]))


@as_gradient
def gradient_unwritten_tail(task: Task) -> Array:
    """The columns of the last, partial tile of 128 are never written."""
    gradient = minus_target(probabilities(task.rows), task)
    whole = gradient.shape[-1] // 128 * 128
    if whole:
        gradient[:, whole:] = 0
    return gradient


FAULTS: tuple[Fault, ...] = (
    Fault("zero-padding", "softmax", softmax_zero_padding, CATEGORY,
          "very negative logits, n no multiple of 16", "padding counted as logit 0", on([-100.0] * 17)),
    Fault("padding-1e4", "log_softmax", log_softmax_padding_1e4, CATEGORY,
          "logits below -1e4, n no multiple of 32", "padding counted as logit -1e4", on([-20000.0] * 33)),
    Fault("overlapping-tail", "logsumexp", logsumexp_overlapping_tail, CATEGORY,
          "n above 128, no multiple of 8", "columns counted twice", on([0.0] * 129 + [4.0])),
    Fault("padded-vocabulary", "cross_entropy", cross_entropy_padded_vocabulary, CATEGORY,
          "very negative logits, C no multiple of 64", "padding counted as logit 0", loss_on([[-50.0] * 65], [0])),
    Fault("unwritten-tail", "cross_entropy_grad", gradient_unwritten_tail, CATEGORY,
          "C above 128, no multiple of 128", "columns not written", loss_on([[0.0] * 130], [0])),
)  # fmt: skip
