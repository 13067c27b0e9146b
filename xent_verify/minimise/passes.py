"""The passes of minimisation. Each takes the ``Attempt`` and leaves in it the simplest failing batch that it found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray
from xent_verify.core.model import Batch
from xent_verify.minimise.surgery import (
    flattened,
    is_index,
    keep,
    keep_vectors,
    simpler,
    simplicity,
    takes,
    with_input,
    with_options,
)
from xent_verify.ops import op_named
from xent_verify.ops.defined import undefined

__all__ = ["PASSES", "Attempt"]

_PIECES = 8  # how finely a long axis is cut before bisection alone has to do
_FEW = 16  # numbers that are simplified one by one


@dataclass(slots=True)
class Attempt:
    """The simplest failing batch so far, the predicate, and what is left of the budget."""

    batch: Batch
    fails: Callable[[Batch], bool]
    budget: int

    def first(self, proposals: Iterable[Batch]) -> bool:
        """Keep the first proposal that is simpler, a call that the operation defines, and still fails; whether there was one."""
        op = op_named(self.batch.op)
        better = (one for one in proposals if simpler(one, self.batch) and not undefined(op, one))
        for proposal in better:
            if self.budget <= 0:
                break
            self.budget -= 1
            if self.fails(proposal):
                self.batch = proposal
                return True
        return False

    def smallest(self, least: int, most: int, propose: Callable[[int], Batch]) -> None:
        """Bisect for the smallest k in least … most whose proposal fails (most is known to)."""
        low, high = least, most
        while low < high and self.budget > 0:
            middle = (low + high) // 2
            if self.first([propose(middle)]):
                high = middle
            else:
                low = middle + 1


Pass = Callable[[Attempt], None]


def plain_call(attempt: Attempt) -> None:
    """No options, the plain layout, all at once and one by one."""
    batch = attempt.batch
    attempt.first([replace(with_options(batch, {}), layout="C"), replace(batch, layout="C")])
    for name in sorted(batch.options):
        rest = {key: value for key, value in attempt.batch.options.items() if key != name}
        attempt.first([with_options(attempt.batch, rest)])


def fewer_dimensions(attempt: Attempt) -> None:
    """Rows of a plain matrix; a single row, or what is elementwise anyhow, as a vector."""
    by_row, any_shape = takes(attempt.batch)
    if not any_shape:
        return
    attempt.first([flattened(attempt.batch, 2)])
    x = attempt.batch.x
    arrays = [*attempt.batch.inputs.values(), *attempt.batch.options.values()]
    alike = all(np.shape(array) in ((), x.shape) for array in arrays)
    if alike and (not by_row or (x.ndim == 2 and len(x) == 1)):
        attempt.first([flattened(attempt.batch, 1)])


def fewer_rows(attempt: Attempt) -> None:
    for axis in range(attempt.batch.x.ndim - 1):
        _shorten(attempt, axis)


def one_large_logit(attempt: Attempt) -> None:
    """One logit in place of many: what overflows as a sum of n terms overflows alone, log n further out."""
    batch = attempt.batch
    name = next(iter(batch.inputs))
    wide = _values(batch, name)
    known = wide[np.isfinite(wide)]
    if not known.size or not batch.x.ndim or batch.x.shape[-1] < 2:
        return
    column = int(np.argmax(wide == known.max())) % batch.x.shape[-1]
    single = keep(batch, batch.x.ndim - 1, [column])
    edge = np.ceil(known.max() + np.log(batch.x.shape[-1]))
    attempt.first(_replaced(single, name, np.full(single.x.shape, value)) for value in (edge, edge + 1, edge + 8))


def fewer_columns(attempt: Attempt) -> None:
    if attempt.batch.x.ndim:
        _shorten(attempt, attempt.batch.x.ndim - 1)


def fewer_vectors(attempt: Attempt) -> None:
    """Vectors of a matrix, and what belongs to them."""
    op = op_named(attempt.batch.op)
    if op.named("matrix"):
        _cut_down(attempt, lambda batch: op.scores_shape(batch)[-1], keep_vectors)


def _shorten(attempt: Attempt, axis: int) -> None:
    _cut_down(attempt, lambda batch: batch.x.shape[axis], lambda batch, indices: keep(batch, axis, indices))


def _cut_down(attempt: Attempt, count: Callable[[Batch], int], kept: Callable[[Batch, Any], Batch]) -> None:
    """Bisect both ends of an axis, then drop pieces of it, coarse to fine."""
    length = count(attempt.batch)
    if length <= 1:
        return
    if attempt.first(kept(attempt.batch, [k]) for k in _spread(length)):
        return
    whole = attempt.batch
    attempt.smallest(1, length, lambda k: kept(whole, np.arange(k)))
    whole, length = attempt.batch, count(attempt.batch)
    attempt.smallest(1, length, lambda k: kept(whole, np.arange(length - k, length)))
    pieces = 2
    while pieces <= 2 * _PIECES and attempt.budget > 0:
        length = count(attempt.batch)
        if length <= 1 or not attempt.first(_without_piece(attempt.batch, length, min(pieces, length), kept)):
            if pieces >= length:
                return
            pieces *= 2


def _spread(length: int) -> list[int]:
    """A few positions of an axis, its ends first."""
    few = np.unique(np.linspace(0, length - 1, min(length, 6)).astype(int))
    return [int(k) for k in few]


def _without_piece(batch: Batch, length: int, pieces: int, kept: Callable[[Batch, Any], Batch]) -> Iterator[Batch]:
    everything = np.arange(length)
    for piece in np.array_split(everything, pieces)[::-1]:
        if piece.size < everything.size:
            yield kept(batch, np.delete(everything, piece))


def simpler_targets(attempt: Attempt) -> None:
    """Class 0 and int64 for indices, the classes reordered if need be; one-hot or uniform for probabilities."""
    target = attempt.batch.inputs.get("target")
    if target is None or not target.size:
        return
    if is_index(target):
        attempt.first(_simpler_indices(attempt.batch, target))
    else:
        attempt.first(_simpler_probabilities(attempt.batch, target))


def _simpler_indices(batch: Batch, target: NDArray[Any]) -> Iterator[Batch]:
    op = op_named(batch.op)
    wide, classes = target.astype(np.int64), op.scores_shape(batch)[-1]
    live = np.where((wide >= 0) & (wide < classes), 0, wide)
    for value in (live, wide, live.astype(target.dtype)):
        yield with_input(batch, "target", value)
    if 0 < wide.reshape(-1)[0] < classes:
        order = np.roll(np.arange(classes), -int(wide.reshape(-1)[0]))
        yield keep_vectors(batch, order) if op.named("matrix") else keep(batch, batch.x.ndim - 1, order)


def _simpler_probabilities(batch: Batch, target: NDArray[Any]) -> Iterator[Batch]:
    wide = batch.form.widen(target)
    if takes(batch)[0]:
        n = wide.shape[-1]
        choices: tuple[Any, ...] = (np.arange(n) == 0, np.eye(n)[wide.argmax(axis=-1)], 1 / n)
    else:
        choices = (0.0, np.rint(wide), 1.0, 0.5)
    for choice in choices:
        yield with_input(batch, "target", batch.form.narrow(np.broadcast_to(choice, wide.shape)))


_ROUND: dict[str, tuple[float, ...]] = {
    "divisor": (2.0, 0.5, 10.0),
    "share": (1.0, 0.5),
    "factor": (2.0, 0.5, 0.125),
    "logit": (0.0, 1.0, 100.0, 1000.0),
}
"""By the kind of option."""


def simpler_options(attempt: Attempt) -> None:
    """Round numbers for the options that are needed."""
    kinds = op_named(attempt.batch.op).options
    for name in sorted(attempt.batch.options):
        given, numbers = attempt.batch.options, _ROUND.get(kinds[name].kind, ())
        attempt.first(with_options(attempt.batch, {**given, name: number}) for number in numbers)


def simpler_values(attempt: Attempt) -> None:
    """Numbers of every floating argument: all together, by equal values, in pieces, then one by one."""
    for name in _floating(attempt.batch):
        _together(attempt, name)
        _in_pieces(attempt, name)
        _one_by_one(attempt, name)


def _floating(batch: Batch) -> list[str]:
    arrays = {**batch.inputs, **{k: v for k, v in batch.options.items() if isinstance(v, np.ndarray)}}
    return [name for name, array in arrays.items() if name != "target" and array.size and array.dtype.kind != "b"]


def _values(batch: Batch, name: str) -> FloatArray:
    wide: FloatArray = batch.form.widen(batch.inputs[name] if name in batch.inputs else batch.options[name])
    return wide


def _replaced(batch: Batch, name: str, wide: NDArray[Any]) -> Batch:
    """The batch with new numbers, clipped and rounded to the format; as it was where a weight would not be one."""
    if name in batch.options and not ((wide >= 0).all() and wide.any()):
        return batch
    top = batch.form.max_finite
    rounded = batch.form.narrow(np.where(np.isfinite(wide), np.clip(wide, -top, top), wide))
    return with_input(batch, name, rounded.reshape(wide.shape))


def _together(attempt: Attempt, name: str) -> None:
    """One change to all finite numbers at once: 0, a shift, whole numbers, short significands, half the size."""
    while attempt.first(_replaced(attempt.batch, name, wide) for wide in _bulk(_values(attempt.batch, name))):
        pass


def _bulk(wide: FloatArray) -> Iterator[FloatArray]:
    finite = np.isfinite(wide)
    known = wide[finite]
    if not known.size:
        return
    with np.errstate(all="ignore"):
        yield np.where(finite, 0.0, wide)
        yield np.where(finite, 1.0, wide)
        yield np.where(finite, -wide, wide)
        for centre in (known.max(), known.min()):
            yield np.where(finite, wide - centre, wide)
            yield np.where(finite, centre, wide)
            yield np.where(finite & (wide != centre), 0.0, wide)
        yield np.where(finite, np.trunc(wide), wide)
        yield np.where(finite, np.rint(wide), wide)
        for digits in (1, 4):
            yield np.where(finite, _short(wide, digits), wide)
        yield np.where(finite, wide / 2, wide)


def _short(wide: FloatArray, bits: int) -> FloatArray:
    """Rounded to a significand of so many bits."""
    with np.errstate(all="ignore"):
        mantissa, exponent = np.frexp(wide)
        rounded: FloatArray = np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)
        return rounded


def _in_pieces(attempt: Attempt, name: str) -> None:
    """Zero pieces of a long argument, coarse to fine; -inf and NaN among them."""
    size = _values(attempt.batch, name).size
    pieces = 1
    while 1 < pieces * 2 <= min(2 * _PIECES, size) and attempt.budget > 0:
        pieces *= 2
        for piece in np.array_split(np.arange(size), pieces):
            wide = _values(attempt.batch, name).copy()
            wide.reshape(-1)[piece] = 0.0
            attempt.first([_replaced(attempt.batch, name, wide)])


def _one_by_one(attempt: Attempt, name: str) -> None:
    """Each different number on its own: 0, 1, then the smallest whole number of its sign, or a short significand."""
    distinct = np.unique(_values(attempt.batch, name))
    hardest = sorted(distinct.tolist(), key=lambda value: float(simplicity(value)), reverse=True)
    for value in hardest[:_FEW]:
        _simplify(attempt, name, value)


def _simplify(attempt: Attempt, name: str, value: float) -> None:
    start = attempt.batch
    wide = _values(start, name)
    same = np.isnan(wide) if np.isnan(value) else wide == value

    def proposal(number: float) -> Batch:
        return _replaced(start, name, np.where(same, number, wide))

    simplest = [0.0, 1.0] if np.isfinite(value) else [0.0]
    if not same.any() or attempt.first(proposal(number) for number in simplest) or not np.isfinite(value):
        return
    size, sign = abs(value), float(np.copysign(1.0, value))
    if size >= 1.0:
        attempt.first([proposal(sign * np.floor(size)), proposal(sign * np.ceil(size))])
        ceiling = int(np.ceil(size))
        attempt.smallest(0, ceiling.bit_length(), lambda k: proposal(sign * min(2.0**k, float(ceiling))))
        reached = abs(float(np.extract(same, _values(attempt.batch, name))[0]))
        if 2.0 < reached <= 2.0**24:
            attempt.smallest(int(reached) // 2, int(np.ceil(reached)), lambda k: proposal(sign * k))
            return
    reached = float(np.extract(same, _values(attempt.batch, name))[0])
    attempt.smallest(1, 53, lambda bits: proposal(float(_short(np.asarray(reached), bits))))


PASSES: tuple[Pass, ...] = (
    plain_call,
    fewer_dimensions,
    fewer_rows,
    one_large_logit,
    fewer_vectors,
    fewer_columns,
    fewer_dimensions,
    simpler_targets,
    simpler_options,
    simpler_values,
)
"""In order: what removes most comes first."""
