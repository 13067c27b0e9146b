"""Masked logits: -inf in places that the algorithm did not expect."""

from __future__ import annotations

import numpy as np

from xent_verify.implementations.entries import Fault
from xent_verify.implementations.faulty.shift import softmax_about
from xent_verify.implementations.faulty.triggers import loss_on, on
from xent_verify.implementations.gradients import as_gradient, minus_target
from xent_verify.implementations.rows import Array, row_map, row_reduction
from xent_verify.implementations.stable import dot_with_log_probabilities, log_probabilities, log_sums, probabilities
from xent_verify.implementations.targets import Task, as_cross_entropy, one_hot, solve

__all__ = ["FAULTS"]

CATEGORY = "masks"
BLOCK = 32
INF = float("inf")


@row_map
def softmax_masked_first_block(rows: Array) -> Array:
    """Online over blocks of 32: a first block of -inf gives exp(-inf - (-inf)) = NaN, and stays."""
    peak = rows[:, :BLOCK].max(axis=-1, keepdims=True)
    total = np.exp(rows[:, :BLOCK] - peak).sum(axis=-1, keepdims=True)
    for left in range(BLOCK, rows.shape[-1], BLOCK):
        block = rows[:, left : left + BLOCK]
        risen = np.maximum(peak, block.max(axis=-1, keepdims=True))
        total = total * np.exp(peak - risen) + np.exp(block - risen).sum(axis=-1, keepdims=True)
        peak = risen
    return np.asarray(np.exp(rows - peak) / total)


@row_map
def softmax_mask_counts_as_zero(rows: Array) -> Array:
    """Masked logits enter the maximum as 0: the others, if very negative, underflow to 0/0."""
    return softmax_about(rows, np.where(np.isneginf(rows), 0, rows).max(axis=-1, keepdims=True))


@row_map
def log_softmax_mask_spreads(rows: Array) -> Array:
    """log p formed as p·log p / p: 0·(-inf) at a masked class."""
    p, log_p = probabilities(rows), log_probabilities(rows)
    return np.where(np.isneginf(rows), p * log_p, log_p)


@row_reduction
def logsumexp_stops_at_mask(rows: Array) -> Array:
    """The first -inf is taken for the end of the row."""
    before = np.cumsum(np.isneginf(rows), axis=-1) == 0
    return log_sums(np.where(before, rows, -np.inf).astype(rows.dtype))


@as_cross_entropy
def cross_entropy_soft_zero(task: Task) -> Array:
    """-Σ y·log p over all classes: a probability target 0 on a masked class gives 0·(-inf) = NaN."""
    if not task.soft:
        return solve(task, dot_with_log_probabilities())
    return solve(task, lambda rows, q, k: -(q * np.ldexp(log_probabilities(rows), -k)).sum(axis=-1))


@as_gradient
def gradient_chain_rule(task: Task) -> Array:
    """-y/p times the Jacobian of softmax: 1/0·0 = NaN where the target's probability underflows."""
    p = probabilities(task.rows)
    if task.soft:
        return minus_target(p, task)
    y = one_hot(task.target.astype(np.int64), p.shape[-1], p.dtype)
    upstream = np.where(y == 0, 0, -y / p)
    return np.asarray(p * (upstream - (upstream * p).sum(axis=-1, keepdims=True)))


FAULTS: tuple[Fault, ...] = (
    Fault("masked-first-block", "softmax", softmax_masked_first_block, CATEGORY,
          "a whole first block of -inf", "-inf - (-inf) in the running maximum", on([-INF] * 32 + [0.0, 1.0])),
    Fault("mask-counts-as-zero", "softmax", softmax_mask_counts_as_zero, CATEGORY,
          "-inf beside very negative logits", "masked entries as 0 in the maximum", on([-INF, -1000.0])),
    Fault("mask-spreads", "log_softmax", log_softmax_mask_spreads, CATEGORY,
          "a -inf logit", "0·(-inf)", on([0.0, -INF])),
    Fault("stops-at-mask", "logsumexp", logsumexp_stops_at_mask, CATEGORY,
          "-inf between finite logits", "-inf taken for the end of the row", on([0.0, -INF, 2.0])),
    Fault("soft-zero", "cross_entropy", cross_entropy_soft_zero, CATEGORY,
          "probability target 0 on a -inf logit", "0·(-inf)", loss_on([[0.0, 1.0, -INF]], [[0.5, 0.5, 0.0]]), contested=True),
    Fault("chain-rule", "cross_entropy_grad", gradient_chain_rule, CATEGORY,
          "target's probability underflows", "division by a probability of 0", loss_on([[0.0, 1000.0]], [0])),
)  # fmt: skip
