"""What of a call's options makes it fail: one is left out, its number is moved, an array is given in the usual format."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from xent_verify.core.model import Batch
from xent_verify.ops import Op
from xent_verify.ops.defined import undefined

__all__ = ["option", "other_format"]

Fails = Callable[[Batch], bool | None]
"""Whether a call is answered wrongly; None where it is not answered."""

_LARGEST = 20_000
"""Logits of a call that is asked again and again."""

_HALVINGS = 14
_FAR = 20
"""Doublings of an option's number beyond which its size sets nothing apart."""
_NUMBERS = ("share", "divisor", "number", "factor", "logit")


def option(op: Op, batch: Batch, fails: Fails) -> str:
    """What of its options makes a failing call fail, in words; "" where none does by itself.

    Args:
        op: The operation.
        batch: A failing call.
        fails: Asks the target another call.

    Returns:
        Such as ``wrong with weight, right without it``, ``wrong for temperature from 10 to 100``, or ``wrong with mask and
        softcap together``.
    """
    if batch.x.size > _LARGEST or not fails(batch):
        return ""
    needed = []
    for name in batch.options:
        known = op.options.get(name)
        if known is None or known.kind in ("axis", "reduction"):
            continue
        left = replace(batch, options={other: given for other, given in batch.options.items() if other != name})
        if undefined(op, left) or fails(left) is not False:
            continue
        needed.append(name)
    if len(needed) > 1:
        return f"wrong with {' and '.join(needed)} together, right without {'either' if len(needed) == 2 else 'any of them'}"
    if not needed:
        return ""
    name, value = needed[0], batch.options[needed[0]]
    number = op.options[name].kind in _NUMBERS and value is not None
    told = _interval(op, batch, name, float(value), fails) if number else ""
    return told or f"wrong with {name}, right without it"


def other_format(op: Op, batch: Batch, fails: Fails) -> str:
    """The array that is wrong in its format and right in the usual one, in words; "" where none is.

    Args:
        op: The operation.
        batch: A failing call.
        fails: Asks the target another call.

    Returns:
        Such as ``right with weight in float32, wrong with it in float64``.
    """
    if batch.x.size > _LARGEST:
        return ""
    for words, changed in _formats(batch):
        if not undefined(op, changed) and fails(changed) is False and fails(batch):
            return words
    return ""


def _formats(batch: Batch) -> Iterator[tuple[str, Batch]]:
    """The call with an array of another format in the usual one: its words, and it."""
    for name, value in batch.inputs.items():
        if value.dtype.kind in "iub" and value.dtype != np.int64:
            made = replace(batch, inputs={**batch.inputs, name: value.astype(np.int64)})
            yield f"right with int64 labels, wrong with {value.dtype.name} labels", made
    for name, value in batch.options.items():
        usual = batch.form.dtype
        if isinstance(value, np.ndarray) and value.dtype.kind not in "iub" and value.dtype != usual:
            made = replace(batch, options={**batch.options, name: batch.form.narrow(value.astype(np.float64))})
            yield f"right with {name} in {usual.name}, wrong with it in {value.dtype.name}", made


def _interval(op: Op, batch: Batch, name: str, value: float, fails: Fails) -> str:
    """The interval of a number around a wrong one, to four digits."""

    def wrong(number: float) -> bool | None:
        made = replace(batch, options={**batch.options, name: number})
        return None if undefined(op, made) else fails(made)

    if not value or not np.isfinite(value):
        return ""
    low, high = (_edge(value, factor, wrong) for factor in (0.5, 2.0))
    if low is None and high is None:
        return ""
    if low is None:
        return f"wrong for {name} of magnitude ≤ {abs(high or 0.0):.4g}"
    if high is None:
        return f"wrong for {name} of magnitude ≥ {abs(low):.4g}"
    return f"wrong for {name} from {low:.4g} to {high:.4g}"


def _edge(value: float, factor: float, wrong: Callable[[float], bool | None]) -> float | None:
    """The last wrong number from a wrong one on, in growing steps, then halved; None where all of any size are wrong."""
    bad = good = value
    while abs(math.log2(abs(good / value))) < _FAR:
        bad, good = good, good * factor
        found = wrong(good) if 0 < abs(good) < np.inf else None
        if found is None:
            return None
        if not found:
            break
        factor *= factor
    else:
        return None
    for _ in range(_HALVINGS):
        middle = np.sign(value) * float(np.sqrt(abs(bad) * abs(good)))
        if wrong(middle):
            bad = middle
        else:
            good = middle
    return float(bad)
