"""Regimes of the losses: targets of every kind, options alone and together, reductions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.formats import IntArray
from xent_verify.model import Batch
from xent_verify.regimes.calls import class_targets, probability_targets
from xent_verify.regimes.draw import Draw
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
from xent_verify.regimes.shapes import structured
from xent_verify.regimes.specials import masks

__all__ = [
    "default_call",
    "ignored_rows",
    "index_types",
    "masked_classes",
    "masked_target",
    "option_table",
    "probabilities",
    "reductions",
    "square",
    "sum_leaves_format",
    "wide_options",
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
            logits = context.draw.narrow(maker(context.draw, rows, 3))
            yield context.around({"logits": logits, "target": class_targets(context.draw, logits)})


_INDEX_TYPES: tuple[tuple[str, int, int], ...] = (
    ("int8", 4, 128),
    ("uint8", 4, 256),
    ("int16", 4, 300),
    ("uint16", 3, 2100),
    ("int32", 3, 2100),
    ("uint32", 4, 300),
    ("int64", 4, 300),
    ("uint64", 4, 300),
    ("int8", 300, 5),
    ("uint8", 300, 5),
    ("int16", 7000, 5),
    ("uint16", 2, 65440),
)
"""dtype, rows, classes. 300 x 5 does not fit an 8-bit product, 7000 x 5 no 16-bit one; 65440 holds 2**16 - 100."""

_TELLING_IDS = (2049, 2**8 - 100, 2**16 - 100, 255, 256, 127)
"""Class ids that a conversion to a narrower type, or of the default ignore_index, would change."""


def index_types(context: Context) -> Iterator[Batch]:
    """Targets of every integer type, with the ids in use that a careless conversion changes."""
    largest_batch = 8000 if context.profile.name == "quick" else 10**6
    forms: tuple[dict[str, Any], ...] = ({"reduction": "none"}, {}) if context.op == "cross_entropy" else ({},)
    for k, (name, rows, classes) in enumerate(_INDEX_TYPES):
        if rows * classes > largest_batch:
            continue
        logits = context.draw.narrow(3.0 * context.draw.rng.standard_normal((rows, classes)))
        ids = [k for k in _TELLING_IDS if k < min(classes, np.iinfo(name).max + 1)]
        target = context.draw.rng.integers(0, classes, rows)
        known = [classes - 1, *ids][:rows]
        target[: len(known)] = known
        yield context.around({"logits": logits, "target": target.astype(name)}, options=forms[k % len(forms)])


def square(context: Context) -> Iterator[Batch]:
    """As many rows as classes: indices, samples and classes can be mistaken for one another."""
    for n in (1, 2, 3, 5):
        logits = context.draw.narrow(ordinary(context.draw, n, n))
        dense = probability_targets(context.draw, logits)
        for target in (class_targets(context.draw, logits), np.arange(n)[::-1], dense):
            yield context.around({"logits": logits, "target": target})


def probabilities(context: Context) -> Iterator[Batch]:
    """Probability targets: dense, one-hot, uniform, sparse, on the least likely class; zeros on masked logits.

    The gradient is asked for targets that add up to less than 1, too: there p sum(y) - y is not p - y.
    """
    makers: tuple[Maker, ...] = (ordinary, dominated, wide_spread, common_offset)
    if context.draw.fmt.has_inf:
        makers = (*makers, masks)
    for maker, n in product(makers, context.profile.widths):
        logits = context.draw.narrow(maker(context.draw, max(context.profile.rows // 2, 1), n))
        inputs = {"logits": logits, "target": probability_targets(context.draw, logits)}
        yield context.around(inputs, options=dict(context.call.options or {}))
    if context.op == "cross_entropy":
        yield context.around(inputs)
    else:
        share = context.draw.cycle((0.5, 0.25, 0.75), len(logits))
        partial = context.draw.narrow(context.draw.fmt.widen(inputs["target"]) * share)
        yield context.around({"logits": logits, "target": partial})


def masked_classes(context: Context) -> Iterator[Batch]:
    """-inf logits beside the target: they contribute nothing. With smoothing -inf times 0 is asked: a convention."""
    logits = context.draw.narrow(masks(context.draw, 12, 5))
    inputs = {"logits": logits, "target": class_targets(context.draw, logits)}
    for options in ({"reduction": "none"}, {"reduction": "sum"}, {}):
        yield context.around(inputs, options=options)
    for smoothing in (0.1, 1.0):
        yield context.around(inputs, options={"reduction": "none", "label_smoothing": smoothing}, aspect="special")


def masked_target(context: Context) -> Iterator[Batch]:
    """The target's own logit is -inf: the loss is +inf, the gradient there -1."""
    logits = context.draw.narrow(masks(context.draw, 12, 5))
    target = np.isneginf(context.draw.fmt.widen(logits)).argmax(axis=1)
    yield context.around({"logits": logits, "target": target}, options=dict(context.call.options or {}))


def wide_options(context: Context) -> Iterator[Batch]:
    """Options on wide rows: smoothing over sharded vocabularies, weights over padded ones."""
    for n in (65, 513, 2049):
        logits = context.draw.narrow(structured(context.draw, 2, n, first=8))
        inputs = {"logits": logits, "target": class_targets(context.draw, logits)}
        weight = context.draw.narrow(context.draw.rng.uniform(0.5, 2.0, n))
        for options in ({"label_smoothing": 0.1}, {"weight": weight}, {"label_smoothing": 0.1, "weight": weight}):
            yield context.around(inputs, options={"reduction": "none", **options})


def reductions(context: Context) -> Iterator[Batch]:
    """Mean and sum over counts that narrow counters and sums do not hold."""
    most = 3000 if context.profile.name == "quick" else 10**6
    for rows in (257, 1025, 2100, 65537):
        if rows > most:
            continue
        logits = context.draw.narrow(ordinary(context.draw, rows, 2))
        inputs = {"logits": logits, "target": class_targets(context.draw, logits)}
        for options in ({}, {"reduction": "sum"}):
            yield context.around(inputs, options=options)


def sum_leaves_format(context: Context) -> Iterator[Batch]:
    """Losses whose sum, or weighted loss, is beyond the largest value although losses and mean are far below it."""
    top = context.draw.fmt.max_finite
    loss = float(context.draw.fmt.widen(context.draw.narrow(max(top / 1024.0, 8.0))))
    rows = math.ceil(1.2 * (top / loss)) + 1
    logits = context.draw.narrow(np.tile([loss, 0.0], (rows, 1)))
    inputs = {"logits": logits, "target": np.ones(rows, dtype=np.int64)}
    for options in ({}, {"label_smoothing": 0.1}, {"reduction": "sum"}):
        yield context.around(inputs, options=options)
    root = 2.0 ** (context.draw.fmt.e_max // 2 + 2)
    heavy = {"logits": context.draw.narrow([[root, 0.0], [0.0, 1.0]]), "target": np.array([1, 0])}
    yield context.around(heavy, options={"weight": context.draw.narrow([1.0, root])})


def ignored_rows(context: Context) -> Iterator[Batch]:
    """Rows that are ignored hold NaN, infinities and the largest values: nothing of them may come out."""
    draw = context.draw
    top = draw.fmt.max_finite
    anything = np.array([[np.nan, 0.0, 1.0], [top, -top, 0.0], [np.inf, 0.0, -np.inf], [-np.inf, -np.inf, -np.inf]])
    for rows in (anything, anything[:1], anything[2:]) if draw.fmt.has_inf else (anything[:2],):
        logits = draw.narrow(np.concatenate([ordinary(draw, 2, 3), rows]))
        target = np.array([1, 2] + [-100] * len(rows))
        for options in ({"reduction": "none"}, {"reduction": "sum"}, {}):
            yield context.around({"logits": logits, "target": target}, options=options)


_FACTORS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "reduction": (("none", "sum"), ()),
    "label_smoothing": (("0.1",), ("0.5", "1.0")),
    "weight": (("varied", "zeros"), ("tiny", "huge")),
    "ignore_index": (("default", "zero"), ("last", "negative", "unused", "all")),
    "shape": (("one row", "square"), ()),
    "target": (("probabilities", "uint8"), ()),
}
"""What can differ from a plain call: core levels, tried together; others, tried alone (in larger profiles together)."""

_TRIPLES = ("reduction", "label_smoothing", "weight", "ignore_index", "shape")

_IMPOSSIBLE = {("target", "probabilities"): None, ("target", "uint8"): ("default", "negative", "all")}
"""Targets that cannot hold these kinds of ignored index (None: any)."""

_IGNORED: Mapping[str, int] = {"default": -100, "zero": 0, "last": 4, "negative": -1, "unused": 255, "all": -100}


def _settings(strength: int) -> Iterator[dict[str, str]]:
    """The plain call, every level alone, then pairs, triples … up to ``strength``: of core levels there, before that
    with at most one other level among them."""
    for size in range(strength + 1):
        others = 1 if size in (1, strength - 1) else 0
        for names in combinations(_FACTORS if size < 3 else _TRIPLES, size):
            for levels in product(*(_FACTORS[name][0] + _FACTORS[name][1] for name in names)):
                setting = dict(zip(names, levels, strict=True))
                rare = sum(level not in _FACTORS[name][0] for name, level in setting.items())
                if rare <= others and _possible(setting):
                    yield setting


def _possible(setting: Mapping[str, str]) -> bool:
    barred = _IMPOSSIBLE.get(("target", setting.get("target", "")), ())
    ignored = setting.get("ignore_index")
    return ignored is None or (barred is not None and ignored not in barred)


def option_table(context: Context) -> Iterator[Batch]:
    for setting in _settings(context.profile.options):
        yield _call(context, setting)


def _call(context: Context, setting: Mapping[str, str]) -> Batch:
    draw, classes = context.draw, 5
    rows = {"one row": 1, "square": classes}.get(setting.get("shape", ""), 7)
    logits = draw.narrow(ordinary(draw, rows, classes))
    options: dict[str, Any] = {}
    if "reduction" in setting:
        options["reduction"] = setting["reduction"]
    if "label_smoothing" in setting:
        options["label_smoothing"] = float(setting["label_smoothing"])
    if "weight" in setting:
        options["weight"] = _weight(draw, classes, setting["weight"])
    target: NDArray[Any] = draw.rng.integers(0, classes, rows)
    if setting.get("target") == "probabilities":
        target = probability_targets(draw, logits)
    elif setting.get("target") == "uint8":
        target = target.astype(np.uint8)
    if "ignore_index" in setting:
        target = _ignore(target, setting["ignore_index"], options)
    return context.around({"logits": logits, "target": target}, options=options)


def _weight(draw: Draw, classes: int, kind: str) -> NDArray[Any]:
    varied = draw.rng.uniform(0.25, 4.0, classes)
    match kind:
        case "zeros":
            varied[1::2] = 0.0
        case "tiny":
            varied = varied * 2.0 ** (draw.fmt.e_min // 2)
        case "huge":
            varied = varied * 2.0 ** (draw.fmt.e_max // 2)
    return draw.narrow(varied)


def _ignore(target: IntArray, kind: str, options: dict[str, Any]) -> IntArray:
    """Targets some of which are to be ignored; the option goes in where it is not the default."""
    ignored = _IGNORED[kind]
    if ignored != -100:
        options["ignore_index"] = ignored
    result = target.copy()
    if kind == "all":
        result[:] = ignored
    elif kind != "unused" and len(target) > 1:
        result[1::3] = ignored
    return result
