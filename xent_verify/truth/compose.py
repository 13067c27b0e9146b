"""From engines to whole batches: groups of rows, special values, sharpening, and what is left for the next tier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xent_verify.core import enclosure
from xent_verify.core.enclosure import Enclosure
from xent_verify.core.formats import FloatArray, FloatFormat, IntArray
from xent_verify.core.model import Batch
from xent_verify.truth import parallel, special
from xent_verify.truth.engines import Engine, Terms, terms
from xent_verify.truth.loose import Loose
from xent_verify.truth.pieces import Piece, undecided
from xent_verify.truth.rows import wide
from xent_verify.truth.sharpened import Placed, beside, sharp_sums, sharpened
from xent_verify.truth.sink import LooseSink, Sink, Window, WordSink

__all__ = ["Answer", "Group", "Problem", "RowOp", "certify_elements", "groups", "loaded"]

Mask = NDArray[np.bool_]
Rows = slice | IntArray
Out = Window | None

_BLOCK = 1 << 14


@dataclass(frozen=True, slots=True)
class Answer:
    """What an engine says about a group of rows: (columns, results, mask) each, rows first, or 1-D for one a row.

    The mask holds what may be undecided. ``patches`` are better answers for single elements, (rows, columns, 1-D
    piece); those in ``settled`` are known to be decided. ``values`` and ``decided`` hold what special values decide
    (None: nothing).
    """

    parts: Sequence[tuple[slice, Loose | Piece, Mask]]
    values: FloatArray | None = None
    decided: Mask | None = None
    patches: Sequence[Placed] = ()
    settled: Sequence[Placed] = ()


class Problem(Protocol):
    """Elements to certify: ``rows`` rows of ``n`` logits, ``width`` answers a row (``single``: one, in 1-D pieces).

    ``loose`` gives an empty result of an engine that answers loosely, None where answers are pieces.
    """

    @property
    def rows(self) -> int: ...

    @property
    def n(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def single(self) -> bool: ...

    def loose(self, engine: Engine, /) -> Loose | None: ...

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

    The first engine answers everything (``jobs`` share the groups of rows, see ``parallel``); each later one only rows
    with elements that are still open.
    """
    like = problem.loose(engines[0])
    shape = problem.rows, problem.width
    compiled = engines[0].whole is not None
    forked = jobs > 1 and not compiled and problem.rows * problem.n >= parallel.WORTHWHILE
    empty = parallel.shared_empty if forked else np.empty
    sink: Sink = WordSink(shape, engines[0].tier, empty) if like is None else LooseSink(shape, like, empty)
    first = partial(_first, problem, fmt, engines[0], sink)
    ranges = list(groups(problem.rows, problem.n, engines[0]))
    if forked:
        found = parallel.by_processes(first, ranges, jobs)
    elif jobs > 1 and compiled:
        found = parallel.by_threads(first, ranges, jobs)
    else:
        found = [first(here) for here in ranges]
    todo = sink.undecided(_joined([mine for mine, _, _ in found]), fmt)
    todo = np.sort(np.concatenate((todo, _patch(sink, [p for _, better, _ in found for p in better], fmt))))
    _patch(sink, [p for _, _, settled in found for p in settled], None)
    for engine in engines[1:]:
        todo = _again(problem, todo, fmt, engine, sink)
    return sink, todo


def _joined(positions: Sequence[IntArray]) -> IntArray:
    return np.concatenate(positions) if positions else np.empty(0, np.int64)


Patches = list[tuple[IntArray, Enclosure]]


def _patch(sink: Sink, patches: Patches, fmt: FloatFormat | None) -> IntArray:
    """All of them as one; gives the positions of those that are undecided (``fmt`` None: nobody asks)."""
    if not patches:
        return np.empty(0, np.int64)
    positions, values = _joined([p for p, _ in patches]), Enclosure.concatenate([v for _, v in patches])
    sink.patch(positions, values)
    if fmt is None:
        return positions[:0]
    blocks = [slice(start, start + _BLOCK) for start in range(0, positions.size, _BLOCK)]
    return _joined([positions[block][~values[block].decided(fmt)] for block in blocks])


def _first(
    problem: Problem, fmt: FloatFormat, engine: Engine, sink: Sink, here: slice
) -> tuple[IntArray, Patches, Patches]:
    """Answer a group of rows: flat positions that may be open, patches that may be, patches that are not."""
    width, left = problem.width, [np.empty(0, np.int64)]
    window = sink.window(here) if isinstance(sink, LooseSink) else None
    answer = problem.answer(engine, here, fmt, window)
    for columns, result, mask in answer.parts:
        sink.write((here, columns), _tall(result) if problem.single else result)  # type: ignore[arg-type]
        if answer.decided is not None:
            mask = mask & ~(answer.decided if problem.single else answer.decided[:, columns])
        if mask.any():
            where = np.nonzero(mask.reshape(mask.shape[0], -1))
            left.append((where[0] + here.start) * width + where[1] + columns.start)
    better, settled = (
        [((rows + here.start) * width + columns, piece.enclosure()) for rows, columns, piece in patches]
        for patches in (answer.patches, answer.settled)
    )
    if answer.decided is not None and answer.values is not None and answer.decided.any():
        where = np.nonzero(answer.decided.reshape(-1, width))
        chosen = enclosure.exact(answer.values.reshape(-1, width)[where])
        settled.append(((where[0] + here.start) * width + where[1], chosen))
    return np.concatenate(left), better, settled


def _tall(result: Loose | Piece) -> Loose | Piece:
    return result[:, None]


def _again(problem: Problem, todo: IntArray, fmt: FloatFormat, engine: Engine, sink: Sink) -> IntArray:
    """Answer the elements at flat positions ``todo``; gives back those still open."""
    width = problem.width
    rows = np.unique(todo // width)
    left: list[IntArray] = []
    for here in groups(rows.size, problem.n, engine):
        chosen = rows[here]
        mine = todo[(todo >= chosen[0] * width) & (todo < (chosen[-1] + 1) * width)]
        wanted = np.zeros((chosen.size, width), bool)
        wanted[np.searchsorted(chosen, mine // width), mine % width] = True
        answer = problem.answer(engine, chosen, fmt)
        for lines, places, piece in (*answer.patches, *answer.settled):
            asked = wanted[lines, places]
            wanted[lines, places] = False
            positions = chosen[lines[asked]] * width + places[asked]
            left.append(_settle(sink, positions, piece[asked], fmt))
        for columns, result, _ in answer.parts:
            which = np.nonzero(wanted[:, columns])
            some = (_tall(result) if problem.single else result)[which]
            positions = chosen[which[0]] * width + which[1] + columns.start
            left.append(_settle(sink, positions, some.piece() if isinstance(some, Loose) else some, fmt))
    return _joined(left)


def _settle(sink: Sink, positions: IntArray, piece: Piece, fmt: FloatFormat) -> IntArray:
    """Store a 1-D piece; gives the positions of what it leaves open."""
    sink.patch(positions, piece.enclosure())
    return positions[undecided(piece, fmt)]


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

    def loose(self, engine: Engine, /) -> Loose | None:
        return None if self.single else engine.log_like if self.op == "log_softmax" else engine.like

    def answer(self, engine: Engine, rows: Rows, fmt: FloatFormat, out: Out = None, /) -> Answer:
        x = self.x[rows]
        if not self.n:
            return Answer((), *special.resolve(Batch(self.op, fmt.name, "", {"x": x})))
        group = loaded(x)
        keep = self.op == "softmax"
        t = terms(engine, group.x, group.holes, keep=keep, out=out if keep else None)
        patches: list[Placed] = []
        settled: list[Placed] = []
        parts = tuple(_parts(self.op, t, fmt, out, patches, settled))
        if group.holes is None:
            return Answer(parts, patches=patches, settled=settled)
        decided = special.resolve(Batch(self.op, fmt.name, "", {"x": x}))
        return Answer(parts, *decided, patches=patches, settled=settled)


def _parts(
    op: str, t: Terms, fmt: FloatFormat, out: Out, patches: list[Placed], settled: list[Placed]
) -> Iterator[tuple[slice, Loose | Piece, Mask]]:
    if op == "logsumexp":
        piece = t.engine.logsumexp(t.row)
        piece, mask = sharpened(piece, t.row.m, 1.0, t, fmt)
        yield slice(0, 1), piece[:, 0] if t.axis else piece[0], mask.reshape(-1)
        return
    for columns, part in zip(t.columns, t.parts, strict=True):
        here = None if out is None or not t.axis else _columns(out, columns)
        if op == "softmax":
            loose = t.engine.softmax(part, t.row, here)
            mask = loose.suspects(fmt)
        else:
            loose = t.engine.log_softmax(part.x, t.row, here)
            mask = loose.suspects(fmt)
            if mask.any() and t.engine.tier == 1:
                settled.append(_placed(beside(part.x, mask, t, fmt), columns))
            if mask.any():
                patches.append(_placed(sharp_sums(part.x, mask, t), columns))
        yield (columns, loose, mask) if t.axis else (columns, loose.transposed, mask.T)


def _columns(out: Window, columns: slice) -> Window:
    low = None if out[1] is None else out[1][:, columns]
    return out[0][:, columns], low, None if out[2] is None else out[2][:, columns]


def _placed(found: Placed, columns: slice) -> Placed:
    return found[0], found[1] + columns.start, found[2]
