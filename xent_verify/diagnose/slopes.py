"""Mistakes of the gradient around a right p: a missing term, a wrong sign or factor, parts at zero."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xent_verify.diagnose.case import Array, Case, Prediction
from xent_verify.diagnose.mistake import Mistake

__all__ = ["MISTAKES"]

_BLOCKS = (8, 16, 32, 64, 128, 256, 512, 1024)


def _terms(case: Case) -> Iterator[Prediction]:
    right = case.true
    yield "p, without the target", case.placed(case.p)
    yield "the target - p", -right
    yield "the gradient divided by N", case.placed(right / len(right))
    yield "the gradient divided by C", case.placed(right / right.shape[1])
    yield "twice the gradient", case.placed(right * 2)
    if case.task.soft:
        y = case.task.target.astype(case.dtype)
        yield "p - y, without the factor Σ y", case.placed(case.p - y)
        yield "p - onehot of the most probable class", case.placed(case.p - (y == y.max(axis=1, keepdims=True)))
    else:
        ids = case.task.target.astype(np.int64)
        own = np.take_along_axis(case.p, ids[:, None], axis=1)
        yield "(p - onehot) p(1 - p)", case.placed(case.p * (1 - case.p) * right)
        yield "0 everywhere but at the target", np.where(np.arange(right.shape[1]) == ids[:, None], right, 0)
        first = np.unique(ids, return_index=True)[1]
        later = np.setdiff1d(np.arange(len(ids)), first)
        again = right.copy()
        again[later, ids[later]] = case.placed(own)[later, 0]
        yield "1 subtracted only where a class occurs for the first time", again
        for edge in (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7):
            yield f"0 for rows whose target has p > 1 - {edge:g}", np.where(own > 1 - edge, 0, right)


def _zeroed(case: Case) -> Iterator[Prediction]:
    """Tiles of small values, or the last tile, at zero."""
    right, n = case.true, case.true.shape[1]
    for block in _BLOCKS:
        if block >= n:
            continue
        starts = np.arange(0, n, block)
        peaks = np.maximum.reduceat(np.abs(right), starts, axis=1)
        each = np.repeat(peaks, np.diff([*starts, n]), axis=1)
        for edge in (2.0**-12, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7):
            yield f"0 in tiles of {block} whose largest entry is below {edge:.3g}", np.where(each < edge, 0, right)
        if n % block:
            yield f"0 in the last, partial tile of {block}", np.where(np.arange(n) >= n // block * block, 0, right)


def _bounded(case: Case) -> Iterator[Prediction]:
    for bound in (1.0, 0.5, 0.1, 0.01, 1e-3):
        yield f"gradients clipped to [-{bound:g}, {bound:g}]", case.placed(np.clip(case.true, -bound, bound))
    yield "0 for NaN", np.nan_to_num(case.true, nan=0.0)


def _chain_rule(case: Case) -> Iterator[Prediction]:
    """-y/p through the Jacobian of softmax."""
    if case.task.soft:
        return
    ids = case.task.target.astype(np.int64)
    y: Array = (np.arange(case.p.shape[1]) == ids[:, None]).astype(case.dtype)
    upstream = np.where(y == 0, 0, -y / case.p)
    yield (
        "p (-y/p + Σ y), a division by p",
        case.placed(case.p * (upstream - (upstream * case.p).sum(axis=1, keepdims=True))),
    )


MISTAKES: tuple[Mistake, ...] = tuple(
    Mistake(key, sentence, model, "gradient", whole=key == "gradient-terms")
    for key, sentence, model in (
        ("gradient-terms", "a term or factor of the gradient is missing or wrong", _terms),
        ("zeroed-tiles", "a part of the gradient is set to 0", _zeroed),
        ("bounded-gradient", "gradients are replaced or bounded", _bounded),
        ("chain-rule", "the gradient divides by a probability", _chain_rule),
    )
)
