"""Rows [R, n] as calls with more dimensions take them: [B, T, C] with labels [B, T], [N, C, d] with labels [N, d] …"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DEEPER", "FOLDINGS", "Folding"]

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Folding:
    """How many axes the rows have before and after that of the classes."""

    before: int
    after: int

    def dims(self, rows: int) -> tuple[int, ...]:
        """So many rows as lengths of those axes, as near to each other as divisors are."""
        found: list[int] = []
        for left in range(self.before + self.after, 1, -1):
            near = round(rows ** (1 / left))
            found.append(next(k for k in range(max(near, 1), 0, -1) if rows % k == 0))
            rows //= found[-1]
        return (*found, rows)

    def folded(self, arrays: Sequence[Array]) -> list[Array]:
        """Arrays like the first, [R, n] or one row [n], and arrays of one number a row."""
        x = arrays[0]
        dims = self.dims(math.prod(x.shape[:-1]))
        return [
            np.moveaxis(one.reshape(*dims, one.shape[-1]), -1, self.before) if one.ndim == x.ndim else one.reshape(dims)
            for one in arrays
        ]

    def unfolded(self, value: Array, shape: tuple[int, ...]) -> Array:
        """An answer to folded arrays as that to ``shape`` ([R, n] or [n]); one of a shape of its own as it is."""
        dims = self.dims(math.prod(shape[:-1]))
        rows = self.rows(value, dims)
        return rows if rows is value else rows.reshape(*shape[:-1], *rows.shape[1:])

    def rows(self, array: Array, dims: tuple[int, ...]) -> Array:
        """An array with these axes as [R, n], or of one number a row as [R]; any other as it is."""
        if array.shape == dims:
            return array.reshape(-1)
        if array.ndim == len(dims) + 1 and array.shape[: self.before] + array.shape[self.before + 1 :] == dims:
            return np.moveaxis(array, self.before, -1).reshape(-1, array.shape[self.before])
        return array

    def fits(self, x: Array, labels: Array | None) -> bool:
        """Whether arrays have these axes already."""
        if x.ndim != self.before + self.after + 1:
            return False
        dims = x.shape[: self.before] + x.shape[self.before + 1 :]
        return labels is None or labels.shape in (dims, x.shape)


FOLDINGS: Mapping[str, Folding] = {
    "[B, T, C]": Folding(2, 0),
    "[N, C, d]": Folding(1, 1),
    "[A, B, T, C]": Folding(3, 0),
    "[N, C, d1, d2]": Folding(1, 2),
    "[C, N]": Folding(0, 1),
}
"""Shapes of logits, in the order in which they are tried."""

DEEPER = tuple(name for name, fold in FOLDINGS.items() if fold.before + fold.after > 1)
"""Those of more than two dimensions, which nobody takes for [R, n]."""
