"""Options of a loss over telling rows: faults that need both, such as smoothing over logits with a huge offset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from xent_verify.model import Batch
from xent_verify.regimes.calls import class_targets, probability_targets
from xent_verify.regimes.draw import Draw
from xent_verify.regimes.regime import Context
from xent_verify.regimes.rows import (
    Maker,
    common_offset,
    dominated,
    mixed_scale,
    ordinary,
    overflow_edge,
    positions,
    underflow_edge,
    very_negative,
    wide_spread,
)

__all__ = ["options_over_values"]

_MAKERS: tuple[Maker, ...] = (
    ordinary,
    common_offset,
    dominated,
    overflow_edge,
    underflow_edge,
    wide_spread,
    very_negative,
    mixed_scale,
    positions,
)


def _weight(draw: Draw, classes: int) -> Any:
    return draw.narrow(draw.rng.uniform(0.125, 3.0, classes))


_SETTINGS: tuple[Callable[[Draw, int], dict[str, Any]], ...] = (
    lambda _draw, _n: {"label_smoothing": 0.37},
    lambda _draw, _n: {"label_smoothing": 1.0},
    lambda draw, n: {"weight": _weight(draw, n)},
    lambda draw, n: {"weight": _weight(draw, n), "label_smoothing": 0.25},
    lambda _draw, _n: {"ignore_index": 1},
    lambda _draw, _n: {"ignore_index": 0, "label_smoothing": 0.5},
    lambda draw, n: {"ignore_index": n - 1, "label_smoothing": 0.25, "weight": _weight(draw, n)},
)


def options_over_values(context: Context) -> Iterator[Batch]:
    """Every telling maker under every setting, per row; class indices and, where they can be, probabilities."""
    quick = context.profile.name == "quick"
    rows = 10 if quick else 30
    for n in context.profile.widths[: 1 if quick else 2]:
        for maker in _MAKERS:
            for setting in _SETTINGS:
                draw = context.draw
                logits = draw.narrow(maker(draw, rows, n))
                options = {**setting(draw, n), "reduction": "none"}
                yield context.around({"logits": logits, "target": class_targets(draw, logits)}, options=options)
                if "ignore_index" not in options and maker in (common_offset, dominated, wide_spread):
                    target = probability_targets(draw, logits)
                    yield context.around({"logits": logits, "target": target}, options=options)
