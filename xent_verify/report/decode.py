"""Read a report back, checking every field: a corrupt file gives one line that says where."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from xent_verify.failures import UnknownNameError, UsageError
from xent_verify.formats import format_named
from xent_verify.kinds import KINDS, SEVERITIES
from xent_verify.measure import ERROR_EDGES, MAGNITUDE_EDGES
from xent_verify.model import DtypeResult, Example, Finding, Proved, RegimeResult, Report, TargetResult
from xent_verify.report.arrays import decode_array, plain
from xent_verify.rowwise import MEASURES

__all__ = ["SCHEMA", "report_of"]

SCHEMA = 1

_NAMED = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}
_SEVERITIES = {name: name for name in SEVERITIES}

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Node:
    """A JSON object and where it stands; every getter checks what it hands out."""

    fields: dict[str, Any]
    where: str

    def fail(self, key: str, found: Any, wanted: str) -> UsageError:
        return UsageError(f"{self.where}.{key} is {str(found)[:60]!r}, should be {wanted}")

    def get(self, key: str) -> Any:
        if key not in self.fields:
            raise UsageError(f"{self.where} has no {key!r}")
        return self.fields[key]

    def typed(self, key: str, kind: type[T], wanted: str) -> T:
        value = self.get(key)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.fail(key, value, wanted)
        return value

    def text(self, key: str) -> str:
        return self.typed(key, str, "a string")

    def count(self, key: str) -> int:
        value = self.typed(key, int, "a count")
        if value < 0:
            raise self.fail(key, value, "a count")
        return value

    def number(self, key: str) -> float:
        """A float, checked against its hexadecimal twin."""
        value = _NAMED.get(self.get(key)) if isinstance(self.get(key), str) else self.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.fail(key, self.get(key), "a number, 'nan', 'inf' or '-inf'")
        try:
            twin = float.fromhex(str(self.fields.get(f"{key}_hex", float(value).hex())))
        except ValueError:
            raise self.fail(f"{key}_hex", self.fields[f"{key}_hex"], "a hexadecimal float") from None
        if not (twin == value or (np.isnan(twin) and np.isnan(value))):
            raise self.fail(f"{key}_hex", self.fields[f"{key}_hex"], f"the same number as {key} ({value})")
        return float(value)

    def optional_number(self, key: str) -> float | None:
        return None if self.get(key) is None else self.number(key)

    def optional_text(self, key: str) -> str:
        return self.text(key) if key in self.fields else ""

    def child(self, key: str) -> Node:
        return Node(self.typed(key, dict, "an object"), f"{self.where}.{key}")

    def optional(self, key: str, build: Callable[[Node], T]) -> T | None:
        return None if self.get(key) is None else build(self.child(key))

    def children(self, key: str) -> Iterator[Node]:
        for position, item in enumerate(self.typed(key, list, "a list")):
            if not isinstance(item, dict):
                raise self.fail(f"{key}[{position}]", item, "an object")
            yield Node(item, f"{self.where}.{key}[{position}]")

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.typed(key, list, "a list")
        if not all(isinstance(value, str) for value in values):
            raise self.fail(key, values, "a list of strings")
        return tuple(values)

    def counts(self, key: str) -> dict[str, int]:
        node = self.child(key)
        return {name: node.count(name) for name in node.fields}


def report_of(text: str, source: str) -> Report:
    """The report that ``text`` holds; ``source`` names it in errors."""
    try:
        data = json.loads(text, parse_constant=_no_literal)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{source} is not strict JSON: {error}") from None
    if not isinstance(data, dict):
        raise UsageError(f"{source} holds {type(data).__name__}, should be a report object")
    root = Node(data, source)
    if root.get("schema") != SCHEMA:
        raise root.fail("schema", root.get("schema"), f"{SCHEMA} (written by another version of xent-verify)")
    _check_bins(root.child("bins"))
    settings = root.child("settings").fields
    interrupted = root.fields.get("interrupted", settings.pop("interrupted", False))
    targets = tuple(_target(node, settings) for node in root.children("targets"))
    return Report(targets, root.child("environment").fields, bool(interrupted))


def _no_literal(name: str) -> float:
    raise ValueError(f"the literal {name} (write it as a string)")


def _check_bins(bins: Node) -> None:
    for key, edges in (("error_ulp", ERROR_EDGES), ("magnitude", MAGNITUDE_EDGES)):
        if bins.get(key) != [plain(edge) for edge in edges.tolist()]:
            raise UsageError(f"{bins.where}.{key} are other histogram bins than this version's: audit again")


def _target(node: Node, shared: dict[str, Any]) -> TargetResult:
    """One target's results; reports of earlier versions have the settings of all of them in one place."""
    name, op, dtypes = node.text("target"), node.text("op"), tuple(_dtype(item) for item in node.children("dtypes"))
    if "settings" in node.fields:
        return TargetResult(name, op, dtypes, node.child("settings").fields)
    by_place = shared.get("gate", {})
    return TargetResult(
        name, op, dtypes, next((by_place.get(f"{name} {op} {one.dtype}", {}) for one in dtypes if by_place), shared)
    )


def _dtype(node: Node) -> DtypeResult:
    return DtypeResult(
        dtype=format_named(node.text("dtype")).name,
        cases=node.count("cases"),
        max_ulp=node.number("max_ulp"),
        max_bound_ratio=node.number("max_bound_ratio"),
        classes=node.counts("classes"),
        signs=tuple(sign for item in node.children("findings") for sign in _signs(item)),
        regimes=tuple(_regime(item) for item in node.children("regimes")) if "regimes" in node.fields else (),
        offered=node.child("offered").fields,
        notes=node.texts("notes"),
        proved=tuple(_proved(item) for item in node.children("proved")) if "proved" in node.fields else (),
        change=node.optional_text("change"),
        unasked=node.texts("unasked") if "unasked" in node.fields else (),
        incomplete=node.texts("incomplete") if "incomplete" in node.fields else (),
        keeps=node.optional_text("class"),
        domain=node.optional_text("domain"),
    )


def _proved(node: Node) -> Proved:
    return Proved(node.text("domain"), node.count("rows"), node.number("max_ulp"))


def _signs(node: Node) -> list[Finding]:
    """A finding's own kind, then its other kinds."""
    others = node.children("parts") if "parts" in node.fields else ()
    return [_finding(node), *map(_finding, others)]


def _finding(node: Node) -> Finding:
    kind, severity = node.text("kind"), node.text("severity")
    if kind not in KINDS:
        raise UnknownNameError(f"kind of finding in {node.where}", kind, KINDS)
    if severity not in _SEVERITIES:
        raise UnknownNameError(f"severity in {node.where}", severity, _SEVERITIES)
    return Finding(
        kind=kind,
        severity=_SEVERITIES[severity],
        message=node.text("message"),
        count=node.count("count"),
        cases=node.count("cases"),
        regimes=node.texts("regimes"),
        minimal=node.optional("minimal", _example),
        worst=node.optional("worst", _example),
        diagnosis=node.text("diagnosis"),
        script=node.text("script"),
        limit=node.number("limit") if "limit" in node.fields else None,
        notes=node.texts("notes") if "notes" in node.fields else (),
        relation=node.optional_text("relation"),
        raised=node.optional_text("raised"),
        waived_by=node.optional_text("waived_by"),
        defect=node.optional_text("defect"),
    )


def _regime(node: Node) -> RegimeResult:
    return RegimeResult(
        regime=node.text("regime"),
        cases=node.count("cases"),
        correctly_rounded=node.count("correctly_rounded"),
        max_ulp=node.number("max_ulp"),
        max_bound_ratio=node.number("max_bound_ratio"),
        histogram=_histogram(node),
        classes=node.counts("classes"),
        tiers=_integers(node, "tiers"),
        worst=node.optional("worst", _example),
        length_max=dict(_length(item, node) for item in node.typed("length_max", list, "a list")),
        measures=_measures(node.child("measures")) if "measures" in node.fields else {},
        conditioned_ulp=node.number("conditioned_ulp"),
    )


def _measures(node: Node) -> dict[str, float]:
    return {name: node.number(name) for name in MEASURES if name in node.fields}


def _length(item: Any, node: Node) -> tuple[int, float]:
    match item:
        case [length, error, twin]:
            entry = Node({"length": length, "max_ulp": error, "max_ulp_hex": twin}, f"{node.where}.length_max")
            return entry.count("length"), entry.number("max_ulp")
        case _:
            raise node.fail("length_max", item, "[row length, largest error, hex]")


def _histogram(node: Node) -> NDArray[np.int64]:
    table = np.zeros((len(ERROR_EDGES) - 1, len(MAGNITUDE_EDGES) - 1), dtype=np.int64)
    for run in node.typed("histogram", list, "a list of runs"):
        match run:
            case [int(error), int(first), *counts] if (
                0 <= error < table.shape[0]
                and 0 <= first <= table.shape[1] - len(counts)
                and all(isinstance(count, int) and count >= 0 for count in counts)
            ):
                table[error, first : first + len(counts)] = counts
            case _:
                raise node.fail("histogram", run, "[error bin, first magnitude bin, counts …] within the bins")
    return table


def _example(node: Node) -> Example:
    return Example(
        inputs={item.text("name"): _array(item) for item in node.children("inputs")},
        options={name: _option(value, node) for name, value in node.child("options").fields.items()},
        layout=node.text("layout"),
        index=_integers(node, "index"),
        true_digits=node.text("true_value"),
        rounded=node.number("rounded"),
        observed=node.number("observed"),
        error_ulp=node.optional_number("error_ulp"),
        bound_ratio=node.optional_number("bound_ratio"),
        length=node.count("length") if "length" in node.fields else 0,
    )


def _integers(node: Node, key: str) -> tuple[int, ...]:
    values = node.typed(key, list, "a list of integers")
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in values):
        raise node.fail(key, values, "a list of integers")
    return tuple(values)


def _array(node: Node) -> NDArray[Any]:
    try:
        return decode_array(node.fields)
    except UsageError as error:
        raise UsageError(f"{node.where}: {error}") from None


def _option(value: Any, node: Node) -> Any:
    match value:
        case {"bits": _}:
            return _array(Node(value, f"{node.where}.options"))
        case {"value": _, "hex": twin}:
            return Node({"value": value["value"], "value_hex": twin}, f"{node.where}.options").number("value")
        case _:
            return value
