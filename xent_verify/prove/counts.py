"""What a chunk comes to: integer counts, exact maxima with their places, cells of failing rows. Sums of such are exact.

``merged`` is associative and commutative, so chunks add up to the same total in any order, on any number of machines:
counts are integers; a maximum keeps the largest value and, among equals, the first row (a total order).

The histogram is of log2. A measured error is decided to 2**-20 ulp, so that bins are laid by a part of that lower,
``bin = floor(log2(error + SHIFT))``: errors that crowd at 0.5, 1, 2, … (y beside a true value within 2**-60 of a
representable one) fall inside a bin and not on its edge. Small gaps of few bits make errors of few bits, 3 * 2**-21 for
example; SHIFT = 2**-21.5 has many bits, so that none of those lies on an edge either.
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xent_verify.core.formats import FloatArray, IntArray

__all__ = [
    "BINS",
    "LOWEST",
    "NOT_ANSWERED",
    "SHIFT",
    "Cells",
    "Counts",
    "Extreme",
    "Gathered",
    "Narrowed",
    "bin_edges",
    "bins_of",
    "bins_of_shifted",
]

NOT_ANSWERED = "not answered"
"""Rows of calls that gave no answer, after so many that they were not asked one by one."""

SHIFT = float.fromhex("0x1.6a09e667f3bcdp-22")
LOWEST = -11
"""Exponent of the first bin, which starts at an error of 0."""

BINS = 96
"""The last bin is open: errors of 2**84 ulps and more, and placed infinities."""


@dataclass(frozen=True, slots=True)
class Extreme:
    """A largest value, the row (index in the domain) and output column it stands in, and the row's answer (bits)."""

    value: float
    row: int
    column: int
    answer: tuple[int, ...]

    @property
    def order(self) -> tuple[float, int, int]:
        """Larger first, then the earlier place."""
        return -self.value, self.row, self.column


@dataclass(frozen=True, slots=True)
class Narrowed:
    """The fewest neighbouring rows on which a target gave no answer, found by halving."""

    rows: int
    first: int
    message: str

    @property
    def order(self) -> tuple[int, int, str]:
        return self.rows, self.first, self.message


@dataclass(frozen=True, slots=True)
class Cells:
    """Sparse counts: ``counts[k]`` rows in cell ``ids[k]``, ids ascending."""

    ids: IntArray
    counts: IntArray

    @classmethod
    def of(cls, ids: IntArray) -> Cells:
        """Counts of single cells."""
        return cls(*np.unique(ids, return_counts=True))

    def __add__(self, other: Cells) -> Cells:
        ids, inverse = np.unique(np.concatenate((self.ids, other.ids)), return_inverse=True)
        counts = np.zeros(len(ids), np.int64)
        np.add.at(counts, inverse, np.concatenate((self.counts, other.counts)))
        return Cells(ids, counts)

    def to_text(self) -> str:
        """Compressed, in printable characters."""
        pair = np.stack((np.diff(self.ids, prepend=0), self.counts)).astype("<i8")
        return base64.b64encode(zlib.compress(pair.tobytes(), 6)).decode("ascii")

    @classmethod
    def from_text(cls, text: str) -> Cells:
        flat = np.frombuffer(zlib.decompress(base64.b64decode(text)), "<i8").astype(np.int64)
        steps, counts = flat.reshape(2, -1)
        return cls(np.cumsum(steps), counts)


@dataclass(slots=True)
class Counts:
    """The result of a chunk, or of any number of them.

    ``classes`` counts output elements (``measure.CLASSES``); ``numeric`` those whose error is a number, of which
    ``histogram``, ``correct`` (within 0.5 ulp) and the maxima tell. ``best``: "ulp", "ratio" and each failing class.
    ``failing``: class -> rows that show it; ``cells``: class -> feature -> cells of these rows. ``unanswered``: rows
    without an answer, by what happened instead. ``hits``: what calls did besides answering -> first row. ``words``:
    conventions seen. ``machines``: instruction sets that computed.
    """

    rows: int = 0
    elements: int = 0
    numeric: int = 0
    correct: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    histogram: IntArray = field(default_factory=lambda: np.zeros(BINS, np.int64))
    best: dict[str, Extreme] = field(default_factory=dict)
    failing: dict[str, int] = field(default_factory=dict)
    cells: dict[str, dict[str, Cells]] = field(default_factory=dict)
    unanswered: dict[str, int] = field(default_factory=dict)
    narrowed: dict[str, Narrowed] = field(default_factory=dict)
    hits: dict[tuple[str, str, str], int] = field(default_factory=dict)
    words: set[tuple[str, str]] = field(default_factory=set)
    machines: set[str] = field(default_factory=set)

    def offer(self, what: str, found: Extreme) -> None:
        """Take a maximum if it is one."""
        held = self.best.get(what)
        if held is None or found.order < held.order:
            self.best[what] = found

    def narrow(self, how: str, found: Narrowed) -> None:
        held = self.narrowed.get(how)
        if held is None or found.order < held.order:
            self.narrowed[how] = found

    def count(self, name: str, number: int) -> None:
        """Elements of a class."""
        if number:
            self.classes[name] = self.classes.get(name, 0) + number

    def fail(self, kind: str, rows: int, features: Mapping[str, IntArray]) -> None:
        """Rows that show a failing class, with the cells of their features."""
        self.failing[kind] = self.failing.get(kind, 0) + rows
        held = self.cells.setdefault(kind, {})
        for name, ids in features.items():
            held[name] = held[name] + Cells.of(ids) if name in held else Cells.of(ids)

    def add(self, other: Counts) -> None:
        """Add another result to this one."""
        for name in ("rows", "elements", "numeric", "correct"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for mine, theirs in (
            (self.classes, other.classes),
            (self.failing, other.failing),
            (self.unanswered, other.unanswered),
        ):
            for key, number in theirs.items():
                mine[key] = mine.get(key, 0) + number
        self.histogram = self.histogram + other.histogram
        for what, found in other.best.items():
            self.offer(what, found)
        for how, few in other.narrowed.items():
            self.narrow(how, few)
        for kind, features in other.cells.items():
            held = self.cells.setdefault(kind, {})
            for name, cells in features.items():
                held[name] = held[name] + cells if name in held else cells
        for hit, first in other.hits.items():
            self.hits[hit] = min(first, self.hits.get(hit, first))
        self.words |= other.words
        self.machines |= other.machines

    @classmethod
    def merged(cls, parts: Iterable[Counts]) -> Counts:
        """The sum of results, whatever their order."""
        total = cls()
        for part in parts:
            total.add(part)
        return total

    def to_plain(self) -> dict[str, Any]:
        """As JSON data, in a fixed order; maxima as hexadecimal floats."""
        return {
            "rows": self.rows,
            "elements": self.elements,
            "numeric": self.numeric,
            "correct": self.correct,
            "classes": dict(sorted(self.classes.items())),
            "histogram": {str(k): int(self.histogram[k]) for k in np.nonzero(self.histogram)[0]},
            "best": {
                what: [found.value.hex(), found.row, found.column, list(found.answer)]
                for what, found in sorted(self.best.items())
            },
            "failing": dict(sorted(self.failing.items())),
            "cells": {
                kind: {name: cells.to_text() for name, cells in sorted(features.items())}
                for kind, features in sorted(self.cells.items())
            },
            "unanswered": dict(sorted(self.unanswered.items())),
            "narrowed": {how: [few.rows, few.first, few.message] for how, few in sorted(self.narrowed.items())},
            "hits": [[*key, first] for key, first in sorted(self.hits.items())],
            "words": sorted(map(list, self.words)),
            "machines": sorted(self.machines),
        }

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> Counts:
        """The reverse of ``to_plain``."""
        made = cls(data["rows"], data["elements"], data["numeric"], data["correct"])
        made.classes, made.failing, made.unanswered = (dict(data[n]) for n in ("classes", "failing", "unanswered"))
        for k, number in data["histogram"].items():
            made.histogram[int(k)] = number
        for what, (value, row, column, answer) in data["best"].items():
            made.best[what] = Extreme(float.fromhex(value), row, column, tuple(answer))
        for kind, features in data["cells"].items():
            made.cells[kind] = {name: Cells.from_text(text) for name, text in features.items()}
        made.narrowed = {how: Narrowed(*few) for how, few in data["narrowed"].items()}
        made.hits = {(kind, severity, message): first for kind, severity, message, first in data["hits"]}
        made.words = {(situation, word) for situation, word in data["words"]}
        made.machines = set(data["machines"])
        return made


class Gathered:
    """Chunks that are done, and their sum: no more than one ``Counts`` is kept, however many there are."""

    def __init__(self, parts: Mapping[int, Counts] | None = None) -> None:
        self.total = Counts()
        self._marks: dict[int, bytes] = {}
        for chunk, counts in (parts or {}).items():
            self.add(chunk, counts)

    def add(self, chunk: int, counts: Counts) -> None:
        """Take a chunk, once; ``ValueError`` when it comes again with another result."""
        mark = hashlib.sha256(json.dumps(counts.to_plain(), sort_keys=True).encode()).digest()[:16]
        if chunk not in self._marks:
            self._marks[chunk] = mark
            self.total.add(counts)
        elif self._marks[chunk] != mark:
            raise ValueError(f"two different results of chunk {chunk}")

    def __contains__(self, chunk: object) -> bool:
        return chunk in self._marks

    def __len__(self) -> int:
        return len(self._marks)

    @property
    def chunks(self) -> list[int]:
        """The numbers of the chunks, in order."""
        return sorted(self._marks)


def bins_of(errors: FloatArray) -> IntArray:
    """The bin of each error in ulps (not NaN); infinities fall into the last."""
    return bins_of_shifted(np.asarray(errors + SHIFT))


def bins_of_shifted(shifted: FloatArray) -> IntArray:
    """The same for errors to which about ``SHIFT`` was added already: by the exponent of the double."""
    exponents = shifted.view(np.int64) >> 52
    exponents -= 1023 + LOWEST
    return np.clip(exponents, 0, BINS - 1, out=exponents)


def bin_edges(k: int) -> tuple[float, float]:
    """Bin ``k`` holds errors from the first of these (about 2**(k - 11)) to below the second."""
    low = 0.0 if k == 0 else 2.0 ** (k + LOWEST) - SHIFT
    return low, np.inf if k == BINS - 1 else 2.0 ** (k + LOWEST + 1) - SHIFT
