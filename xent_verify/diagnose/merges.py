"""Mistakes of bringing partial results together: chunks, halves, lanes and shards of a row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from xent_verify.diagnose.case import Array, Case, Prediction
from xent_verify.diagnose.mistake import Mistake

__all__ = ["MERGES", "MISTAKES", "chunks"]

_WIDTHS = (65536, 32768, 16384, 8192, 4096, 2048, 1024, 512, 256, 128, 64, 32, 16)
"""The widest first: smaller rows were right, or they would have been reported."""


def chunks(rows: Array) -> Iterator[tuple[str, list[Array]]]:
    """Rows in chunks of every usual width, in 2, 4 and 8 equal parts, and in interleaved lanes."""
    n = rows.shape[1]
    for width in _WIDTHS:
        if width < n:
            yield f"chunks of {width}", [rows[:, a : a + width] for a in range(0, n, width)]
    for parts in (2, 4, 8):
        if n >= 2 * parts:
            yield f"{parts} equal parts", np.array_split(rows, parts, axis=1)
            yield f"{parts} interleaved lanes", [rows[:, k::parts] for k in range(parts)]


def parted(parts: list[Array]) -> tuple[Array, Array]:
    """Maxima and sums about them [R, chunks]."""
    peaks = np.concatenate([part.max(axis=1, keepdims=True) for part in parts], axis=1)
    sums = [np.exp(part - part.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True) for part in parts]
    return peaks, np.concatenate(sums, axis=1)


Merge = Callable[[Array, Array], tuple[Array, Array]]
"""(maxima [R, chunks], sums [R, chunks]) -> (reference [R, 1], sum [R, 1])."""


def _no_rescale(peaks: Array, sums: Array) -> tuple[Array, Array]:
    top = np.maximum.accumulate(peaks, axis=1)
    return top[:, -1:], (sums * np.exp(peaks - top)).sum(axis=1, keepdims=True)


def _upside_down(peaks: Array, sums: Array) -> tuple[Array, Array]:
    top, total = peaks[:, 0], sums[:, 0]
    for peak, part in zip(peaks.T[1:], sums.T[1:], strict=True):
        risen = np.maximum(top, peak)
        total = total * np.exp(risen - top) + part * np.exp(peak - risen)
        top = risen
    return top[:, None], total[:, None]


def _never_rescaled(peaks: Array, sums: Array) -> tuple[Array, Array]:
    return peaks.max(axis=1, keepdims=True), sums.sum(axis=1, keepdims=True)


def _on_first(peaks: Array, sums: Array) -> tuple[Array, Array]:
    return peaks[:, :1], (sums * np.exp(peaks - peaks[:, :1])).sum(axis=1, keepdims=True)


def _on_last(peaks: Array, sums: Array) -> tuple[Array, Array]:
    return peaks[:, -1:], (sums * np.exp(peaks - peaks[:, -1:])).sum(axis=1, keepdims=True)


def _by_maximum(peaks: Array, sums: Array) -> tuple[Array, Array]:
    each = peaks + np.log(sums)
    return each.max(axis=1, keepdims=True), np.ones_like(peaks[:, :1])


def _unshifted(peaks: Array, sums: Array) -> tuple[Array, Array]:
    return np.zeros_like(peaks[:, :1]), np.exp(peaks + np.log(sums)).sum(axis=1, keepdims=True)


def _last_only(peaks: Array, sums: Array) -> tuple[Array, Array]:
    return peaks[:, -1:], sums[:, -1:]


def _unguarded(peaks: Array, sums: Array) -> tuple[Array, Array]:
    top, total = peaks[:, 0], sums[:, 0]
    for peak, part in zip(peaks.T[1:], sums.T[1:], strict=True):
        risen = np.maximum(top, peak)
        total = total * np.exp(top - risen) + part * np.exp(peak - risen)
        top = risen
    return top[:, None], total[:, None]


MERGES: tuple[tuple[str, Merge], ...] = (
    ("the sum so far not rescaled when the maximum rises", _no_rescale),
    ("the sum so far rescaled by exp(m' - m) in place of exp(m - m')", _upside_down),
    ("partial sums added without bringing them to one maximum", _never_rescaled),
    ("partial sums brought to the first chunk's maximum", _on_first),
    ("partial sums brought to the last chunk's maximum", _on_last),
    ("the largest of the partial results in place of their sum", _by_maximum),
    ("partial results merged as log(exp(a) + exp(b)) without a shift", _unshifted),
    ("only the last chunk's sum", _last_only),
)


def _merged(case: Case) -> Iterator[Prediction]:
    if case.rows.shape[1] < 4:
        return
    for name, parts in chunks(case.rows):
        for words, merge in MERGES:
            reference, total = merge(*parted(parts))
            label = f"Σ in {name}, {words}"
            yield from case.forms(reference, total, np.exp(case.rows - reference), "m", label)


def _online(parts: list[Array]) -> tuple[Array, Array]:
    """Terms about the running maximum, in one pass."""
    top, total = np.full(len(parts[0]), -np.inf, parts[0].dtype), np.zeros(len(parts[0]), parts[0].dtype)
    for part in parts:
        risen = np.maximum(top, part.max(axis=1))
        total = total * np.exp(top - risen) + np.exp(part - risen[:, None]).sum(axis=1)
        top = risen
    return top[:, None], total[:, None]


def _unguarded_chunks(case: Case) -> Iterator[Prediction]:
    """A chunk of -inf only, before or after others: exp(-inf - (-inf)) in the running maximum."""
    if case.rows.shape[1] < 4 or not np.isneginf(case.rows).any():
        return
    for name, parts in chunks(case.rows):
        for words, (reference, total) in (
            ("exp(-inf - (-inf)) where the first is all -inf", _online(parts)),
            ("exp(-inf - (-inf)) where one is all -inf", _unguarded(*parted(parts))),
        ):
            terms = np.exp(case.rows - reference)
            yield from case.forms(reference, total, terms, "m", f"Σ in {name}, {words}")


def _apart(case: Case) -> Iterator[Prediction]:
    """Every chunk normalised by itself."""
    if case.rows.shape[1] < 4 or case.wants == "logsumexp":
        return
    for name, parts in chunks(case.rows):
        if "lanes" in name:
            continue
        gaps = [part - part.max(axis=1, keepdims=True) for part in parts]
        logs = [gap - np.log(np.exp(gap).sum(axis=1, keepdims=True)) for gap in gaps]
        whole = np.concatenate(logs, axis=1)
        yield f"each of {name} normalised by itself", case.result(np.exp(whole) if case.wants == "p" else whole)


def _shard_target(case: Case) -> Iterator[Prediction]:
    """A target outside the first part of the classes contributes logit 0."""
    n = case.rows.shape[1]
    for parts in (2, 4, 8):
        for first, last in pairwise(np.linspace(0, n, parts + 1).astype(int).tolist()):
            outside = (np.arange(n) < first) | (np.arange(n) >= last)
            words = f"the target's logit taken as 0 outside of columns {first} to {last - 1}"
            yield words, case.result(np.where(outside, -case.lse, case.log_p))


MISTAKES: tuple[Mistake, ...] = (
    Mistake("wrong-merge", "partial sums are brought together wrongly", _merged),
    Mistake(
        "infinity-minus-infinity", "an infinite maximum is subtracted from itself", _unguarded_chunks, special=True
    ),
    Mistake("parts-apart", "parts of the row are normalised each for itself", _apart),
    Mistake(
        "target-in-other-part",
        "a target in another part of the classes loses its logit",
        _shard_target,
        "loss",
    ),
)
