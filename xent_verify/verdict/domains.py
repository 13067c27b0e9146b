"""Where a target keeps a class that it does not keep everywhere: for rows of what size, offset, spread or length.

Each judged row has a few traits. A domain is "trait below an edge": every row seen below the edge kept the class, and rows
beyond it often broke it. The edge is the least failing row's trait, lowered by asking the target about the same row made
smaller, and found to a few per cent by bisection, a length exactly.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray
from xent_verify.core.model import Batch
from xent_verify.core.shapes import clipped
from xent_verify.ops import Op
from xent_verify.ops.rows import Rows

__all__ = ["Domain"]

_LEAST_KEPT, _SHARE_KEPT, _SHARE_BROKEN = 100, 0.3, 0.2
"""Rows below the edge, at least; their share of all rows that kept the class; the share of rows beyond that broke it."""

_STEPS, _BISECTIONS = 16, 5
_LARGEST = 1 << 20
"""Logits of a call whose rows are looked at."""


@dataclass(frozen=True, slots=True)
class _Trait:
    """``of``: the trait of each row of finite values [R, n]; ``lessened``: a row [n] with that share of it."""

    words: str
    of: Callable[[FloatArray], FloatArray]
    lessened: Callable[[FloatArray, float], FloatArray]
    whole: bool = False  # counted in whole numbers


def _spread(x: FloatArray) -> FloatArray:
    with np.errstate(over="ignore"):
        return np.asarray(x.max(axis=1) - x.min(axis=1))


_TRAITS = (
    _Trait("|x|", lambda x: np.asarray(np.abs(x).max(axis=1)), lambda row, share: row * share),
    _Trait("|max x|", lambda x: np.asarray(np.abs(x.max(axis=1))), lambda row, share: row - row.max() * (1 - share)),
    _Trait("max x - min x", _spread, lambda row, share: row.max() + (row - row.max()) * share),
    _Trait(
        "n",
        lambda x: np.full(len(x), float(x.shape[1])),
        lambda row, share: row[: max(int(len(row) * share), 1)],
        whole=True,
    ),
)


class Domain:
    """The rows that kept a class, and those that did not, by each trait."""

    def __init__(self, op: Op) -> None:
        self._op = op
        self._kept: list[Counter[int]] = [Counter() for _ in _TRAITS]
        self._broken: list[Counter[int]] = [Counter() for _ in _TRAITS]
        self._least: list[tuple[float, Batch] | None] = [None for _ in _TRAITS]

    def add(self, batch: Batch, failing: NDArray[np.bool_]) -> None:
        """Count the rows of one judged call; ``failing``: its result's elements that break the class."""
        view = Rows.of_call(self._op, batch)
        if not batch.x.size or batch.x.size > _LARGEST or batch.x.ndim == 0:
            return
        x = batch.form.widen(view.of(batch.x))
        x = np.where(np.isfinite(x), x, 0.0)
        broken = np.full(view.count, failing.any()) if self._op.whole(batch) else view.touched(failing)
        for number, trait in enumerate(_TRAITS[: None if self._op.by_row else 1]):
            sizes = trait.of(x)
            bins = _bins(sizes)
            self._kept[number].update(bins[~broken].tolist())
            if broken.any():
                self._broken[number].update(bins[broken].tolist())
                place = int(np.argmin(np.where(broken, sizes, np.inf)))
                known = self._least[number]
                if known is None or sizes[place] < known[0]:
                    self._least[number] = float(sizes[place]), _single(self._op, batch, view, place)

    def text(self, breaks: Callable[[Batch], bool]) -> str:
        """``|x| < 2^30``: the domain that holds most of the rows; "" where there is none. ``breaks`` asks the target."""
        found = [(score, number) for number in range(len(_TRAITS)) if (score := self._score(number))]
        for _, number in sorted(found, reverse=True):
            least = self._least[number]
            assert least is not None
            edge = _edge(self._op, _TRAITS[number], *least, breaks)
            if self._score(number, edge):
                return f"{_TRAITS[number].words} < {_told(edge)}"
        return ""

    def _score(self, number: int, edge: float | None = None) -> float:
        """How well "below the edge" parts the rows, in [0, 1]; 0 where too few rows lie below, or too few break beyond."""
        least = self._least[number]
        if least is None:
            return 0.0
        limit = int(_bins(np.array([least[0] if edge is None else edge]))[0])
        total = self._kept[number].total()
        below = sum(count for place, count in self._kept[number].items() if place < limit)
        broken = self._broken[number].total()
        share = broken / (broken + total - below)
        if below < max(_LEAST_KEPT, _SHARE_KEPT * total) or share < _SHARE_BROKEN:
            return 0.0
        return share * below / total


def _bins(sizes: FloatArray) -> NDArray[np.int64]:
    """Quarters of a binade."""
    quarters: NDArray[np.int64] = np.floor(4 * np.log2(clipped(sizes, 2.0**-40, np.finfo(np.float64).max))).astype(
        np.int64
    )
    return quarters


def _single(op: Op, batch: Batch, view: Rows, place: int) -> Batch:
    """One row of a call, where rows can be taken by themselves; else the call."""
    plain = batch.x.ndim == 2 and view.axis in (-1, 1)
    if (
        not plain
        or op.result in ("loss", "shared")
        or len(batch.inputs) > 1
        or any(isinstance(value, np.ndarray) for value in batch.options.values())
    ):
        return batch
    options = {name: value for name, value in batch.options.items() if name != "axis"}
    inputs = {name: value[place : place + 1] for name, value in batch.inputs.items()}
    return replace(batch, inputs=inputs, options=options, layout="C")


def _edge(op: Op, trait: _Trait, size: float, batch: Batch, breaks: Callable[[Batch], bool]) -> float:
    """The trait from which on this row, made smaller, breaks the class."""
    if len(batch.inputs) > 1 or Rows.of_call(op, batch).count > 1:
        return size

    def broken(share: float) -> bool:
        row = trait.lessened(batch.form.widen(batch.x.reshape(-1)), share)
        made = batch.form.narrow(row).reshape((1, -1) if batch.x.ndim == 2 else (-1,))
        return breaks(replace(batch, inputs={op.first: made}))

    low, high = 0.5, 1.0
    for _ in range(_STEPS):
        if not broken(low):
            break
        low, high = low / 2, low
    if trait.whole:
        return _first(int(size * low), int(size * high), lambda whole: broken((whole + 0.5) / size))
    for _ in range(_BISECTIONS):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if broken(middle) else (middle, high)
    return size * high


def _first(low: int, high: int, broken: Callable[[int], bool]) -> int:
    """The first number above ``low`` that breaks, where ``high`` does and all above it."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if broken(middle) else (middle, high)
    return high


def _told(edge: float) -> str:
    power = math.log2(edge) if edge > 0 else 0.0
    return f"2^{round(power)}" if edge >= 1024 and abs(power - round(power)) < 0.05 else f"{edge:.3g}"
