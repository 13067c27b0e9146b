"""Two reports compared finding by finding: what appeared, vanished, worsened, improved. Never a comparison of means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from xent_verify.core.kinds import Severity, rank
from xent_verify.core.model import DtypeResult, Finding, Report, TargetResult

__all__ = ["Difference", "Differences", "changes", "differences", "with_changes", "without_changes"]

Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Differences:
    """``lines`` tell them; ``worse``: a failure or a warning appeared or worsened; ``places``: how many were compared."""

    lines: tuple[str, ...]
    worse: bool
    places: int


@dataclass(frozen=True, slots=True)
class Difference:
    """One kind of finding in one place; ``grave`` when a failure or a warning appeared or worsened."""

    word: str
    kind: str
    text: str
    grave: bool


@dataclass(frozen=True, slots=True)
class _Seen:
    """All findings of one kind in one place."""

    severity: Severity
    share: float
    ratio: float | None
    regimes: frozenset[str]

    @staticmethod
    def of(findings: list[Finding]) -> _Seen:
        gravest = min((finding.gravity for finding in findings), key=rank)
        counted = [finding for finding in findings if finding.gravity == gravest]
        ratios = [f.worst.bound_ratio for f in counted if f.worst is not None and f.worst.bound_ratio is not None]
        regimes = frozenset(name for finding in counted for name in finding.regimes)
        return _Seen(gravest, max(f.share for f in counted), max(ratios, default=None), regimes)

    @property
    def told(self) -> str:
        ratio = "" if self.ratio is None else f", {self.ratio:.4g} x the bound"
        return f"{self.severity}, {100 * self.share:.4g} % of values, {len(self.regimes)} regimes{ratio}"


def differences(old: Report, new: Report, *, factor: float = 1.0) -> Differences:
    """Compare what both reports have checked."""
    before, after = _places(old), _places(new)
    lines = []
    found: list[Difference] = []
    common = [place for place in after if place in before]
    for place in common:
        for change in changes(before[place], after[place], factor=factor):
            found.append(change)
            lines.append(f"{change.word}: {change.kind} {' '.join(place)}: {change.text}")
    lines += [f"only in the old result: {' '.join(place)}" for place in before if place not in after]
    lines += [f"only in the new result: {' '.join(place)}" for place in after if place not in before]
    for which, report in (("old", old), ("new", new)):
        lines += [f"not completed in the {which} result: {line}" for line in report.incomplete]
    if not found:
        lines.append(f"no finding differs in {len(common)} target x dtype")
    return Differences(tuple(lines), any(change.grave for change in found), len(common))


def changes(old: DtypeResult, new: DtypeResult, *, factor: float = 1.0) -> list[Difference]:
    """What appeared, vanished, worsened and improved in one place."""
    kinds = dict.fromkeys([*_kinds(old), *_kinds(new)])
    found = (_difference(old, new, kind, factor) for kind in kinds)
    return [difference for difference in found if difference is not None]


def with_changes(report: Report, earlier: Report) -> Report:
    """The report with, beside each result, what has changed against an earlier report of the same target, op, dtype."""
    before = _places(earlier)

    def told(target: TargetResult, result: DtypeResult) -> DtypeResult:
        old = before.get((target.target, target.op, result.dtype))
        return replace(result, change="not in the earlier result" if old is None else _summary(old, result))

    targets = (
        replace(target, dtypes=tuple(told(target, result) for result in target.dtypes)) for target in report.targets
    )
    return replace(report, targets=tuple(targets))


def without_changes(report: Report) -> Report:
    """The report without what is told beside each result."""
    plain = (
        replace(target, dtypes=tuple(replace(result, change="") for result in target.dtypes))
        for target in report.targets
    )
    return replace(report, targets=tuple(plain))


def _summary(old: DtypeResult, new: DtypeResult) -> str:
    """In a few words; the largest error too where it is another one."""
    kinds: dict[str, list[str]] = {}
    for change in changes(old, new):
        kinds.setdefault(change.word, []).append(change.kind.replace("_", " "))
    words = [f"{word}: {', '.join(names)}" for word, names in kinds.items()] or ["no finding differs"]
    if new.max_ulp != old.max_ulp:
        words.append(f"max ulp was {old.max_ulp:.4g}")
    return "; ".join(words)


def _places(report: Report) -> Mapping[Place, DtypeResult]:
    return {
        (target.target, target.op, result.dtype): result
        for target in report.targets
        for result in target.dtypes
        if result.cases
    }


def _kinds(result: DtypeResult) -> list[str]:
    return [finding.kind for finding in result.signs]


def _difference(old: DtypeResult, new: DtypeResult, kind: str, factor: float) -> Difference | None:
    """One kind in one place; None where nothing differs."""
    was = [finding for finding in old.signs if finding.kind == kind]
    now = [finding for finding in new.signs if finding.kind == kind]
    if not was:
        seen = _Seen.of(now)
        return Difference("appeared", kind, seen.told, seen.severity != "info")
    if not now:
        return Difference("vanished", kind, _Seen.of(was).told, False)
    before, after = _Seen.of(was), _Seen.of(now)
    text = f"{before.told} -> {after.told}"
    more = sorted(after.regimes - before.regimes)
    if _worse(before, after, factor) or more:
        text += f" (now also in {', '.join(more)})" if more else ""
        return Difference("worsened", kind, text, after.severity != "info")
    if _worse(after, before, factor) or before.regimes - after.regimes:
        return Difference("improved", kind, text, False)
    return None


def _worse(old: _Seen, new: _Seen, factor: float) -> bool:
    if new.severity != old.severity:
        return rank(new.severity) < rank(old.severity)
    grown = old.ratio is not None and new.ratio is not None and new.ratio > max(1.0, factor * old.ratio)
    return grown or new.share > factor * old.share
