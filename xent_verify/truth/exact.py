"""Tier 3: truth by interval arithmetic, precision raised until it decides.

Each wanted element is evaluated with the op's textbook formula in ``BigArithmetic(prec)``, prec = 128, 256, … until
its enclosure decides the correctly rounded result and error_ulp to 2**-20 ulp.

Intervals are exact or open (``intervals``), so that a value 2**-1477 away from a midpoint is decided at 128 bits by an end
that is the midpoint. What precision never separates from a rounding boundary is a value that *equals* one. Such a value is
rational, and rational numbers are held as such:

* p_i Y - y_i, with p_i = e**d_i / s: by the Lindemann-Weierstrass theorem exponentials of distinct rationals are linearly
  independent over the rationals, so p_i is rational only if all finite logits tie. Then s is an integer; and Y = 0 is seen.
* r + sum c_k log s_k (log-softmax, logsumexp, losses, their sums and means), where each s_k is a sum of positive multiples
  of at least two distinct exponentials, or a prime. Rational means prod s_k**c_k = e**q. Where the c_k of all s_k but
  primes have one sign, one side holds two exponentials and the other one, unless there are primes alone, whose product is
  no power of e and is 1 for c_k = 0 only. So the sum is irrational there, unless it is empty.

Not proven irrational are sums of logarithms of *different* rows with coefficients of both signs (negative weights or
targets), and divergences. Such a value may stay beside a boundary at the last precision: then its error is decided to
2**-20 ulp, the side to which it rounds is not, and ``Enclosure.decided`` says so.

Special values never come here: ``special.resolve`` settles them by definition.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from mpmath import libmp
from numpy.typing import NDArray

from xent_verify.core import enclosure
from xent_verify.core.enclosure import DECISION, TIERS, Enclosure
from xent_verify.core.failures import UndecidedError
from xent_verify.core.floating import sound
from xent_verify.core.formats import FloatFormat, IntArray, format_named
from xent_verify.core.model import Batch
from xent_verify.ops import Op, in_table, op_named
from xent_verify.ops.limits import arguments_of
from xent_verify.ops.op import RowInputs
from xent_verify.ops.rows import Rows
from xent_verify.truth import special
from xent_verify.truth.intervals import LIMIT_POINTS, BigArithmetic, Interval, limit_point
from xent_verify.truth.reading import Exact, UnsettledError

__all__ = ["PRECISIONS", "by_definition", "enclose", "evaluate", "intervals_of"]

PRECISIONS = (128, 256, 512, 1024, 2048, 4096, 8192, 16384)
"""Working precisions tried in turn, in bits."""

EXACT_TIER = TIERS.index("exact")
_TINY_EXPONENT = -(2**40)
_STICKY = 2.0**-900
_FAR = 900
"""Bits between the ends of an interval from which on it is as good as one that begins at 0."""


@sound
def evaluate(batch: Batch, fmt: str | FloatFormat | None = None, index: IntArray | None = None) -> Enclosure:
    """Enclosures of the batch's true values, decided for ``fmt`` (default: the result's format).

    Without ``index``: the op's output shape. With ``index``, flat positions in it: a 1-D Enclosure of those elements.
    ``UndecidedError`` if the last precision does not decide.
    """
    form = batch.result_form if fmt is None else format_named(fmt)
    op = op_named(batch.op)
    values, decided = by_definition(op, batch)
    result = enclosure.exact(values.ravel())
    parts: list[Any] = [field.copy() for field in result.fields]
    positions = np.arange(values.size) if index is None else np.asarray(index, np.int64).ravel()
    todo = positions[~decided.ravel()[positions]]
    for formula, wanted, where in _tasks(op, batch, todo):
        found = _decide(formula, wanted, form)
        for part, field in zip(parts, found.fields, strict=True):
            part[where] = field
    whole = Enclosure(*parts)
    return whole.reshape(values.shape) if index is None else whole[positions]


def intervals_of(batch: Batch, position: int, op: Op | None = None) -> Iterator[Interval]:
    """One element (flat position in the result) at all precisions in turn; inputs may be arrays of fractions, too."""
    for formula, wanted, _ in _tasks(op or op_named(batch.op), batch, np.array([position])):
        for prec in PRECISIONS:
            yield formula(BigArithmetic(prec), wanted.tolist())[0]


def by_definition(op: Op, batch: Batch) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Special values of the table's operations. Those of a page without a formula come out of its exact reading; other
    formulas have none beyond NaN for rows with a non-finite logit."""
    if op.formula_of(batch) is None:
        shape = op.result_shape(batch)
        return np.zeros(shape), np.zeros(shape, np.bool_)
    if in_table(op):
        return special.resolve(batch)
    rows = Rows.of_call(op, batch).of(batch.x)
    bad: NDArray[np.bool_] = np.asarray(~np.isfinite(rows.astype(np.float64)).all(axis=1))
    if op.result == "loss" and op.result_shape(batch) == ():
        mask = np.asarray(bad.any())
    else:
        mask = Rows.of_call(op, batch).back(
            bad if op.result != "elements" else np.repeat(bad[:, None], rows.shape[1], 1)
        )
    return np.where(mask, np.nan, 0.0), mask


Formula = Callable[[BigArithmetic, Sequence[int]], list[Interval]]


def _tasks(op: Op, batch: Batch, todo: IntArray) -> Iterator[tuple[Formula, IntArray, IntArray]]:
    """(formula, wanted elements of its row, their flat positions), row by row; a reduced loss is one over all rows."""
    if not todo.size:
        return
    formula = op.formula_of(batch)
    if op.whole(batch):
        whole = partial(_read, op, batch, None) if formula is None else lambda a, _: [_reduced(op, batch, a)]
        yield whole, todo, todo
        return
    count = Rows.of_call(op, batch).count, op.result_width(batch)
    rows = _grid(op, batch, count)
    row, column = rows[0].ravel()[todo], rows[1].ravel()[todo]
    order = np.argsort(row, kind="stable")
    for group in np.split(order, np.flatnonzero(np.diff(row[order])) + 1):
        place = int(row[group[0]])
        if formula is None:
            yield partial(_read, op, batch, place), column[group], todo[group]
        else:
            yield partial(_formula, formula, _row_inputs(op, batch, place)), column[group], todo[group]


def _formula(formula: Any, inputs: RowInputs, a: BigArithmetic, wanted: Sequence[int]) -> list[Interval]:
    found: list[Interval] = formula(a, inputs, wanted)
    return found


_UNKNOWN = libmp.mpf_shift(libmp.fone, 1 << 20)
"""Stands for the ends of an interval about which nothing is known."""


def _read(op: Op, batch: Batch, row: int | None, a: BigArithmetic, wanted: Sequence[int]) -> list[Interval]:
    """The page's first algorithm on exact numbers: wanted elements of one row, or of a result without rows (``row`` None)."""
    reading = Exact(a.prec)
    arguments = arguments_of(op, batch, reading, None if row is None else slice(row, row + 1))
    if row is not None:
        arguments |= {name: "none" for name, option in op.options.items() if option.kind == "reduction"}
    try:
        result = next(iter(op.algorithms.values()))(reading, **arguments).v
    except UnsettledError:
        return [Interval(libmp.mpf_neg(_UNKNOWN), _UNKNOWN, a.prec) for _ in wanted]
    values = [result.reshape(-1)[0 if result.size == 1 else place] for place in wanted]
    return [value if isinstance(value, Interval) else limit_point(value, a.prec) for value in values]


def _grid(op: Op, batch: Batch, count: tuple[int, ...]) -> tuple[IntArray, IntArray]:
    """For each output element: its row and its place in the row."""
    ids = np.arange(count[0], dtype=np.int64)
    if op.result != "elements":
        grid = Rows.of_call(op, batch).back(ids)
        return grid, np.zeros_like(grid)
    full = np.broadcast_to(ids[:, None], count)
    place = np.broadcast_to(np.arange(count[1], dtype=np.int64), count)
    return Rows.of_call(op, batch).back(full), Rows.of_call(op, batch).back(place)


def _decide(formula: Formula, wanted: IntArray, form: FloatFormat) -> Enclosure:
    """Raise the precision for what is still undecided."""
    found: list[Enclosure | None] = [None] * len(wanted)
    pending = list(range(len(wanted)))
    for prec in PRECISIONS:
        numbers = formula(BigArithmetic(prec), [int(wanted[k]) for k in pending])
        enclosed = enclose(numbers)
        done = enclosed.decided(form)
        if prec == PRECISIONS[-1]:  # a value beside a boundary, of a formula without a proof: its error is decided
            done = enclosed.units(form).radius <= DECISION
        for k, ok, i in zip(pending, done, range(len(pending)), strict=True):
            if ok:
                found[k] = enclosed[i : i + 1]
        pending = [k for k, ok in zip(pending, done, strict=True) if not ok]
        if not pending:
            return Enclosure.concatenate([part for part in found if part is not None])
    raise UndecidedError(f"{len(pending)} value(s) undecided at {PRECISIONS[-1]} bits")


def _row_inputs(op: Op, batch: Batch, r: int) -> RowInputs:
    """Row ``r`` of every input, as float64 (integer targets stay integers)."""
    if not op.by_row:
        options = {name: _element(value, batch.x.shape, r) for name, value in batch.options.items()}
        return RowInputs(tuple(_wide(value.reshape(-1)[r : r + 1]) for value in batch.inputs.values()), options)
    if op.result == "loss" or "axis" not in op.options:
        return RowInputs(tuple(_wide(value[r]) for value in batch.inputs.values()), batch.options)
    axis = int(op.option(batch, "axis"))
    moved = [np.moveaxis(value, axis, -1) for value in batch.inputs.values()]
    return RowInputs(tuple(_wide(value.reshape(-1, value.shape[-1])[r]) for value in moved), batch.options)


def _element(value: Any, shape: tuple[int, ...], r: int) -> Any:
    return np.broadcast_to(value, shape).reshape(-1)[r] if isinstance(value, np.ndarray) else value


def _wide(value: NDArray[Any]) -> NDArray[Any]:
    return value if value.dtype.kind in "iuO" else value.astype(np.float64)


def _reduced(op: Op, batch: Batch, a: BigArithmetic) -> Interval:
    """Sum or mean of the per-row losses."""
    total: Interval = a.number(0)
    for r in range(Rows.of_call(op, batch).of(batch.x).shape[0]):
        total = total + _formula(op.formula, _row_inputs(op, batch, r), a, [0])[0]
    return total if str(op.option(batch, "reduction")) == "sum" else total / a.number(op.divisor(batch))


def enclose(numbers: Sequence[Interval]) -> Enclosure:
    """Intervals as (hi, lo, exponent, radius): the open interval of each contains the open interval given."""
    fields = [_fields(number.lo, number.hi) for number in numbers]
    hi, lo, exponent, radius = (np.array(column) for column in zip(*fields, strict=True))
    tier = np.where(np.isfinite(hi.astype(np.float64)), EXACT_TIER, 0).astype(np.uint8)
    return Enclosure(
        hi.astype(np.float64), lo.astype(np.float64), exponent.astype(np.int64), radius.astype(np.float64), tier
    )


def _fields(low: Any, high: Any) -> tuple[float, float, int, float]:
    if low in LIMIT_POINTS:
        return LIMIT_POINTS[low], 0.0, 0, 0.0
    if low[0] and (high[0] or not high[1]):  # negative
        hi, lo, exponent, radius = _fields(libmp.mpf_neg(high), libmp.mpf_neg(low))
        return -hi, -lo, exponent, radius
    if not high[1] and not low[1]:
        return 0.0, 0.0, 0, 0.0
    beyond = low[1] and not low[0] and low[2] + low[3] > -_TINY_EXPONENT
    far = low[1] and not low[0] and not beyond and high[2] + high[3] - low[2] - low[3] > _FAR
    if low[0] or not low[1] or far:  # the interval reaches zero (from above: (0, 2**e)), nearly does, or straddles it
        reach = max(high[2] + high[3], low[2] + low[3] if low[1] and not far else _TINY_EXPONENT)
        return 1.0, 0.0, min(max(reach - 1, _TINY_EXPONENT), 2**62), 3.0 if low[0] else 1.0
    return _positive(low, high)


def _positive(low: Any, high: Any) -> tuple[float, float, int, float]:
    """0 < low <= high. What lies beyond 2**(2**40) is stood for by a number just there: every format overflows at both."""
    if low[2] + low[3] > -_TINY_EXPONENT:
        return 1.5, 0.0, -_TINY_EXPONENT, 0.5
    grain = min(low[2], high[2])
    a, b = int(low[1]) << (low[2] - grain), int(high[1]) << (high[2] - grain)
    length = a.bit_length()
    if length + grain < _TINY_EXPONENT:
        return 1.0, 0.0, _TINY_EXPONENT, 1.0
    if length < 54:
        a, b, grain, length = a << 60, b << 60, grain - 60, length + 60
    head = (a + (1 << (length - 54))) >> (length - 53)
    if head >> 53:
        head, length = head >> 1, length + 1
    base = head << (length - 53)
    lo, radius = _tail(a - base, b - base, length - 1)
    return math.ldexp(head, -52), lo, length - 1 + grain, radius


def _tail(a: int, b: int, shift: int) -> tuple[float, float]:
    """(centre, radius) of an open interval around (a, b) * 2**-shift, ending at the rounder end where that matters."""
    below, above = _floor_float(a, shift), -_floor_float(-b, shift)
    if below == above:
        return below, 0.0 if a == b else math.ulp(below)
    if below == 0.0 and above <= 2 * _STICKY:
        return _STICKY, _STICKY
    if above == 0.0 and below >= -2 * _STICKY:
        return -_STICKY, _STICKY
    if math.nextafter(below, math.inf) == above:
        return (below, above - below) if _significant_bits(above) < _significant_bits(below) else (above, above - below)
    centre = below + (above - below) / 2
    return centre, math.nextafter(max(centre - below, above - centre), math.inf)


def _significant_bits(value: float) -> int:
    numerator, _ = value.as_integer_ratio()
    return (numerator // (numerator & -numerator)).bit_length() if numerator else 0


def _floor_float(n: int, shift: int) -> float:
    """Largest float64 (a multiple of 2**-900 near zero) that is not above n * 2**-shift."""
    if n < 0:
        return -_ceil_positive(-n, shift)
    if n.bit_length() - shift <= -900:
        return 0.0
    excess = max(n.bit_length() - 53, 0)
    return math.ldexp(n >> excess, excess - shift)


def _ceil_positive(n: int, shift: int) -> float:
    if n.bit_length() - shift <= -900:
        return 2 * _STICKY
    excess = max(n.bit_length() - 53, 0)
    return math.ldexp(-(-n >> excess), excess - shift)
