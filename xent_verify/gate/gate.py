"""The gate: every target of the settings, held against the baseline; what it found as values, and its exit status.

A finding that is known and no worse is a warning, so that the report's ``ok`` is the gate's verdict; what is new or
worse stays a failure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from xent_verify.auditing.audit import DEFAULT_DTYPES, AuditReport, audited, formats_of, unfinished
from xent_verify.auditing.many import Task, in_processes
from xent_verify.auditing.walk import Progress
from xent_verify.core.environment import describe, instruction_set
from xent_verify.core.failures import UsageError
from xent_verify.core.model import DtypeResult, Finding, RegimeResult, Report, TargetResult
from xent_verify.gate.baseline import CLASS, Change, Entry, Place, class_entry, compared, entries_of
from xent_verify.gate.settings_file import GateSettings, GateTarget, Relative
from xent_verify.ops import op_named
from xent_verify.scripts import script

__all__ = ["GateResult", "gate"]


@dataclass(frozen=True, slots=True)
class GateResult:
    """What the gate found. ``found`` are all failing findings as entries, whether known or not."""

    report: AuditReport
    found: tuple[Entry, ...] = ()
    changes: tuple[Change, ...] = ()
    unchecked: tuple[str, ...] = ()
    checked: tuple[tuple[Place, str], ...] = field(default=())

    @property
    def interrupted(self) -> bool:
        return self.report.interrupted

    @property
    def known(self) -> int:
        """How many findings the baseline excuses."""
        failures = [entry for entry in self.found if entry.kind != CLASS]
        return len(failures) - sum(change.word in ("new", "worse") for change in self.changes)

    @property
    def status(self) -> int:
        """130 interrupted; 1 new, worse, fallen, or stale with the ratchet on; 3 not completed; 5 not checked; else 0.

        5: nothing was checked of a target that is listed.
        """
        if self.interrupted:
            return 130
        if self.report.failed or any(change.fails for change in self.changes):
            return 1
        if self.report.incomplete:
            return 3
        return 5 if self.unchecked or not self.report.cases else 0


def gate(
    settings: GateSettings, known: Iterable[Entry] = (), *, jobs: int = 1, progress: Progress | None = None
) -> GateResult:
    """Audit every target and compare with what is known. An interruption ends it and keeps what it has.

    ``jobs`` processes share the audits. A target that cannot be opened costs its own results alone; ``UsageError`` where
    none of them can be.
    """
    ready, interrupted = _ready(settings, jobs, progress) if jobs != 1 else ({}, False)
    targets = [target for target in settings.targets if jobs == 1 or _at_hand(target, ready)]
    results: list[TargetResult] = []
    checked: list[tuple[Place, str]] = []
    unchecked: list[str] = []
    references: dict[Any, Report] = {}
    refused: list[UsageError] = []
    for target in targets:
        try:
            report = _audited(target, references, ready, progress)
        except KeyboardInterrupt:
            interrupted = True
            break
        except UsageError as error:
            refused.append(error)
            results.append(_refused(target, error))
            continue
        result = report.targets[0]
        results.append(result)
        checked += [((result.target, result.op, one.dtype), _measured(target)) for one in result.dtypes if _whole(one)]
        if report.interrupted:
            interrupted = True
            break
        unchecked += _unchecked(target, result)
    if refused and len(refused) == len(settings.targets):
        raise refused[0]
    found = tuple(_entries(results, dict(checked), classes=settings.may_not_fall))
    changes = compared(
        known, found, checked, instruction_set=instruction_set(), factor=settings.worse_factor,
        ratchet=settings.may_not_fall,
    )  # fmt: skip
    failing = {change.entry.key for change in changes if change.fails}
    excused = {entry.key for entry in found} - failing
    if interrupted:
        changes = tuple(change for change in changes if change.word != "stale")
    held = [_fallen(_excused(_against(result, changes) if known else result, excused), changes) for result in results]
    return GateResult(
        AuditReport(tuple(held), describe(one.where for one in held), interrupted),
        found,
        changes,
        tuple(unchecked),
        tuple(checked),
    )


def _whole(result: DtypeResult) -> bool:
    """Whether what was not found was really looked for."""
    return bool(result.cases) and not result.incomplete


def _refused(target: GateTarget, error: UsageError) -> TargetResult:
    op = op_named(target.op)
    names = target.dtypes or [name for name in DEFAULT_DTYPES if name in op.formats]
    return TargetResult(
        target.target, op.name, tuple(unfinished(name, str(error)) for name in names), target.settings.record()
    )


_Ready = Mapping[str, Report | UsageError]
"""By the text of the task: settings hold what has no hash."""


def _ready(settings: GateSettings, jobs: int, progress: Progress | None) -> tuple[_Ready, bool]:
    """Every audit of a gate, made in several processes, and whether that was interrupted: then those that were done."""
    tasks = [_task(target, name) for target in settings.targets for name in _named(target)]
    tasks = list({repr(task): task for task in tasks}.values())
    told = (
        None if progress is None else lambda _, done: progress(f"{tasks[done - 1].target} {tasks[done - 1].op}", done)
    )
    shared = in_processes(tasks, jobs, told)
    found = {repr(task): one for task, one in zip(tasks, shared.found, strict=True) if one is not None}
    return found, shared.interrupted


def _named(target: GateTarget) -> list[str]:
    """The target, and the one that it is compared with."""
    return [target.target, *([target.relative.target] if target.relative else [])]


def _at_hand(target: GateTarget, ready: _Ready) -> bool:
    return all(repr(_task(target, name)) in ready for name in _named(target))


def _task(target: GateTarget, name: str) -> Task:
    return Task(name, target.op, tuple(formats_of(target.op, target.dtypes, target.settings)), target.settings)


def _audited(target: GateTarget, references: dict[Any, Report], ready: _Ready, progress: Progress | None) -> Report:
    report = _audit(target, target.target, ready, progress)
    if target.relative is None or report.interrupted:
        return report
    key = (target.relative.target, target.op, target.dtypes, repr(target.settings))
    if key not in references:
        references[key] = _audit(target, target.relative.target, ready, progress)
    reference = references[key]
    if reference.interrupted:
        raise KeyboardInterrupt
    peers = {result.dtype: result for result in reference.targets[0].dtypes}
    one = report.targets[0]
    judged = tuple(_relative(one, result, peers[result.dtype], target.relative) for result in one.dtypes)
    settings = {**one.settings, "relative": asdict(target.relative)}
    return replace(report, targets=(replace(one, dtypes=judged, settings=settings),))


def _audit(target: GateTarget, name: str, ready: _Ready, progress: Progress | None) -> Report:
    try:
        found = ready.get(repr(_task(target, name))) if ready else None
        if isinstance(found, UsageError):
            raise found
        return found or audited([name], target.op, target.dtypes, target.settings, progress)
    except UsageError as error:
        text = str(error)
        raise UsageError(text if name in text else f"target {name}: {text}") from error


def _relative(target: TargetResult, result: DtypeResult, peer: DtypeResult, rule: Relative) -> DtypeResult:
    """The policy's limit on errors replaced by the other implementation's largest in the same regime (the same calls).

    Every other kind of finding stays. Over all regimes together, one on which no implementation has a small error in
    ulps (a logarithm near 0) would hide all others.
    """
    if peer.incomplete:
        why = (f"{rule.target}, which it is compared with: {line}" for line in peer.incomplete)
        result = replace(result, incomplete=(*result.incomplete, *why))
    limits = {regime.regime: max(rule.floor, rule.factor * regime.max_ulp) for regime in peer.regimes}
    over = [one for one in result.regimes if one.max_ulp > limits.get(one.regime, float("inf"))]
    kept = [finding for finding in result.signs if finding.kind != "inaccurate"]
    if over:
        kept.insert(0, _beyond(target, result, over, limits, rule))
    told = f"relative gate: {len(over)} of {len(limits)} regimes beyond {rule.factor:g} times {rule.target}'s error"
    return replace(result, signs=tuple(kept), notes=(*result.notes, told))


def _beyond(
    target: TargetResult, result: DtypeResult, over: list[RegimeResult], limits: Mapping[str, float], rule: Relative
) -> Finding:
    """The finding of a relative gate: its numbers are ulps over the limit."""
    gravest = max(over, key=lambda one: one.max_ulp / (limits[one.regime] or 1e-300))
    limit, worst = limits[gravest.regime], gravest.worst
    if worst is not None and worst.error_ulp is not None:
        worst = replace(worst, bound_ratio=worst.error_ulp / limit if limit else float("inf"))
    minimal = worst if worst is not None and not worst.length else None
    old = next((finding for finding in result.signs if finding.kind == "inaccurate"), None)
    allowed = f"the larger of {rule.floor:g} and {rule.factor:g} times {rule.target}'s error there"
    return Finding(
        kind="inaccurate",
        severity="fail",
        message=f"relative: {gravest.max_ulp:.4g} ulp in {gravest.regime}, allowed {limit:.4g} ({allowed})",
        count=len(over),
        cases=len(limits),
        regimes=tuple(sorted(one.regime for one in over)),
        minimal=minimal,
        worst=worst,
        diagnosis=old.diagnosis if old else "",
        script=script(
            target.target,
            minimal,
            kind="inaccurate",
            dtype=result.dtype,
            expression=f"open_candidate({target.target!r}, {target.op!r})",
        )
        if minimal
        else "",
        limit=limit,
    )


def _unchecked(target: GateTarget, result: TargetResult) -> list[str]:
    """What was listed and not checked: a dtype that was asked for by name, or a whole target."""
    if not any(one.cases for one in result.dtypes):
        return [f"{result.target} {result.op}"]
    return [f"{result.target} {result.op} {one.dtype}" for one in result.dtypes if target.dtypes and not one.cases]


def _measured(target: GateTarget) -> str:
    """What the counts depend on besides the code."""
    settings = target.settings
    words = [settings.profile, f"seed {settings.seed}", settings.policy.name, settings.special, settings.flush]
    if settings.sizes:
        words.append(f"sizes {', '.join(map(str, settings.sizes))}")
    for given in (settings.kwargs, settings.options):
        words += [repr(dict(sorted(given.items())))] if given else []
    words += [one for one in (settings.result, settings.call, settings.only, *settings.in_place) if one]
    words += [f"without {name}" for name in settings.without]
    if target.relative is not None:
        words.append(f"against {target.relative.factor:g} x {target.relative.target} or {target.relative.floor:g}")
    return ", ".join(words)


def _entries(results: Iterable[TargetResult], measured: Mapping[Place, str], *, classes: bool) -> Iterable[Entry]:
    machine = instruction_set()
    for target in results:
        for result in target.dtypes:
            place = (target.target, target.op, result.dtype)
            if classes and place in measured and result.keeps:
                yield class_entry(place, result, instruction_set=machine, measured=measured[place])
            failing = [finding for finding in result.signs if finding.severity == "fail"]
            yield from entries_of(place, failing, instruction_set=machine, measured=measured.get(place, ""))


def _against(target: TargetResult, changes: Sequence[Change]) -> TargetResult:
    """Each result with what has changed against the baseline."""

    def told(result: DtypeResult) -> DtypeResult:
        place = (target.target, target.op, result.dtype)
        words = [f"{change.word}: {change.entry.kind}" for change in changes if change.entry.place == place]
        return replace(result, change="; ".join(words) or ("as in the baseline" if _whole(result) else ""))

    return replace(target, dtypes=tuple(told(result) for result in target.dtypes))


def _excused(target: TargetResult, excused: set[tuple[str, ...]]) -> TargetResult:
    places = {(*key[:4],) for key in excused}

    def seen(result: DtypeResult, finding: Finding) -> Finding:
        known = (target.target, target.op, result.dtype, finding.kind) in places
        if finding.severity != "fail" or not known:
            return finding
        return replace(finding, severity="warn", waived_by="baseline")

    dtypes = [
        replace(result, signs=tuple(seen(result, finding) for finding in result.signs)) for result in target.dtypes
    ]
    return replace(target, dtypes=tuple(dtypes))


def _fallen(target: TargetResult, changes: Sequence[Change]) -> TargetResult:
    """A class that has fallen is a failure of its own, unless a value fails anyway."""

    def seen(result: DtypeResult) -> DtypeResult:
        place = (target.target, target.op, result.dtype)
        reasons = [one.reason for one in changes if one.word == "fallen" and one.entry.place == place]
        if not reasons or result.failed:
            return result
        finding = Finding("inaccurate", "fail", reasons[0], 1, max(result.cases, 1), (), relation="class")
        return replace(result, signs=(finding, *result.signs))

    return replace(target, dtypes=tuple(seen(result) for result in target.dtypes))
