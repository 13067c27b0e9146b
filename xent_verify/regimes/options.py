"""Options and second inputs drawn from their whole ranges, by kind: each notable value alone, then anything with anything."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xent_verify.core.model import Batch
from xent_verify.ops import Op
from xent_verify.ops.defined import undefined
from xent_verify.ops.op import BROADCAST
from xent_verify.regimes.calls import dress, labelled_inputs, named, per_row
from xent_verify.regimes.draw import Draw
from xent_verify.regimes.regime import Context
from xent_verify.regimes.shapes import telling
from xent_verify.regimes.values import TARGETS, VALUES, Array, Value, constants

__all__ = ["alone", "crossed", "has_options", "label_types"]


def has_options(op: Op) -> bool:
    """Whether there is anything to draw but logits and an axis."""
    return len(op.inputs) > 1 or any(option.kind != "axis" for option in op.options.values())


def _call(
    context: Context,
    logits: Array,
    targets: Mapping[str, Value],
    options: Mapping[str, Value],
    matrix: Array | None = None,
    layout: str = "C",
) -> Batch | None:
    """A call with these second inputs and options; None where the operation does not define it."""
    draw = context.draw
    inputs = dress(context.op, draw, draw.narrow(logits), matrix=matrix)
    shape = context.op.scores_shape(context.around(inputs))
    inputs |= {name: make(draw, shape) for name, make in targets.items()}
    drawn = {name: make(draw, shape) for name, make in options.items()}
    labels = context.op.labels
    for name in named(context.op, "ignored_label") if labels else ():
        inputs[labels] = _with_ignored(draw, inputs[labels], drawn.get(name, context.op.options[name].default))
    batch = context.around(inputs, options=drawn, layout=layout)
    return None if undefined(context.op, batch) else batch


def _with_ignored(draw: Draw, labels: Array, ignored: int) -> Array:
    """Labels some of which are the ignored one, where their type holds it; sometimes all of them are."""
    if labels.dtype.kind not in "iu" or not np.iinfo(labels.dtype).min <= ignored <= np.iinfo(labels.dtype).max:
        return labels
    share = draw.rng.choice((0.0, 0.3, 0.3, 0.6, 1.0))
    result = labels.copy()
    result[draw.rng.random(len(labels)) < share] = ignored
    return result


def _settable(op: Op) -> dict[str, Sequence[Value]]:
    return {name: VALUES[option.kind] for name, option in op.options.items() if option.kind in VALUES}


def _defining(context: Context, options: dict[str, Value]) -> dict[str, Value]:
    """The options with a value for those that the operation is named after."""
    missing = [name for name in named(context.op, "divisor") if context.op.options[name].always and name not in options]
    return options | {name: _one_of(context.draw, VALUES["divisor"]) for name in missing}


def _one_of(draw: Draw, values: Sequence[Value]) -> Value:
    return values[int(draw.rng.integers(0, len(values)))]


def _logits(draw: Draw, rows: int, n: int) -> Array:
    return draw.narrow(3.0 * draw.rng.standard_normal((rows, n)))


_LARGE = ((4, 600), (4, 2100), (700, 3))
"""Rows and logits of the larger calls that the first values of each option are tried on: blocks and shards begin there.

Every second row is sorted, so that its parts differ in the mean."""


def _larger(
    context: Context, name: str, values: Sequence[Value], forms: Sequence[dict[str, Value]]
) -> Iterator[Batch | None]:
    """An option's first values on larger calls, in each form."""
    draw = context.draw
    for place, (rows, n) in enumerate(_LARGE):
        for form in forms:
            logits = _logits(draw, rows, n)
            logits[::2] = np.sort(logits[::2], axis=-1)
            options = _defining(context, {**form, name: values[place % len(values)]})
            yield _call(context, logits, {}, options)


_DEEP = ((2, 3, 5), (2, 2, 3, 4), (3, 3, 3))


def _repeated(context: Context, name: str, values: Sequence[Value]) -> Iterator[Batch | None]:
    """An option's first values for the last axes of larger arrays: each leading one has the same."""
    if context.op.options[name].kind not in BROADCAST or not context.any_shape:
        return
    draw = context.draw
    for place, shape in enumerate(_DEEP):
        for make in values[place % 2 : 4 : 2]:
            logits = draw.narrow(3.0 * draw.rng.standard_normal(shape))
            yield _call(context, logits, {}, _defining(context, {name: constants(make(draw, shape[1:]))[0]}))


_MANY = (70, 150, 300)
_QUERIES = (4, 20, 70)
_LEVELS = (0.0, -2e4, 50.0)


def _vectors(
    context: Context, name: str, values: Sequence[Value], forms: Sequence[dict[str, Value]]
) -> Iterator[Batch | None]:
    """An option's first values beside many vectors, whose scores lie about a level."""
    draw = context.draw
    for place, k in enumerate(_MANY if context.op.named("matrix") else ()):
        for turn, level in enumerate(_LEVELS):
            rows = _QUERIES[(place + turn) % 3]
            x = np.concatenate([np.ones((rows, 1)), 0.5 * draw.rng.standard_normal((rows, 2))], axis=1)
            about = max(level, draw.lowest / 4)
            first = draw.below(about, (k, 1), most=3) if turn else 3.0 * draw.rng.standard_normal((k, 1))
            matrix = draw.narrow(np.concatenate([first, draw.rng.standard_normal((k, 2))], axis=1))
            for make in values[(place + turn) % 2 : 4 : 2]:
                options = _defining(context, {**forms[place % len(forms)], name: make})
                yield _call(context, x, {}, options, matrix)


def _odd(context: Context, name: str, values: Sequence[Value], single: dict[str, Value]) -> Iterator[Batch | None]:
    """An option's first values beside NaN and infinities, on telling rows, and masks on low ones."""
    draw = context.draw
    for make in values:
        for logits in (_spoiled(draw, _logits(draw, 5, 5)), draw.narrow(telling(draw, 9, 5, masked=False)[0])):
            yield _call(context, logits, {}, _defining(context, {**single, name: make}))
        if context.op.options[name].kind == "mask":  # below the finite numbers that stand for -inf
            low = max(min(_LEVELS), draw.lowest / 4) + 3.0 * draw.rng.standard_normal((5, 5))
            yield _call(context, draw.narrow(low), {}, _defining(context, {**single, name: make}))


def alone(context: Context) -> Iterator[Batch]:
    """No option at all; then each notable value of each option, on larger calls any, and each form of the second input."""
    return _defined(_alone(context))


def _defined(calls: Iterator[Batch | None]) -> Iterator[Batch]:
    """Those that the operation defines."""
    return (call for call in calls if call is not None)


def _alone(context: Context) -> Iterator[Batch | None]:
    draw, single = context.draw, {name: constants(value)[0] for name, value in per_row(context.op).items()}
    for rows, n in ((1, 3), (4, 3), (5, 5)):
        yield _call(context, _logits(draw, rows, n), {}, _defining(context, {}))
    quick = context.profile.options < 100
    for name, values in _settable(context.op).items():
        rare = context.op.options[name].rare and not context.op.shared
        values = values[:_EACH] if rare else values
        for place, make in enumerate(values):
            for form in [single, {}] if place < 4 and not quick else [({}, single)[place % 2]]:
                yield _call(context, _logits(draw, 5, 5), {}, _defining(context, {**form, name: make}))
        yield from _odd(context, name, values[:2], single)
        yield from _repeated(context, name, values)
        yield from _larger(context, name, values, (single,) if rare else (single, {}))
        yield from _vectors(context, name, values, (single, {}))
    if quick:
        yield from _pairs(context)
    for name, kind in list(context.op.inputs.items())[1:]:
        for place, make in enumerate(TARGETS.get(kind, ())):
            yield _call(context, _logits(draw, 6, 4), {name: make}, _defining(context, dict((single, {})[place % 2])))


_EACH = 3
"""Values of an option that every two options are tried with, where few are crossed at random."""


def _pairs(context: Context) -> Iterator[Batch | None]:
    """Every two options together, the first values of each in turn, on ordinary and telling rows and on spoiled ones."""
    draw = context.draw
    turns = {name: itertools.cycle(values[:_EACH]) for name, values in _settable(context.op).items()}
    for place, pair in enumerate(itertools.combinations(turns, 2)):
        rare = any(context.op.options[name].rare for name in pair) and not context.op.shared
        for turn in range(1 if rare else _EACH):
            options = {name: next(turns[name]) for name in pair}
            plain = (place + turn) % 2
            rows = _logits(draw, 5, 11) if plain else draw.narrow(telling(draw, 9, 11, masked=False)[0])
            for logits in (rows, _spoiled(draw, _logits(draw, 5, 11))):
                yield _call(context, logits, {}, _defining(context, options))


_WIDTHS = (2, 3, 5, 5, 8, 17, 150)
_OUTER = ((2, 4), (2, 2, 2), (8,), (1, 8), ())
"""Shapes of the rows of a call, where the operation takes more than matrices."""
_VIEWS = ("F", "sliced", "strided", "upside_down")


def _placed(context: Context, rows: Array) -> tuple[Array, int]:
    """Rows [8, n] as an array of another shape, and the axis that they lie along."""
    outer = _OUTER[int(context.draw.rng.integers(0, len(_OUTER)))]
    found = rows[: math.prod(outer)].reshape(*outer, rows.shape[1])
    axis = int(context.draw.rng.integers(0, found.ndim)) if context.has_axis else found.ndim - 1
    return np.moveaxis(found, -1, axis), axis - found.ndim


def _spoiled(draw: Draw, rows: Array) -> Array:
    """A NaN and infinities of both signs, where the format has them, each in a row of its own as far as there are rows."""
    kinds = draw.rng.permutation([np.nan] * draw.fmt.has_nan + [-np.inf, np.inf] * draw.fmt.has_inf)
    found = rows.copy()
    for row, kind in zip(draw.rng.permutation(len(found)), kinds, strict=False):
        found[row, int(draw.rng.integers(0, found.shape[1]))] = kind
    return found


def crossed(context: Context) -> Iterator[Batch]:
    """Any options with any second inputs over telling rows: what needs several of them at once.

    Of operations that take them, arrays of other dimensions and along other axes; views; rows with NaN or an infinity.
    """
    return _defined(_crossed(context))


def _crossed(context: Context) -> Iterator[Batch | None]:
    draw, settable = context.draw, _settable(context.op)
    rare = [name for name in settable if context.op.options[name].rare]
    rows_of = {n: iter(telling(draw, 8, n, max(context.profile.options, 8), masked=False)) for n in set(_WIDTHS)}
    for _ in range(context.profile.options):
        n = int(draw.rng.choice(_WIDTHS))
        rows = n if n < 8 and draw.rng.random() < 0.4 else int(draw.rng.integers(1, 9))
        source = next(rows_of[n]) if draw.rng.random() < 0.5 else 3.0 * draw.rng.standard_normal((8, n))
        left = rare if rare and draw.rng.random() > _RARE else []
        options = {
            name: _one_of(draw, values)
            for name, values in settable.items()
            if name not in left and draw.rng.random() < 0.5
        } | {name: constants(value)[0] for name, value in per_row(context.op).items() if draw.rng.random() < 0.6}
        targets = {
            name: _one_of(draw, TARGETS[kind])
            for name, kind in list(context.op.inputs.items())[1:]
            if kind in TARGETS and draw.rng.random() < 0.6
        }
        kind = draw.rng.random()
        source = _spoiled(draw, source) if kind > _PLAIN else source
        logits, layout = source[:rows], str(draw.rng.choice(_VIEWS)) if draw.rng.random() < 0.1 else "C"
        if context.any_shape and kind < _SHAPED:
            logits, axis = _placed(context, source)
            options |= {name: constants(axis)[0] for name in named(context.op, "axis") if axis != -1}
        yield _call(context, draw.narrow(logits), targets, _defining(context, options), layout=layout)


_SHAPED, _PLAIN, _RARE = 0.3, 0.8, 0.3
"""Share of crossed calls in other shapes; where that of calls with NaN or an infinity begins; share with rare options."""

_TYPED: tuple[tuple[str, int, int], ...] = (
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

_TELLING_IDS = (2049, 2**8 - 100, 2**16 - 100, 255, 256, 127, 128, 200)
"""Class ids that a conversion to a narrower type, or of the default ignore_index, would change."""


def label_types(context: Context) -> Iterator[Batch]:
    """Labels of every integer type, with the ids in use that a careless conversion changes."""
    largest = 8000 if context.profile.options < 100 else 10**6
    forms: tuple[dict[str, Any], ...] = ({}, per_row(context.op))
    for place, (dtype, rows, classes) in enumerate(_TYPED):
        if rows * classes > largest:
            continue
        logits = _logits(context.draw, rows, classes)
        ids = [k for k in _TELLING_IDS if k < min(classes, np.iinfo(dtype).max + 1)]
        labels = context.draw.rng.integers(0, classes, rows)
        known = [classes - 1, *ids][:rows]
        labels[: len(known)] = known
        inputs = labelled_inputs(context.op, context.draw, logits, labels.astype(dtype))
        yield context.around(inputs, options=forms[place % 2])
