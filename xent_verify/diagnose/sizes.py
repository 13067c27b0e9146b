"""The size of a call at which answers turn wrong: ordinary rows are asked in that size and in its neighbours."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from xent_verify.core.model import Batch
from xent_verify.ops import Op
from xent_verify.ops.rows import Rows
from xent_verify.regimes.calls import dress, labelled, per_row
from xent_verify.regimes.draw import Draw, stream

__all__ = ["size"]

Fails = Callable[[Batch], bool | None]
"""Whether a call of ordinary rows is answered wrongly; None where it is not answered."""

_DRAWS = 3
"""Calls of each size: all are wrong, or all right, where a size is told."""

_LARGEST = 1 << 21
"""Logits of a call that is asked."""


def size(op: Op, batch: Batch, fails: Fails) -> str:
    """The row length or number of rows at which ordinary rows fail and their neighbours do not, in words; "" where none is.

    Args:
        op: An operation on rows of logits.
        batch: A failing call.
        fails: Asks the target another call.

    Returns:
        Such as ``wrong for rows of 97 logits, right for 96 and 98``.
    """
    if not op.by_row or op.named("matrix") or op.differentiates is not None or not batch.x.size:
        return ""
    view = Rows.of_call(op, batch)
    asked = _Sizes(op, batch, fails)
    if not asked.wrong(view.count, view.n):
        return ""
    of_length = _edges("rows of {} logits", view.n, lambda n: asked.wrong(view.count, n))
    if of_length and not of_length.endswith("right for 1"):  # a row of one logit is hardly ever wrong
        return of_length
    return _edges("{} rows", view.count, lambda rows: asked.wrong(rows, view.n))


def _edges(words: str, size: int, wrong: Callable[[int], bool | None]) -> str:
    """Where a wrong size's neighbours are right, or else the smallest size from which on all are wrong.

    ``wrong``: None for a size of which neither is known; nothing is told about its neighbours then.
    """
    below, above = size > 1 and wrong(size - 1), wrong(size + 1)
    if below is None or above is None:
        return ""
    if not above:
        neighbours = f"{size - 1} and {size + 1}" if size > 1 else f"{size + 1}"
        return "" if below else f"wrong for {words.format(size)}, right for {neighbours}"
    right, least, step = size - 1 if not below else 0, size, 1
    while not right and least > 1:
        trial = max(size - step, 1)
        right, least = (trial, least) if wrong(trial) is False else (right, trial)
        step *= 2
    if not right:
        return ""
    while least - right > 1:
        middle = (right + least) // 2
        right, least = (middle, least) if wrong(middle) is False else (right, middle)
    if wrong(least) is None:
        return ""
    return f"wrong for {words.format(least)} and more, right for {right}"


@dataclass(frozen=True, slots=True)
class _Sizes:
    op: Op
    batch: Batch
    fails: Fails

    def wrong(self, rows: int, n: int) -> bool | None:
        """Whether ordinary rows of that size fail; None where draws of them differ, or they are not answered or too many."""
        if rows * n > _LARGEST:
            return None
        found = {self._fails(rows, n, seed) for seed in range(_DRAWS)}
        return found.pop() if len(found) == 1 else None

    def _fails(self, rows: int, n: int, seed: int) -> bool | None:
        op, form = self.op, self.batch.form
        draw = Draw(form, stream("size", rows, n, seed))
        logits = draw.narrow(np.asarray(draw.rng.standard_normal((rows, n)) * 3))
        options = per_row(op) if labelled(op) else {}
        call = Batch(self.batch.op, form.name, self.batch.regime, dress(op, draw, logits, plain=True), options)
        return self.fails(call)
