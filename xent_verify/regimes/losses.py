"""Regimes of the losses: masks beside labels and on them, rows to ignore, reductions over many rows and to large sums."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from xent_verify.core.model import Batch
from xent_verify.regimes.calls import (
    class_targets,
    dress,
    labelled_inputs,
    named,
    per_row,
    probability_targets,
    takes_probabilities,
)
from xent_verify.regimes.regime import Context
from xent_verify.regimes.rows import (
    Maker,
    common_offset,
    dominated,
    largest,
    ordinary,
    overflow_edge,
    ties,
    underflow_edge,
    very_negative,
    wide_spread,
)
from xent_verify.regimes.specials import masks

__all__ = [
    "default_call",
    "ignored_rows",
    "masked_classes",
    "masked_label",
    "probabilities",
    "reductions",
    "square",
    "sum_leaves_format",
]

_TELLING: tuple[Maker, ...] = (
    overflow_edge,
    underflow_edge,
    common_offset,
    dominated,
    very_negative,
    wide_spread,
    ties,
    largest,
)


def default_call(context: Context) -> Iterator[Batch]:
    """No options at all: one row, then a mean over a few, from the telling value regimes."""
    makers = (*_TELLING, masks) if context.draw.fmt.has_inf else _TELLING
    for rows in (1, 4):
        for maker in makers:
            yield context.around(dress(context.op, context.draw, context.draw.narrow(maker(context.draw, rows, 3))))


def square(context: Context) -> Iterator[Batch]:
    """As many rows as classes: labels, samples and classes can be mistaken for one another."""
    for n in (1, 2, 3, 5):
        logits = context.draw.narrow(ordinary(context.draw, n, n))
        dense = [probability_targets(context.draw, logits)] if takes_probabilities(context.op) else []
        for target in (class_targets(context.draw, logits), np.arange(n)[::-1], *dense):
            yield context.around(labelled_inputs(context.op, context.draw, logits, target))


def probabilities(context: Context) -> Iterator[Batch]:
    """Probability targets: dense, one-hot, uniform, sparse, on the least likely class; zeros on masked logits."""
    makers: tuple[Maker, ...] = (ordinary, dominated, wide_spread, common_offset)
    if context.draw.fmt.has_inf:
        makers = (*makers, masks)
    for maker in makers:
        for n in context.profile.widths:
            logits = context.draw.narrow(maker(context.draw, max(context.profile.rows // 2, 1), n))
            inputs = labelled_inputs(context.op, context.draw, logits, probability_targets(context.draw, logits))
            yield context.around(inputs, options=per_row(context.op))
    if per_row(context.op):
        yield context.around(inputs)


def masked_classes(context: Context) -> Iterator[Batch]:
    """-inf logits beside the label: they contribute nothing. With smoothing -inf times 0 is asked: a convention."""
    inputs = dress(context.op, context.draw, context.draw.narrow(masks(context.draw, 12, 5)))
    for reduction in ("none", "sum", "mean"):
        yield context.around(inputs, options=dict.fromkeys(named(context.op, "reduction"), reduction))
    for name in named(context.op, "share"):
        for share in (0.1, 1.0):
            yield context.around(inputs, options={**per_row(context.op), name: share}, aspect="special")


def masked_label(context: Context) -> Iterator[Batch]:
    """The label's own logit is -inf: the loss is +inf, the gradient there -1."""
    logits = context.draw.narrow(masks(context.draw, 12, 5))
    labels = np.isneginf(context.draw.fmt.widen(logits)).argmax(axis=1)
    yield context.around(labelled_inputs(context.op, context.draw, logits, labels), options=per_row(context.op))


def reductions(context: Context) -> Iterator[Batch]:
    """Mean and sum over counts that narrow counters and sums do not hold."""
    most = 3000 if context.profile.every < 1024 else 10**6
    for rows in (257, 1025, 2100, 65537):
        if rows <= most:
            inputs = dress(context.op, context.draw, context.draw.narrow(ordinary(context.draw, rows, 2)))
            for reduction in ("mean", "sum"):
                yield context.around(inputs, options=dict.fromkeys(named(context.op, "reduction"), reduction))


def sum_leaves_format(context: Context) -> Iterator[Batch]:
    """Losses whose sum, or weighted loss, is beyond the largest value although losses and mean are far below it."""
    top = context.draw.fmt.max_finite
    loss = float(context.draw.fmt.widen(context.draw.narrow(max(top / 1024.0, 8.0))))
    rows = math.ceil(1.2 * (top / loss)) + 1
    logits = context.draw.narrow(np.tile([loss, 0.0], (rows, 1)))
    inputs = labelled_inputs(context.op, context.draw, logits, np.ones(rows, dtype=np.int64))
    yield context.around(inputs)
    for name in named(context.op, "share"):
        yield context.around(inputs, options={name: 0.1})
    yield context.around(inputs, options=dict.fromkeys(named(context.op, "reduction"), "sum"))
    root = 2.0 ** (context.draw.fmt.e_max // 2 + 2)
    two = context.draw.narrow([[root, 0.0], [0.0, 1.0]])
    heavy = labelled_inputs(context.op, context.draw, two, np.array([1, 0]))
    for name in named(context.op, "class_weights"):
        yield context.around(heavy, options={name: context.draw.narrow([1.0, root])})


def ignored_rows(context: Context) -> Iterator[Batch]:
    """Rows that are ignored hold NaN, infinities and the largest values: nothing of them may come out."""
    draw, (name,) = context.draw, named(context.op, "ignored_label")
    top = draw.fmt.max_finite
    anything = np.array([[np.nan, 0.0, 1.0], [top, -top, 0.0], [np.inf, 0.0, -np.inf], [-np.inf, -np.inf, -np.inf]])
    if not draw.fmt.has_nan:
        anything = np.array([[top, -top, 0.0]])
    for rows in (anything, anything[:1], anything[2:]) if draw.fmt.has_inf else (anything[:2],):
        logits = draw.narrow(np.concatenate([ordinary(draw, 2, 3), rows]))
        labels = np.array([1, 2] + [context.op.options[name].default] * len(rows))
        for reduction in ("none", "sum", "mean"):
            options = dict.fromkeys(named(context.op, "reduction"), reduction)
            yield context.around(labelled_inputs(context.op, context.draw, logits, labels), options=options)
