"""From rows back to the shape of the result."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.model import Batch
from xent_verify.ops.op import Op

__all__ = ["unroll"]


def unroll(op: Op, batch: Batch, rows: NDArray[Any]) -> NDArray[Any]:
    """Rows [R, n] (or one value per row [R]) in the result's shape."""
    shape = batch.x.shape
    if not op.by_row:
        return rows.reshape(shape)
    axis = int(op.option(batch, "axis")) if "axis" in op.options else -1
    outer = np.moveaxis(np.empty(shape, np.bool_), axis, -1).shape[:-1]
    if rows.ndim == 1:
        return rows.reshape(outer)
    return np.moveaxis(rows.reshape((*outer, shape[axis])), -1, axis)
