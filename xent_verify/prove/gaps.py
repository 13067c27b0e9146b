"""The domain ``gaps``: every argument that exp has below the maximum of a row.

A row is 0, -d, -d', …: the gaps are neighbouring floats, so that a row tests n - 1 arguments of exp at once (a result with
one value a row has one gap a row). They go from 2**-26, below which exp(-d) is 1 in 24 bits, to 104, beyond which it is 0 in
float32, or to the largest float of the format.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.failures import UnknownNameError, UsageError
from xent_verify.core.formats import FloatFormat, IntArray
from xent_verify.ops import Op
from xent_verify.prove.domain import DOMAINS, LIMIT_BITS, Block, Domain, default_domain

__all__ = ["Gaps", "domain_of"]

_LOWEST, _HIGHEST = 2.0**-26, 104.0
_EACH = 1023
_CHUNK = 1 << 20
"""Gaps of a chunk, about."""
_CALL = 1 << 18


@dataclass(frozen=True, slots=True)
class Gaps(Domain):
    """Rows of ``each`` neighbouring gaps. The last row repeats its last gap until it is full."""

    each: int = _EACH

    @property
    def arity(self) -> int:
        return self.each + 1

    @property
    def ends(self) -> tuple[int, int]:
        """The ordinals of the smallest gap and the largest."""
        form = self.form
        low, high = max(_LOWEST, form.smallest_subnormal), min(_HIGHEST, form.max_finite)
        return int(form.ordinal(form.narrow(low))), int(form.ordinal(form.narrow(high)))

    @property
    def size(self) -> int:
        first, last = self.ends
        return -(-(last - first + 1) // self.each)

    @property
    def chunk_rows(self) -> int:
        return max(_CHUNK // self.each, 1)

    def rows_of(self, chunk: int) -> range:
        return range(chunk * self.chunk_rows, min((chunk + 1) * self.chunk_rows, self.size))

    def elements_of(self, chunk: int) -> int:
        return self.arity * len(self.rows_of(chunk))

    def blocks(self, chunk: int) -> Iterator[Block]:
        rows = self.rows_of(chunk)
        step = max(_CALL // self.arity, 1)
        for first in range(rows.start, rows.stop, step):
            some = np.arange(first, min(first + step, rows.stop))
            yield Block(some, self.values(some))

    def _ordinals(self, rows: IntArray) -> IntArray:
        """Of the gaps of some rows, [R, each]."""
        first, last = self.ends
        return np.asarray(np.minimum(first + rows[:, None] * self.each + np.arange(self.each), last))

    def values(self, rows: IntArray) -> NDArray[np.generic]:
        found = np.zeros((len(rows), self.arity), self.form.dtype)
        found[:, 1:] = -self.form.from_ordinal(self._ordinals(rows))
        return found

    def features(self, rows: IntArray, failing: NDArray[np.bool_]) -> dict[str, IntArray]:
        """The first gap and the last of each row at which it fails."""
        gaps = self._ordinals(rows)
        if self.each == 1:  # told to 1024 neighbours, since so many cells are kept
            return {"d": gaps[:, 0] & -1024, "d to": gaps[:, 0] | 1023}
        places = np.arange(len(rows))
        first, last = failing.argmax(axis=1), self.each - failing[:, ::-1].argmax(axis=1)
        return {"d": gaps[places, np.maximum(first - 1, 0)], "d to": gaps[places, np.maximum(last - 1, 0)]}


def domain_of(op: Op, form: FloatFormat, name: str = "") -> Domain:
    """The domain of that name; ``UsageError`` where it does not exist or is too large to be walked."""
    if len(op.inputs) != 1 or op.result == "loss" or any(option.kind == "divisor" for option in op.options.values()):
        raise UsageError(
            f"prove: {op.name} takes more than one row of logits; prove an operation of one input, such as softmax"
        )
    op.check_format(form)
    chosen = name or default_domain(op, form)
    if chosen not in DOMAINS:
        raise UnknownNameError("domain", chosen, DOMAINS)
    if op.by_row == (chosen == "unary"):
        kind = "rows" if op.by_row else "elements"
        raise UsageError(f"prove: {op.name} works on {kind}; --domain {chosen} is for the other kind")
    if chosen == "gaps":
        domain: Domain = Gaps(chosen, form.name, op.by_row, _EACH if op.result == "elements" else 1)
        bits = (domain.ends[1] - domain.ends[0]).bit_length() if isinstance(domain, Gaps) else 0
    else:
        domain = Domain(chosen, form.name, op.by_row)
        bits = form.bits * domain.arity
    if bits > LIMIT_BITS:
        raise UsageError(f"prove: {chosen} of {form.name} are 2**{bits} rows, more than 2**{LIMIT_BITS}")
    return domain
