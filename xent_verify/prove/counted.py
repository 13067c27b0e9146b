"""A chunk's counts read back from a log: each field checked, and all of them held against the domain they are of."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Container, Iterator
from typing import Any

import numpy as np

from xent_verify.core.documents import Node
from xent_verify.core.formats import IntArray
from xent_verify.core.kinds import CLASSES, SEVERITIES
from xent_verify.prove.counts import BINS, Cells, Counts, Extreme, Narrowed
from xent_verify.prove.domain import Domain

__all__ = ["counts_of"]

_CELL_BYTES = 16


def counts_of(node: Node, chunk: int, domain: Domain, *, by_elements: bool) -> Counts:
    """The counts of one chunk.

    Args:
        node: What ``Counts.to_plain`` wrote.
        chunk: The chunk's number, one of the domain's.
        domain: The domain that the chunk is part of.
        by_elements: The operation gives one element a logit, not one a row.

    Returns:
        The counts.

    Raises:
        UsageError: A field is not what is due, or the numbers cannot be those of this chunk.
    """
    rows = domain.rows_of(chunk)
    if node.count("rows") != len(rows):
        raise node.fail("rows", node.fields["rows"], f"{len(rows)}, the rows of chunk {chunk}")
    made = Counts(len(rows), node.count("elements"), node.count("numeric"), node.count("correct"))
    made.classes, made.failing, made.unanswered = map(node.counts, ("classes", "failing", "unanswered"))
    made.histogram = _histogram(node.child("histogram"))
    _add_up(node, made, domain.elements_of(chunk) if by_elements else len(rows))
    best, cells, narrowed = map(node.child, ("best", "cells", "narrowed"))
    made.best = {what: _extreme(best, what, rows) for what in best.fields}
    made.cells = {kind: _features(cells.child(kind), len(rows)) for kind in cells.fields}
    made.narrowed = {how: _narrowed(narrowed, how, rows) for how in narrowed.fields}
    for hit in _records(node, "hits", (str, str, str, int)):
        if hit[1] not in SEVERITIES or hit[3] not in rows:
            raise node.fail("hits", str(hit), "a kind, a severity, a message and a row of the chunk")
        made.hits[hit[0], hit[1], hit[2]] = hit[3]
    made.words = {(situation, word) for situation, word in _records(node, "words", (str, str))}
    made.machines = set(node.texts("machines"))
    return made


def _add_up(node: Node, made: Counts, elements: int) -> None:
    """Every row is answered or not, every element of an answered row is in one class, every number in one bin."""
    lost = sum(made.unanswered.values())
    if lost > made.rows:
        raise node.fail("unanswered", lost, f"at most {made.rows}, the rows of the chunk")
    if made.elements > elements or (not lost and made.elements != elements):
        raise node.fail("elements", made.elements, f"{elements}, those of the chunk")
    for name, kinds in (("classes", made.classes), ("failing", made.failing)):
        for kind in kinds:
            if kind not in CLASSES:
                raise node.fail(f"{name}.{kind}", kinds[kind], "absent: there is no such class")
    if sum(made.classes.values()) != made.elements:
        raise node.fail("classes", sum(made.classes.values()), f"{made.elements} in all, the elements")
    if max(made.failing.values(), default=0) > made.rows:
        raise node.fail("failing", max(made.failing.values()), f"at most {made.rows}, the rows of the chunk")
    if made.numeric > made.elements or made.correct > made.numeric:
        raise node.fail("numeric", made.numeric, "at most the elements, and at least those correctly rounded")
    if int(made.histogram.sum()) != made.numeric:
        raise node.fail("histogram", int(made.histogram.sum()), f"{made.numeric} in all, the errors that are numbers")


def _histogram(node: Node) -> IntArray:
    made = np.zeros(BINS, np.int64)
    for name in node.fields:
        if not (name.isascii() and name.isdecimal() and len(name) <= 3 and int(name) < BINS):
            raise node.fail(name, node.fields[name], f"under the number of one of the {BINS} bins")
        made[int(name)] = node.count(name)
    return made


def _extreme(node: Node, what: str, rows: Container[int]) -> Extreme:
    match node.get(what):
        case [str(value), int(row), int(column), [*answer]] if (
            row in rows and 0 <= column < 2**31 and all(type(bits) is int and 0 <= bits < 2**64 for bits in answer)
        ):
            try:
                return Extreme(float.fromhex(value), row, column, tuple(answer))
            except (ValueError, OverflowError):
                raise node.fail(what, value, "a hexadecimal float") from None
        case found:
            raise node.fail(what, str(found), "[hexadecimal float, row of the chunk, column, bits of the answer]")


def _narrowed(node: Node, how: str, rows: Container[int]) -> Narrowed:
    match node.get(how):
        case [int(number), int(first), str(message)] if number > 0 and first in rows and first + number - 1 in rows:
            return Narrowed(number, first, message)
        case found:
            raise node.fail(how, str(found), "[how many rows, first row of the chunk, message]")


def _features(node: Node, rows: int) -> dict[str, Cells]:
    return {name: node.made(name, lambda text: _cells(text, rows)) for name in node.fields}


def _cells(text: str, rows: int) -> Cells:
    """No more of it is unpacked than the rows of a chunk can fill; ``ValueError`` where it is not that."""
    largest = rows * _CELL_BYTES
    try:
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(base64.b64decode(text, validate=True), largest + 1)
    except (binascii.Error, zlib.error, UnicodeEncodeError) as error:
        raise ValueError(f"not compressed cells ({error})") from None
    if len(data) > largest or len(data) % _CELL_BYTES or not unpacker.eof:
        raise ValueError(f"not the cells of at most {rows} rows")
    steps, counts = np.frombuffer(data, "<i8").astype(np.int64).reshape(2, -1)
    if len(counts) and (counts.min() < 1 or counts.max() > rows or (steps[1:] < 1).any()):
        raise ValueError("not ascending cells with counts")
    return Cells(np.cumsum(steps), counts)


def _records(node: Node, key: str, kinds: tuple[type, ...]) -> Iterator[tuple[Any, ...]]:
    for position, record in enumerate(node.typed(key, list, "a list of lists")):
        fits = isinstance(record, list) and [type(item) for item in record] == list(kinds)
        if not fits:
            raise node.fail(f"{key}[{position}]", record, f"a list of {', '.join(kind.__name__ for kind in kinds)}")
        yield tuple(record)
