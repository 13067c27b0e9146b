"""Hypothesis strategies for logits and calls, in every format, for your own ``@given``.

    from hypothesis import given
    from xent_verify import strategies as xs

    @given(xs.logits("bfloat16"))
    def test_my_softmax(x): ...

Values are drawn as ordinals of the format (Hypothesis has no bfloat16 and no float8), as small whole numbers, and near
the edges of exp. Failing examples shrink to few logits, no mask, no offset, and to 0 or small whole numbers. Long rows
are drawn as a fill value with a few exceptions, so that they shrink too and pass the health checks; rows of a named
regime are drawn by seed: those do not shrink (``xent_verify.minimise`` shrinks them afterwards).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from xent_verify.core.failures import UnknownNameError
from xent_verify.core.formats import FloatArray, FloatFormat, format_named
from xent_verify.core.model import Batch
from xent_verify.ops import Op, op_named
from xent_verify.ops.defined import undefined
from xent_verify.ops.op import SHARED, InputKind, OptionKind
from xent_verify.regimes import row_makers
from xent_verify.regimes.draw import Draw, edges_of, stream

__all__ = ["batches", "calls", "logits", "rows", "targets", "values"]

Strategy = st.SearchStrategy[Any]
Length = int | tuple[int, int] | Strategy | None
Format = str | FloatFormat

_LISTED = 24  # up to here every logit is drawn on its own
_USUAL = (1, 6)
_LONG = (31, 32, 33, 64, 65, 100, 128, 257, 300, 1000, 1025, 2049, 4097)
_INDEX_TYPES = ("int64", "int32", "uint8", "int8", "int16", "uint16", "uint32", "uint64")


def values(fmt: Format, *, special: bool = False) -> Strategy:
    """One number of the format, as a NumPy scalar: whole numbers, edges of exp, any ordinal; ``special``: NaN, ±inf."""
    form = format_named(fmt)
    return _wide(form, special=special).map(lambda wide: form.narrow(wide)[()])


_KINDS = ("whole", "ordinal", "edge", "special")


@functools.cache
def _wide(form: FloatFormat, *, special: bool = False) -> Strategy:
    """Exact values of the format as Python floats: a kind, and one whole number that each kind reads in its own way.

    One number for all kinds, so that shrinking can change the kind and keep the number: an ordinal far out becomes a
    whole number far out, and that comes down to the smallest one.
    """
    low, top = (int(form.ordinal(np.asarray(end, dtype=form.dtype))) for end in (form.lowest, form.max_finite))
    edges = edges_of(form)
    levels = (edges.overflow, *edges.low, form.max_finite, form.lowest, form.smallest_normal, 1.0)
    centres = [int(form.ordinal(form.narrow(level))) for level in levels if level >= form.lowest]
    specials = [math.nan] if form.has_nan else []
    specials += [math.inf, -math.inf] if form.has_inf else []

    def value(kind: str, number: int) -> float:
        match kind:
            case "whole":
                return _nearest(form, max(form.lowest, min(form.max_finite, float(number))))
            case "special":
                return specials[number % len(specials)]
            case "edge":
                number = centres[number // 8 % len(centres)] + number % 8 - 4
        return float(form.widen(form.from_ordinal(max(low, min(top, number)))))

    reach = max(top, 20_000)
    return st.builds(value, st.sampled_from(_KINDS if special and specials else _KINDS[:3]), st.integers(-reach, reach))


def _nearest(form: FloatFormat, number: float) -> float:
    return float(form.widen(form.narrow(number)))


def _lengths(n: Length) -> Strategy:
    if n is None:
        return st.one_of(st.integers(*_USUAL), st.integers(7, _LISTED), st.sampled_from(_LONG))
    if isinstance(n, int):
        return st.just(n)
    return st.integers(*n) if isinstance(n, tuple) else n


@st.composite
def _row(draw: Any, form: FloatFormat, n: int, *, masked: bool, special: bool) -> FloatArray:
    """One row in float64: values or a fill with exceptions, a common offset, a mask."""
    wide = _wide(form, special=special)
    if n <= _LISTED:
        row = np.array(draw(st.lists(wide, min_size=n, max_size=n)), dtype=np.float64)
    else:
        row = np.full(n, draw(_wide(form)))
        border = draw(st.one_of(st.just(n), st.integers(1, n)))
        row[border:] = draw(_wide(form)) if border < n else 0.0
        for place, value in draw(st.dictionaries(st.integers(0, n - 1), wide, max_size=6)).items():
            row[place] = value
    low, top = form.lowest, form.max_finite
    with np.errstate(invalid="ignore", over="ignore"):
        row = np.where(np.isfinite(row), np.clip(row + draw(st.one_of(st.just(0.0), _wide(form))), low, top), row)
    if masked and form.has_inf and n > 1:
        row[draw(_masks(n))] = -np.inf
    return row


@functools.lru_cache(64)
def _masks(n: int) -> Strategy:
    """Indices to mask: none, a prefix, a suffix, a scatter; never all of them."""
    prefix = st.integers(0, n - 1).map(lambda k: list(range(k)))
    suffix = st.integers(1, n).map(lambda k: list(range(k, n)))
    scatter = st.sets(st.integers(0, n - 1), max_size=min(n - 1, 8)).map(sorted)
    return st.one_of(st.just([]), prefix, suffix, scatter)


def _maker_rows(form: FloatFormat, regime: str, count: int, n: int, *, special: bool) -> Strategy:
    makers = row_makers(form, special=special)
    if regime not in makers:
        raise UnknownNameError("row regime", regime, makers)

    def made(seed: int) -> FloatArray:
        return makers[regime](Draw(form, stream(seed, form.name, regime)), count, n)

    return st.integers(0, 2**32 - 1).map(made)


@st.composite
def rows(
    draw: Any,
    fmt: Format,
    *,
    n: Length = None,
    count: Length = None,
    regime: str | None = None,
    masked: bool = True,
    special: bool = False,
) -> NDArray[Any]:
    """A matrix of logits [count, n]: several rows of one length, each as ``logits`` draws it."""
    form = format_named(fmt)
    length = draw(_lengths(n))
    many = draw(st.integers(1, 4) if count is None else _lengths(count))
    if regime is not None:
        wide = draw(_maker_rows(form, regime, many, length, special=special))
    else:
        one = _row(form, length, masked=masked, special=special)
        wide = np.array([draw(one) for _ in range(many)], dtype=np.float64).reshape(many, length)
    return Draw(form, stream(0)).narrow(wide)


def logits(
    fmt: Format, *, n: Length = None, regime: str | None = None, masked: bool = True, special: bool = False
) -> Strategy:
    """A row of logits of the format.

    ``n``: a length, a range or a strategy of lengths (default: mostly 1 to 6, up to 4097). ``masked``: some of them may
    be -inf, never all. ``special``: NaN and +inf may occur. ``regime``: rows of that regime alone, by seed.
    """
    return rows(fmt, n=n, count=1, regime=regime, masked=masked, special=special).map(lambda matrix: matrix[0])


@st.composite
def targets(
    draw: Any,
    fmt: Format,
    count: int,
    classes: int,
    *,
    kind: str = "index",
    dtypes: Sequence[str] = _INDEX_TYPES,
    ignore_index: int | None = None,
) -> NDArray[Any]:
    """Targets for ``count`` rows: class indices (``kind="index"``), or rows of ``"probabilities"`` in the format."""
    if kind == "probabilities":
        form = format_named(fmt)
        weights = draw(st.lists(st.integers(0, 8), min_size=count * classes, max_size=count * classes))
        wide = np.array(weights, dtype=np.float64).reshape(count, classes)
        wide[wide.sum(axis=1) == 0, 0] = 1.0
        return form.narrow(wide / wide.sum(axis=1, keepdims=True))
    if kind != "index":
        raise UnknownNameError("kind of target", kind, ("index", "probabilities"))
    fitting = [name for name in dtypes if np.iinfo(name).max >= classes - 1]
    dtype = np.dtype(draw(st.sampled_from(fitting)))
    known = st.integers(0, classes - 1)
    if ignore_index is not None and np.iinfo(dtype).min <= ignore_index <= np.iinfo(dtype).max:
        known = st.one_of(known, st.just(ignore_index))
    return np.array(draw(st.lists(known, min_size=count, max_size=count)), dtype=dtype)


_MATRIX_ONLY = 48
"""Matrices are kept this narrow beside further inputs: these are drawn element by element."""

_SINGLE: Mapping[OptionKind, Strategy] = {
    "share": st.one_of(st.sampled_from([0.5, 0.1, 1.0]), st.floats(0.0, 1.0)),
    "divisor": st.one_of(st.sampled_from([1.0, 2.0, 0.5, 0.7, 3.0, 1e-3, 1e3, -1.0]), st.floats(1e-4, 1e4)),
    "factor": st.one_of(st.sampled_from([1.0, 2.0, 0.125]), st.floats(1e-4, 1e4)),
    "number": st.one_of(st.sampled_from([0.0, 1.0, -1.0]), st.floats(-1e4, 1e4)),
    "logit": st.one_of(st.sampled_from([0.0, 1.0, -3.0]), st.floats(-1e3, 1e3)),
    "ignored_label": st.integers(-100, 300),
    "reduction": st.sampled_from(["none", "sum"]),
    "causal": st.booleans(),
    "flag": st.booleans(),
}
"""Options that are one value."""


def _whole(form: FloatFormat, shape: tuple[int, ...], least: int = -8, most: int = 8) -> Strategy:
    """An array of small whole numbers."""
    size = math.prod(shape)
    numbers = st.lists(st.integers(least, most), min_size=size, max_size=size)
    return numbers.map(lambda drawn: form.narrow(np.array(drawn, np.float64).reshape(shape)))


def _option(op: Op, batch: Batch, kind: OptionKind) -> Strategy | None:
    """Values of one kind of option beside the inputs of a call; None: nothing is drawn for it."""
    form, shape, scores = batch.form, batch.x.shape, op.scores_shape(batch)
    match kind:
        case "class_weights":
            return _whole(form, shape[-1:], 1)
        case "element_weights":
            return _whole(form, shape, 1)
        case "score_number":
            return _whole(form, scores[-1:])
        case "bias":
            return _whole(form, scores)
        case "mask":
            return _whole(form, scores, 0, 1).map(lambda drawn: form.widen(drawn) == 0)
        case "count":
            return st.integers(1, shape[-1])
        case "share" if not np.isfinite(form.widen(batch.x)).all():
            return None  # a share of a logit of -inf is an infinite loss
    return _SINGLE.get(kind)


def _input(op: Op, form: FloatFormat, inputs: Mapping[str, NDArray[Any]], kind: InputKind) -> Strategy:
    """Values of a further input."""
    x, matrix = inputs[op.first], op.named("matrix")
    classes = inputs[matrix].shape[-2] if matrix in inputs else x.shape[-1]
    match kind:
        case "row":
            return rows(form, n=x.shape[-1], count=len(x))
        case "label":
            return targets(form, len(x), classes, dtypes=("int64",))
        case "target":
            kinds = st.sampled_from(["index", "probabilities"])
            return kinds.flatmap(lambda drawn: targets(form, len(x), classes, kind=drawn))
        case "probabilities":
            return targets(form, *x.shape, kind="probabilities")
        case "matrix":
            return st.integers(1, 6).flatmap(lambda k: _whole(form, (k, x.shape[-1]), -2, 2))
        case "values":
            return st.integers(1, 4).flatmap(lambda m: _whole(form, (classes, m)))
        case "row_number":
            return _whole(form, x.shape[:-1])
        case "upstream":
            assert op.differentiates is not None
            return _whole(form, op.differentiates.result_shape(Batch(op.name, form.name, "", {op.first: x})))


@st.composite
def batches(draw: Any, op: str, fmt: Format, *, regime: str | None = None, special: bool = False) -> Batch:
    """A call of an operation that it defines, as a ``Batch``: every input by its kind, any of its options."""
    form, known = format_named(fmt), op_named(op)
    known.check_format(form)
    single = len(known.inputs) == 1
    length: Length = None if single else st.one_of(st.integers(*_USUAL), st.integers(7, _MATRIX_ONLY))
    inputs = {known.first: draw(rows(form, n=length, regime=regime, special=special))}
    for name, kind in sorted(list(known.inputs.items())[1:], key=lambda other: other[1] not in SHARED):
        inputs[name] = draw(_input(known, form, inputs, kind))
    inputs = {name: inputs[name] for name in known.inputs}
    batch = Batch(op, form.name, regime or "hypothesis", inputs)
    for name, option in known.options.items():
        values = _option(known, batch, option.kind)
        if values is not None and (option.always or option.kind == "count" or draw(st.booleans())):
            more = replace(batch, options={**batch.options, name: draw(values)})
            batch = batch if undefined(known, more) and not option.always else more
    return batch


def calls(op: str, fmt: Format, *, special: bool = False) -> Strategy:
    """Positional and keyword arguments of a call: ``f(*args, **kwargs)``."""
    return batches(op, fmt, special=special).map(lambda b: (tuple(b.inputs.values()), dict(b.options)))
