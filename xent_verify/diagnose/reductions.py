"""Mistakes of adding losses up: blocks, narrow totals, rows left out."""

from __future__ import annotations

from collections.abc import Iterator

import ml_dtypes
import numpy as np

from xent_verify.diagnose.case import Case, Prediction
from xent_verify.diagnose.losses import class_ids, row_losses
from xent_verify.diagnose.mistake import Mistake

__all__ = ["MISTAKES"]

_BLOCKS = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def _totals(case: Case) -> Iterator[Prediction]:
    """Rows added up in another way, or in a narrow format."""
    if case.task.reduction == "none":
        return
    losses, terms = row_losses(case), case.terms_of_loss
    count, divisor = len(losses), terms.masses.sum() if case.task.reduction == "mean" else 1
    for name, dtype in (
        ("float16", np.dtype(np.float16)),
        ("bfloat16", np.dtype(ml_dtypes.bfloat16)),
        ("float32", np.dtype(np.float32)),
    ):
        if dtype.itemsize < case.dtype.itemsize:
            narrow = losses.astype(dtype)
            total = narrow.astype(case.dtype).sum().astype(dtype)
            yield (
                f"the total stored in {name} before the division",
                case.placed(np.asarray(total.astype(case.dtype) / divisor)),
            )
            yield (
                f"losses stored in {name} before they are added",
                case.placed(np.asarray(narrow.astype(case.dtype).sum() / divisor)),
            )
            running = np.asarray(np.add.accumulate(narrow, dtype=dtype)[-1])
            yield f"the total as a running sum in {name}", case.placed(running.astype(case.dtype) / divisor)
            counted = np.asarray(np.add.accumulate(terms.live[terms.live].astype(dtype), dtype=dtype)[-1:]).astype(
                case.dtype
            )
            if case.task.weight is None and counted.size and counted[0] != divisor:
                words = f"the rows counted in {name} ({float(counted[0]):g})"
                yield words, case.placed(np.asarray(losses.sum() / counted[0]))
            product = narrow.sum(dtype=dtype) if dtype == np.float16 else running
            yield f"the total in {name}, pairwise", case.placed(np.asarray(product).astype(case.dtype) / divisor)
    yield "the total as a running sum", case.placed(np.asarray(np.cumsum(losses.astype(case.dtype))[-1] / divisor))
    for block in _BLOCKS:
        if block < count and count % block:
            kept = count // block * block
            words = f"the last, partial block of {block} rows left out"
            yield words, case.placed(np.asarray(losses[:kept].sum() / divisor))
            yield (
                f"{words} of sum and divisor",
                case.placed(np.asarray(losses[:kept].sum() / terms.masses[:kept].sum())),
            )
            starts = np.arange(0, count, block)
            means = np.add.reduceat(losses, starts) / np.add.reduceat(terms.masses, starts)
            yield f"the mean of the means of blocks of {block} rows", case.placed(np.asarray(np.mean(means)))


def _rows_dropped(case: Case) -> Iterator[Prediction]:
    """Per-row losses with rows at 0."""
    if case.task.reduction != "none":
        return
    count = len(case.rows)
    for block in _BLOCKS:
        if block < count and count % block:
            blank = np.where(np.arange(count) < count // block * block, case.true, 0)
            yield f"0 in the last, partial block of {block} rows", blank
    _, live = class_ids(case) if not case.task.soft else (None, np.ones(count, np.bool_))
    if not live.all():
        kept = np.zeros(count)
        kept[: int(live.sum())] = case.true[live]
        yield "the losses that count moved to the front", kept


MISTAKES: tuple[Mistake, ...] = (
    Mistake("totals", "losses are added up wrongly", _totals, "loss", whole=True),
    Mistake("rows-dropped", "rows are left out", _rows_dropped, "loss", whole=True),
)
