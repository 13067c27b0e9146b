"""Mistakes that show in an answer's shape, dtype or side effects, and answers that change from call to call."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch, Returned

__all__ = ["changing", "conduct"]


def conduct(kind: str, batch: Batch, outcome: Returned, wanted: tuple[int, ...]) -> str:
    """The likely cause of a finding of kind shape, dtype, input_mutated or stateful ("" for any other).

    ``wanted`` is the shape that the result should have.
    """
    match kind:
        case "shape":
            return _shape(batch, outcome.value.shape, wanted)
        case "dtype":
            return _dtype(batch, outcome.dtype_name)
        case "input_mutated":
            return (
                f"works in place on {', '.join(outcome.mutated)}, which belongs to the caller"
                if outcome.mutated
                else ""
            )
        case "stateful":
            alike = "every call returns the same buffer: copy it, or allocate"
            return alike if outcome.earlier_changed else "something is carried from call to call"
        case _:
            return ""


def _shape(batch: Batch, got: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    x, axis = batch.x, int(batch.options.get("axis", -1))
    others = [a for a in range(x.ndim) if a != axis % max(x.ndim, 1)]
    if got == tuple(n for n in wanted if n != 1):
        return "axes of length 1 are squeezed out of the result"
    if len(got) == len(wanted) + 1 == x.ndim and got[axis] == 1 and tuple(np.delete(got, axis)) == wanted:
        return "the reduced axis is kept, as with keepdims=True"
    if x.ndim == 1 and len(got) == 2:
        return "a vector is answered as a matrix of one row"
    if len(wanted) > 1 and got == wanted[::-1]:
        return "the result is transposed"
    for other in others:
        if len(wanted) == x.ndim - 1 and got == tuple(np.delete(x.shape, other)):
            return f"axis {axis} is taken for axis {other}"
    if len(got) == len(wanted) == 1 and got[0] < wanted[0] and _ignored(batch):
        return "rows that are ignored are dropped from the result"
    if len(got) != len(wanted):
        return f"the result has {len(got)} axes in place of {len(wanted)} for an input of {x.ndim}, axis {axis}"
    return ""


def _ignored(batch: Batch) -> bool:
    target = batch.inputs.get("target")
    return target is not None and bool((target == batch.options.get("ignore_index", -100)).any())


def _dtype(batch: Batch, got: str) -> str:
    if got not in FORMATS or FORMATS[got].bits <= batch.form.bits:
        return ""
    about = ["a vector"] if batch.x.ndim == 1 else []
    about += [name for name in ("weight", "label_smoothing") if batch.options.get(name) is not None]
    given = f" (here with {' and '.join(about)})" if about else ""
    return f"the answer stays in the {got} that it was computed in, not cast back to {batch.fmt}{given}"


def changing(first: NDArray[np.floating], second: NDArray[np.floating], place: int) -> str:
    """What two answers to the same call say when their bits differ; ``place`` is a failing element (flat)."""
    if first.shape != second.shape or np.array_equal(first, second, equal_nan=True):
        return ""
    differ = np.flatnonzero((first != second) & ~(np.isnan(first) & np.isnan(second)))
    at = place if place in differ else int(differ[0])
    values = f"{first.reshape(-1)[at]:.9g}, then {second.reshape(-1)[at]:.9g}"
    return f"the same call again gives another answer ({values}): something is carried from call to call"
