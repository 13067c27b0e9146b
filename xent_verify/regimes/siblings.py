"""Regimes of the sibling operations: every value of a narrow format, temperatures, weights of elementwise losses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from xent_verify.model import Batch
from xent_verify.regimes.regime import Context
from xent_verify.regimes.rows import Maker, common_offset, dominated, ordinary, overflow_edge, wide_spread

__all__ = ["element_options", "every_value", "temperatures"]

_SWEEP = 4096


def every_value(context: Context) -> Iterator[Batch]:
    """All values of a format where that is cheap, an even sweep of its ordinals where not; -0 and NaN included."""
    fmt = context.draw.fmt
    top = fmt.max_ordinal
    if 2 * top < 1000 or (fmt.bits <= 16 and context.profile.name != "quick"):
        ordinals = np.arange(-top, top + 1)
    else:
        ordinals = (np.linspace(-1.0, 1.0, _SWEEP) * (top / 2)).astype(np.int64) * 2
    values = fmt.widen(fmt.from_ordinal(ordinals))
    yield context.batch(np.concatenate([values, [-0.0, np.nan]]))


_TEMPERATURES = (0.5, 2.0, 0.7, 3.0, 1e-3, 1e3, 1.0, 2.0**-10)


def temperatures(context: Context) -> Iterator[Batch]:
    """Powers of two and others, small and large, over ordinary rows, offsets and the edges of exp."""
    makers: tuple[Maker, ...] = (ordinary, common_offset, overflow_edge, dominated, wide_spread)
    rows = max(context.profile.rows // 4, 8)
    for maker, temperature in product(makers, _TEMPERATURES):
        yield context.batch(maker(context.draw, rows, 5), options={"temperature": temperature})


def element_options(context: Context) -> Iterator[Batch]:
    """weight, pos_weight and reduction, alone and together."""
    draw = context.draw
    for shape in ((7,), (4, 5)):
        weight = draw.narrow(draw.rng.uniform(0.0, 3.0, shape) * (draw.rng.random(shape) < 0.8))
        positive = draw.narrow(draw.rng.uniform(0.1, 5.0, shape[-1:]))
        single: list[dict[str, Any]] = [{}, {"weight": weight}, {"pos_weight": positive}]
        single.append({"weight": weight, "pos_weight": positive})
        for options, reduction in product(single, ("none", "mean", "sum")):
            x = draw.narrow(10.0 * draw.rng.standard_normal(shape))
            inputs = context.call.dress(draw, x)
            chosen = options if reduction == "mean" else {**options, "reduction": reduction}
            yield context.around(inputs, options=chosen)
