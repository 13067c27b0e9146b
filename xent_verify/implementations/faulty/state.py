"""State, aliasing, mutation, repetition and neighbours: the answer depends on more than the row."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import ArrayLike

from xent_verify.implementations.entries import Fault
from xent_verify.implementations.faulty.triggers import loss_on, on
from xent_verify.implementations.gradients import as_gradient, minus_target
from xent_verify.implementations.rows import Array, row_map, row_reduction
from xent_verify.implementations.stable import (
    dot_with_log_probabilities,
    log_probabilities,
    log_softmax_stable,
    log_sums,
    probabilities,
    softmax_stable,
)
from xent_verify.implementations.targets import Task, as_cross_entropy, solve

__all__ = ["FAULTS"]

CATEGORY = "state"
NAN, INF = float("nan"), float("inf")

_workspace = np.zeros(0)
_results: dict[tuple[tuple[int, ...], str], Array] = {}
_remembered: dict[tuple[int, float, float], float] = {}
_gradients: dict[tuple[tuple[int, ...], str], Array] = {}
_calls = itertools.count(1)


@row_map
def softmax_stale_workspace(rows: Array) -> Array:
    """Terms go through a workspace as long as the longest row so far, which is summed whole: old terms stay in it."""
    global _workspace
    n = rows.shape[-1]
    if len(_workspace) < n:
        _workspace = np.zeros(n)
    result = np.empty_like(rows)
    for row, out in zip(rows, result, strict=True):
        _workspace[:n] = np.exp(row - row.max())
        out[:] = _workspace[:n] / _workspace.sum()
    return result


def softmax_recycled(x: ArrayLike, axis: int = -1) -> Array:
    """Results of one shape and dtype share one array: the next call overwrites the last answer."""
    fresh = softmax_stable(x, axis)
    kept = _results.setdefault((fresh.shape, fresh.dtype.name), np.empty_like(fresh))
    kept[...] = fresh
    return kept


def log_softmax_in_place(x: ArrayLike, axis: int = -1) -> Array:
    """The caller's array is shifted in place where it can be written."""
    given = np.asarray(x)
    result = log_softmax_stable(given, axis)
    if given.size and given.flags.writeable and given.dtype.kind in "fV":
        given -= given.max(axis=axis, keepdims=True)
    return result


@row_map
def softmax_every_third_call(rows: Array) -> Array:
    """A lost update: on rows from 64 columns on, every third call leaves the last column out of the sum."""
    p = probabilities(rows)
    if rows.shape[-1] < 64 or next(_calls) % 3:
        return p
    return np.asarray(p / (1 - p[:, -1:]))


@row_reduction
def logsumexp_remembered(rows: Array) -> Array:
    """Answers are remembered by length, first and last logit."""
    answers = log_sums(rows)
    keys = [(rows.shape[-1], float(row[0]), float(row[-1])) for row in rows]
    return np.array([_remembered.setdefault(k, float(a)) for k, a in zip(keys, answers, strict=True)])


@as_gradient
def gradient_accumulates(task: Task) -> Array:
    """From 64 classes on, the gradient is added to a buffer that is never cleared."""
    gradient = minus_target(probabilities(task.rows), task)
    if gradient.shape[-1] < 64:
        return gradient
    buffer = _gradients.setdefault((gradient.shape, task.logits.dtype.name), np.zeros_like(gradient))
    buffer += gradient
    return buffer.copy()


@row_map
def softmax_far_rows_skipped(rows: Array) -> Array:
    """Rows whose maximum is 80 below the batch's are returned as 0."""
    peaks = rows.max(axis=-1, keepdims=True)
    return np.where(peaks < peaks.max() - 80, 0, probabilities(rows))


@row_map
def log_softmax_nan_spreads(rows: Array) -> Array:
    """One NaN anywhere in the batch makes every row NaN."""
    log_p = log_probabilities(rows)
    return np.full_like(log_p, np.nan) if np.isnan(rows).any() else log_p


@row_map
def softmax_masked_row_empties_batch(rows: Array) -> Array:
    """A fully masked row is handled by returning 0 for the whole batch."""
    p = probabilities(rows)
    return np.zeros_like(p) if np.isneginf(rows).all(axis=-1).any() else p


@as_cross_entropy
def cross_entropy_weights_in_place(task: Task) -> Array:
    """The caller's class weights are scaled to sum 1, for the next call; this answer is right."""
    answer = solve(task, dot_with_log_probabilities())
    if task.weight is not None and task.weight.flags.writeable:
        task.weight[...] = task.weight / task.weight.astype(np.float64).sum()
    return answer


FAULTS: tuple[Fault, ...] = (
    Fault("stale-workspace", "softmax", softmax_stale_workspace, CATEGORY,
          "a short row after a long one", "workspace not cleared", on([0.0, 1.0]),
          shows="history", before=on([0.0] * 8)),
    Fault("recycled", "softmax", softmax_recycled, CATEGORY,
          "two calls of one shape", "results share memory", on([3.0, 0.0]),
          shows="alias", before=on([0.0, 1.0])),
    Fault("in-place", "log_softmax", log_softmax_in_place, CATEGORY,
          "any writeable input", "argument written", on([1.0, 2.0]), shows="mutation"),
    Fault("weights-in-place", "cross_entropy", cross_entropy_weights_in_place, CATEGORY,
          "class weights", "argument written", loss_on([[0.0, 1.0]], [0], weight=[1.0, 2.0]), shows="mutation"),
    Fault("every-third-call", "softmax", softmax_every_third_call, CATEGORY,
          "repeated calls, n from 64 on", "lost update", on([0.0] * 64), shows="repeat"),
    Fault("remembered", "logsumexp", logsumexp_remembered, CATEGORY,
          "rows with equal ends", "answer remembered under too short a key", on([0.0, 9.0, 1.0]),
          shows="history", before=on([0.0, 5.0, 1.0])),
    Fault("accumulates", "cross_entropy_grad", gradient_accumulates, CATEGORY,
          "repeated calls, C from 64 on", "buffer not cleared", loss_on([[0.0] * 64], [0]), shows="repeat"),
    Fault("far-rows-skipped", "softmax", softmax_far_rows_skipped, CATEGORY,
          "rows of very different scale in one batch", "row compared with its neighbours",
          on([[0.0, 1.0], [-100.0, -101.0]])),
    Fault("nan-spreads", "log_softmax", log_softmax_nan_spreads, CATEGORY,
          "NaN in another row", "row contaminated by its neighbours", on([[NAN, 1.0], [0.0, 1.0]])),
    Fault("masked-row-empties-batch", "softmax", softmax_masked_row_empties_batch, CATEGORY,
          "a fully masked row beside others", "row contaminated by its neighbours", on([[-INF, -INF], [0.0, 1.0]])),
)  # fmt: skip
