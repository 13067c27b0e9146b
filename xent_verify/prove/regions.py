"""Which pairs fail, as counts per cell: what ``domain.features`` says of single rows, for runs of rows at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray, FloatFormat, IntArray
from xent_verify.prove.counts import Cells, Counts
from xent_verify.prove.domain import GAP_SHIFT

__all__ = ["Regions"]

_HALF = 1 << 15
_LOWEST_GAP = ((1023 - 160) << (52 - GAP_SHIFT)) - 1
_GAPS = 320 << (52 - GAP_SHIFT)


class Regions:
    """Dense counters of failing pairs per class: ordinals of the larger and of the smaller logit, gaps."""

    def __init__(self, form: FloatFormat) -> None:
        self._finite = form.max_ordinal
        self._rows: dict[str, int] = {}
        self._dense: dict[str, tuple[IntArray, IntArray, IntArray]] = {}

    def add(self, kind: str, mask: NDArray[np.bool_], first: int, high: int, gap: FloatArray) -> None:
        """Failing rows among consecutive ones from index ``first`` on; ``high``: column of the larger logit."""
        number = int(np.count_nonzero(mask))
        if not number:
            return
        self._rows[kind] = self._rows.get(kind, 0) + number
        if kind not in self._dense:
            self._dense[kind] = np.zeros(2 * _HALF, np.int64), np.zeros(2 * _HALF, np.int64), np.zeros(_GAPS, np.int64)
        larger, smaller, gaps = self._dense[kind]
        fixed, moving = (larger, smaller) if high == 0 else (smaller, larger)
        pattern, second = first >> 16, first & 0xFFFF
        fixed[_HALF + (pattern if pattern < _HALF else _HALF - pattern)] += number
        if second < _HALF:
            moving[_HALF + second : _HALF + second + mask.size] += mask
        else:
            end = _HALF - (second - _HALF)
            moving[end - mask.size + 1 : end + 1][::-1] += mask
        cells = np.maximum((gap[mask].view(np.int64) >> GAP_SHIFT) - _LOWEST_GAP, 0)
        lowest = int(cells.min())
        found = np.bincount(cells - lowest)
        gaps[lowest : lowest + len(found)] += found

    def drain(self, counts: Counts) -> None:
        """Hand everything over and start again."""
        for kind, (larger, smaller, gaps) in self._dense.items():
            counts.failing[kind] = counts.failing.get(kind, 0) + self._rows[kind]
            held = counts.cells.setdefault(kind, {})
            for name, dense, offset in (
                ("max x", larger, -_HALF),
                ("min x", smaller, -_HALF),
                ("gap", gaps, _LOWEST_GAP),
            ):
                ids = np.nonzero(dense)[0]
                cells = Cells(np.where((name == "gap") & (ids == 0), 0, ids + offset), dense[ids])
                held[name] = held[name] + cells if name in held else cells
        self._rows.clear()
        self._dense.clear()
