"""From engines to whole batches: groups of rows, special values, sharpening, and what is left for the next tier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xent_verify import enclosure
from xent_verify.formats import FloatArray, FloatFormat, IntArray
from xent_verify.model import Batch
from xent_verify.truth import doubledouble as dd
from xent_verify.truth import special
from xent_verify.truth.engines import SCALE, Engine, Terms, terms
from xent_verify.truth.pieces import Piece, Sink, undecided
from xent_verify.truth.rows import wide
from xent_verify.truth.sharp import exact_plus_small, usable

__all__ = ["Answer", "Group", "Problem", "RowOp", "certify_elements", "groups", "loaded", "log_softmax"]

Mask = NDArray[np.bool_]
Rows = slice | IntArray
Out = tuple[FloatArray, FloatArray, IntArray] | None

_SHIFT = 200  # binades by which sums of numbers near the top of the range are scaled down


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine says about a group of rows: (columns, piece, undecided) each, rows first, or 1-D for one a row.

    ``values`` and ``decided`` hold what special values decide (None: nothing).
    """

    parts: Sequence[tuple[slice, Piece, Mask]]
    values: FloatArray | None = None
    decided: Mask | None = None


class Problem(Protocol):
    """Elements to certify: ``rows`` rows of ``n`` logits, ``width`` answers a row (``single``: one, in 1-D pieces)."""

    @property
    def rows(self) -> int: ...

    @property
    def n(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def single(self) -> bool: ...

    def answer(self, engine: Engine, rows: Rows, fmt: FloatFormat, _out: Out = None, /) -> Answer:
        """The engine's answers for some rows, which may take shape in ``out`` (``Sink.window``)."""


@dataclass(frozen=True, slots=True)
class Group:
    """Some rows, made finite: rows without a true softmax hold zeros, ``holes`` mark logits of -inf."""

    x: FloatArray
    holes: Mask | None


def loaded(x: NDArray[Any]) -> Group:
    """Rows as float64, special logits set aside."""
    values = np.ascontiguousarray(wide(x))
    if np.isfinite(x).all():
        return Group(values, None)
    unsound = special.row_flags(values, 1).unsound
    values = np.where(unsound, 0.0, values)
    holes = values == -np.inf
    return Group(np.where(holes, 0.0, values), holes)


def groups(rows: int, n: int, engine: Engine) -> Iterator[slice]:
    """Row ranges of about one block."""
    step = max(1, engine.block // max(n, 1))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def certify_elements(
    problem: Problem, fmt: FloatFormat, engines: Sequence[Engine], jobs: int = 1
) -> tuple[Sink, IntArray]:
    """Enclosures of all elements, and flat positions of those that no engine decided.

    The first engine answers everything (``jobs`` threads share the groups of rows: kernels and NumPy's loops release
    the interpreter); each later one only rows with elements that are still open.
    """
    sink = Sink((problem.rows, problem.width), engines[0].tier, engines[0].radius)
    if engines[0].whole is not None and not problem.single:
        sink.spread("lo")
    first = partial(_first, problem, fmt, engines[0], sink)
    ranges = groups(problem.rows, problem.n, engines[0])
    if jobs > 1:
        with ThreadPoolExecutor(jobs) as pool:
            left = list(pool.map(first, ranges))
    else:
        left = [first(here) for here in ranges]
    todo = np.concatenate(left) if left else np.empty(0, np.int64)
    for engine in engines[1:]:
        todo = _again(problem, todo, fmt, engine, sink)
    return sink, todo


def _first(problem: Problem, fmt: FloatFormat, engine: Engine, sink: Sink, here: slice) -> IntArray:
    """Answer a group of rows; gives the flat positions of what stays open."""
    width, left = problem.width, [np.empty(0, np.int64)]
    in_place = engine.whole is not None and not problem.single
    answer = problem.answer(engine, here, fmt, sink.window(here) if in_place else None)
    for columns, piece, mask in answer.parts:
        sink.write((here, columns), _tall(piece) if problem.single else piece)
        if answer.decided is not None:
            mask = mask & ~(answer.decided if problem.single else answer.decided[:, columns])
        if mask.any():
            where = np.nonzero(mask.reshape(mask.shape[0], -1))
            left.append((where[0] + here.start) * width + where[1] + columns.start)
    if answer.decided is not None and answer.values is not None and answer.decided.any():
        where = np.nonzero(answer.decided.reshape(-1, width))
        chosen = enclosure.exact(answer.values.reshape(-1, width)[where])
        sink.write_enclosure((where[0] + here.start, where[1]), chosen)
    return np.concatenate(left)


def _tall(piece: Piece) -> Piece:
    return piece[:, None]


def _again(problem: Problem, todo: IntArray, fmt: FloatFormat, engine: Engine, sink: Sink) -> IntArray:
    """Answer the elements at flat positions ``todo``; gives back those still open."""
    width = problem.width
    rows = np.unique(todo // width)
    left = []
    for here in groups(rows.size, problem.n, engine):
        chosen = rows[here]
        mine = todo[(todo >= chosen[0] * width) & (todo < (chosen[-1] + 1) * width)]
        wanted = np.zeros((chosen.size, width), bool)
        wanted[np.searchsorted(chosen, mine // width), mine % width] = True
        for columns, piece, mask in problem.answer(engine, chosen, fmt).parts:
            piece, mask = (_tall(piece), mask[:, None]) if problem.single else (piece, mask)
            good, bad = (np.nonzero(wanted[:, columns] & which) for which in (~mask, mask))
            sink.write((chosen[good[0]], good[1] + columns.start), piece[good])
            left.append(chosen[bad[0]] * width + bad[1] + columns.start)
    return np.concatenate(left) if left else np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class RowOp:
    """softmax, log_softmax or logsumexp of the rows of a 2-D array."""

    op: str
    x: NDArray[Any]

    @property
    def rows(self) -> int:
        return int(self.x.shape[0])

    @property
    def n(self) -> int:
        return int(self.x.shape[1])

    @property
    def width(self) -> int:
        return 1 if self.single else self.n

    @property
    def single(self) -> bool:
        return self.op == "logsumexp"

    def answer(self, engine: Engine, rows: Rows, fmt: FloatFormat, out: Out = None, /) -> Answer:
        x = self.x[rows]
        if not self.n:
            return Answer((), *special.resolve(Batch(self.op, fmt.name, "", {"x": x})))
        group = loaded(x)
        t = terms(engine, group.x, group.holes, keep=self.op == "softmax", out=out)
        parts = tuple(_parts(self.op, t, fmt, out))
        if group.holes is None:
            return Answer(parts)
        return Answer(parts, *special.resolve(Batch(self.op, fmt.name, "", {"x": x})))


def _parts(op: str, t: Terms, fmt: FloatFormat, out: Out) -> Iterator[tuple[slice, Piece, Mask]]:
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
            piece, mask = log_softmax(t, part.x, fmt, out)
        yield (columns, piece, mask) if t.axis else (columns, piece.transposed, mask.T)


def log_softmax(t: Terms, x: FloatArray, fmt: FloatFormat, out: Out = None) -> tuple[Piece, Mask]:
    """log p of some logits of the rows (in the layout of ``t``), and what ``fmt`` leaves undecided."""
    piece = t.engine.log_softmax(x, t.row) if out is None else t.engine.log_softmax(x, t.row, out)
    return _sharpened(piece, x, -t.row.m, -1.0, t, fmt)


def _sharpened(
    piece: Piece, a: FloatArray, b: FloatArray, sign: float, t: Terms, fmt: FloatFormat
) -> tuple[Piece, Mask]:
    """The piece, its undecided elements a + b + sign * log S enclosed again where log S is small beside a + b."""
    mask = undecided(piece, fmt)
    if not mask.any():
        return piece, mask
    a, b, log, alone = (
        np.broadcast_to(value, mask.shape)[mask] for value in (a, b, t.engine.log(t.row)[0] * 2.0**-SCALE, t.row.alone)
    )
    large = np.maximum(np.abs(a), np.abs(b)) >= 2.0**900
    shrink = np.where(large, 2.0**-_SHIFT, 1.0)
    exact = dd.two_sum(a * shrink, b * shrink)
    log = log * shrink
    size = np.abs(exact[0])
    fit = usable(a, b, large) & (size > 2.0**-900) & (log < size * 2.0**-25) & ~alone
    if not fit.any():
        return piece, mask
    better = exact_plus_small((exact[0][fit], exact[1][fit]), sign * log[fit], t.engine.relative, t.engine.tier)
    better = replace(better, exponent=better.exponent + np.where(large[fit], _SHIFT, 0))
    chosen = mask.copy()
    chosen[mask] = fit
    mask = mask.copy()
    mask[chosen] = undecided(better, fmt)
    return piece.patched(chosen, better), mask
