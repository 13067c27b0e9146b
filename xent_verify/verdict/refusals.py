"""Exceptions that refuse a length, a layout, a rank, or options in another float format.

They are told from faults by asking again with ordinary numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch, Outcome, Raised, Returned
from xent_verify.ops import Op

__all__ = ["refusal"]

Ask = Callable[[Batch], Outcome]

_FAULTS = frozenset(
    (
        "ArithmeticError", "AttributeError", "AxisError", "FloatingPointError", "IndexError", "KeyError", "MemoryError",
        "NameError", "OverflowError", "RecursionError", "StopIteration", "SystemError", "TypeError", "UnboundLocalError",
        "ZeroDivisionError",
    )
)  # fmt: skip
"""What code raises by mistake; nobody refuses a shape so."""

_ACCIDENTS = re.compile(
    r"operands could not be|could not (be )?broadcast|shapes .* not aligned|cannot reshape|zero-size"
)
"""What NumPy says when shapes do not fit inside the target."""

_ORDINARY = 8
"""A row length that everybody takes."""


def refusal(op: Op, batch: Batch, outcome: Raised, ask: Ask) -> str:
    """What property of a call an exception refuses, in words; "" where it is a fault.

    It is a refusal when ordinary numbers in the same shape and layout raise the same exception, and in an ordinary one they
    are answered. Exceptions that no one raises on purpose are faults.
    """
    cast = _in_its_format(batch)
    if cast is not None and isinstance(ask(cast), Returned):
        return "options in another float format"
    if outcome.type_name in _FAULTS or _ACCIDENTS.search(outcome.message) or batch.x.ndim == 0 or not batch.x.size:
        return ""
    same = ask(_ordinary(op, batch, batch.x.shape, batch.layout))
    if not isinstance(same, Raised) or same.type_name != outcome.type_name:
        return ""
    for words, shape, layout in _others(op, batch):
        if isinstance(ask(_ordinary(op, batch, shape, layout)), Returned):
            return words
    return ""


def _in_its_format(batch: Batch) -> Batch | None:
    """The call with its options in the float format of its inputs; None where they are."""
    arrays = {name: value for name, value in batch.options.items() if isinstance(value, np.ndarray)}
    cast = {
        name: batch.form.narrow(value.astype(np.float64))
        for name, value in arrays.items()
        if value.dtype.name in FORMATS and value.dtype != batch.form.dtype
    }
    return replace(batch, options={**batch.options, **cast}) if cast else None


def _others(op: Op, batch: Batch) -> Iterator[tuple[str, tuple[int, ...], str]]:
    """(what was refused, a shape without it, a layout without it): the property that alone makes the difference."""
    shape = batch.x.shape
    axis = int(batch.options.get("axis", -1)) % len(shape)
    n, rows = shape[axis], batch.x.size // shape[axis]
    shorter = (*shape[:axis], _ORDINARY, *shape[axis + 1 :])
    if batch.layout != "C":
        yield f"layout {batch.layout}", shape, "C"
    yield f"rows of {n}", shorter, batch.layout
    if op.by_row and len(shape) != 2 and not op.labels:
        yield f"{len(shape)}-D input", (rows, n), batch.layout
    if rows > 2 and len(shape) == 2:
        yield f"{rows} rows", (2, n) if axis == 1 else (n, 2), batch.layout


def _ordinary(op: Op, batch: Batch, shape: tuple[int, ...], layout: str) -> Batch:
    """A call of that shape on equal rows of numbers in [-1, 1]; of the options those remain that are no arrays."""
    inputs: dict[str, NDArray[Any]] = {}
    row = np.zeros(shape[-1]) if layout == "one_column" else np.linspace(-1.0, 1.0, shape[-1])
    for name, kind in op.inputs.items():
        old = batch.inputs[name]
        if name in op.shared:  # of ordinary numbers, too, as many vectors as before
            length = shape[-1] if kind == "matrix" else old.shape[-1]
            inputs[name] = batch.form.narrow(np.full((*shape[:-2], old.shape[-2], length), 0.25))
            continue
        if kind == "row_number":
            inputs[name] = batch.form.narrow(np.zeros(shape[:-1]))
            continue
        if name == op.labels and old.dtype.kind in "iu":
            inputs[name] = (np.arange(shape[0]) % max(shape[-1], 1)).astype(old.dtype)
        elif kind == "target":
            inputs[name] = batch.form.narrow(np.full(shape, 1.0 / max(shape[-1], 1)))
        else:
            inputs[name] = batch.form.narrow(np.broadcast_to(row, shape))
    options = {name: value for name, value in batch.options.items() if not isinstance(value, np.ndarray)}
    if len(shape) != batch.x.ndim:
        options.pop("axis", None)
    return replace(batch, inputs=inputs, options=options, layout=layout)
