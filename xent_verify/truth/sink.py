"""Where results are gathered: whole groups of rows as the first engine leaves them, then patches.

A patch replaces single elements: special values, sharpened sums, what a later engine decided. Patches are kept in the
order in which they came, and written when the enclosure is asked for its fields. ``empty`` makes the arrays (shared
ones, where several processes write).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.enclosure import Enclosure, Fields
from xent_verify.core.formats import FloatArray, FloatFormat, IntArray
from xent_verify.core.shapes import full
from xent_verify.truth.loose import Loose
from xent_verify.truth.pieces import Piece, undecided

__all__ = ["LooseSink", "Sink", "Window", "WordSink"]

Window = tuple[FloatArray, FloatArray | None, NDArray[np.int32] | None]
"""(high, low, exponent) of some rows: results may take shape in their place."""

_BLOCK = 1 << 15


class _Patched:
    """What both kinds of sink share: patches, and the questions put to the whole."""

    def __init__(self, shape: tuple[int, int]) -> None:
        self.shape = shape
        self._patches: list[tuple[IntArray, Enclosure]] = []

    def patch(self, positions: IntArray, values: Enclosure) -> None:
        """Elements at flat positions."""
        if positions.size:
            self._patches.append((positions, values))

    def undecided(self: Any, positions: IntArray, fmt: FloatFormat) -> IntArray:
        """Those of some flat positions that the first engine's results leave open."""
        left = [some[undecided(self.piece(some), fmt)] for some in _chunks(positions)]
        return np.concatenate(left) if left else positions

    def finished(self: Any) -> Enclosure:
        """The enclosure, in the shape of the sink."""
        return Enclosure.later(self.shape, self._everything)

    def _everything(self: Any) -> Fields:
        fields: Fields = self.fields()
        if self._patches:
            fields = cast("Fields", tuple(f if f.flags.writeable else np.array(f) for f in fields))
            for positions, values in self._patches:
                pairs: Any = zip(fields, values.fields, strict=True)
                for field, new in pairs:
                    field.reshape(-1)[positions] = new
        return fields


def _chunks(positions: IntArray) -> Iterator[IntArray]:
    for start in range(0, positions.size, _BLOCK):
        yield positions[start : start + _BLOCK]


class WordSink(_Patched):
    """For pieces: one answer a row, or answers whose radii differ."""

    def __init__(self, shape: tuple[int, int], tier: int, empty: Callable[..., NDArray[Any]] = np.empty) -> None:
        super().__init__(shape)
        self._words = empty(shape), empty(shape), empty(shape, np.int64), empty(shape)
        self._tier = tier

    def write(self, key: Any, piece: Piece) -> None:
        """Store the results of some rows and columns."""
        new = piece.hi, piece.lo, piece.exponent, piece.full_radius
        for field, values in zip(self._words, new, strict=True):
            field[key] = values

    def piece(self, where: Any) -> Piece:
        hi, lo, exponent, radius = (field.reshape(-1)[where] for field in self._words)
        return Piece(hi, exponent, lo, radius, self._tier)

    def fields(self) -> Fields:
        return *self._words, full(np.uint8(self._tier), self.shape)


class LooseSink(_Patched):
    """For results of a common radius, which stay loose; low words and exponents only where there are some."""

    def __init__(self, shape: tuple[int, int], like: Loose, empty: Callable[..., NDArray[Any]] = np.empty) -> None:
        super().__init__(shape)
        self._like, self._radius = like, like.radius
        self._high = empty(shape)
        self._low = None if like.low is None else empty(shape)
        self._exponent = None if like.low is None else empty(shape, np.int32)

    def window(self, rows: slice) -> Window:
        low = None if self._low is None else self._low[rows]
        return self._high[rows], low, None if self._exponent is None else self._exponent[rows]

    def write(self, key: Any, loose: Loose) -> None:
        """Store the results of some rows and columns, unless they took shape here."""
        self._radius = loose.radius
        if not np.may_share_memory(loose.high, self._high):
            self._high[key] = loose.high
        pairs: Any = ((self._low, loose.low), (self._exponent, loose.exponent))
        for field, new in pairs:
            if field is not None and not np.may_share_memory(np.asarray(new), field):
                field[key] = new

    def piece(self, where: Any) -> Piece:
        high, like = self._high.reshape(-1)[where], self._like
        low = None if self._low is None else self._low.reshape(-1)[where]
        exponent: Any = 0 if self._exponent is None else self._exponent.reshape(-1)[where]
        return Loose(high, low, exponent, self._radius, like.tier, like.floor).piece()

    def fields(self) -> Fields:
        """All of it in normal form, block by block, in the place of the loose words."""
        like, shape, size = self._like, self.shape, self._high.size
        exponent, radius = np.empty(shape, np.int64), full(self._radius, shape)
        lo = full(0.0, shape) if self._low is None else self._low
        for start in range(0, size, _BLOCK):
            block = slice(start, start + _BLOCK)
            piece = self.piece(block)
            self._high.reshape(-1)[block], exponent.reshape(-1)[block] = piece.hi, piece.exponent
            if self._low is not None:
                lo.reshape(-1)[block] = piece.lo
            spread = piece.full_radius
            if np.ndim(spread):
                radius = radius if radius.flags.writeable else np.array(radius)
                radius.reshape(-1)[block] = spread
        return self._high, lo, exponent, radius, full(np.uint8(like.tier), shape)


Sink = WordSink | LooseSink
