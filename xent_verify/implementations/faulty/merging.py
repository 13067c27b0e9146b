"""Online and chunked sums: partial results brought together on the wrong scale."""

from __future__ import annotations

import numpy as np

from xent_verify.implementations.entries import Fault
from xent_verify.implementations.faulty.triggers import loss_on, on, rising
from xent_verify.implementations.rows import Array, row_map, row_reduction
from xent_verify.implementations.stable import dot_with_log_probabilities, log_probabilities, log_sums, probabilities
from xent_verify.implementations.targets import Task, as_cross_entropy, form_of, solve

__all__ = ["FAULTS"]

CATEGORY = "merging"


def partial_sums(rows: Array, width: int) -> tuple[Array, Array]:
    """Maxima and sums of exp(x - maximum) of the chunks of each row, [R, chunks] each."""
    chunks = [rows[:, left : left + width] for left in range(0, rows.shape[-1], width)]
    peaks = [chunk.max(axis=-1, keepdims=True) for chunk in chunks]
    sums = [np.exp(c - p).sum(axis=-1, keepdims=True) for c, p in zip(chunks, peaks, strict=True)]
    return np.concatenate(peaks, axis=-1), np.concatenate(sums, axis=-1)


@row_map
def softmax_rescaled_upside_down(rows: Array) -> Array:
    """The old sum is multiplied by exp(m' - m) in place of exp(m - m') when the maximum rises between chunks of 64."""
    peaks, sums = partial_sums(rows, 64)
    peak, total = peaks[:, 0], sums[:, 0]
    for new_peak, new_sum in zip(peaks.T[1:], sums.T[1:], strict=True):
        risen = np.maximum(peak, new_peak)
        total = total * np.exp(risen - peak) + new_sum * np.exp(new_peak - risen)
        peak = risen
    return np.asarray(np.exp(rows - peak[:, None]) / total[:, None])


@row_map
def softmax_merged_on_last_maximum(rows: Array) -> Array:
    """Chunks of 128 are brought to the last chunk's maximum, not to the largest."""
    peaks, sums = partial_sums(rows, 128)
    reference = peaks[:, -1:]
    return np.asarray(np.exp(rows - reference) / (sums * np.exp(peaks - reference)).sum(axis=-1, keepdims=True))


@row_map
def log_softmax_merged_on_first_maximum(rows: Array) -> Array:
    """Chunks of 128 are brought to the first chunk's maximum, not to the largest."""
    peaks, sums = partial_sums(rows, 128)
    reference = peaks[:, :1]
    return np.asarray((rows - reference) - np.log((sums * np.exp(peaks - reference)).sum(axis=-1, keepdims=True)))


@row_reduction
def logsumexp_halves_unshifted(rows: Array) -> Array:
    """Above 512 the two halves' results are merged as log(exp(a) + exp(b))."""
    if rows.shape[-1] <= 512:
        return log_sums(rows)
    first, second = (log_sums(part) for part in np.array_split(rows, 2, axis=-1))
    return np.asarray(np.log(np.exp(first) + np.exp(second)))


@row_reduction
def logsumexp_last_lane(rows: Array) -> Array:
    """Two lanes (even and odd columns) above 128; the merge keeps the larger one."""
    if rows.shape[-1] <= 128:
        return log_sums(rows)
    return np.maximum(log_sums(rows[:, ::2]), log_sums(rows[:, 1::2]))


@as_cross_entropy
def cross_entropy_target_in_other_shard(task: Task) -> Array:
    """Vocabularies from 512 on are split in two; a target in the second half contributes logit 0."""
    half = task.logits.shape[-1] // 2
    if half < 256:
        return solve(task, dot_with_log_probabilities())

    def log_p(rows: Array) -> Array:
        whole = log_probabilities(rows)
        whole[:, half:] = -log_sums(rows)[:, None]
        return whole

    return solve(task, form_of(log_p))


@as_cross_entropy
def cross_entropy_shard_normaliser(task: Task) -> Array:
    """Vocabularies above 1024 are split in four; each class is normalised by its own shard's sum."""
    if task.logits.shape[-1] <= 1024:
        return solve(task, dot_with_log_probabilities())
    return solve(task, form_of(lambda rows: np.concatenate(
        [np.log(probabilities(part)) for part in np.array_split(rows, 4, axis=-1)], axis=-1)))  # fmt: skip


FAULTS: tuple[Fault, ...] = (
    Fault("rescaled-upside-down", "softmax", softmax_rescaled_upside_down, CATEGORY,
          "maximum rises after column 64", "rescaling inverted", on(rising(65, 3.0))),
    Fault("merged-on-last-maximum", "softmax", softmax_merged_on_last_maximum, CATEGORY,
          "last chunk far below the others", "maximum of one chunk", on(rising(129, -1000.0))),
    Fault("merged-on-first-maximum", "log_softmax", log_softmax_merged_on_first_maximum, CATEGORY,
          "first chunk far below the others", "maximum of one chunk", on(rising(129, 1000.0))),
    Fault("halves-unshifted", "logsumexp", logsumexp_halves_unshifted, CATEGORY,
          "large logits, n above 512", "merge without a shift", on(np.full(514, 800.0))),
    Fault("last-lane", "logsumexp", logsumexp_last_lane, CATEGORY,
          "n above 128", "lanes merged by their maximum", on(np.zeros(130))),
    Fault("target-in-other-shard", "cross_entropy", cross_entropy_target_in_other_shard, CATEGORY,
          "target in the second half of a large vocabulary", "target's logit lost", loss_on([rising(512, 6.0)], [511])),
    Fault("shard-normaliser", "cross_entropy", cross_entropy_shard_normaliser, CATEGORY,
          "vocabularies above 1024", "normalised by a part of the row", loss_on(np.zeros((1, 1028)), [1027])),
)  # fmt: skip
