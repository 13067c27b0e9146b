"""The pipe, on one screen: cases are made, the candidate answers, truth is enclosed, the error judged, findings explained."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from xent_verify.auditing.findings import Asker, build, inferred, worst_examples
from xent_verify.auditing.relations import relations
from xent_verify.auditing.walk import SWEEP, Pace, Progress, Walk
from xent_verify.candidates import Candidate, open_candidate
from xent_verify.candidates.opening import name_of
from xent_verify.core.clock import ENDLESS, USUAL, Clock
from xent_verify.core.environment import describe
from xent_verify.core.failures import AuditIncompleteError, UsageError, one_line
from xent_verify.core.floating import default_mode
from xent_verify.core.formats import format_named
from xent_verify.core.model import Batch, DtypeResult, Report, Returned, TargetResult
from xent_verify.ops import Op, in_table, op_named
from xent_verify.verdict.ledger import Ledger
from xent_verify.verdict.patience import Patience
from xent_verify.verdict.policies import Policy, parse_policy
from xent_verify.verdict.requirements import words_of
from xent_verify.verdict.rungs import LOST
from xent_verify.verdict.screen import Screen
from xent_verify.verdict.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "AuditReport",
    "Kept",
    "Settings",
    "assert_accurate",
    "audit",
    "audit_dtype",
    "audited",
    "formats_of",
    "kept_of",
    "merged",
    "opened",
    "unfinished",
]

DEFAULT_DTYPES = ("float64", "float32", "float16", "bfloat16")

Kept = Mapping[str, Mapping[str, DtypeResult]]
"""Results of an earlier run of the same audit, by target and format."""


@dataclass(frozen=True, slots=True, repr=False)
class AuditReport(Report):
    """A report with its renderings at hand."""

    def to_frame(self) -> pd.DataFrame:
        """One row per target x op x dtype (pandas)."""
        from xent_verify.report import summary_frame

        return summary_frame(self)

    def to_json(self) -> str:
        """Strict JSON (docs/json.md has its fields)."""
        from xent_verify.report import to_json

        return to_json(self)

    def save(self, directory: str | Path) -> None:
        """Write every rendering into a directory."""
        from xent_verify.report import save

        save(self, Path(directory))

    def __str__(self) -> str:
        """As the terminal shows it."""
        from xent_verify.report import render_text

        return render_text(self, color=False)

    def __repr__(self) -> str:
        from xent_verify.report.words import headline

        return f"<{type(self).__name__}: {headline(self)}>"

    def _repr_html_(self) -> str:
        """For notebooks: the verdict, and a line for each target and format."""
        from html import escape

        from xent_verify.report.words import headline

        shown = self.to_frame()[list(_NOTEBOOK)] if self.targets else self.to_frame()
        return f"<p><b>{escape(headline(self))}</b></p>{shown.to_html(index=False)}"


_NOTEBOOK = ("target", "op", "dtype", "verdict", "class", "cases", "correctly_rounded", "max_bound_ratio")
"""The columns that a notebook shows; the frame has all."""


@default_mode()
def audit(
    *targets: str | Callable[..., Any],
    op: str | Op,
    dtypes: Sequence[str] | None = None,
    policy: str | Policy = "standard",
    special: str = "any",
    flush: str = "auto",
    profile: str = "standard",
    seed: int = 0,
    arrays: str = "auto",
    kwargs: Mapping[str, Any] | None = None,
    timeout: float = 10.0,
    memory: int = 0,
    budget: float = 0.0,
    isolated: bool | None = None,
    device: str = "cpu",
    fail_fast: bool = False,
    sizes: Sequence[int] = (),
    regimes: Sequence[str] = (),
    result: str = "input",
    call: str = "",
    options: Mapping[str, Any] | None = None,
    in_place: str | Sequence[str] = (),
    only: str = "",
    without: Sequence[str] = (),
    require: str | Sequence[str] = (),
    progress: Progress | None = None,
) -> AuditReport:
    """Audit targets (names as on the command line, or callables) as implementations of ``op``.

    * ``targets``: functions that take arrays of the format's dtype and of 1 to 4 dimensions, and those options of ``op``
      that they offer
    * ``dtypes``: format names, a list or one text (default: float64, float32, float16, bfloat16 where the op has them)
    * ``policy``: what counts as inaccurate; ``special``, ``flush``: rules for NaN and infinities, and for subnormals
      (docs/policies.md)
    * ``profile``: "quick", "standard" or "deep"; ``seed``: the same seed gives the same inputs
    * ``arrays``: the arrays that targets take ("numpy", "torch", ...; "auto" finds out); ``device``: where these arrays live
    * ``kwargs``: arguments added to every call; ``timeout``: seconds that a call may take; ``memory``: MB that a target may
      hold in a child process (0: three quarters of the machine's, at most 8192)
    * ``budget``: seconds for the whole audit, shared by the targets and formats (0: ``clock.USUAL`` for each, far longer
      than a sound target takes)
    * ``isolated``: run named targets in a child process (default); callables always run in this process
    * ``fail_fast``: stop at the first failure
    * ``sizes``: row lengths that matter to the caller (a vocabulary), tried in addition to the profile's own
    * ``regimes``: the only kinds of input to try; ``without``: the kinds to leave out; ``progress``: a function that is told
      how far the audit is
    * ``result``: the format of results, where it is not that of the inputs
    * ``call``: the expression by which targets are called; ``in_place``: inputs that they overwrite by contract;
      ``options``: options that are set inside them; ``only``: the calls for which they are built (docs/kernels.md)
    * ``require``: further requirements: "invariance", "invariance:K" (ulps), the name of a class (docs/relations.md)

    Raises ``UsageError`` for anything that cannot be asked. Whatever the target does is in the report, and so is what
    could not be completed (``incomplete``). A ``KeyboardInterrupt`` ends the audit; the report then holds what was done, and
    is ``interrupted``.
    """
    settings = Settings(
        policy=parse_policy(policy), special=special, flush=flush, profile=profile, seed=seed, arrays=arrays,
        kwargs=dict(kwargs or {}), timeout=timeout, memory=memory, budget=budget, isolated=True if isolated is None else isolated,
        device=device, fail_fast=fail_fast, sizes=tuple(sizes), regimes=words_of(regimes), result=result,
        call=call, options=dict(options or {}), in_place=(in_place,) if isinstance(in_place, str) else tuple(in_place),
        only=only, without=words_of(without), require=words_of(require), op=op if isinstance(op, str) else "",
    )  # fmt: skip
    if isinstance(op, Op) and not in_table(op):
        raise UsageError(f"operation {op.name!r} is not in the table: name it as module:attribute")
    return audited(targets, op, dtypes, settings, progress)


def audited(
    targets: Sequence[str | Callable[..., Any]],
    op: str | Op,
    dtypes: Sequence[str] | None,
    settings: Settings,
    progress: Progress | None = None,
    kept: Kept = MappingProxyType({}),
) -> AuditReport:
    """``audit`` with its options as ``Settings``; what ``kept`` has is not asked again.

    A target that cannot be audited to its end costs its own results alone: they say what is missing. Where no target
    can even be opened the first one's ``UsageError`` is raised.
    """
    operation = op_named(op)
    settings = replace(settings, op=op if isinstance(op, str) else "").checked()
    forms = formats_of(operation, dtypes, settings)
    if not targets:
        raise UsageError("no target to audit")
    results: list[TargetResult] = []
    refused: list[UsageError] = []
    clock = Clock.after(settings.budget) if settings.budget else ENDLESS
    for number, target in enumerate(targets):
        own = replace(settings, isolated=settings.isolated and isinstance(target, str))
        had = kept.get(name_of(target), {})
        left = [form for form in forms if form not in had]
        share = clock.part(1 / (len(targets) - number))
        dtyped, ended, where = _of_target(target, operation, left, own, progress, share) if left else ([], None, "")
        found = {**had, **{one.dtype: one for one in dtyped}}
        told = tuple(found[form] for form in forms if form in found)
        results.append(TargetResult(name_of(target), operation.name, told, own.record(), where))
        if isinstance(ended, UsageError):
            refused.append(ended)
        if isinstance(ended, KeyboardInterrupt):
            results[-1] = replace(results[-1], dtypes=(*told, *(unasked(form) for form in forms if form not in found)))
            results += [
                TargetResult(name_of(other), operation.name, tuple(map(unasked, forms)), own.record())
                for other in targets[number + 1 :]
            ]
            return AuditReport(tuple(results), describe(one.where for one in results), interrupted=True)
    if len(refused) == len(targets):
        raise refused[0]
    return AuditReport(tuple(results), describe(one.where for one in results))


def kept_of(report: Report, op: str | Op, settings: Settings) -> Kept:
    """The complete results in a report that an audit with these settings would find again: same versions, same machine."""
    operation = op_named(op)
    environment = {name: value for name, value in report.environment.items() if name != "devices"}
    if environment != json.loads(json.dumps(describe())):
        return {}
    found: dict[str, dict[str, DtypeResult]] = {}
    for target in report.targets:
        own = replace(settings, op=op if isinstance(op, str) else "").record()
        if target.op == operation.name and dict(target.settings) == json.loads(json.dumps(own)):
            found[target.target] = {one.dtype: one for one in target.dtypes if not one.incomplete}
    return found


def formats_of(op: str | Op, dtypes: Sequence[str] | None, settings: Settings) -> list[str]:
    """The names of the formats asked for; what cannot be asked raises ``UsageError`` before any target is opened."""
    operation = op_named(op)
    settings.checked().calling(operation)
    asked = words_of(dtypes) if isinstance(dtypes, str) else dtypes
    forms = [format_named(name).name for name in asked or [d for d in DEFAULT_DTYPES if d in operation.formats]]
    for name in forms:
        operation.check_format(format_named(name))
    return forms


def _of_target(
    target: str | Callable[..., Any],
    op: Op,
    forms: Sequence[str],
    settings: Settings,
    progress: Progress | None,
    clock: Clock,
) -> tuple[list[DtypeResult], BaseException | None, str]:
    """The results of one target, format by format; what ended its audit (an interruption, or that it cannot be opened); where."""
    found: list[DtypeResult] = []
    where = ""
    try:
        with opened(target, op, settings) as candidate:
            where = candidate.where
            for number, form in enumerate(forms):
                share = clock.part(1 / (len(forms) - number))
                found.append(audit_dtype(candidate, op, form, settings, progress, share))
    except KeyboardInterrupt as error:
        return found, error, where
    except Exception as error:  # noqa: BLE001  (said in the report)
        why = error if not found else None
        return [*found, *(unfinished(form, one_line(error)) for form in forms[len(found) :])], why, where
    return found, None, where


def unfinished(fmt: str, why: str) -> DtypeResult:
    """A result of which nothing could be had."""
    return DtypeResult(fmt, 0, 0.0, 0.0, {}, (), incomplete=(why,))


def unasked(fmt: str) -> DtypeResult:
    """The result of a format that an interruption came before."""
    return unfinished(fmt, "not asked: interrupted before")


def opened(target: str | Callable[..., Any], op: Op, settings: Settings) -> Candidate:
    return open_candidate(
        target,
        op if in_table(op) or not settings.op else settings.op,
        arrays=settings.arrays,
        isolated=settings.isolated and isinstance(target, str),
        timeout=settings.timeout,
        memory_mb=settings.memory,
        kwargs=settings.kwargs,
        device=settings.device,
        call=settings.call,
        in_place=settings.in_place,
        options=settings.options,
        only=settings.only,
    )


def audit_dtype(
    candidate: Candidate,
    op: Op,
    fmt: str,
    settings: Settings,
    progress: Progress | None = None,
    clock: Clock = ENDLESS,
) -> DtypeResult:
    """One target, one op, one dtype: plan, call, certify, judge, count; then companions, laws, findings.

    Half of the clock's time is for the plan, half of the rest for companions and laws, what is left for findings.
    """
    if not settings.budget:
        clock = clock.sooner(USUAL[settings.profile])
    ledger = Ledger(op, fmt)
    ask = clock.watched(candidate.call)
    name, expression = candidate.name, candidate.expression
    asker = Asker(
        op, ask, settings.rules, name, expression, begin=candidate.begin, clock=clock, function=candidate.function
    )
    patience, screen = Patience(), Screen(op, settings.policy)
    pace = Pace(SWEEP[settings.profile])
    walk = Walk(candidate, op, fmt, settings, clock.part(0.5), patience, progress, pace)
    answered: list[tuple[Batch, Returned]] = []
    for batch in walk.batches(ledger):
        seen = asker.seen(ledger, screen, batch)
        if seen is None:
            continue
        outcome, judgement = seen
        patience.saw(batch, outcome)
        if isinstance(outcome, Returned) and not judgement.kinds() and batch.x.size:
            answered.append((batch, outcome))
        if settings.fail_fast and ledger.failed:
            break
    unasked = [f"not asked (--without): {name}" for name in settings.without]
    if not (settings.fail_fast and ledger.failed):
        relating = clock.part(0.5)
        watched = relating.watched(patience.watched(asker.ask))
        unasked += relations(replace(asker, ask=watched, clock=relating), ledger, answered, settings)
    if not patience.at_fault(asker.ask):
        ledger.excuse_timeouts(f"no answer within {settings.timeout:g} s (--timeout allows more)", patience.late)
    few = Clock.after(max(clock.left, settings.timeout))  # whether an exception refuses a length is asked in any case
    ledger.close(few.watched(candidate.call), settings.rules.require)
    findings = build(replace(asker, clock=clock.part(0.6)), ledger)
    worst_examples(op, ledger)
    domain = "" if ledger.rungs.keeps("standard") else ledger.lost.unless("domain", partial(_domain, asker, ledger), "")
    notes = [*candidate.met]
    notes += [f"{name}: answers {', '.join(words)}" for name, words in ledger.conventions.items()]
    notes += screen.notes
    if all(finding.severity != "fail" for finding in findings) and ledger.cases and not settings.result:
        notes += ledger.lost.unless("inference", lambda: inferred(asker, fmt), ())
    offered = {**candidate.offered, **ledger.refused}
    unasked = [*walk.left_out(ledger), *unasked, *patience.notes()]
    return replace(ledger.as_result(fmt, findings, offered, tuple(notes), tuple(unasked)), domain=domain)


def _domain(asker: Asker, ledger: Ledger) -> str:
    """Where "standard" is kept, in words; the target is asked for the edge."""

    def breaks(batch: Batch) -> bool:
        errors = asker.judged(batch)[2].errors
        return errors is None or bool(np.isin(errors.code, LOST).any())

    return ledger.rungs.domain.text(breaks)


def assert_accurate(target: str | Callable[..., Any], *, op: str | Op, **options: Any) -> None:
    """Audit and raise ``AssertionError`` with the findings' text if anything fails (options as for ``audit``).

    Raises ``AuditIncompleteError`` where nothing failed but not everything could be asked.
    """
    result = audit(target, op=op, **options)
    if result.incomplete and not result.failed:
        raise AuditIncompleteError("; ".join(result.incomplete))
    failed = [finding for finding in result.findings if finding.severity == "fail"]
    if failed:
        from xent_verify.report import render_finding

        first = result.targets[0]
        raise AssertionError(
            "\n\n".join([f"{first.target} ({first.op}) is not accurate", *map(render_finding, failed)])
        )


def merged(reports: Sequence[Report]) -> AuditReport:
    """Several reports as one: targets in order, each with its own settings; the environment of the first."""
    if not reports:
        raise UsageError("nothing to merge")
    targets = tuple(target for report in reports for target in report.targets)
    devices = sorted({device for report in reports for device in report.environment.get("devices", ())})
    environment = dict(reports[0].environment) | ({"devices": devices} if devices else {})
    return AuditReport(targets, environment, any(report.interrupted for report in reports))
