"""Batches for an operation from outside the table: those of the operation of the table that it is shaped like."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from xent_verify.model import Batch
from xent_verify.ops import Op

__all__ = ["borrowed"]

_LARGEST = 400
"""Logits per call: an operation from outside has no fast truth."""


def borrowed(op: Op, name: str, batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches that the operation can be asked, with its own names of inputs; ``name`` is how it is imported.

    It defines nothing for infinities and empty rows, and knows of class indices to ignore only if it has the option:
    these are left out.
    """
    for batch in batches:
        if set(batch.options) <= set(op.options) and 0 < batch.x.size <= _LARGEST and _asked(op, batch):
            yield replace(batch, op=name, inputs=dict(zip(op.inputs, batch.inputs.values(), strict=False)))


def _asked(op: Op, batch: Batch) -> bool:
    target = batch.inputs.get("target")
    if target is not None and target.dtype.kind in "iu" and "ignore_index" not in op.options:
        index = target.astype(object)
        if bool(((index < 0) | (index >= batch.x.shape[-1])).any()):
            return False
    return not bool(np.isinf(batch.form.widen(batch.x)).any())
