"""The calls that a target is built for, as its user declares them: ``n <= 65536, contiguous, index labels``.

The grammar: conditions with commas between; all of them hold. A condition is a word (``WORDS``), a number of dimensions
(``2-D``), or ``NAME OP VALUE``: NAME is ``n`` (length of a row), ``rows``, ``ndim``, ``dtype`` or an option of the operation;
OP is one of ``<= < >= > == !=``; VALUE a number or a name.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xent_verify.core.failures import UnknownNameError, UsageError
from xent_verify.core.layouts import UNWRITABLE
from xent_verify.core.model import Batch
from xent_verify.ops import Op

__all__ = ["WORDS", "Domain"]

Holds = Callable[[Batch, int], bool]
"""(the call, how many dimensions the target sees) -> whether a condition is met."""

_COMPARED = re.compile(r"([A-Za-z_]\w*)\s*(<=|>=|==|!=|<|>)\s*(\S+)")
_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Domain:
    """Conditions on a call, as text and as what they mean; none: every call."""

    text: str = ""
    conditions: tuple[tuple[str, Holds], ...] = ()

    @staticmethod
    def of(text: str, op: Op) -> Domain:
        """From text; ``UsageError`` naming the first condition that is none."""
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return Domain(text, tuple((part, _condition(part, op)) for part in parts))

    def outside(self, batch: Batch, ndim: int | None = None) -> str:
        """The first condition that a call does not meet; "" where it meets all. ``ndim``: dimensions as the target sees them."""
        seen = batch.x.ndim if ndim is None else ndim
        return next((text for text, holds in self.conditions if not holds(batch, seen)), "")


def _condition(text: str, op: Op) -> Holds:
    if text in WORDS:
        word = WORDS[text]
        return lambda batch, _: word(batch)
    dimensions = re.fullmatch(r"(\d+)-[dD]", text)
    if dimensions:
        return lambda _, ndim: ndim == int(dimensions[1])
    compared = _COMPARED.fullmatch(text)
    if compared is None:
        known = ", ".join(("n <= 65536", "2-D", *WORDS))
        raise UsageError(f"--only: {text!r} is no condition; write such as: {known}")
    name, sign, value = compared.groups()
    read = _reader(name, op)
    wanted = _value(value, name)
    if isinstance(wanted, str) and sign not in ("==", "!="):
        raise UsageError(f"--only: {text!r}: {value} is no number, and only == and != compare names")
    compare = _OPERATORS[sign]
    return lambda batch, ndim: bool(compare(ndim if name == "ndim" else read(batch), wanted))


def _reader(name: str, op: Op) -> Callable[[Batch], Any]:
    if name in _MEASURES:
        return _MEASURES[name]
    if name in op.options:
        return lambda batch: op.option(batch, name)
    raise UsageError(f"--only: {UnknownNameError('name', name, [*_MEASURES, *op.options])}")


def _value(text: str, name: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        if name in ("n", "rows", "ndim"):
            raise UsageError(f"--only: {name} is compared with {text!r}, which is no number") from None
        return text.strip("'\"")


def _length(batch: Batch) -> int:
    return batch.x.shape[int(batch.options.get("axis", -1))] if batch.x.ndim else 1


def _rows(batch: Batch) -> int:
    return batch.x.size // max(_length(batch), 1)


_MEASURES: Mapping[str, Callable[[Batch], Any]] = {
    "n": _length,
    "rows": _rows,
    "ndim": lambda batch: batch.x.ndim,
    "dtype": lambda batch: batch.fmt,
}


def _label_kind(batch: Batch) -> str:
    target = batch.inputs.get("target")
    return "" if target is None else "index" if target.dtype.kind in "iu" else "probability"


def _floats(batch: Batch) -> list[Any]:
    return [batch.form.widen(value) for value in batch.inputs.values() if value.dtype.kind not in "iu"]


WORDS: Mapping[str, Callable[[Batch], bool]] = {
    "contiguous": lambda batch: batch.layout in ("C", "readonly"),
    "writeable": lambda batch: batch.layout not in UNWRITABLE,
    "last axis": lambda batch: int(batch.options.get("axis", -1)) in (-1, batch.x.ndim - 1),
    "index labels": lambda batch: _label_kind(batch) in ("", "index"),
    "probability labels": lambda batch: _label_kind(batch) in ("", "probability"),
    "finite": lambda batch: all(bool(np.isfinite(value).all()) for value in _floats(batch)),
    "no NaN": lambda batch: not any(bool(np.isnan(value).any()) for value in _floats(batch)),
    "not empty": lambda batch: bool(batch.x.size),
}
"""Conditions that are words."""
