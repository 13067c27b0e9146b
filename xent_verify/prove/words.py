"""Which rows fail, in words: "all 4,294,967 rows with gap >= 87.25". Counted, not guessed.

The cells of the failing rows say how many fail at or beyond a value; the domain's own combinatorics say how many rows
there are. Where the two agree, every such row fails. For patterns sorted by value, K of them not NaN and c(v) of them
below v, rows of n have a largest logit below v in c(v)**n ways, and a gap below a in as many ways as there are rows
whose patterns lie within a of the first in order among them: sum over i of c_i**n - (c_i - 1)**n, with c_i the number
of patterns from the i-th on that lie less than a above it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from xent_verify.core.formats import IntArray
from xent_verify.prove.counts import Cells
from xent_verify.prove.domain import GAP_SHIFT, Domain, numbers
from xent_verify.prove.widths import FAMILIES, LONGEST

__all__ = ["described", "number_of"]


_WORTH = 20
"""A rule is told when it covers a twentieth of the failing rows or more."""


class _Totals:
    """How many rows of a whole domain lie at or beyond a cell of a feature."""

    def __init__(self, domain: Domain) -> None:
        self._domain = domain
        if not domain.arity:
            return
        form = domain.form
        values = form.from_bits(np.arange(1 << form.bits).astype(form.unsigned)) if form.bits <= 16 else None
        if values is None:
            self._ordinals: IntArray | None = None
            return
        values = values[~np.isnan(numbers(form, values))]
        self._ordinals = np.sort(form.ordinal(values))
        self._values = form.widen(form.from_ordinal(self._ordinals))

    def at_least(self, name: str, cell: int) -> int | None:
        """Rows whose feature is in that cell or a higher one; None where nobody counted."""
        n, domain = self._domain.arity, self._domain
        if name == "width":
            return (LONGEST - cell + 1) * len(FAMILIES)
        if name == "family":
            return (len(FAMILIES) - cell) * LONGEST
        if self._ordinals is None:
            return None
        known = len(self._ordinals)
        below = int(np.searchsorted(self._ordinals, cell, side="left"))
        match name:
            case "max x" | "x":
                return int(known**n - below**n)
            case "min x":
                return int((known - below) ** n)
            case _:
                return int(known**n - self._closer(edge(cell), n)) if domain.arity > 1 else None

    def _closer(self, gap: float, n: int) -> int:
        """Rows whose gap is below ``gap``."""
        if gap <= 0:
            return 0
        values = self._values
        first = np.arange(len(values))
        low, high = first.copy(), np.full(len(values), len(values) - 1)  # the last pattern that is close enough
        with np.errstate(invalid="ignore"):
            while (low < high).any():
                middle = (low + high + 1) // 2
                close = (values[middle] == values) | (values[middle] - values < gap)
                low, high = np.where(close, middle, low), np.where(close, high, middle - 1)
        near = (low - first + 1).astype(object)
        return int((near**n - (near - 1) ** n).sum())

    def between(self, name: str, first: int, last: int) -> int:
        """Rows whose feature is in one of these cells."""
        return (self.at_least(name, first) or 0) - (self.at_least(name, last + 1) or 0)

    @property
    def everything(self) -> int:
        """Rows without a NaN."""
        if not self._domain.arity:
            return LONGEST * len(FAMILIES)
        return 0 if self._ordinals is None else len(self._ordinals) ** self._domain.arity


def edge(cell: int) -> float:
    """The smallest gap of a cell."""
    return float((np.array([cell], np.int64) << GAP_SHIFT).view(np.float64)[0])


def described(domain: Domain, rows: int, features: Mapping[str, Cells], *, whole: bool) -> str:
    """Where ``rows`` failing rows are. ``whole``: the domain was walked to its end."""
    if not features or not any(cells.counts.sum() for cells in features.values()):
        return f"{number_of(rows)}, each with a NaN" if domain.arity else number_of(rows)
    if "d" in features:
        return f"{number_of(rows)}, with d {_stretches(domain, features)}"
    best = ""
    if whole:
        totals, share, others = _Totals(domain), 0, ""
        for name, cells in features.items():
            words, covered, rest = _covered(domain, totals, name, cells)
            if covered > share and covered * _WORTH >= rows:
                best, share, others = words, covered, rest
        if share == rows:
            return best
        if share:
            return f"{best}; and {rows - share:,} more" + (f", {others}" if others else "")
    return f"{number_of(rows)}, with {_spans(domain, features)}"


_TOLD = 4


def _stretches(domain: Domain, features: Mapping[str, Cells]) -> str:
    """The stretches of gaps at which rows fail; of many the whole range, and how many there are."""
    first, last = features["d"].ids, features["d to"].ids
    begins = np.flatnonzero(np.concatenate([[True], first[1:] > last[:-1] + 1]))
    ends = np.append(begins[1:], len(first)) - 1
    spans = list(zip(first[begins], last[ends], strict=True))
    if len(spans) > _TOLD:
        return (
            f"in {len(spans):,} stretches between {_shown(domain, 'd', first[0])} and {_shown(domain, 'd', last[-1])}"
        )
    return " and ".join(
        f"from {_shown(domain, 'd', a)} to {_shown(domain, 'd', b)} ({b - a + 1:,} floats)" for a, b in spans
    )


def _covered(domain: Domain, totals: _Totals, name: str, cells: Cells) -> tuple[str, int, str]:
    """Ends of a feature's range, and families, of which every row fails; how many rows these are; where the others lie."""
    ids, counts = cells.ids, cells.counts
    parts, covered, stop = [], 0, 0
    if name == "family":
        full = [(FAMILIES[cell], number) for cell, number in zip(ids, counts, strict=True) if number == LONGEST]
        names = " and ".join(f'"{family}"' for family, _ in full)
        return f"all rows of the family {names}", int(sum(number for _, number in full)), ""
    if not len(ids) or totals.at_least(name, 0) is None:
        return "", 0, ""
    upper, lower = np.cumsum(counts[::-1])[::-1], np.cumsum(counts)
    bottom, top = int(ids[0]), int(ids[-1])
    start = _first(len(ids), lambda k: totals.between(name, int(ids[k]), top) == upper[k])
    if start < len(ids):
        where = _range(domain, totals, name, int(ids[start]), top)
        parts.append(f"{_all(int(upper[start]))} with {where}")
        covered += int(upper[start])
    if start > 0:
        stop = start - _first(
            start, lambda k: totals.between(name, bottom, int(ids[start - 1 - k])) == lower[start - 1 - k]
        )
        if stop > 0:
            where = _range(domain, totals, name, bottom, int(ids[stop - 1]))
            parts.append(f"{_all(int(lower[stop - 1]))} with {where}")
            covered += int(lower[stop - 1])
    others = Cells(ids[stop:start], counts[stop:start])
    return " and ".join(parts), covered, _spans(domain, {name: others})


def number_of(rows: int) -> str:
    """ "1 row", "2,345 rows"."""
    return "1 row" if rows == 1 else f"{rows:,} rows"


def _all(rows: int) -> str:
    return f"all {rows:,} rows" if rows > 1 else "the row"


def _range(domain: Domain, totals: _Totals, name: str, first: int, last: int) -> str:
    """A range of cells in words, open where no row lies beyond."""
    low, high = _shown(domain, name, first), _shown(domain, name, last)
    if first == last and name != "gap":
        return f"{name} = {low}"
    if totals.between(name, first, last) == totals.at_least(name, first):
        return f"{name} ≥ {low}"
    if totals.between(name, first, last) == totals.everything - (totals.at_least(name, last + 1) or 0):
        return f"{name} < {_shown(domain, name, last + 1)}" if name == "gap" else f"{name} ≤ {high}"
    if name == "gap":
        return f"gap from {low} to below {_shown(domain, name, last + 1)}"
    return f"{name} from {low} to {high}"


def _first(size: int, holds: Callable[[int], object]) -> int:
    """The first k for which ``holds`` is true; once true it stays so. ``size`` if it never is."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def _shown(domain: Domain, name: str, cell: int) -> str:
    if name in ("width", "family"):
        return str(cell)
    value = edge(cell) if name == "gap" else float(domain.form.widen(domain.form.from_ordinal(np.array([cell])))[0])
    return f"{value:.9g}"


def _spans(domain: Domain, features: Mapping[str, Cells]) -> str:
    parts = []
    for name, cells in features.items():
        if name == "family":
            parts.append(f"families {', '.join(FAMILIES[cell] for cell in cells.ids)}")
        elif len(cells.ids):
            low, high = (_shown(domain, name, int(cells.ids[k])) for k in (0, -1))
            parts.append(f"{name} {low}" if low == high else f"{name} from {low} to {high}")
    return ", ".join(parts)
