"""Mistakes of the sum: columns left out or counted twice, padding, narrow accumulators."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np

from xent_verify.core.formats import FloatArray
from xent_verify.diagnose.case import Array, Case, Prediction, has
from xent_verify.diagnose.mistake import Mistake

__all__ = ["MISTAKES"]

_TILES = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
_FILLS = (0.0, -1.0, -10.0, -30.0, -50.0, -80.0, -100.0, -1e3, -1e4, -3e4, -65504.0, -1e9, -1e30, -3.4028235e38)
_LANES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_NARROW = (
    ("float16", np.dtype(np.float16), 2048),
    ("bfloat16", np.dtype(ml_dtypes.bfloat16), 256),
    ("float32", np.dtype(np.float32), 2**24),
)


def _with_total(case: Case, total: Array, sum_name: str) -> Iterator[Prediction]:
    yield from case.forms(case.top, total, case.terms, "m", sum_name)


def _implied(case: Case) -> FloatArray:
    """Σ exp(x - m) [R] as the observed values imply it."""
    return np.asarray(np.exp(case.observed_lse() - case.top[:, 0].astype(np.float64)))


def _part(case: Case) -> Iterator[Prediction]:
    """The normaliser sees x[:k] or x[k:] only, k of the usual block sizes."""
    n = case.rows.shape[1]
    ends = {
        n - 1,
        *(n // tile * tile for tile in _TILES),
        *(tile for tile in _TILES),
        *(n - tile for tile in _TILES if n % tile == 0),
        n // 2,
    }
    for k in sorted(k for k in ends if 0 < k < n):
        head = case.terms[:, :k].sum(axis=1, keepdims=True)
        yield from _with_total(case, head, f"Σ over x[:{k}] of {n}")
    for k in sorted(k for k in {1, n // 2} if 0 < k < n):
        yield from _with_total(case, case.terms[:, k:].sum(axis=1, keepdims=True), f"Σ over x[{k}:]")


def _fitted_part(case: Case) -> Iterator[Prediction]:
    """As above, k where the implied sum meets a partial sum: in two rows at least, or anything would fit."""
    n = case.rows.shape[1]
    implied = _implied(case)
    usable = np.flatnonzero(case.failing_rows & np.isfinite(implied) & (case.total[:, 0] != 1))[:16]
    running = np.cumsum(case.terms[usable].astype(np.float64), axis=1)
    for head in (True, False):
        partial = running if head else running[:, -1:] - running
        found = np.abs(partial - implied[usable, None]).argmin(axis=1) + 1
        k = int(np.bincount(found).argmax()) if len(found) else 0
        if np.count_nonzero(found == k) >= 2 and 0 < k < n:
            part = case.terms[:, :k] if head else case.terms[:, k:]
            words = f"Σ over x[:{k}] of {n}" if head else f"Σ over x[{k}:]"
            yield from _with_total(case, part.sum(axis=1, keepdims=True), words)


def _dropped(case: Case) -> Iterator[Prediction]:
    """Both the maximum and the sum see x[:k] only (for results of one number per row, and log p by x - logsumexp)."""
    n = case.rows.shape[1]
    ends = {n - 1, *(n // tile * tile for tile in _TILES), *(n - tile for tile in _TILES if n % tile == 0)}
    for k in sorted(k for k in ends if 0 < k < n):
        top = case.rows[:, :k].max(axis=1, keepdims=True)
        total = np.exp(case.rows[:, :k] - top).sum(axis=1, keepdims=True)
        yield from case.forms(top, total, np.exp(case.rows - top), "m", f"Σ, both over x[:{k}] of {n}")
        if case.wants == "p":
            kept = np.where(np.arange(n) < k, np.exp(case.rows - top) / total, 0)
            yield f"softmax of x[:{k}], the rest 0", case.result(kept)


def _twice(case: Case) -> Iterator[Prediction]:
    n = case.rows.shape[1]
    for tile in _TILES:
        if n > tile and n % tile:
            doubled = case.total + case.terms[:, -tile : n // tile * tile].sum(axis=1, keepdims=True)
            yield from _with_total(
                case, doubled, f"Σ with the last {tile} columns read again for the tail of {n % tile}"
            )
    yield from _with_total(case, case.total + case.terms[:, :1], "Σ with x[0] counted twice")
    yield from _with_total(case, case.total + case.terms[:, -1:], "Σ with x[-1] counted twice")
    yield from _with_total(case, case.total + 1, "Σ + 1")


def _padding(case: Case) -> Iterator[Prediction]:
    """Lanes beyond the row counted as logits ``fill``: the tail of a tile, for every tile size."""
    n = case.rows.shape[1]
    missing = {-n % tile: tile for tile in reversed(_TILES) if n % tile}
    for fill in _FILLS:
        value = case.dtype.type(max(fill, -case.arithmetic.max_finite))
        top = np.maximum(case.top, value)
        terms = np.exp(case.rows - top)
        one, total = np.exp(value - top), terms.sum(axis=1, keepdims=True)
        for count, tile in missing.items():
            words = f"Σ with logits of {fill:g} up to a multiple of {tile}"
            yield from case.forms(top, total + case.dtype.type(count) * one, terms, "m", words)


def _undivided(case: Case) -> Iterator[Prediction]:
    """Columns from k on not divided by the sum, or not written."""
    n = case.rows.shape[1]
    if case.op.result != "elements" or n < 2:
        return
    for k in sorted(
        {tile for tile in (*_TILES, 16384, 32768) if tile < n} | {n // tile * tile for tile in _TILES} - {0, n}
    ):
        late = np.arange(n) >= k
        if case.wants == "p":
            yield f"exp(x - m) without the division from column {k} on", case.result(np.where(late, case.terms, case.p))
        if has(case.op, "gradient"):
            blank = case.by_row(case.result(case.p)).copy()
            blank[:, late] = 0
            yield f"0 from column {k} on", blank


def _accumulated(case: Case, likely: bool) -> Iterator[Prediction]:
    """Sums kept in a narrow format, one term after the other in one or several lanes.

    The likely ones: in the logits' own format, or in one lane.
    """
    n = case.rows.shape[1]
    for name, dtype, stall in _NARROW:
        if dtype.itemsize >= case.dtype.itemsize:
            continue
        terms = case.terms.astype(dtype)
        for lanes in _LANES:
            if lanes <= n and (dtype == case.own or lanes == 1) == likely:
                total = _running(terms, dtype, lanes).astype(case.dtype)
                how = "one after the other" if lanes == 1 else f"in {lanes} lanes"
                yield from _with_total(case, total, f"Σ in {name}, {how} (stalls at {stall * lanes})")


def _running(terms: Array, dtype: np.dtype[Any], lanes: int) -> Array:
    """[R, 1] in float32: the lanes' totals added up at the end."""
    if lanes == 1:
        return np.asarray(np.add.accumulate(terms, axis=1, dtype=dtype)[:, -1:].astype(np.float64))
    blocks = -(-terms.shape[1] // lanes)
    padded = np.pad(terms, ((0, 0), (0, blocks * lanes - terms.shape[1])))
    state = np.zeros((len(terms), lanes), dtype)
    for block in np.moveaxis(padded.reshape(len(terms), blocks, lanes), 1, 0):
        state = state + block
    return np.asarray(state.astype(np.float64).sum(axis=1, keepdims=True))


def _plain_loop(case: Case) -> Iterator[Prediction]:
    """A long row added up one term after the other in the working precision."""
    if case.rows.shape[1] > 64:
        yield from _with_total(case, np.cumsum(case.terms, axis=1)[:, -1:], "Σ as a running sum")


def _stored_total(case: Case) -> Iterator[Prediction]:
    for name, dtype, _ in _NARROW:
        if dtype.itemsize < case.dtype.itemsize:
            total = case.total.astype(dtype).astype(case.dtype)
            yield from _with_total(case, total, f"Σ rounded to {name}")
            logs = np.log(case.total.astype(dtype)).astype(case.dtype)
            if case.wants == "log p":
                yield f"(x - m) - log Σ, the logarithm in {name}", case.result(np.asarray(case.gaps - logs))
            elif case.wants == "logsumexp":
                yield f"m + log Σ, the logarithm in {name}", case.result(np.asarray(case.top + logs))


_ACCUMULATOR = "the sum is accumulated in a narrower format"
MISTAKES: tuple[Mistake, ...] = (
    Mistake("narrow-accumulator", _ACCUMULATOR, partial(_accumulated, likely=True)),
    Mistake("narrow-total", "the sum is stored in a narrower format", _stored_total),
    Mistake("part-of-the-sum", "the normaliser sees a part of the row", _part),
    Mistake("dropped-columns", "columns are left out", _dropped),
    Mistake("narrow-accumulator", _ACCUMULATOR, partial(_accumulated, likely=False)),
    Mistake("undivided-columns", "columns are not finished", _undivided, quantity="p"),
    Mistake("counted-twice", "columns are counted twice", _twice),
    Mistake("padding", "padding takes part in the sum", _padding),
    Mistake("part-of-the-sum", "the normaliser sees a part of the row", _fitted_part),
    Mistake("running-sum", "a long row is added up in one running sum", _plain_loop),
)
