"""One call as rows: the only arithmetic with axes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.model import Batch
from xent_verify.core.shapes import full

if TYPE_CHECKING:
    from xent_verify.ops.op import Op

__all__ = ["Rows"]


@dataclass(frozen=True, slots=True)
class Rows:
    """A view of arrays of one ``shape`` as rows [R, n] along ``axis``; ``axis`` None: elementwise, rows of one element.

    >>> view = Rows((2, 3, 4), axis=1)
    >>> view.of(np.zeros((2, 3, 4))).shape
    (8, 3)
    >>> view.back(np.zeros((8, 3))).shape, view.back(np.zeros(8)).shape
    ((2, 3, 4), (2, 4))
    """

    shape: tuple[int, ...]
    axis: int | None = -1

    @classmethod
    def of_call(cls, op: Op, call: Batch) -> Rows:
        """The view of a call's first input."""
        if not op.by_row:
            return cls(call.x.shape, None)
        return cls(call.x.shape, int(op.option(call, "axis")) if "axis" in op.options else -1)

    @classmethod
    def of_scores(cls, op: Op, call: Batch) -> Rows:
        """The view of a call's scores."""
        view, shape = cls.of_call(op, call), op.scores_shape(call)
        return view if shape == view.shape else cls(shape, view.axis)

    @property
    def n(self) -> int:
        """Length of a row."""
        return 1 if self.axis is None else self.shape[self.axis]

    @property
    def _last(self) -> bool:
        """Whether rows lie along the last axis already, as in most calls: views of thousands of small arrays cost time."""
        return self.axis is None or self.axis % len(self.shape) == len(self.shape) - 1

    @property
    def outer(self) -> tuple[int, ...]:
        """The shape without the axis."""
        if self.axis is None:
            return self.shape
        axis = self.axis % len(self.shape)
        return self.shape[:axis] + self.shape[axis + 1 :]

    @property
    def count(self) -> int:
        """R, the number of rows."""
        return math.prod(self.outer)

    def of(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array of that shape (or one that broadcasts to it) as rows [R, n]."""
        whole = full(array, self.shape)
        moved = whole if self._last else np.moveaxis(whole, cast("int", self.axis), -1)
        return moved.reshape(self.count, self.n)

    def touched(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """The rows that a mask of a result marks an element of; all of them where one number stands for all."""
        if mask.shape == self.shape:
            return np.asarray(self.of(mask).any(axis=1))
        if mask.size == self.count:
            return mask.reshape(-1)
        if mask.ndim and mask.shape[:-1] == self.shape[:-1]:
            return np.asarray(mask.reshape(self.count, -1).any(axis=1))
        return np.full(self.count, bool(mask.any()))

    def back(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Rows [R, m] in the shape of the input, m along the axis; one value per row, [R], in the shape without the axis."""
        if self.axis is None:
            return rows.reshape(self.shape)
        if rows.ndim == 1:
            return rows.reshape(self.outer)
        moved = rows.reshape((*self.outer, rows.shape[-1]))
        return moved if self._last else np.moveaxis(moved, -1, self.axis)
