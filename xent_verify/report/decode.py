"""Read a report back, checking every field: a corrupt file gives one line that says where."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.documents import Node, fault
from xent_verify.core.failures import UsageError
from xent_verify.core.formats import format_named
from xent_verify.core.kinds import KINDS, SEVERITIES
from xent_verify.core.model import DtypeResult, Example, Finding, Proved, RegimeResult, Report, TargetResult
from xent_verify.report.arrays import decode_array, plain
from xent_verify.verdict.measure import ERROR_EDGES, MAGNITUDE_EDGES
from xent_verify.verdict.rowwise import KEPT

__all__ = ["SCHEMA", "report_of"]

SCHEMA = 1


def report_of(root: Node) -> Report:
    """The report that a document holds."""
    if type(root.get("schema")) is not int or root.get("schema") != SCHEMA:
        raise root.fail("schema", root.get("schema"), f"{SCHEMA} (written by another version of xent-verify)")
    _check_bins(root.child("bins"))
    targets = tuple(_target(node) for node in root.children("targets"))
    return Report(targets, root.child("environment").fields, root.optional_flag("interrupted"))


def _check_bins(bins: Node) -> None:
    for key, edges in (("error_ulp", ERROR_EDGES), ("magnitude", MAGNITUDE_EDGES)):
        if bins.get(key) != [plain(edge) for edge in edges.tolist()]:
            raise fault(bins.source, bins.key(key), "are other histogram bins than this version's", "audited again")


def _target(node: Node) -> TargetResult:
    """One target's results, under the settings by which it was judged."""
    settings = node.child("settings")
    settings.optional_text("policy")
    dtypes = tuple(_dtype(item) for item in node.children("dtypes"))
    return TargetResult(node.text("target"), node.text("op"), dtypes, settings.fields)


def _dtype(node: Node) -> DtypeResult:
    return DtypeResult(
        dtype=node.made("dtype", format_named).name,
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
    return Finding(
        kind=node.choice("kind", KINDS, "a kind of finding, such as inaccurate"),
        severity=node.choice("severity", SEVERITIES, " or ".join(SEVERITIES)),
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
        tiers=node.integers("tiers"),
        worst=node.optional("worst", _example),
        length_max=dict(_length(item, node) for item in node.typed("length_max", list, "a list")),
        measures=_measures(node.child("measures")) if "measures" in node.fields else {},
        conditioned_ulp=node.number("conditioned_ulp"),
    )


def _measures(node: Node) -> dict[str, float]:
    return {name: node.number(name) for name in KEPT if name in node.fields}


def _length(item: Any, node: Node) -> tuple[int, float]:
    match item:
        case [length, error, twin]:
            entry = Node({"length": length, "max_ulp": error, "max_ulp_hex": twin}, node.source, node.key("length_max"))
            return entry.count("length"), entry.number("max_ulp")
        case _:
            raise node.fail("length_max", item, "[row length, largest error, hex]")


def _histogram(node: Node) -> NDArray[np.int64]:
    table = np.zeros((len(ERROR_EDGES) - 1, len(MAGNITUDE_EDGES) - 1), dtype=np.int64)
    for run in node.typed("histogram", list, "a list of runs"):
        match run:
            case [int(error), int(first), *counts] if (
                all(type(one) is int for one in run)  # True is no bin
                and 0 <= error < table.shape[0]
                and 0 <= first <= table.shape[1] - len(counts)
                and all(0 <= count < 2**53 for count in counts)
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
        index=node.integers("index"),
        true_digits=node.text("true_value"),
        rounded=node.number("rounded"),
        observed=node.number("observed"),
        error_ulp=node.optional_number("error_ulp"),
        bound_ratio=node.optional_number("bound_ratio"),
        length=node.count("length") if "length" in node.fields else 0,
    )


def _array(node: Node) -> NDArray[Any]:
    try:
        return decode_array(node.fields)
    except UsageError as error:
        raise fault(node.source, node.place, str(error), "") from None


def _option(value: Any, node: Node) -> Any:
    match value:
        case {"bits": _}:
            return _array(Node(value, node.source, node.key("options")))
        case {"value": _, "hex": twin}:
            twins = {"value": value["value"], "value_hex": twin}
            return Node(twins, node.source, node.key("options")).number("value")
        case _:
            return value
