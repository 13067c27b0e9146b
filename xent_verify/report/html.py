"""The report as one HTML file: self-contained, no script, no request leaves it, under a megabyte.

What grows without limit (scripts, plots, the embedded JSON) has a budget each; what no longer fits is named with the
file beside the page that holds it.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from importlib import resources
from itertools import count
from typing import Any

import jinja2
from markupsafe import Markup

from xent_verify.core.enclosure import TIERS
from xent_verify.core.kinds import KINDS, rank
from xent_verify.core.model import DtypeResult, Finding, RegimeResult, Report, TargetResult
from xent_verify.report import frames, plots, words
from xent_verify.report.groups import as_designed, verdict_by_group
from xent_verify.report.json import as_json
from xent_verify.report.safe import readable
from xent_verify.report.svg import inline
from xent_verify.verdict.settings import command_of

__all__ = ["render_html"]

_FEW = 3
"""Results up to which all their figures are shown at once."""

PAGE_LIMIT = 1_000_000
"""Bytes of the page."""


@dataclass(frozen=True, slots=True)
class Budget:
    """Bytes for plots, scripts and embedded JSON; findings told in full (failures first); tiles of the regime table."""

    plots: int = 420_000
    scripts: int = 120_000
    data: int = 120_000
    cases: int = 120
    tiles: int = 6000

    def scaled(self, share: float) -> Budget:
        return Budget(*(int(share * getattr(self, field.name)) for field in fields(self)))


@dataclass(frozen=True, slots=True)
class Told:
    """A finding with its place in the report and on the page."""

    anchor: str
    target: TargetResult
    result: DtypeResult
    finding: Finding
    script: str

    @property
    def example(self) -> Any:
        return self.finding.minimal or self.finding.worst

    @property
    def remedy(self) -> str:
        return KINDS[self.finding.kind].remedy


@dataclass(frozen=True, slots=True)
class Picture:
    """One plot, inline, or the name of its file where the page is full."""

    title: str
    describe: str
    svg: Markup
    file: str


def render_html(report: Report, *, drawn: Sequence[plots.Drawing] | None = None, alone: bool = True) -> str:
    """The page. The same report gives the same bytes.

    ``drawn``: the plots, where they have been made already. ``alone``: no other files stand beside it to be linked.
    """
    report = readable(report)
    made = plots.drawings(report) if drawn is None else drawn
    page = ""
    for share in (1.0, 0.8, 0.6, 0.4, 0.2, 0.1):
        page = _page(report, made, Budget().scaled(share), alone)
        if len(page.encode()) < PAGE_LIMIT:
            break
    return page


def _page(report: Report, drawn: Sequence[plots.Drawing], budget: Budget, alone: bool) -> str:
    told = list(_told(report, budget.scripts))
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            alone=alone,
            elsewhere="in the folder that --out FOLDER writes" if alone else "beside it",
            headline=words.headline(report),
            groups=verdict_by_group(report),
            style=Markup(_resource("report.css")),  # noqa: S704  our own style sheet
            caveats=_caveats(report),
            unasked=_unasked(report),
            observed=_observed(report),
            ops=list(frames.tables(report).items()),
            figures_open=sum(len(target.dtypes) for target in report.targets) <= _FEW,
            changed=any(result.change for target in report.targets for result in target.dtypes),
            verdict="known" if as_designed(report) else words.verdict_of(report),
            known=[item for item in told if item.finding.label == "known"],
            fails=[item for item in told if item.finding.severity == "fail"],
            failures=_failures(told),
            told=told,
            cases=_cases(told, budget.cases),
            laws=[item for item in told if KINDS[item.finding.kind].group in ("relation", "conduct")],
            pictures=list(_pictures(drawn, budget.plots)),
            heat=list(_heat(report, budget.tiles)),
            tiers=_tiers(report),
            runs=[shlex.join(parts) for target in report.targets if (parts := command_of(target))],
            own_settings=_own_settings(report),
            embedded=_embedded(report, budget.data),
            words=words,
        )
    )


@cache
def _environment() -> jinja2.Environment:
    loader = jinja2.FunctionLoader(_resource)
    made = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.filters |= {
        "groupby_in_order": _grouped,
        "listed": _listed,
        "classes": frames.row_classes,
        "number": words.number_text,
        "count": words.count_text,
        "share": words.share_text,
    }
    return made


def _resource(name: str) -> str:
    return (resources.files("xent_verify.report") / "templates" / name).read_text(encoding="utf-8")


def _grouped(rows: Sequence[Mapping[str, Any]], key: str) -> list[tuple[Any, list[Mapping[str, Any]]]]:
    """Rows by the value of a column, in the order of first appearance."""
    return [(value, [row for row in rows if row[key] == value]) for value in dict.fromkeys(row[key] for row in rows)]


def _listed(value: Any) -> str:
    """A setting in a line; a mapping as ``name value, …``."""
    return ", ".join(f"{key} {item}" for key, item in value.items()) if isinstance(value, Mapping) else str(value)


def _told(report: Report, left: int) -> Iterator[Told]:
    """Every finding, failures first within its pair, with scripts while the budget lasts."""
    numbers = count(1)
    for target in report.targets:
        for result in target.dtypes:
            for finding in sorted(result.findings, key=lambda f: rank(f.severity)):
                script = finding.script if len(finding.script) <= left else ""
                left -= len(script)
                yield Told(f"finding-{next(numbers)}", target, result, finding, script)


def _cases(told: Sequence[Told], shown: int) -> list[Told]:
    """The failures and warnings to tell in full, failures first where not all of them fit."""
    grave = [item for item in told if item.finding.severity != "info"]
    if len(grave) > shown:
        grave = sorted(grave, key=lambda item: item.finding.severity != "fail")
    return grave[:shown]


def _failures(told: Sequence[Told]) -> list[tuple[Told, list[Told]]]:
    """Defects: (the first of its findings, all of them by format)."""
    groups: dict[tuple[str, ...], list[Told]] = {}
    for item in told:
        if item.finding.severity == "fail":
            groups.setdefault((item.target.target, item.target.op, *item.finding.identity), []).append(item)
    return [(items[0], items) for items in groups.values()]


def _caveats(report: Report) -> list[str]:
    """Why the audit is not complete."""
    interrupted = "The audit was interrupted: the report holds what had been measured until then."
    return [*([interrupted] if report.interrupted else []), *report.incomplete]


def _unasked(report: Report) -> list[str]:
    """What was not checked, or was checked under an assumption."""
    lines = _shared(report, lambda result: (*result.unasked, *_missed(result)))
    if any(result.classes.get("flushed", 0) for target in report.targets for result in target.dtypes):
        lines.append("Subnormal results were flushed to zero; the setting “flush” says whether that fails.")
    return lines


def _observed(report: Report) -> list[str]:
    """What else was noted: conventions, the formula and the accumulator it was seen to use."""
    return _shared(report, lambda result: result.notes)


def _shared(report: Report, notes: Callable[[DtypeResult], Iterable[str]]) -> list[str]:
    """Each note once, with the pairs that share it."""
    shared: dict[str, list[str]] = {}
    for target in report.targets:
        for result in target.dtypes:
            for note in notes(result):
                shared.setdefault(note, []).append(f"{target.target} {target.op} {result.dtype}")
    pairs = sum(len(target.dtypes) for target in report.targets)
    everywhere = "everywhere" if pairs > 1 else ""
    places = {note: everywhere if len(found) == pairs else _few(found) for note, found in shared.items()}
    return [f"{note} ({place})" if place else note for note, place in places.items()]


def _missed(result: DtypeResult) -> Iterator[str]:
    missing = [name for name, offered in result.offered.items() if not offered]
    if missing:
        yield f"Not offered, so not tested: {', '.join(missing)}"
    if result.cases == 0:
        yield "Nothing was checked"


def _few(places: list[str], shown: int = 4) -> str:
    rest = len(places) - shown
    return "; ".join(places[:shown]) + (f"; and {rest} more" if rest > 0 else "")


def _pictures(drawn: Sequence[plots.Drawing], budget: int) -> Iterator[Picture]:
    """The plots, inline as far as the budget goes. The page has regimes as a table."""
    shown = [drawing for drawing in drawn if drawing.plot.name != "regimes"]
    fitting = _affordable(shown, budget)
    for number, drawing in enumerate(shown, 1):
        plot = drawing.plot
        label = f"{plot.title}, {drawing.op}. {plot.describe}"
        svg = inline(drawing.svg, f"s{number}", label) if drawing in fitting else Markup("")
        yield Picture(f"{plot.title}: {drawing.op}", plot.describe, svg, drawing.file)


def _affordable(shown: Sequence[plots.Drawing], left: int) -> list[plots.Drawing]:
    """What fits the budget: first the bounds (small, and they carry the verdict), then kind by kind."""
    fitting = []
    for drawing in sorted(shown, key=lambda drawing: drawing.plot.name != "bound"):
        if len(drawing.svg) <= left:
            left -= len(drawing.svg)
            fitting.append(drawing)
    return fitting


def _heat(report: Report, left: int) -> Iterator[dict[str, Any]]:
    """Per op: regimes down, target × dtype across, the largest error, shaded by the bound."""
    for op in dict.fromkeys(target.op for target in report.targets):
        pairs = [(target, result) for target in report.targets if target.op == op for result in target.dtypes]
        names = dict.fromkeys(regime.regime for _, result in pairs for regime in result.regimes)
        by_pair = [{regime.regime: regime for regime in result.regimes} for _, result in pairs]
        left -= len(names) * len(pairs)
        rows = [(name, [_tile(regimes.get(name)) for regimes in by_pair]) for name in names] if left >= 0 else []
        spans = [(target.target, len(target.dtypes)) for target in report.targets if target.op == op]
        if names:
            yield {"op": op, "spans": spans, "dtypes": [result.dtype for _, result in pairs], "rows": rows}


def _tile(regime: RegimeResult | None) -> tuple[str, str]:
    """(class, text)."""
    if regime is None:
        return "", "·"
    shade, text = words.tile(regime)
    return f"h{shade}", text


def _tiers(report: Report) -> list[tuple[str, int]]:
    """How many values each way of proof decided."""
    totals = [0] * len(TIERS)
    for target in report.targets:
        for result in target.dtypes:
            for regime in result.regimes:
                for tier, decided in enumerate(regime.tiers):
                    totals[tier] += decided
    return list(zip(TIERS, totals, strict=True))


def _own_settings(report: Report) -> list[tuple[str, Mapping[str, Any]]]:
    """(target and operation, settings that not all targets have in common)."""
    shared = report.settings
    own = [
        (f"{target.target} {target.op}", {name: value for name, value in target.settings.items() if name not in shared})
        for target in report.targets
    ]
    return [(name, settings) for name, settings in own if settings]


def _embedded(report: Report, longest: int) -> Markup:
    """The findings as JSON inside the page; empty where that would be too long."""
    data: Mapping[str, Any] = as_json(report, regimes=False)
    text = json.dumps(data, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return Markup(text if len(text) <= longest else "")  # noqa: S704  "<" is escaped
