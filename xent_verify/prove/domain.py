"""Finite domains: every input once, cut into chunks of about a second, each row with an index.

``unary`` to ``sextuples`` hold every row of 1 to 6 bit patterns of the format, NaNs included: row ``i`` is
``i`` written in base 2**bits, the first logit most significant. ``widths`` holds structured rows of every length from 1
to 4096 (``FAMILIES``): row ``(n - 1) * len(FAMILIES) + f`` is the row of family f and length n, and chunk k takes the
lengths n = k + 1 modulo the number of chunks, so that all chunks cost alike. ``gaps`` (``prove.gaps``) holds every
argument that exp has below the maximum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FORMATS, FloatArray, FloatFormat, IntArray
from xent_verify.ops import Op
from xent_verify.prove.widths import FAMILIES, LONGEST, structured

__all__ = ["DOMAINS", "GAP_SHIFT", "LIMIT_BITS", "Block", "Domain", "default_domain", "numbers"]

DOMAINS: Mapping[str, int] = {
    "unary": 1,
    "pairs": 2,
    "triples": 3,
    "quadruples": 4,
    "quintuples": 5,
    "sextuples": 6,
    "widths": 0,
    "gaps": -1,
}
"""Name -> logits in a row (0: as many as it says; -1: see ``prove.gaps``)."""

LIMIT_BITS = 40
_WALKED_BITS = 24
_SLOW_CHUNK, _FAST_CHUNK, _CALL = 20, 22, 18
_WIDTH_CHUNKS = 64
GAP_SHIFT = 44
"""Cells of a gap: its double without the lowest 44 bits, which keeps 8 behind the binary point."""

Bits = NDArray[np.unsignedinteger]


@dataclass(frozen=True, slots=True)
class Block:
    """One call: the rows' indices in the domain, and their values (2-D, or 1-D for elementwise operations)."""

    rows: IntArray
    x: NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Domain:
    """Every row of one kind in one format, for an operation by rows or by elements."""

    name: str
    fmt: str
    by_row: bool

    @property
    def form(self) -> FloatFormat:
        return FORMATS[self.fmt]

    @property
    def arity(self) -> int:
        return DOMAINS[self.name]

    @property
    def size(self) -> int:
        """How many rows there are."""
        return 1 << (self.form.bits * self.arity) if self.arity else LONGEST * len(FAMILIES)

    @property
    def tabulated(self) -> bool:
        """Pairs of a 16-bit format, which ``pairs`` knows to judge fast."""
        return self.name == "pairs" and self.form.bits == 16

    @property
    def chunk_rows(self) -> int:
        """Rows of a chunk of a domain of bit patterns."""
        return min(1 << (_FAST_CHUNK if self.tabulated else _SLOW_CHUNK), max(self.size >> 2, 256), self.size)

    @property
    def chunks(self) -> int:
        return -(-self.size // self.chunk_rows) if self.arity else _WIDTH_CHUNKS

    def rows_of(self, chunk: int) -> range | frozenset[int]:
        """The indices of a chunk's rows."""
        if self.arity:
            return range(chunk * self.chunk_rows, (chunk + 1) * self.chunk_rows)
        lengths = range(chunk + 1, LONGEST + 1, _WIDTH_CHUNKS)
        return frozenset((n - 1) * len(FAMILIES) + f for n in lengths for f in range(len(FAMILIES)))

    def elements_of(self, chunk: int) -> int:
        """The logits of a chunk's rows."""
        if self.arity:
            return self.arity * self.chunk_rows
        return len(FAMILIES) * sum(range(chunk + 1, LONGEST + 1, _WIDTH_CHUNKS))

    def blocks(self, chunk: int) -> Iterator[Block]:
        """The calls of one chunk, in ascending order of rows."""
        if not self.arity:
            for n in range(chunk + 1, LONGEST + 1, _WIDTH_CHUNKS):
                first = (n - 1) * len(FAMILIES)
                yield Block(np.arange(first, first + len(FAMILIES)), structured(self.form, n))
            return
        step = min(1 << _CALL, self.chunk_rows)
        for first in range(chunk * self.chunk_rows, (chunk + 1) * self.chunk_rows, step):
            rows = np.arange(first, first + step)
            yield Block(rows, self.values(rows))

    def patterns(self, rows: IntArray) -> Bits:
        """The bits of rows of a domain of bit patterns, [R, n]."""
        found = np.empty((len(rows), self.arity), self.form.unsigned)
        for column in range(self.arity):
            found[:, column] = rows >> (self.form.bits * (self.arity - 1 - column)) & ((1 << self.form.bits) - 1)
        return found

    def values(self, rows: IntArray) -> NDArray[np.generic]:
        """The inputs of some rows (of one length), as a target gets them."""
        if not self.arity:
            lengths = np.unique(rows // len(FAMILIES)) + 1
            if len(lengths) != 1:
                raise ValueError("rows of several lengths")
            return structured(self.form, int(lengths[0]))[rows % len(FAMILIES)]
        x = self.form.from_bits(self.patterns(rows))
        return x.reshape(len(rows), self.arity) if self.by_row else x.reshape(-1)

    def features(self, rows: IntArray, failing: NDArray[np.bool_]) -> dict[str, IntArray]:  # noqa: ARG002  (``gaps`` asks)
        """Cells that failing rows are told apart by; rows with a NaN (or without a gap) have none.

        ``failing``: which elements of these rows fail.
        """
        if not self.arity:
            return {"width": rows // len(FAMILIES) + 1, "family": rows % len(FAMILIES)}
        values = self.form.from_bits(self.patterns(rows))
        wide = numbers(self.form, values).reshape(-1, self.arity)
        return cells(self.form, wide.max(axis=1), wide.min(axis=1), single=self.arity == 1)


def numbers(form: FloatFormat, values: NDArray[np.generic]) -> FloatArray:
    """Values as doubles; signalling NaNs, of which a whole domain has many, do not warn."""
    with np.errstate(invalid="ignore"):
        return form.widen(values)


def cells(form: FloatFormat, top: FloatArray, low: FloatArray, *, single: bool = False) -> dict[str, IntArray]:
    """Cells of rows with that largest and smallest logit: ordinals, and gaps cut to 8 bits."""
    known = ~(np.isnan(top) | np.isnan(low))
    top, low = top[known], low[known]
    if single:
        return {"x": form.ordinal(top.astype(form.dtype))}
    with np.errstate(invalid="ignore"):
        gap = top - low
    gap = np.where(top == low, 0.0, gap)
    return {
        "max x": form.ordinal(top.astype(form.dtype)),
        "min x": form.ordinal(low.astype(form.dtype)),
        "gap": np.ascontiguousarray(gap).view(np.int64) >> GAP_SHIFT,
    }


def default_domain(op: Op, form: FloatFormat) -> str:
    """All inputs of elementwise operations; the largest rows that can be walked to the end, else every width."""
    if not op.by_row:
        return "unary"
    if form.bits > 16:
        return "widths"
    known = {arity: name for name, arity in DOMAINS.items()}
    return known[2 if form.bits == 16 else _WALKED_BITS // form.bits]
