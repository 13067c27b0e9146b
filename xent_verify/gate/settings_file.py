"""The gate's settings: ``[tool.xent-verify]`` of pyproject.toml, or the top level of xent-verify.toml.

Keys at the top are defaults; every ``[[tool.xent-verify.target]]`` table overrides them. Whatever cannot be is a
``UsageError`` in one line that names the place and the nearest right thing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xent_verify.auditing.audit import Settings
from xent_verify.candidates.adapters import ADAPTERS
from xent_verify.core.documents import read_toml, shown
from xent_verify.core.failures import UnknownNameError, UsageError, clipped
from xent_verify.core.formats import format_named
from xent_verify.core.outside import is_outside
from xent_verify.gate.baseline import WORSE_FACTOR
from xent_verify.ops import op_named
from xent_verify.verdict.policies import parse_policy
from xent_verify.verdict.requirements import words_of

__all__ = [
    "OWN_FILE",
    "SHARED_FILE",
    "GateSettings",
    "GateTarget",
    "Relative",
    "find_settings",
    "has_table",
    "read_settings",
]

OWN_FILE = "xent-verify.toml"
SHARED_FILE = "pyproject.toml"
DEFAULT_BASELINE = "xent-verify-baseline.json"


@dataclass(frozen=True, slots=True)
class Relative:
    """In each regime no worse than ``factor`` times the maximum error of another implementation, or ``floor`` ulps."""

    target: str
    factor: float = 1.0
    floor: float = 1.0


@dataclass(frozen=True, slots=True)
class GateTarget:
    """One target of the gate. ``dtypes`` None: the audit's own choice."""

    target: str
    op: str
    dtypes: tuple[str, ...] | None
    settings: Settings
    relative: Relative | None = None


@dataclass(frozen=True, slots=True)
class GateSettings:
    """One settings file. ``folder`` is where its targets are looked for; ``may_not_fall`` turns the ratchet on."""

    path: Path
    targets: tuple[GateTarget, ...]
    baseline: Path
    worse_factor: float = WORSE_FACTOR
    may_not_fall: bool = False

    @property
    def folder(self) -> Path:
        return self.path.parent


@dataclass(frozen=True, slots=True)
class _Key:
    """One key: what it must be, in words, and whether a value is that."""

    wanted: str
    fits: Callable[[Any], bool]


def _text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _table(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_data, value.values()))


def _data(value: Any) -> bool:
    """What can be sent to a target: no dates."""
    if isinstance(value, list):
        return all(map(_data, value))
    return _table(value) if isinstance(value, dict) else isinstance(value, str | bool | int | float)


_TEXT = _Key("a non-empty string", _text)
_TARGET_KEYS: Mapping[str, _Key] = {
    "target": _TEXT,
    "op": _TEXT,
    "dtypes": _Key("a list of format names", lambda v: _texts(v) and bool(v)),
    "arrays": _TEXT,
    "policy": _TEXT,
    "special": _TEXT,
    "flush": _TEXT,
    "profile": _TEXT,
    "seed": _Key("a whole number of at least 0", lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 0),
    "timeout": _Key("a positive number of seconds", lambda v: _number(v) and v > 0),
    "memory": _Key("a positive number of MB", lambda v: type(v) is int and v > 0),
    "budget": _Key("a positive number of seconds", lambda v: _number(v) and v > 0),
    "kwargs": _Key("a table of keyword arguments", _table),
    "device": _TEXT,
    "isolated": _Key("true or false", lambda v: isinstance(v, bool)),
    "sizes": _Key("a list of row lengths", lambda v: isinstance(v, list) and all(type(n) is int for n in v)),
    "result": _TEXT,
    "call": _TEXT,
    "options": _Key("a table of the operation's options", _table),
    "in_place": _Key("a list of inputs", _texts),
    "only": _TEXT,
    "without": _Key("a list of regimes", _texts),
    "require": _Key("a word or a list of words", lambda v: _text(v) or _texts(v)),
    "relative_to": _TEXT,
    "factor": _Key("a positive number", lambda v: _number(v) and v > 0),
    "floor": _Key("a number of ulps of at least 0", lambda v: _number(v) and v >= 0),
}
_TOP_KEYS: Mapping[str, _Key] = {
    **{name: key for name, key in _TARGET_KEYS.items() if name not in ("target", "relative_to", "factor", "floor")},
    "target": _Key(
        "tables: write [[target]]", lambda v: isinstance(v, list) and all(isinstance(item, dict) for item in v)
    ),
    "baseline": _TEXT,
    "worse_factor": _Key("a number of at least 1", lambda v: _number(v) and v >= 1),
    "may_not_fall": _Key("true or false", lambda v: isinstance(v, bool)),
}


def find_settings(start: Path) -> Path:
    """The settings file of a folder or of the nearest one above it that has one."""
    for folder in (start, *start.parents):
        own, shared = folder / OWN_FILE, folder / SHARED_FILE
        if own.is_file():
            return own
        if has_table(shared):
            return shared
    raise UsageError(f"no {OWN_FILE} and no [tool.xent-verify] in {SHARED_FILE} here: 'xent-verify init' writes one")


def has_table(shared: Path) -> bool:
    """Whether a pyproject.toml is there and has settings of the gate."""
    tool = read_toml(shared).fields.get("tool") if shared.is_file() else None
    return isinstance(tool, dict) and "xent-verify" in tool


def read_settings(path: Path, *, profile: str = "", seed: int | None = None, policy: str = "") -> GateSettings:
    """The targets of a settings file; ``profile``, ``seed`` and ``policy`` of the command line win over it."""
    tables = read_toml(path).fields
    prefix = ""
    if path.name == SHARED_FILE:
        prefix = "tool.xent-verify"
        tool = tables.get("tool", {})
        if not isinstance(tool, dict) or "xent-verify" not in tool:
            raise UsageError(f"{path}: has no [tool.xent-verify] table")
        tables = tool["xent-verify"]
        if not isinstance(tables, dict):
            raise UsageError(f"{path}: tool.xent-verify must be a table")
    where = f"{path} [{prefix}]" if prefix else str(path)
    _check(tables, _TOP_KEYS, where)
    typed = {"profile": profile, "seed": seed, "policy": policy}
    given = {name: value for name, value in typed.items() if value not in ("", None)}
    defaults = {name: value for name, value in tables.items() if name in _TARGET_KEYS and name != "target"}
    heading = f"[[{prefix}.target]]" if prefix else "[[target]]"
    targets = []
    for number, table in enumerate(tables.get("target", []), 1):
        place = f"{path} {heading} {number}"
        targets.append(_target(table, defaults, given, place))
    _no_doubles(targets, str(path))
    baseline = path.parent / tables.get("baseline", DEFAULT_BASELINE)
    factor = float(tables.get("worse_factor", WORSE_FACTOR))
    return GateSettings(path, tuple(targets), baseline, factor, tables.get("may_not_fall", False))


def _check(table: Mapping[str, Any], keys: Mapping[str, _Key], where: str) -> None:
    for name, value in table.items():
        if name not in keys:
            raise UsageError(f"{where}: {UnknownNameError('key', name, keys)}")
        if not keys[name].fits(value):
            raise UsageError(f"{where}: {name} = {shown(value)} should be {keys[name].wanted}")


def _target(table: Mapping[str, Any], defaults: Mapping[str, Any], given: Mapping[str, Any], place: str) -> GateTarget:
    _check(table, _TARGET_KEYS, place)
    if "target" not in table:
        raise UsageError(f"{place}: has no 'target' (package.module:attribute or path/to/file.py:attribute)")
    place = f"{place} ({clipped(table['target'], 60)})"
    merged = {**defaults, **table, **given}
    if "op" not in merged:
        raise UsageError(f"{place}: has no 'op', here or at the top ('xent-verify list ops')")
    if merged.get("isolated") is False and "timeout" in table:
        raise UsageError(f"{place}: timeout needs isolated = true: a call in this process cannot be ended")
    try:
        return _made(merged)
    except UsageError as error:
        raise UsageError(f"{place}: {error}") from error


def _made(merged: Mapping[str, Any]) -> GateTarget:
    op = op_named(merged["op"])
    dtypes = merged.get("dtypes")
    names = None if dtypes is None else tuple(dict.fromkeys(format_named(name).name for name in dtypes))
    for name in names or ():
        op.check_format(format_named(name))
    arrays = merged.get("arrays", "auto")
    if arrays != "auto" and arrays.partition(":")[0] not in ADAPTERS and not is_outside(arrays):
        raise UnknownNameError("arrays", arrays, ["auto", *ADAPTERS])
    settings = Settings(
        policy=parse_policy(merged.get("policy", "standard")),
        special=merged.get("special", "any"),
        flush=merged.get("flush", "auto"),
        profile=merged.get("profile", "quick"),
        seed=merged.get("seed", 0),
        arrays=arrays,
        kwargs=merged.get("kwargs", {}),
        timeout=float(merged.get("timeout", 10.0)),
        memory=merged.get("memory", 0),
        budget=float(merged.get("budget", 0.0)),
        isolated=merged.get("isolated", True),
        device=merged.get("device", "cpu"),
        sizes=tuple(dict.fromkeys(merged.get("sizes", ()))),
        result=merged.get("result", ""),
        call=merged.get("call", ""),
        options=merged.get("options", {}),
        in_place=tuple(merged.get("in_place", ())),
        only=merged.get("only", ""),
        without=tuple(merged.get("without", ())),
        require=words_of(merged.get("require", ())),
        op=merged["op"],
    ).checked()
    settings.calling(op)
    return GateTarget(merged["target"], merged["op"], names, settings, _relative(merged))


def _relative(merged: Mapping[str, Any]) -> Relative | None:
    if "relative_to" not in merged:
        for name in ("factor", "floor"):
            if name in merged:
                raise UsageError(f"{name} without relative_to: name the implementation to compare with")
        return None
    if merged["relative_to"] == merged["target"]:
        raise UsageError("relative_to names the target itself")
    return Relative(merged["relative_to"], float(merged.get("factor", 1.0)), float(merged.get("floor", 1.0)))


def _no_doubles(targets: list[GateTarget], where: str) -> None:
    seen: set[tuple[str, str, str]] = set()
    for target in targets:
        for dtype in target.dtypes or ("",):
            key = (target.target, target.op, dtype)
            if key in seen or (target.target, target.op, "") in seen:
                raise UsageError(f"{where}: {target.target} {target.op} {dtype}".rstrip() + " is listed twice")
            seen.add(key)
