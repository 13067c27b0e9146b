"""Guided search: rows bred towards the largest score, in batches.

The rows of every regime are the start. From then on each round takes parents from an archive, bends them (``moves``),
asks the judge for all children at once, and files them. The archive keeps the best row of every *niche* (row length,
spread, level, masked or not), so that different kinds of worst case survive side by side; good niches are drawn
oftener. Moves are chosen by how often they lately led to a better row: on a target that loses digits in the shift it
is offsets that pay, in the sum equal terms, in exp single ordinals. A share of every round is fresh rows.

Everything follows from the seed and the number of evaluations. A limit in seconds makes the end depend on the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray, FloatFormat, IntArray, format_named
from xent_verify.regimes import row_makers
from xent_verify.regimes.draw import Draw, stream
from xent_verify.search.moves import MOVES

__all__ = ["GuidedResult", "Niche", "guided_search"]

JudgeRows = Callable[[NDArray[Any]], FloatArray]

_FRESH = 0.1  # share of each round that is new rows
_CLIMB = 0.4  # share that descends from the three best rows
_DECAY = 0.98  # memory of what each move has brought
_KEPT = 10  # niches of each length in the result
_LOGITS = 2**18  # per round
_START = 20_000  # rows of the regimes, at most


@dataclass(frozen=True, slots=True)
class Niche:
    """The best row of one kind: its length, its score and itself (in the format)."""

    n: int
    score: float
    row: NDArray[Any]


@dataclass(frozen=True, slots=True)
class GuidedResult:
    """The best niches, best first; the evaluations made; the best score after so many evaluations."""

    niches: tuple[Niche, ...]
    evaluations: int
    curve: tuple[tuple[int, float], ...]

    @property
    def best(self) -> Niche:
        return self.niches[0]


@dataclass(slots=True)
class _Archive:
    """The best row of every niche of one length."""

    rows: dict[int, FloatArray] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)

    def file(self, rows: FloatArray, scores: FloatArray) -> NDArray[np.bool_]:
        """Keep what is better than its niche; says which rows were."""
        cells = _cells(rows)
        order = np.argsort(-scores, kind="stable")
        _, first = np.unique(cells[order], return_index=True)
        better = np.zeros(len(rows), dtype=np.bool_)
        for k in order[first].tolist():
            cell, score = int(cells[k]), float(scores[k])
            if score > self.scores.get(cell, -np.inf):
                self.scores[cell], self.rows[cell], better[k] = score, rows[k].copy(), True
        return better

    def ranked(self) -> list[int]:
        """Niches, the best first."""
        return sorted(self.scores, key=lambda cell: (-self.scores[cell], cell))

    def parents(self, draw: Draw, count: int) -> FloatArray:
        """Rows to bend: the best three for a share, the others from good niches more often than from poor ones."""
        ranked = self.ranked()
        rank = (len(ranked) * draw.rng.random(count) ** 2).astype(np.int64)
        climb = draw.rng.random(count) < _CLIMB
        rank[climb] = draw.rng.integers(0, min(3, len(ranked)), int(climb.sum()))
        return np.array([self.rows[ranked[k]] for k in rank])


def _cells(rows: FloatArray) -> IntArray:
    """A number for the niche of each row: binades of its spread and of its maximum, its sign, masked or not."""
    finite = np.isfinite(rows)
    top = np.where(finite, rows, -np.inf).max(axis=1)
    low = np.where(finite, rows, np.inf).min(axis=1)
    with np.errstate(all="ignore"):
        spread = np.clip(np.frexp(np.where(top > low, top - low, 0.0))[1], -40, 40) // 2
        level = np.clip(np.frexp(np.where(np.isfinite(top), top, 0.0))[1], -40, 40) // 4
    few = finite.sum(axis=1) < rows.shape[1]
    cells: IntArray = (((spread + 32).astype(np.int64) * 64 + level + 32) * 2 + (top < 0)) * 2 + few
    return cells


def _tidy(draw: Draw, rows: FloatArray) -> FloatArray:
    """Rows a judge can take: neither NaN nor +inf, -inf only in formats that have it, and never nothing else."""
    top = draw.fmt.max_finite
    least = -np.inf if draw.fmt.has_inf else draw.lowest
    known = np.clip(np.where(np.isnan(rows), 0.0, rows), least, top)
    return np.where(np.isfinite(known).any(axis=1, keepdims=True), known, 0.0)


@dataclass(slots=True)
class _Hunt:
    """The running state of one search."""

    draw: Draw
    judge: JudgeRows
    budget: int
    archives: dict[int, _Archive]
    credit: FloatArray
    spent: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)

    def ask(self, rows: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Rows as the format holds them, and their scores; notes the best so far."""
        narrow = self.draw.narrow(_tidy(self.draw, rows))
        scores = np.nan_to_num(np.asarray(self.judge(narrow), dtype=np.float64), nan=-1.0, posinf=1e300)
        self.spent += len(rows)
        highest = float(scores.max())
        if not self.curve or highest > self.curve[-1][1]:
            self.curve.append((self.spent, highest))
        return self.draw.fmt.widen(narrow), scores

    def room(self, n: int) -> int:
        """Rows of one round: many, but never more than a sixtieth of the budget."""
        return max(1, min(_LOGITS // n, 8192, max(self.budget // 60, 24), self.budget - self.spent))

    def start(self, n: int, share: int) -> None:
        """The rows of every regime, as many as the share allows."""
        rows = self.fresh(n, max(share, 1))
        while len(rows) and self.spent < self.budget:
            part, rows = rows[: self.room(n)], rows[self.room(n) :]
            self.archives[n].file(*self.ask(part))

    def fresh(self, n: int, count: int) -> FloatArray:
        """Rows of all regimes in turn."""
        makers = list(row_makers(self.draw.fmt).values())
        each = -(-count // len(makers))
        made = np.concatenate([maker(self.draw, each, n) for maker in makers])
        return self.draw.rng.permutation(made)[:count]

    def round(self, n: int) -> None:
        """One generation at one length."""
        archive, count = self.archives[n], self.room(n)
        parents, mates = archive.parents(self.draw, count), archive.parents(self.draw, count)
        which = self.draw.rng.choice(len(MOVES), count, p=self.credit / self.credit.sum())
        children = parents
        with np.errstate(all="ignore"):
            for k in np.unique(which).tolist():
                chosen = which == k
                children[chosen] = MOVES[k](self.draw, parents[chosen], mates[chosen])
            again = self.draw.rng.random(count) < 0.25  # a second move, now and then, leaves a ridge
            if again.any():
                k = int(self.draw.rng.integers(len(MOVES)))
                children[again] = MOVES[k](self.draw, children[again], mates[again])
        new = self.draw.rng.random(count) < _FRESH
        if new.any():
            children[new] = self.fresh(n, int(new.sum()))
        better = archive.file(*self.ask(children)) & ~new
        self.credit = 1.0 + (self.credit - 1.0) * _DECAY + np.bincount(which[better], minlength=len(MOVES))


def guided_search(
    fmt: str | FloatFormat,
    judge_rows: JudgeRows,
    *,
    lengths: tuple[int, ...] = (2, 3, 8, 33, 257),
    evaluations: int = 100_000,
    seconds: float | None = None,
    seed: int = 0,
) -> GuidedResult:
    """The worst rows found for a judge of rows: ``judge_rows(rows[R, n]) -> scores[R]``, larger is worse.

    ``evaluations`` rows are judged in all, over every one of ``lengths`` in turn; ``seconds`` may end it earlier.
    """
    form = format_named(fmt)
    archives = {n: _Archive() for n in lengths}
    draw = Draw(form, stream(seed, "guided", form.name, lengths))
    hunt = _Hunt(draw, judge_rows, evaluations, archives, np.ones(len(MOVES)))
    until = None if seconds is None else time.monotonic() + seconds
    for n in lengths:
        hunt.start(n, min(evaluations // 5, _START) // len(lengths))
    turn = 0
    while hunt.spent < evaluations and (until is None or time.monotonic() < until):
        hunt.round(_next_length(hunt, lengths, turn))
        turn += 1
    found = [
        Niche(n, archive.scores[cell], form.narrow(archive.rows[cell]))
        for n, archive in archives.items()
        for cell in archive.ranked()[:_KEPT]
    ]
    return GuidedResult(tuple(sorted(found, key=lambda niche: -niche.score)), hunt.spent, tuple(hunt.curve))


def _next_length(hunt: _Hunt, lengths: tuple[int, ...], turn: int) -> int:
    """Every length in turn; every other turn the one that holds the best row."""
    if turn % 2:
        return max(lengths, key=lambda n: max(hunt.archives[n].scores.values(), default=-np.inf))
    return lengths[turn // 2 % len(lengths)]
