"""Size dependence: limits of blocks, grids and counters that only large or special sizes reach."""

from __future__ import annotations

import dataclasses

import numpy as np

from xent_verify.implementations.entries import Fault
from xent_verify.implementations.faulty.shift import softmax_about
from xent_verify.implementations.faulty.triggers import WIDE, loss_on, on, rising
from xent_verify.implementations.rows import Array, row_map, row_reduction
from xent_verify.implementations.stable import dot_with_log_probabilities, log_probabilities, log_sums, probabilities
from xent_verify.implementations.targets import Task, as_cross_entropy, labels, solve

__all__ = ["FAULTS"]

CATEGORY = "sizes"


@row_map
def softmax_maximum_of_4096(rows: Array) -> Array:
    """The maximum is taken over the first 4096 columns."""
    return softmax_about(rows, rows[:, :4096].max(axis=-1, keepdims=True))


@row_map
def softmax_rows_in_16_bits(rows: Array) -> Array:
    """Rows beyond 65,535 are never written."""
    p = probabilities(rows)
    p[65535:] = 0
    return p


@row_map
def softmax_single_logit(rows: Array) -> Array:
    """One logit gives 1 without a look at it."""
    return np.ones_like(rows) if rows.shape[-1] == 1 else probabilities(rows)


@row_map
def softmax_top_by_complement(rows: Array) -> Array:
    """On rows above 256 the largest probability is 1 - Σ others: near-uniform rows lose its digits."""
    p = probabilities(rows)
    if rows.shape[-1] <= 256:
        return p
    each, top = np.arange(len(p)), rows.argmax(axis=-1)
    p[each, top] = 0
    p[each, top] = 1 - p.sum(axis=-1)
    return p


@row_map
def log_softmax_tail_beyond_8192(rows: Array) -> Array:
    """Rows above 8192 are summed in whole blocks of 1024; the rest is forgotten."""
    n = rows.shape[-1]
    kept = n // 1024 * 1024 if n > 8192 else n
    return rows - log_sums(np.ascontiguousarray(rows[:, :kept]))[:, None]


@row_map
def log_softmax_independent_halves(rows: Array) -> Array:
    """From 16,384 columns on, the two halves of a row are normalised each for itself."""
    n = rows.shape[-1]
    if n < 16384:
        return log_probabilities(rows)
    return np.concatenate([log_probabilities(part) for part in np.array_split(rows, 2, axis=-1)], axis=-1)


@row_reduction
def logsumexp_odd_leftover(rows: Array) -> Array:
    """Above 1024 the first halving of the reduction tree drops the odd column."""
    n = rows.shape[-1]
    return log_sums(rows[:, : n - 1] if n > 1024 and n % 2 else rows)


@row_reduction
def logsumexp_last_whole_block(rows: Array) -> Array:
    """The number of blocks of 256 is (n - 1) // 256: right with a tail, one short for an exact multiple."""
    n = rows.shape[-1]
    return log_sums(rows[:, : n - 256] if n >= 512 and n % 256 == 0 else rows)


@as_cross_entropy
def cross_entropy_ids_in_16_bits(task: Task) -> Array:
    """Class ids are stored in 16 bits."""
    if task.soft:
        return solve(task, dot_with_log_probabilities())
    ids, live = labels(task)
    kept = np.where(live, ids % 65536, task.ignore_index)
    return solve(dataclasses.replace(task, target=kept), dot_with_log_probabilities())


@as_cross_entropy
def cross_entropy_last_rows_dropped(task: Task) -> Array:
    """Above 64 rows the loss of the last, partial block of 64 rows is 0."""
    count = len(task.logits)

    def form(rows: Array, q: Array, halvings: int) -> Array:
        losses = dot_with_log_probabilities()(rows, q, halvings)
        losses[count // 64 * 64 if count > 64 else count :] = 0
        return losses

    return solve(task, form)


FAULTS: tuple[Fault, ...] = (
    Fault("maximum-of-4096", "softmax", softmax_maximum_of_4096, CATEGORY,
          "maximum beyond column 4096", "maximum of a part of the row", on(rising(4097, 1000.0))),
    Fault("rows-in-16-bits", "softmax", softmax_rows_in_16_bits, CATEGORY,
          "more than 65,535 rows", "rows not written", on(np.zeros((65537, 2)))),
    Fault("single-logit", "softmax", softmax_single_logit, CATEGORY,
          "n = 1, NaN", "NaN hidden", on([float("nan")])),
    Fault("top-by-complement", "softmax", softmax_top_by_complement, CATEGORY,
          "long near-uniform rows", "complement of the other probabilities", on(np.linspace(0.0, 0.01, 1000)), WIDE),
    Fault("tail-beyond-8192", "log_softmax", log_softmax_tail_beyond_8192, CATEGORY,
          "n above 8192", "tail left out of the sum", on(rising(8193, 20.0))),
    Fault("independent-halves", "log_softmax", log_softmax_independent_halves, CATEGORY,
          "n from 16,384 on", "halves not merged", on(np.zeros(16384))),
    Fault("odd-leftover", "logsumexp", logsumexp_odd_leftover, CATEGORY,
          "odd n above 1024", "last column left out of the sum", on(rising(1025, 20.0))),
    Fault("last-whole-block", "logsumexp", logsumexp_last_whole_block, CATEGORY,
          "n a multiple of 256", "last block left out of the sum", on(rising(512, 20.0))),
    Fault("ids-in-16-bits", "cross_entropy", cross_entropy_ids_in_16_bits, CATEGORY,
          "class ids above 65,535", "class ids wrap", loss_on([rising(65538, 20.0)], [65537])),
    Fault("last-rows-dropped", "cross_entropy", cross_entropy_last_rows_dropped, CATEGORY,
          "more than 64 rows, no multiple of 64", "rows left out", loss_on(np.zeros((65, 3)), np.zeros(65, int))),
)  # fmt: skip
