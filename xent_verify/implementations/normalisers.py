"""Σ exp(x - r) of each row in several algorithm shapes; softmax, log-softmax, logsumexp and losses are built on them.

A normaliser takes rows [R, n] and returns ``Normaliser(reference, total, log_total)``, each [R, 1], with
total = Σ exp(x_j - reference). The reference is the row's maximum (``online``: at most 1 below it), or 0 where that is
not finite; then total is 0 for a row of -inf, inf for a row that holds +inf and NaN for one that holds NaN, and
reference + log(total) is right for all three. x - reference may overflow to -inf for logits of opposite sign near the
largest finite value: the true difference is beyond the format's range there and its exponential is 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from xent_verify.implementations.rows import Array

__all__ = [
    "Normalise",
    "Normaliser",
    "chunked",
    "finite_or_zero",
    "log1p_form",
    "online",
    "online_textbook",
    "pairwise",
    "shifted",
]


class Normaliser(NamedTuple):
    """Σ exp(x - reference) of each row, its logarithm, and the reference."""

    reference: Array
    total: Array
    log_total: Array


Normalise = Callable[[Array], Normaliser]

CHUNK = 256
LANES = 32


def finite_or_zero(reference: Array) -> Array:
    """0 in place of ±inf and NaN, so that x - reference is never inf - inf."""
    return np.where(np.isfinite(reference), reference, 0).astype(reference.dtype)


def _normaliser(reference: Array, total: Array) -> Normaliser:
    return Normaliser(reference, total, np.log(total))


def _padded(rows: Array, width: int) -> Array:
    """Rows filled up with -inf, which adds nothing, to a multiple of ``width``."""
    missing = -rows.shape[-1] % width
    return np.pad(rows, ((0, 0), (0, missing)), constant_values=-np.inf)


def shifted(rows: Array) -> Normaliser:
    """Subtract the maximum, exponentiate, sum (NumPy's pairwise sum)."""
    reference = finite_or_zero(rows.max(axis=-1, keepdims=True))
    return _normaliser(reference, np.exp(rows - reference).sum(axis=-1, keepdims=True))


def pairwise(rows: Array) -> Normaliser:
    """As ``shifted``, with a balanced tree of additions: ceil(log2 n) roundings on each path."""
    reference = finite_or_zero(rows.max(axis=-1, keepdims=True))
    terms = np.exp(rows - reference)
    while terms.shape[-1] > 1:
        half = terms.shape[-1] // 2
        odd_one_out = terms[:, 2 * half :]
        terms = np.concatenate([terms[:, :half] + terms[:, half : 2 * half], odd_one_out], axis=-1)
    return _normaliser(reference, terms)


def chunked(rows: Array) -> Normaliser:
    """Maximum and sum of each chunk of 256 alone; then the sums are brought to the common maximum and added.

    A term is rescaled once, by exp(chunk maximum - row maximum); its two shifts add up to the shift of ``shifted``,
    so the error grows by one exponential and one product only. The last chunk is padded with -inf, which adds 0.
    """
    chunks = _padded(rows, CHUNK).reshape(rows.shape[0], -(-rows.shape[-1] // CHUNK), CHUNK)
    peaks = chunks.max(axis=-1)
    sums = np.exp(chunks - finite_or_zero(peaks)[..., None]).sum(axis=-1)
    reference = finite_or_zero(peaks.max(axis=-1, keepdims=True))
    return _normaliser(reference, (sums * np.exp(peaks - reference)).sum(axis=-1, keepdims=True))


def log1p_form(rows: Array) -> Normaliser:
    """log(1 + T), T the sum without one maximal term: log-sums far below the unit roundoff survive.

    log(Σ) loses them, since 1 + T rounds to 1; log1p(T) keeps their relative accuracy.
    """
    peak = rows.max(axis=-1, keepdims=True)
    reference = finite_or_zero(peak)
    terms = np.exp(rows - reference)
    top = np.take_along_axis(terms, rows.argmax(axis=-1)[:, None], axis=-1)
    np.put_along_axis(terms, rows.argmax(axis=-1)[:, None], 0, axis=-1)
    rest = terms.sum(axis=-1, keepdims=True)
    total = top + rest
    return Normaliser(reference, total, np.where(np.isfinite(peak), np.log1p(rest), np.log(total)))


def online_textbook(rows: Array) -> Normaliser:
    """One pass, the published recurrence: m' = max(m, x_j), s' = s·exp(m - m') + exp(x_j - m').

    Milakov & Gimelshein, *Online normalizer calculation for softmax* (2018). Each step rounds, so the error grows with
    n as in a plain loop: sound for the policy ``textbook``, not for ``standard`` on long rows. The maxima and the
    exponentials of all steps are taken at once, which changes none of them; the sum goes step by step.
    """
    peaks = np.maximum.accumulate(rows, axis=1)
    before = np.concatenate([np.full((len(rows), 1), -np.inf, rows.dtype), peaks[:, :-1]], axis=1)
    references = finite_or_zero(peaks)
    total = np.zeros(len(rows), rows.dtype)
    for scale, term in zip(np.exp(before - references).T, np.exp(rows - references).T, strict=True):
        total = total * scale + term
    return _normaliser(references[:, -1:], total[:, None])


class _Running(NamedTuple):
    """State of the online sums, one per lane: reference, sum and its compensation."""

    reference: Array
    total: Array
    lost: Array


def online(rows: Array) -> Normaliser:
    """One pass over the columns, 32 lanes wide, with compensated sums and a reference that moves rarely.

    Two changes make the recurrence as good as two passes. Neumaier's compensation takes the growth with n out of the
    sum. The reference moves only when a logit exceeds it by more than 1: a term at distance d from the final maximum
    is then rescaled at most d + 1 times, where a slowly rising row would rescale n times.
    """
    padded = _padded(rows, LANES)
    start = np.zeros((rows.shape[0], LANES), rows.dtype)
    state = _Running(np.full_like(start, -np.inf), start, start)
    for left in range(0, rows.shape[-1], LANES):
        column = padded[:, left : left + LANES]
        state = _merge(state, _Running(column, np.ones_like(column), start))
    while state.total.shape[-1] > 1:
        state = _merge(_Running(*(part[:, ::2] for part in state)), _Running(*(part[:, 1::2] for part in state)))
    total = np.where(np.isfinite(state.total), state.total + state.lost, state.total)
    return _normaliser(finite_or_zero(state.reference), total)


def _merge(a: _Running, b: _Running) -> _Running:
    """Σ exp(· - r) of two parts over a common reference: a's own unless b's exceeds it by more than 1."""
    moved = (b.reference > a.reference + 1) | np.isneginf(a.reference)
    reference = np.where(moved, b.reference, a.reference)
    shift = finite_or_zero(reference)
    keep, take = np.exp(a.reference - shift), np.exp(b.reference - shift)
    keep = np.where(a.total == 0, 0, keep)  # 0·exp(-inf - shift) is 0; 0·inf must not arise
    first, second = a.total * keep, b.total * take
    total = first + second
    small = np.where(np.abs(first) >= np.abs(second), (first - total) + second, (second - total) + first)
    lost = np.where(np.isfinite(total), a.lost * keep + b.lost * take + small, 0)
    return _Running(reference, total, lost)
