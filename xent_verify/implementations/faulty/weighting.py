"""Label smoothing, class weights and reductions."""

from __future__ import annotations

import dataclasses

import numpy as np

from xent_verify.implementations.entries import Fault
from xent_verify.implementations.faulty.labels import proper, with_terms
from xent_verify.implementations.faulty.triggers import loss_on
from xent_verify.implementations.rows import Array
from xent_verify.implementations.stable import dot_with_log_probabilities
from xent_verify.implementations.targets import Task, as_cross_entropy, assemble, coefficients

__all__ = ["FAULTS"]

SMOOTHING, WEIGHTS, REDUCTION = "smoothing", "weights", "reduction"
FLOAT16 = np.dtype(np.float16)


def added_smoothing(task: Task, share: float) -> Array:
    """The loss with ``share``·w_c added to each class's coefficient in the rows that count."""
    terms = coefficients(task)
    weight = np.ones(task.logits.shape[-1]) if task.weight is None else task.weight.astype(terms.q.dtype)
    q = terms.q + np.where(terms.live[:, None], share * weight, 0)
    return with_terms(task, dataclasses.replace(terms, q=q.astype(terms.q.dtype)))


@as_cross_entropy
def cross_entropy_smoothing_over_others(task: Task) -> Array:
    """ε is spread over the C - 1 other classes, the target keeps 1 - ε."""
    classes = task.logits.shape[-1]
    if task.soft or not task.label_smoothing or classes < 2:
        return proper(task)
    share = task.label_smoothing / (classes - 1)
    hardened = dataclasses.replace(task, label_smoothing=task.label_smoothing + share)
    return added_smoothing(hardened, share - hardened.label_smoothing / classes)


@as_cross_entropy
def cross_entropy_smoothing_padded(task: Task) -> Array:
    """ε is divided by the number of classes filled up to a multiple of 64."""
    classes = task.logits.shape[-1]
    if not task.label_smoothing or classes <= 64:
        return proper(task)
    return added_smoothing(task, task.label_smoothing * (1 / (-(-classes // 64) * 64) - 1 / classes))


@as_cross_entropy
def cross_entropy_smoothing_unweighted(task: Task) -> Array:
    """The uniform part of the smoothing leaves out the class weights."""
    terms = coefficients(task)
    if not task.label_smoothing or task.weight is None or task.soft:
        return proper(task)
    share = task.label_smoothing / task.logits.shape[-1]
    q = terms.q + np.where(terms.live[:, None], share * (1 - task.weight.astype(terms.q.dtype)), 0)
    return with_terms(task, dataclasses.replace(terms, q=q.astype(terms.q.dtype)))


@as_cross_entropy
def cross_entropy_soft_unsmoothed(task: Task) -> Array:
    """Probability targets are not smoothed."""
    return proper(dataclasses.replace(task, label_smoothing=0.0) if task.soft else task)


@as_cross_entropy
def cross_entropy_soft_unweighted(task: Task) -> Array:
    """Class weights are not applied to probability targets."""
    return proper(dataclasses.replace(task, weight=None) if task.soft else task)


@as_cross_entropy
def cross_entropy_weighted_by_count(task: Task) -> Array:
    """The weighted mean divides by the number of rows, not by the sum of their weights."""
    terms = coefficients(task)
    return with_terms(task, dataclasses.replace(terms, masses=terms.live.astype(terms.q.dtype)))


@as_cross_entropy
def cross_entropy_weights_normalised(task: Task) -> Array:
    """Class weights are scaled to mean 1: invisible in the mean, wrong in sum and none."""
    if task.weight is None:
        return proper(task)
    wide = task.weight.astype(np.float64)
    return proper(dataclasses.replace(task, weight=wide / wide.mean()))


@as_cross_entropy
def cross_entropy_weighted_in_float16(task: Task) -> Array:
    """float16 losses times float16 weights are stored before the division: the product overflows."""
    if task.logits.dtype != FLOAT16 or task.weight is None or task.reduction != "mean" or task.soft:
        return proper(task)
    terms = coefficients(task)
    losses = proper(dataclasses.replace(task, reduction="none")).astype(FLOAT16).astype(np.float32)
    return np.asarray(losses.sum() / terms.masses.sum()).astype(FLOAT16)[()]


@as_cross_entropy
def cross_entropy_sum_from_mean(task: Task) -> Array:
    """The sum is the mean times N: ignored rows count, weights cancel."""
    if task.reduction != "sum":
        return proper(task)
    mean = proper(dataclasses.replace(task, reduction="mean")).astype(task.dtype)
    return np.asarray(mean * len(task.logits)).astype(task.logits.dtype)[()]


@as_cross_entropy
def cross_entropy_float16_running_total(task: Task) -> Array:
    """float16 losses are added up in float16 before the division: the total overflows."""
    if task.logits.dtype != FLOAT16 or task.reduction != "mean" or task.weight is not None or task.soft:
        return proper(task)
    losses = proper(dataclasses.replace(task, reduction="none"))
    total = np.add.accumulate(losses, dtype=FLOAT16)[-1]
    return np.asarray(np.float32(total) / coefficients(task).masses.sum()).astype(FLOAT16)[()]


@as_cross_entropy
def cross_entropy_mean_of_means(task: Task) -> Array:
    """The mean of the means of blocks of 8 rows: a short last block weighs too much."""
    if task.reduction != "mean" or len(task.logits) <= 8:
        return proper(task)
    terms, means = coefficients(task), []
    for rows in np.array_split(np.arange(len(task.logits)), range(8, len(task.logits), 8)):
        block = dataclasses.replace(terms, q=terms.q[rows], live=terms.live[rows], masses=terms.masses[rows])
        means.append(assemble(task.rows[rows], block, "mean", dot_with_log_probabilities()))
    return np.asarray(np.mean(means)).astype(task.logits.dtype)[()]


SKEWED = [[0.0, 1.0, 5.0]]
FAULTS: tuple[Fault, ...] = (
    Fault("smoothing-over-others", "cross_entropy", cross_entropy_smoothing_over_others, SMOOTHING,
          "label smoothing", "ε/(C - 1)", loss_on(SKEWED, [0], label_smoothing=0.5)),
    Fault("smoothing-padded", "cross_entropy", cross_entropy_smoothing_padded, SMOOTHING,
          "label smoothing, C above 64", "ε divided by a padded C", loss_on([[0.0] * 65], [0], label_smoothing=0.5)),
    Fault("smoothing-unweighted", "cross_entropy", cross_entropy_smoothing_unweighted, SMOOTHING,
          "label smoothing with class weights", "weights left out of the smoothing",
          loss_on(SKEWED, [0], weight=[1.0, 2.0, 4.0], label_smoothing=0.5)),
    Fault("soft-unsmoothed", "cross_entropy", cross_entropy_soft_unsmoothed, SMOOTHING,
          "label smoothing with probability targets", "no smoothing",
          loss_on(SKEWED, [[0.5, 0.5, 0.0]], label_smoothing=0.5)),
    Fault("soft-unweighted", "cross_entropy", cross_entropy_soft_unweighted, WEIGHTS,
          "class weights with probability targets", "no weights",
          loss_on(SKEWED, [[0.5, 0.5, 0.0]], weight=[1.0, 2.0, 4.0])),
    Fault("weighted-by-count", "cross_entropy", cross_entropy_weighted_by_count, WEIGHTS,
          "class weights, reduction mean", "divided by the number of rows",
          loss_on(SKEWED, [1], weight=[1.0, 2.0, 4.0])),
    Fault("weights-normalised", "cross_entropy", cross_entropy_weights_normalised, WEIGHTS,
          "class weights, reduction sum or none", "weights scaled",
          loss_on(SKEWED, [1], weight=[1.0, 2.0, 4.0], reduction="sum")),
    Fault("weighted-in-float16", "cross_entropy", cross_entropy_weighted_in_float16, REDUCTION,
          "large class weights", "float16 product", loss_on([[0.0, 100.0]], [0], weight=[1000.0, 1.0]), ("float16",)),
    Fault("sum-from-mean", "cross_entropy", cross_entropy_sum_from_mean, REDUCTION,
          "ignored rows, reduction sum", "mean times N", loss_on([[0.0, 1.0]] * 2, [0, -100], reduction="sum")),
    Fault("float16-running-total", "cross_entropy", cross_entropy_float16_running_total, REDUCTION,
          "many rows with large losses", "float16 total", loss_on([[0.0, 1000.0]] * 70, [0] * 70), ("float16",)),
    Fault("mean-of-means", "cross_entropy", cross_entropy_mean_of_means, REDUCTION,
          "N above 8, no multiple of 8", "mean of block means", loss_on([[0.0, 1.0]] * 8 + [[0.0, 9.0]], [0] * 9)),
)  # fmt: skip
