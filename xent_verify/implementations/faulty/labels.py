"""Integer and probability targets: class ids that wrap or round, rows that should not count."""

from __future__ import annotations

import dataclasses

import numpy as np

from xent_verify.implementations.entries import Fault
from xent_verify.implementations.faulty.triggers import NARROW, loss_on
from xent_verify.implementations.rows import Array
from xent_verify.implementations.stable import dot_with_log_probabilities, log_probabilities
from xent_verify.implementations.targets import (
    Coefficients,
    Task,
    as_cross_entropy,
    assemble,
    coefficients,
    labels,
    reduce_losses,
    solve,
)

__all__ = ["FAULTS", "proper"]

CATEGORY = "labels"
IGNORED = "ignored rows"


def proper(task: Task) -> Array:
    """The right loss."""
    return solve(task, dot_with_log_probabilities())


def relabelled(task: Task, ids: Array) -> Array:
    """The right loss of other class ids; rows that are ignored stay so."""
    live = task.target.astype(np.int64) != task.ignore_index
    return proper(dataclasses.replace(task, target=np.where(live, ids, task.ignore_index)))


def with_terms(task: Task, terms: Coefficients) -> Array:
    """The loss with other coefficients."""
    loss = assemble(task.rows, terms, task.reduction, dot_with_log_probabilities())
    return loss.astype(task.logits.dtype)[()]


@as_cross_entropy
def cross_entropy_flat_index(task: Task) -> Array:
    """row·C + target computed in the target's own integer type, which wraps in 8 bits."""
    if task.soft:
        return proper(task)
    count, classes = task.logits.shape
    start = (np.arange(count) * classes).astype(task.target.dtype)
    flat = (start + task.target).astype(np.int64)
    return relabelled(task, flat % classes)


@as_cross_entropy
def cross_entropy_signed_bytes(task: Task) -> Array:
    """Up to 256 classes the ids are kept in a signed byte: 128 and more count from the end."""
    classes = task.logits.shape[-1]
    if task.soft or classes > 256:
        return proper(task)
    return relabelled(task, task.target.astype(np.int64).astype(np.int8).astype(np.int64) % classes)


@as_cross_entropy
def cross_entropy_ids_as_floats(task: Task) -> Array:
    """Class ids travel in the logits' format: float16 has no 2049, bfloat16 no 257."""
    if task.soft:
        return proper(task)
    return relabelled(task, task.target.astype(task.logits.dtype).astype(np.int64))


@as_cross_entropy
def cross_entropy_square_columns(task: Task) -> Array:
    """With as many rows as classes the gather runs along the wrong axis."""
    count, classes = task.logits.shape
    if task.soft or count != classes or count == 1 or task.label_smoothing or task.weight is not None:
        return proper(task)
    ids, live = labels(task)
    losses = np.where(live, -log_probabilities(task.rows)[ids, np.arange(count)], 0)
    return reduce_losses(losses, live.astype(losses.dtype), task.reduction).astype(task.logits.dtype)[()]


@as_cross_entropy
def cross_entropy_soft_hardened(task: Task) -> Array:
    """Probability targets are replaced by their largest class."""
    return proper(dataclasses.replace(task, target=task.target.argmax(axis=-1)) if task.soft else task)


@as_cross_entropy
def cross_entropy_ignore_zero_is_off(task: Task) -> Array:
    """``if ignore_index:`` takes 0 for "nothing to ignore"."""
    return proper(task if task.ignore_index else dataclasses.replace(task, ignore_index=-100))


@as_cross_entropy
def cross_entropy_ignored_counted(task: Task) -> Array:
    """The mean divides by all rows, ignored ones included."""
    terms = coefficients(task)
    return with_terms(task, dataclasses.replace(terms, masses=np.where(terms.live, terms.masses, 1)))


@as_cross_entropy
def cross_entropy_ignored_times_zero(task: Task) -> Array:
    """Ignored rows are multiplied by 0: their NaN stays NaN."""
    terms = coefficients(task)
    return with_terms(task, dataclasses.replace(terms, live=np.ones_like(terms.live)))


@as_cross_entropy
def cross_entropy_ignored_class_unsmoothed(task: Task) -> Array:
    """Label smoothing leaves out the class whose id is ``ignore_index``."""
    terms = coefficients(task)
    if task.label_smoothing and not task.soft and 0 <= task.ignore_index < task.logits.shape[-1]:
        terms.q[:, task.ignore_index] = 0
    return with_terms(task, terms)


NAN = float("nan")
FAULTS: tuple[Fault, ...] = (
    Fault("flat-index", "cross_entropy", cross_entropy_flat_index, CATEGORY,
          "8-bit targets, N·C above 255", "index wraps in the target's dtype",
          loss_on(np.tile(np.arange(9.0), (40, 1)), np.full(40, 3, np.uint8))),
    Fault("signed-bytes", "cross_entropy", cross_entropy_signed_bytes, CATEGORY,
          "class ids above 127", "class ids wrap", loss_on([[0.0] * 200 + [3.0]], [200])),
    Fault("ids-as-floats", "cross_entropy", cross_entropy_ids_as_floats, CATEGORY,
          "class ids above 2048 (float16) or 256 (bfloat16)", "class ids rounded",
          loss_on([[0.0] * 2049 + [3.0]], [2049]), NARROW),
    Fault("square-columns", "cross_entropy", cross_entropy_square_columns, CATEGORY,
          "N = C", "gather along the wrong axis", loss_on([[0.0, 3.0], [1.0, 0.0]], [1, 1])),
    Fault("soft-hardened", "cross_entropy", cross_entropy_soft_hardened, CATEGORY,
          "probability targets", "target replaced by its largest class", loss_on([[0.0, 1.0]], [[0.25, 0.75]])),
    Fault("ignore-zero-is-off", "cross_entropy", cross_entropy_ignore_zero_is_off, IGNORED,
          "ignore_index = 0", "0 taken for false", loss_on([[0.0, 3.0], [0.0, 1.0]], [0, 1], ignore_index=0)),
    Fault("ignored-counted", "cross_entropy", cross_entropy_ignored_counted, IGNORED,
          "ignored rows, reduction mean", "divided by all rows", loss_on([[0.0, 1.0]] * 2, [0, -100])),
    Fault("ignored-times-zero", "cross_entropy", cross_entropy_ignored_times_zero, IGNORED,
          "NaN in an ignored row", "0·NaN", loss_on([[0.0, 1.0], [NAN, 0.0]], [0, -100])),
    Fault("ignored-class-unsmoothed", "cross_entropy", cross_entropy_ignored_class_unsmoothed, IGNORED,
          "ignore_index of a class, with label smoothing", "a class left out of the smoothing",
          loss_on([[0.0, 1.0, 5.0]], [0], ignore_index=1, label_smoothing=0.5)),
)  # fmt: skip
