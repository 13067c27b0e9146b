"""The chunk log: what is done, on disk, line by line, so that a run can be killed at any moment and go on.

A JSON object a line, flushed to the disk before the next chunk is handed out for counting: first the identity of the
run, then one line a chunk with its counts and a SHA-256 of them. Lines are only appended. On reading, a line that does
not parse or does not match its sum (the last one, torn by a kill; any other, spoilt) is left out, and its chunk is
computed again; of several lines of a chunk the first counts, and the others must say the same. Nothing is lost, nothing
counted twice.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from xent_verify.core.documents import Node, fault, json_of, opened
from xent_verify.core.failures import UsageError, clipped, printable
from xent_verify.ops import op_named
from xent_verify.prove.counted import counts_of
from xent_verify.prove.counts import Gathered
from xent_verify.prove.plan import Plan

__all__ = ["ChunkLog", "read_log"]

_SCHEMA = 1
_LONGEST_LINE = 2**26


class ChunkLog:
    """An open log: what it holds is added to ``into``; ``add`` appends a chunk. One writer at a time."""

    def __init__(self, path: Path, plan: Plan, into: Gathered, *, resume: bool) -> None:
        self.path = path
        known = path.exists() and not (path.is_file() and path.stat().st_size == 0)
        if known and not resume:
            raise UsageError(f"log {path}: exists already; go on with --resume {path}, or name another file")
        if resume and not known:
            raise UsageError(f"log {path}: there is none to resume; begin one with --log {path}")
        if known:
            opened(path).close()  # a regular file
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise UsageError(f"log {path}: another run writes to it") from None
        try:
            self._begin(plan, into, known=known)
        except BaseException:
            self._file.close()
            raise

    def _begin(self, plan: Plan, into: Gathered, *, known: bool) -> None:
        if known:
            read_log(self.path, plan, into)
            self._end_line()
        if not known or not self._headed():
            self._write({"schema": _SCHEMA, "kind": "chunk log", "run": plan.identity})

    def _headed(self) -> bool:
        """Whether the identity is there (a kill may have come before it)."""
        return any(line.get("kind") == "chunk log" for _, line in _lines(self.path))

    def _end_line(self) -> None:
        """Close a torn last line, so that the next one stands alone."""
        self._file.seek(-1, os.SEEK_END)
        if self._file.read(1) != b"\n":
            self._file.write(b"\n")

    def add(self, chunk: int, data: dict[str, Any], seconds: float) -> None:
        """Append a chunk's counts; on the disk when this returns."""
        self._write({"chunk": chunk, "counts": data, "sha256": _sum(chunk, data), "seconds": round(seconds, 3)})

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> ChunkLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def _sum(chunk: int, data: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps([chunk, data], sort_keys=True).encode()).hexdigest()


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Every line that is a JSON object, with its number; a line that is none was torn or spoilt."""
    with opened(path) as file:
        for number in count(1):
            raw = file.readline(_LONGEST_LINE)
            if not raw:
                return
            try:
                line = json_of(raw, "")
            except UsageError:
                continue
            yield number, line.fields


def read_log(path: Path, plan: Plan, into: Gathered) -> None:
    """Add the chunks of a log; ``UsageError`` when it is another run's, naming what differs."""
    headed, by_elements = False, op_named(plan.op).result == "elements"
    for number, line in _lines(path):
        node = Node(line, f"log {path}", f"line {number}")
        if line.get("kind") == "chunk log":
            if type(line.get("schema")) is not int or line["schema"] != _SCHEMA:
                raise node.fail("schema", line.get("schema"), str(_SCHEMA))
            _agree(path, line.get("run"), plan)
            headed = True
            continue
        chunk, data = line.get("chunk"), line.get("counts")
        if type(chunk) is not int or not isinstance(data, dict) or line.get("sha256") != _sum(chunk, data):
            continue
        if not headed:
            raise UsageError(f"log {path}: its first line, which says what run it is of, is missing or spoilt")
        if not 0 <= chunk < plan.domain.chunks:
            raise node.fail("chunk", chunk, f"one of the {plan.domain.chunks} of this run, from 0")
        try:
            counts = counts_of(node.child("counts"), chunk, plan.domain, by_elements=by_elements)
            into.add(chunk, counts)
        except UsageError:
            raise
        except ValueError as error:
            raise fault(node.source, node.place, f"{error}; is the target deterministic?", "") from None


def _agree(path: Path, run: Any, plan: Plan) -> None:
    wanted = json.loads(json.dumps(plan.identity))
    if run == wanted:
        return
    found = run if isinstance(run, dict) else {}
    name = next((key for key in wanted if found.get(key) != wanted[key]), "schema")
    raise UsageError(
        f"log {path}: is of another run: its {name} is {_brief(found.get(name))}, but this run's is {_brief(wanted.get(name))}"
    )


def _brief(value: Any) -> str:
    return clipped(printable(value if isinstance(value, str) else json.dumps(value)), 80)
