"""Known findings in a file that people review: one finding a line, in a stable order.

An entry is keyed by target, op, dtype, kind and, for kinds that come from the last bits (NumPy's exp and log depend on
the machine), its instruction set. It holds the regimes it was seen in, how many values it hit, the largest error over
the bound, and how it was measured. With the ratchet on, an entry of kind "class" holds the class that a target keeps, and
a known finding that is gone has to leave the file. Files are replaced in one step, under a lock that is also the new
file, so whatever goes wrong leaves the old one as it was.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

from xent_verify.core.documents import Node, read_json
from xent_verify.core.failures import UsageError
from xent_verify.core.kinds import KINDS
from xent_verify.core.model import DtypeResult, Finding
from xent_verify.core.outputs import locked
from xent_verify.verdict.policies import CLASSES

__all__ = [
    "CLASS",
    "WORSE_FACTOR",
    "Change",
    "Entry",
    "class_entry",
    "compared",
    "differences",
    "entries_of",
    "read_baseline",
    "replaced",
    "update_baseline",
]

CLASS = "class"
"""The kind of the entries that hold classes."""

WORSE_FACTOR = 1.5
"""A known finding has become worse when its share of values or its error over the bound has grown beyond this factor."""

_SCHEMA = 1
_LOCK_SECONDS = 10.0
_REGIMES = 4
"""Regimes that a line names."""

Place = tuple[str, str, str]
"""(target, op, dtype)"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One known finding. ``ratio`` is None where no number makes sense; ``measured`` says how ("quick 0 standard any").

    Of kind "class": ``keeps`` is the class that the target keeps, and nothing is counted.
    """

    target: str
    op: str
    dtype: str
    kind: str
    instruction_set: str
    regimes: tuple[str, ...]
    count: int
    cases: int
    ratio: float | None
    measured: str
    keeps: str = ""

    @property
    def place(self) -> Place:
        return (self.target, self.op, self.dtype)

    @property
    def key(self) -> tuple[str, ...]:
        return (self.target, self.op, self.dtype, self.kind, self.instruction_set)

    @property
    def share(self) -> float:
        return self.count / self.cases if self.cases else 0.0

    @property
    def named(self) -> str:
        return f"{self.kind} {self.target} {self.op} {self.dtype}"

    @property
    def amount(self) -> str:
        """How much of it there is, or the class."""
        return self.keeps or f"{self.count} of {self.cases}"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference between what is known and what was found. ``entry`` is the finding (for "stale" the known one).

    "fallen": the class is weaker than the known one. ``fails``: it makes the gate fail.
    """

    word: Literal["new", "worse", "improved", "stale", "fallen"]
    entry: Entry
    reason: str
    fails: bool = False

    @property
    def line(self) -> str:
        return f"{self.word}: {self.entry.named}: {self.reason}"


def entries_of(place: Place, findings: Iterable[Finding], *, instruction_set: str, measured: str) -> Iterator[Entry]:
    """The findings of one place as entries, one a kind, by the name of the kind."""
    kinds: dict[str, list[Finding]] = {}
    for finding in findings:
        kinds.setdefault(finding.kind, []).append(finding)
    for kind, alike in sorted(kinds.items()):
        ratios = [one.worst.bound_ratio for one in alike if one.worst is not None and one.worst.bound_ratio is not None]
        regimes = sorted({name for one in alike for name in one.regimes})
        count, cases = sum(one.count for one in alike), max(one.cases for one in alike)
        yield Entry(
            *place, kind, instruction_set if KINDS[kind].last_bits else "", tuple(regimes), count, max(count, cases),
            max((ratio for ratio in ratios if not math.isnan(ratio)), default=None), measured,
        )  # fmt: skip


def class_entry(place: Place, result: DtypeResult, *, instruction_set: str, measured: str) -> Entry:
    """The class that one format of a target keeps, as an entry."""
    return Entry(*place, CLASS, instruction_set, (), 0, 0, None, measured, result.keeps)


def compared(
    known: Iterable[Entry],
    found: Iterable[Entry],
    checked: Iterable[tuple[Place, str]],
    *,
    instruction_set: str,
    factor: float = WORSE_FACTOR,
    ratchet: bool = False,
) -> tuple[Change, ...]:
    """What is new, worse, improved and stale, in the order of the findings; ``checked`` says what was and how.

    A finding of a kind that depends on the machine is held against the entries of other instruction sets where its own
    has none. Entries measured in another way (profile, seed, policy) tell what is known, but not how much of it.
    ``ratchet``: a class may not fall, and what is stale fails until it has left the baseline.
    """
    by_kind: dict[tuple[str, ...], list[Entry]] = {}
    for entry in known:
        by_kind.setdefault((*entry.place, entry.kind), []).append(entry)
    changes = []
    met: set[tuple[str, ...]] = set()
    for entry in found:
        candidates = by_kind.get((*entry.place, entry.kind), [])
        own = [one for one in candidates if one.instruction_set == entry.instruction_set]
        met.add((*entry.place, entry.kind))
        change = (
            _class_change(own or candidates, entry)
            if entry.kind == CLASS
            else _change(own or candidates, entry, factor)
        )
        if change is not None:
            changes.append(change)
    measured = dict(checked)
    for key, entries in by_kind.items():
        for entry in entries:
            here = entry.instruction_set in ("", instruction_set) and entry.kind != CLASS
            if here and key not in met and measured.get(entry.place) == entry.measured:
                reason = "no longer fails; --update-baseline removes the entry"
                changes.append(Change("stale", entry, reason, ratchet))
    return tuple(changes)


def _named(regimes: Sequence[str]) -> str:
    """The first few regimes, and how many more."""
    more = len(regimes) - _REGIMES
    return ", ".join(regimes[:_REGIMES]) + (f" and {more} more" if more > 0 else "")


def _class_change(known: list[Entry], found: Entry) -> Change | None:
    """A class against the strictest one that was measured in the same way."""
    same = [entry.keeps for entry in known if entry.measured == found.measured]
    if not same:
        return None
    was = min(same, key=_place_of)
    if _place_of(found.keeps) > _place_of(was):
        return Change("fallen", found, f"class {was} -> {found.keeps}; with may_not_fall a class may only rise", True)
    if _place_of(found.keeps) < _place_of(was):
        return Change("improved", found, f"class {was} -> {found.keeps}; --update-baseline keeps it")
    return None


def _place_of(name: str) -> int:
    """0 for the strictest class; what is none ("unsound") comes last."""
    return CLASSES.index(name) if name in CLASSES else len(CLASSES)


def _change(known: list[Entry], found: Entry, factor: float) -> Change | None:
    if not known:
        return Change("new", found, f"{found.amount} values in {_named(found.regimes)}", True)
    regimes = {name for entry in known for name in entry.regimes}
    more = sorted(set(found.regimes) - regimes)
    if more:
        return Change("new", found, f"known, but not in {_named(more)}", True)
    same = [entry for entry in known if entry.measured == found.measured]
    if not same:
        return None
    share = max(entry.share for entry in same)
    ratio = max((entry.ratio for entry in same if entry.ratio is not None), default=None)
    if found.share > factor * share:
        reason = f"share of values {share:.3g} -> {found.share:.3g} (allowed: {factor:g} times)"
        return Change("worse", found, reason, True)
    if ratio is not None and found.ratio is not None and found.ratio > max(1.0, factor * ratio):
        reason = f"error over bound {ratio:.4g} -> {found.ratio:.4g} (allowed: {factor:g} times)"
        return Change("worse", found, reason, True)
    return _improvement(regimes, share, ratio, found, factor)


def _improvement(regimes: set[str], share: float, ratio: float | None, found: Entry, factor: float) -> Change | None:
    fewer = sorted(regimes - set(found.regimes))
    if fewer:
        return Change("improved", found, f"no longer in {', '.join(fewer)}")
    if found.share * factor < share:
        return Change("improved", found, f"share of values {share:.3g} -> {found.share:.3g}")
    if ratio is not None and found.ratio is not None and max(1.0, found.ratio * factor) < ratio:
        return Change("improved", found, f"error over bound {ratio:.4g} -> {found.ratio:.4g}")
    return None


def replaced(
    known: Iterable[Entry], found: Iterable[Entry], checked: Iterable[Place], instruction_set: str
) -> list[Entry]:
    """The baseline with the entries of the checked places on this machine replaced; all others stay."""
    places = set(checked)
    kept = [e for e in known if e.place not in places or e.instruction_set not in ("", instruction_set)]
    return sorted([*kept, *found], key=lambda entry: entry.key)


def differences(old: Iterable[Entry], new: Iterable[Entry]) -> list[str]:
    """What an update changes, a line each."""
    before, after = {entry.key: entry for entry in old}, {entry.key: entry for entry in new}
    lines = []
    for key in sorted({*before, *after}):
        was, now = before.get(key), after.get(key)
        if was is None and now is not None:
            lines.append(f"added {now.named} ({now.amount})")
        elif now is None and was is not None:
            lines.append(f"removed {was.named}")
        elif was is not None and now is not None and _line(was) != _line(now):
            lines.append(f"changed {now.named} ({was.amount} -> {now.amount})")
    return lines


def read_baseline(path: Path) -> tuple[Entry, ...]:
    """The entries of a file; none where there is no file. ``UsageError`` where it is not a baseline."""
    if not os.path.lexists(path):
        return ()
    root = read_json(path)
    if type(root.get("schema")) is not int or root.get("schema") != _SCHEMA:
        raise root.fail("schema", root.get("schema"), str(_SCHEMA))
    entries = tuple(map(_entry, root.children("findings")))
    keys = {entry.key for entry in entries}
    if len(keys) != len(entries):
        raise root.fail("findings", root.get("findings"), "findings that differ in target, op, dtype, kind or machine")
    return entries


def _entry(node: Node) -> Entry:
    node.only(tuple(field.name for field in fields(Entry)))
    ratio = node.optional_number("ratio")
    if ratio is not None and not ratio >= 0:
        raise node.fail("ratio", ratio, "a number of at least 0")
    return Entry(
        node.text("target"), node.text("op"), node.text("dtype"),
        node.choice("kind", (*KINDS, CLASS), "a kind of finding, such as inaccurate"), node.text("instruction_set"),
        node.texts("regimes"), node.count("count"), node.count("cases"), ratio, node.text("measured"),
        node.optional_text("keeps"),
    )  # fmt: skip


def _written(entries: Iterable[Entry]) -> str:
    lines = [_line(entry) for entry in entries]
    return f'{{"schema": {_SCHEMA}, "findings": [\n' + ",\n".join(lines) + ("\n" if lines else "") + "]}\n"


def _line(entry: Entry) -> str:
    record = asdict(entry)
    if not entry.keeps:
        del record["keeps"]
    if entry.ratio is not None:
        record["ratio"] = "inf" if math.isinf(entry.ratio) else float(f"{entry.ratio:.6g}")
    return json.dumps(record, ensure_ascii=False, allow_nan=False)


def update_baseline(path: Path, change: Callable[[tuple[Entry, ...]], Iterable[Entry]]) -> None:
    """Replace the file by ``change(what it holds)``. The lock is the new file: nobody else writes in between.

    It is locked by its descriptor, so that one which a killed gate left behind is taken over.
    """
    path = path.resolve()
    lock = path.with_name(f"{path.name}.lock")
    handle = _locked(lock, path)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        try:
            file.truncate()
            file.write(_written(change(read_baseline(path))))
            file.flush()
            os.fsync(file.fileno())
            os.replace(lock, path)  # noqa: PTH105  (named so that tests can make it fail)
        except BaseException as error:
            with suppress(OSError):
                lock.unlink()
            if isinstance(error, OSError):
                raise UsageError(f"baseline {path}: not written, left as it was: {error.strerror or error}") from error
            raise


def _locked(lock: Path, path: Path) -> int:
    """A descriptor of the lock file, locked, while the file has that name."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            handle = os.open(lock, os.O_WRONLY | os.O_CREAT, 0o666)
            if locked(handle, lock):
                return handle
            os.close(handle)
        except OSError as error:
            raise UsageError(f"baseline {path}: cannot be written: {error.strerror or error}") from error
        if time.monotonic() > deadline:
            raise UsageError(f"baseline {path}: another gate writes it ({lock.name} is locked); run this one again")
        time.sleep(0.05)
