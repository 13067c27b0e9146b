"""Regimes of size, shape, axis, memory layout and call order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xent_verify.core.formats import FORMATS, FloatArray
from xent_verify.core.model import LAYOUTS, Batch
from xent_verify.regimes.calls import dress, named, per_row
from xent_verify.regimes.draw import Draw
from xent_verify.regimes.portable import log
from xent_verify.regimes.regime import Context
from xent_verify.regimes.rows import (
    Maker,
    common_offset,
    dominated,
    mixed_scale,
    ordinary,
    overflow_edge,
    underflow_edge,
    very_negative,
    wide_spread,
)
from xent_verify.regimes.specials import masks

__all__ = [
    "Over",
    "axes",
    "empty",
    "layouts",
    "long_rows",
    "many_rows",
    "many_vectors",
    "named_sizes",
    "ranks",
    "sizes",
    "state",
    "structured",
    "telling",
]

Structure = Callable[[Draw, int], FloatArray]


@dataclass(frozen=True, slots=True)
class Over:
    """Builds batches of one maker's rows at each of the profile's widths (fewer rows where they are long)."""

    maker: Maker
    widths: str = "widths"
    only: tuple[int, ...] = ()
    also: tuple[int, ...] = ()

    def __call__(self, context: Context) -> Iterator[Batch]:
        most = context.profile.rows
        for n in self.only or {**dict.fromkeys(getattr(context.profile, self.widths)), **dict.fromkeys(self.also)}:
            rows = max(min(most, 100 * most // max(n, 1)), min(most, 8))
            yield context.batch(self.maker(context.draw, rows, n))


def _flat(draw: Draw, n: int) -> FloatArray:  # noqa: ARG001  (the table's signature)
    """Equal terms that are not 1, so that every addition rounds; the last logit can be told from the others."""
    row = np.full(n, 0.7)
    row[:1] = 1.0
    row[-1:] = 0.0
    return row


def _equal_low(draw: Draw, n: int) -> FloatArray:  # noqa: ARG001
    return np.full(n, -40.0)


def _balanced(draw: Draw, n: int) -> FloatArray:  # noqa: ARG001
    """Beyond the last power of two the terms outweigh or balance all before: whoever loses that tail is far off."""
    border = 2 ** max((n - 1).bit_length() - 1, 0)
    row = np.zeros(n)
    if border < n:
        row[border:] = log(border / (n - border))
    return row


def _rising(draw: Draw, n: int) -> FloatArray:  # noqa: ARG001
    """The maximum grows from chunk to chunk, whatever the chunk."""
    return np.linspace(0.0, 20.0, n)


def _falling(draw: Draw, n: int) -> FloatArray:
    return _rising(draw, n)[::-1]


def _small_terms(draw: Draw, n: int) -> FloatArray:  # noqa: ARG001
    """One term of 1, then many that together make 1: a narrow running sum never leaves 1."""
    row = np.full(n, -log(max(n - 1, 1)))
    row[:1] = 0.0
    return row


def _bulk(draw: Draw, n: int) -> FloatArray:
    """One term of 1 and many that no one would miss alone: together they are some times what a sum of n may lose."""
    u = min(draw.fmt.unit_roundoff, FORMATS["float32"].unit_roundoff)
    row = np.full(n, -log(max(n - 1, 1) / (4 * (256 + n / 32) * u)))
    row[:1] = 0.0
    return row


def _last_is_max(draw: Draw, n: int) -> FloatArray:
    row = draw.rng.uniform(-1.0, 0.0, n)
    row[-1:] = 3.0 + log(max(n, 1))
    return row


def _late_peak(draw: Draw, n: int) -> FloatArray:  # noqa: ARG001
    """A maximum that only the last element has, too high for a shift that missed it."""
    row = np.zeros(n)
    row[-1:] = 1000.0
    return row


def _halves(draw: Draw, n: int) -> FloatArray:  # noqa: ARG001
    """Two halves at different levels: what only one shard sees shows."""
    return np.where(np.arange(n) < n // 2, 0.0, 5.0)


def _scatter(draw: Draw, n: int) -> FloatArray:
    return 3.0 * draw.rng.standard_normal(n)


STRUCTURES: tuple[Structure, ...] = (
    _flat,
    _balanced,
    _late_peak,
    _bulk,
    _rising,
    _falling,
    _small_terms,
    _scatter,
    _last_is_max,
    _halves,
    _equal_low,
)


def structured(draw: Draw, rows: int, n: int, *, first: int = 0) -> FloatArray:
    """Rows of the structures above, in turn from ``first``."""
    chosen = [STRUCTURES[(first + k) % len(STRUCTURES)](draw, n) for k in range(rows)]
    return np.array(chosen, dtype=np.float64).reshape(rows, n)


def sizes(context: Context) -> Iterator[Batch]:
    """Every width of the profile, four structures each: a different four from width to width, a low row always."""
    for k, n in enumerate(context.profile.sizes):
        rows = structured(context.draw, 4, n, first=k)
        low = _equal_low(context.draw, n)[None]
        yield context.batch(np.concatenate([rows, low]))


def named_sizes(context: Context) -> Iterator[Batch]:
    """Row lengths that the caller named, and one more and one less: every structure while a batch stays small."""
    for k, n in enumerate(context.profile.named):
        rows = int(np.clip(200_000 // n, 2, len(STRUCTURES)))
        for m in sorted({max(n - 1, 1), n, n + 1}):
            yield context.batch(structured(context.draw, rows, m, first=k * rows))


_JUDGED = 20_000
"""Longer rows are swept."""


def long_rows(context: Context) -> Iterator[Batch]:
    """Where classes have numbers, the first row asks for the last."""
    for n, rows in context.profile.long:
        aspect = "sweep" if n > _JUDGED else None
        yield context.batch(structured(context.draw, rows, n), plain=True, aspect=aspect)


def many_rows(context: Context) -> Iterator[Batch]:
    """Ordinary rows between rows of very different level: what blocks of rows share shows."""
    for rows in context.profile.many:
        n = 2 if rows > 2000 else 3
        second = len(named(context.op, "row")) > 1 and context.op.formula is None
        far = second and rows > 2000  # two rows that nearly agree cost the exact tier: here none do
        plain = context.draw.cycle((True, False), rows)
        logits = ordinary(context.draw, rows, n)
        if not far:
            logits = np.where(plain, logits, mixed_scale(context.draw, rows, n))
        yield context.batch(logits, plain=far)


_VECTORS = (1, 7, 31, 33, 63, 64, 65, 100, 127, 129, 200, 257, 400, 513)
_MORE_VECTORS = (700, 1000, 1023, 1025, 1500, 2049, 3000, 4097)
"""How many vectors: at, below and above the blocks and shards of kernels."""


def many_vectors(context: Context) -> Iterator[Batch]:
    """Rows (1, a, b) against vectors whose first number is a structured logit: blocks, shards, tails, running maxima.

    Of the first row a and b are 0, so that its scores are those logits: many equal ones among them.
    """
    draw, op = context.draw, context.op
    counts = _VECTORS if context.profile.name == "quick" else _VECTORS + _MORE_VECTORS
    for turn, k in enumerate(counts):
        for first in (0, 4, 8) if k < 2000 else (turn,):
            rows = structured(draw, 4, k, first=turn + first)
            for row in rows if k < 300 else rows[:2]:
                x = np.concatenate([np.ones((3, 1)), 0.25 * draw.rng.standard_normal((3, 2))], axis=1)
                x[0, 1:] = 0.0
                vectors = np.concatenate([row[:, None], draw.rng.standard_normal((k, 2))], axis=1)
                inputs = dress(op, draw, draw.narrow(x), matrix=draw.narrow(vectors))
                options = per_row(op) if first else {}
                yield context.around(inputs, options=options)


_SHAPES: tuple[tuple[tuple[int, ...], tuple[int | None, ...]], ...] = (
    ((5,), (None, 0, -1)),
    ((1,), (None,)),
    ((4, 3), (None, 0, 1, -2)),
    ((3, 3), (0, -1)),
    ((2, 3, 4), (None, 0, 1, -2, -3)),
    ((3, 3, 3), (0, 1)),
    ((2, 3, 4, 5), (None, 0, 1, 2, -2, -3, -4)),
    ((1, 5), (None, 0)),
    ((5, 1), (None, 0)),
    ((2, 1, 3), (1, -1)),
    ((2, 2, 2, 3, 3), (None, 0, 2, -2)),
    ((2, 1, 2, 3, 2, 2), (None, 3)),
)
"""Shapes and axes (None: not given)."""


def axes(context: Context) -> Iterator[Batch]:
    """No dimension to six, every axis by both of its names, squares and axes of size 1."""
    if not context.op.by_row:
        yield context.batch(np.full((), 1.5))
    for shape, names in _SHAPES:
        if len(shape) != 2 and not context.any_shape:
            continue
        for axis in names if context.has_axis else (None,):
            x = ordinary(context.draw, math.prod(shape), 1).reshape(shape)
            yield context.batch(x, options={} if axis is None else {"axis": axis})


_TELLING: tuple[Maker, ...] = (
    ordinary,
    mixed_scale,
    overflow_edge,
    underflow_edge,
    common_offset,
    very_negative,
    masks,
    wide_spread,
    dominated,
)
_DRAWN = 12


def telling(draw: Draw, rows: int, n: int, batches: int = 1, *, masked: bool = True) -> list[FloatArray]:
    """Batches of rows of the makers above, in turn and from batch to batch: each among others of another level."""
    makers = [maker for maker in _TELLING if maker is not masks or (masked and draw.fmt.has_inf)]
    each = max(_DRAWN, -(-rows * batches // len(makers)))
    drawn = [draw.rng.permutation(maker(draw, each, n)) for maker in makers]
    chosen = [drawn[k % len(makers)][k // len(makers)] for k in range(rows * batches)]
    return list(np.array(chosen, dtype=np.float64).reshape(batches, rows, n))


def _in_turn(context: Context, shape: tuple[int, ...], axis: int) -> Iterator[FloatArray]:
    """Arrays of a shape with telling rows along an axis, until every maker has had its row."""
    outer = tuple(np.delete(shape, axis))
    rows = math.prod(outer)
    for flat in telling(context.draw, rows, shape[axis], -(-len(_TELLING) // rows)):
        yield np.moveaxis(flat.reshape(*outer, shape[axis]), -1, axis)


_RANKS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((6,), (-1,)),
    ((5, 4), (0, -2)),
    ((2, 3, 5), (-1, 0, 1, -2)),
    ((4, 2, 300), (-1,)),
    ((2, 3, 2, 4), (-1, 1, -3, -4)),
    ((3, 3, 3), (0, 1)),
    ((2, 2, 2, 2, 4), (-1, 0)),
    ((2, 2, 2, 2, 3, 3), (-1, -2)),
)
_LARGE_RANKS: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((2, 300, 111), (-1,)),
    ((3, 111, 200), (1,)),
    ((300, 2, 2, 57), (-1,)),
)
"""More than 2**16 elements in three and four dimensions."""


def ranks(context: Context) -> Iterator[Batch]:
    """One to six dimensions and every axis again, with rows that an unshifted or wrongly shared step would destroy."""
    if not context.any_shape:
        return
    for shape, names in _RANKS if context.profile.name == "quick" else _RANKS + _LARGE_RANKS:
        for axis in names if context.has_axis else (-1,):
            for x in _in_turn(context, shape, axis):
                aspect = "sweep" if x.size > 10_000 else None
                yield context.batch(x, options={} if axis == -1 else {"axis": axis}, aspect=aspect)


_EQUAL: Mapping[str, Any] = {"broadcast": np.s_[:1], "one_column": np.s_[..., :1]}
"""Layouts that need equal values along an axis, and where those are taken from."""


def layouts(context: Context) -> Iterator[Batch]:
    """The same kinds of numbers as real views: transposed, sliced, strided, reversed, repeated, read-only."""
    shapes: list[tuple[tuple[int, ...], int | None]] = [((5, 7), None)]
    if context.any_shape:
        shapes += [((3, 4, 6), 1 if context.has_axis else None), ((12,), None)]
    if context.has_axis:
        shapes += [((7, 5), 0)]
    if context.profile.name != "quick":
        shapes += [((33, 65), None), ((3, 2050), None)]
    for shape, axis in shapes:
        for layout in LAYOUTS[1:]:
            x = ordinary(context.draw, math.prod(shape), 1).reshape(shape)
            x = np.broadcast_to(x[_EQUAL.get(layout, ...)], shape)
            yield context.batch(x, layout=layout, options={} if axis is None else {"axis": axis})
    for layout in (name for name in LAYOUTS[1:] if name not in _EQUAL):
        for x in _in_turn(context, (5, 7), -1):
            yield context.batch(x, layout=layout)
            for name in named(context.op, "class_weights"):
                weight = context.draw.narrow(np.linspace(0.25, 2.0, 7))
                yield context.batch(x, layout=layout, options={name: weight})


def state(context: Context) -> Iterator[Batch]:
    """Calls that differ from the one before in one thing only: values, scale, mask, width, and back again."""
    low = -np.inf if context.draw.fmt.has_inf else context.draw.lowest
    for rows, n, offset, masked in (
        (5, 7, 0.0, 0),
        (5, 7, 1000.0, 0),
        (5, 7, -1000.0, 3),
        (5, 7, 0.0, 0),
        (5, 9, 50.0, 0),
        (5, 4, 0.0, 0),
        (2, 7, 0.0, 0),
        (5, 7, 0.0, 0),
    ):
        x = ordinary(context.draw, rows, n) + offset
        x[:, :masked] = low
        yield context.batch(x)


def empty(context: Context) -> Iterator[Batch]:
    """No rows, or rows of no logits."""
    shapes: list[tuple[int, ...]] = [(0, 5)]
    if context.any_shape:
        shapes += [(2, 0), (0,), (2, 0, 3), (0, 2, 3), (2, 3, 0)]
    for shape in shapes:
        yield context.batch(np.zeros(shape))
