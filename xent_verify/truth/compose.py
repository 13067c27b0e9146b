"""From engines to whole batches: groups of rows, special values, sharpening, and what is left for the next tier."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify import enclosure
from xent_verify.formats import FloatArray, FloatFormat, IntArray
from xent_verify.model import Batch
from xent_verify.truth import doubledouble as dd
from xent_verify.truth import special
from xent_verify.truth.engines import Engine, Terms, terms
from xent_verify.truth.pieces import Piece, Sink, undecided
from xent_verify.truth.rows import wide
from xent_verify.truth.sharp import exact_plus_small, usable

__all__ = ["ROW_OPS", "Group", "certify_rows", "groups", "loaded"]

ROW_OPS = ("softmax", "log_softmax", "logsumexp")

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Group:
    """Some rows, made finite: rows without a true softmax hold zeros, ``holes`` mark logits of -inf."""

    x: FloatArray
    holes: Mask | None
    finite: bool


def loaded(x: NDArray[Any]) -> Group:
    """Rows as float64, special logits set aside."""
    values = np.ascontiguousarray(wide(x))
    if np.isfinite(values).all():
        return Group(values, None, True)
    unsound = special.row_flags(values, 1).unsound
    values = np.where(unsound, 0.0, values)
    holes = values == -np.inf
    return Group(np.where(holes, 0.0, values), holes, False)


def groups(rows: int, n: int, engine: Engine) -> Iterator[slice]:
    """Row ranges of about one block."""
    step = max(1, engine.block // max(n, 1))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def certify_rows(op: str, x: NDArray[Any], fmt: FloatFormat, engines: tuple[Engine, ...]) -> tuple[Sink, IntArray]:
    """Enclosures of a row op over 2-D ``x``, and flat positions that no engine decided.

    The first engine answers everything; each later one only rows with elements that are still open.
    """
    rows, n = x.shape
    shape = (rows,) if op == "logsumexp" else (rows, n)
    sink = Sink(shape, engines[0].tier, engines[0].radius)
    width = 1 if op == "logsumexp" else n
    left: list[IntArray] = []
    for here in groups(rows, n, engines[0]) if n else ():
        left.extend(_first(op, x[here], here.start * width, fmt, engines[0], sink))
    if not n:
        values, _ = special.resolve(_sub_batch(op, x))
        sink.write_enclosure(slice(None), enclosure.exact(values))
    todo = np.concatenate(left) if left else np.empty(0, np.int64)
    for engine in engines[1:]:
        todo = _again(op, x, todo, fmt, engine, sink)
    return sink, todo


def _sub_batch(op: str, x: NDArray[Any]) -> Batch:
    return Batch(op, "float64", "", {"x": x})


def _first(op: str, x: NDArray[Any], start: int, fmt: FloatFormat, engine: Engine, sink: Sink) -> Iterator[IntArray]:
    """Answer a group, write it, give the flat positions of what stays open."""
    group = loaded(x)
    n = group.x.shape[1]
    decided = None
    if not group.finite:
        values, decided = special.resolve(_sub_batch(op, x))
    first = start if op == "logsumexp" else start // n
    rows = slice(first, first + group.x.shape[0])
    for columns, piece, mask in answers(op, terms(engine, group.x, group.holes), fmt):
        key = rows if op == "logsumexp" else (rows, columns)
        sink.write(key, piece)
        if decided is not None:
            mask = mask & ~(decided if op == "logsumexp" else decided[:, columns])
        if mask.any():
            yield _flat(mask, columns.start, start, n)
    if decided is not None and decided.any():
        where = np.nonzero(decided)
        sink.write_enclosure((where[0] + first, *where[1:]), enclosure.exact(values[where]))


def _flat(mask: Mask, column: int, start: int, n: int) -> IntArray:
    where = np.nonzero(mask)
    if len(where) == 1:
        return where[0].astype(np.int64) + start
    return where[0].astype(np.int64) * n + where[1] + (start + column)


def _again(op: str, x: NDArray[Any], todo: IntArray, fmt: FloatFormat, engine: Engine, sink: Sink) -> IntArray:
    """Answer the elements at flat positions ``todo``; gives back those still open."""
    n = 1 if op == "logsumexp" else x.shape[1]
    left = []
    rows = np.unique(todo // n) if todo.size else todo
    for here in groups(rows.size, x.shape[1], engine):
        chosen = rows[here]
        group = loaded(x[chosen])
        wanted = np.zeros((chosen.size, n), bool)
        mine = todo[(todo >= chosen[0] * n) & (todo < (chosen[-1] + 1) * n)]
        wanted[np.searchsorted(chosen, mine // n), mine % n] = True
        for columns, piece, mask in answers(op, terms(engine, group.x, group.holes), fmt):
            ask = wanted[:, 0] if op == "logsumexp" else wanted[:, columns]
            good = np.nonzero(ask & ~mask)
            where = (chosen[good[0]], *(index + columns.start for index in good[1:]))
            sink.write(where, piece[good])
            bad = np.nonzero(ask & mask)
            left.append(chosen[bad[0]] * n + (bad[1] + columns.start if len(bad) > 1 else 0))
    return np.concatenate(left) if left else np.empty(0, np.int64)


def answers(op: str, t: Terms, fmt: FloatFormat) -> Iterator[tuple[slice, Piece, Mask]]:
    """(columns, piece, undecided) for each part of a group, rows first; one 1-D answer for ``logsumexp``."""
    if op == "logsumexp":
        piece = t.engine.logsumexp(t.row)
        piece, mask = _sharpened(piece, t.row.m, np.zeros_like(t.row.m), 1.0, t, fmt)
        yield slice(0, 1), piece[:, 0] if t.axis else piece[0], mask.reshape(-1)
        return
    for columns, part in zip(t.columns, t.parts, strict=True):
        if op == "softmax":
            piece = t.engine.softmax(part, t.row)
            mask = undecided(piece, fmt)
        else:
            piece, mask = _sharpened(t.engine.log_softmax(part, t.row), part.x, -t.row.m, -1.0, t, fmt)
        yield (columns, piece, mask) if t.axis else (columns, piece.transposed, mask.T)


def _sharpened(
    piece: Piece, a: FloatArray, b: FloatArray, sign: float, t: Terms, fmt: FloatFormat
) -> tuple[Piece, Mask]:
    """The piece, its undecided elements a + b + sign * log S enclosed again where log S is small beside a + b."""
    mask = undecided(piece, fmt)
    if not mask.any():
        return piece, mask
    a, b, log, alone = (
        np.broadcast_to(value, mask.shape)[mask] for value in (a, b, t.engine.log(t.row)[0], t.row.alone)
    )
    with np.errstate(all="ignore"):
        exact = dd.two_sum(a, b)
    size = np.abs(exact[0])
    fit = usable(a, b) & (size > 2.0**-900) & (log < size * 2.0**-25) & ~alone
    if not fit.any():
        return piece, mask
    better = exact_plus_small((exact[0][fit], exact[1][fit]), sign * log[fit], t.engine.relative, t.engine.tier)
    chosen = mask.copy()
    chosen[mask] = fit
    mask = mask.copy()
    mask[chosen] = undecided(better, fmt)
    return piece.patched(chosen, better), mask
