"""The pipe, on one screen: cases are made, the candidate answers, truth is enclosed, the error judged, findings explained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xent_verify.candidates import Candidate, open_candidate
from xent_verify.candidates.opening import name_of
from xent_verify.defined import undefined
from xent_verify.environment import describe
from xent_verify.failures import AuditIncompleteError, UnknownNameError, UsageError, one_line
from xent_verify.findings import Asker, build, inferred, worst_examples
from xent_verify.floating import default_mode
from xent_verify.formats import format_named
from xent_verify.ledger import Ledger, Patience
from xent_verify.model import Batch, DtypeResult, Report, Returned, TargetResult
from xent_verify.ops import Op, in_table, op_named
from xent_verify.ops.tape import UPSTREAM
from xent_verify.policies import Policy, parse_policy
from xent_verify.regimes import REGIMES, plan
from xent_verify.relations import LARGEST_COMPARED, lengths, relations
from xent_verify.requirements import words_of
from xent_verify.rungs import LOST
from xent_verify.screen import Screen
from xent_verify.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "AuditReport",
    "Settings",
    "assert_accurate",
    "audit",
    "audit_dtype",
    "audited",
    "cases",
    "left_out",
    "merged",
    "opened",
    "unfinished",
]

DEFAULT_DTYPES = ("float64", "float32", "float16", "bfloat16")

Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class AuditReport(Report):
    """A report with its renderings at hand."""

    def to_frame(self) -> pd.DataFrame:
        """One row per target x op x dtype (pandas)."""
        from xent_verify.report import summary_frame

        return summary_frame(self)

    def to_json(self) -> str:
        """Strict JSON (docs/reading.md has its fields)."""
        from xent_verify.report import to_json

        return to_json(self)

    def save(self, directory: str | Path) -> None:
        """Write every rendering into a directory."""
        from xent_verify.report import save

        save(self, Path(directory))

    def _repr_html_(self) -> str:
        return str(self.to_frame().to_html())


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

    * ``targets``: take arrays of the format's dtype and of 1 to 4 dimensions, and the options of ``op`` that they offer
    * ``dtypes``: format names (default: float64, float32, float16, bfloat16 where the op has them)
    * ``policy``: what counts as inaccurate (docs/policies.md); ``special``, ``flush``: rules for NaN, infinities, subnormals
    * ``profile``: "quick", "standard" or "deep"; ``seed``: the same seed, the same inputs
    * ``arrays``: what targets take ("numpy", "torch", ...; "auto" finds out); ``device``: where such arrays live
    * ``kwargs``: added to every call; ``timeout``: seconds a call may take
    * ``isolated``: names run in a child process unless False; callables run in this process
    * ``fail_fast``: stop at the first failure
    * ``sizes``: row lengths that matter to the caller (a vocabulary), tried besides the profile's own
    * ``regimes``: only these kinds of input; ``without``: not these; ``progress``: is told how far it is
    * ``result``: the format of results, where it is not that of the inputs
    * ``call``: the expression by which targets are called; ``in_place``: inputs that they overwrite by contract;
      ``options``: set inside them; ``only``: the calls that they are built for (docs/kernels.md)
    * ``require``: asked besides: "invariance", "invariance:K" (ulps), the name of a class (docs/relations.md)

    Raises ``UsageError`` for anything that cannot be asked; whatever the target does is in the report, and so is what
    could not be completed (``incomplete``). A ``KeyboardInterrupt`` ends the audit and returns what it has, with
    ``interrupted``.
    """
    settings = Settings(
        policy=parse_policy(policy), special=special, flush=flush, profile=profile, seed=seed, arrays=arrays,
        kwargs=dict(kwargs or {}), timeout=timeout, isolated=True if isolated is None else isolated, device=device,
        fail_fast=fail_fast, sizes=tuple(sizes), regimes=tuple(regimes), result=result,
        call=call, options=dict(options or {}), in_place=(in_place,) if isinstance(in_place, str) else tuple(in_place),
        only=only, without=tuple(without), require=words_of(require), op=op if isinstance(op, str) else "",
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
) -> AuditReport:
    """``audit`` with its options as ``Settings``.

    A target that cannot be audited to its end costs its own results alone: they say what is missing. Where no target
    can even be opened the first one's ``UsageError`` is raised.
    """
    operation = op_named(op)
    settings = replace(settings, op=op if isinstance(op, str) else "").checked()
    settings.calling(operation)  # what cannot be is told before any target is opened
    forms = [format_named(name).name for name in dtypes or [d for d in DEFAULT_DTYPES if d in operation.formats]]
    for name in forms:
        if name not in operation.formats:
            raise UnknownNameError(f"dtype for {operation.name}", name, operation.formats)
    if not targets:
        raise UsageError("no target to audit")
    results: list[TargetResult] = []
    refused: list[UsageError] = []
    interrupted = False
    for target in targets:
        own = replace(settings, isolated=settings.isolated and isinstance(target, str))
        dtyped: list[DtypeResult] = []
        try:
            with opened(target, operation, own) as candidate:
                dtyped.extend(audit_dtype(candidate, operation, form, own, progress) for form in forms)
        except KeyboardInterrupt:
            interrupted = True
        except Exception as error:  # noqa: BLE001  (said in the report)
            if isinstance(error, UsageError) and not dtyped:
                refused.append(error)
            dtyped += [unfinished(form, one_line(error)) for form in forms[len(dtyped) :]]
        results.append(TargetResult(name_of(target), operation.name, tuple(dtyped), own.record()))
        if interrupted:
            break
    if len(refused) == len(targets):
        raise refused[0]
    return AuditReport(tuple(results), describe(), interrupted)


def unfinished(fmt: str, why: str) -> DtypeResult:
    """A result of which nothing could be had."""
    return DtypeResult(fmt, 0, 0.0, 0.0, {}, (), incomplete=(why,))


def opened(target: str | Callable[..., Any], op: Op, settings: Settings) -> Candidate:
    return open_candidate(
        target,
        op if in_table(op) or not settings.op else settings.op,
        arrays=settings.arrays,
        isolated=settings.isolated and isinstance(target, str),
        timeout=settings.timeout,
        kwargs=settings.kwargs,
        device=settings.device,
        call=settings.call,
        in_place=settings.in_place,
        options=settings.options,
        only=settings.only,
    )


def audit_dtype(
    candidate: Candidate, op: Op, fmt: str, settings: Settings, progress: Progress | None = None
) -> DtypeResult:
    """One target, one op, one dtype: plan, call, certify, judge, count; then companions, laws, findings."""
    ledger = Ledger(op, fmt)
    asker = Asker(op, candidate.call, settings.rules, candidate.name, candidate.expression, begin=candidate.begin)
    skipped: dict[str, int] = {}
    unasked = [f"not asked (--without): {name}" for name in settings.without]
    patience, screen = Patience(), Screen(op, settings.policy)
    answered: list[tuple[Batch, Returned]] = []
    for number, batch in enumerate(ledger.lost.while_drawn(cases(op, fmt, settings))):
        if progress is not None:
            progress(f"{candidate.name} {op.name} {fmt}: {batch.regime}", number)
        batch = settings.rules.of_call(batch)
        why = left_out(candidate, op, batch)
        if why:
            skipped[why] = skipped.get(why, 0) + 1
            continue
        if patience.spent(batch):
            continue
        seen = asker.seen(ledger, screen, batch)
        if seen is None:
            continue
        outcome, judgement = seen
        patience.saw(batch, outcome)
        if isinstance(outcome, Returned) and not judgement.kinds() and batch.x.size:
            answered.append((batch, outcome))
        if settings.fail_fast and ledger.failed:
            break
    if not (settings.fail_fast and ledger.failed):
        unasked += relations(replace(asker, ask=patience.watched(asker.ask)), ledger, answered, settings)
    ledger.close(asker.ask, settings.rules.require)
    findings = build(asker, ledger)
    worst_examples(op, ledger)
    domain = "" if ledger.rungs.keeps("standard") else ledger.lost.unless("domain", partial(_domain, asker, ledger), "")
    passed = all(finding.severity != "fail" for finding in findings)
    unasked[:0] = [f"not asked ({why}, {count} call(s)" for why, count in sorted(skipped.items())]
    notes = [*candidate.met]
    notes += [f"{name}: answers {', '.join(words)}" for name, words in ledger.conventions.items()]
    notes += screen.notes
    if passed and ledger.cases and not settings.result:
        notes += ledger.lost.unless("inference", lambda: inferred(asker, fmt), ())
    offered = {**candidate.offered, **ledger.refused}
    return replace(ledger.as_result(fmt, findings, offered, tuple(notes), (*unasked, *patience.notes())), domain=domain)


def _domain(asker: Asker, ledger: Ledger) -> str:
    """Where "standard" is kept, in words; the target is asked for the edge."""

    def breaks(batch: Batch) -> bool:
        errors = asker.judged(batch)[2].errors
        return errors is None or bool(np.isin(errors.code, LOST).any())

    return ledger.rungs.domain.text(breaks)


def left_out(candidate: Candidate, op: Op, batch: Batch) -> str:
    """Why a call of the plan is not asked, in words; "" where it is."""
    declared = candidate.outside(batch)
    if declared:
        return f"declared domain): {declared}"
    fixed = undefined(op, batch) if candidate.fixed else ""
    if fixed:
        return f"fixed options): {fixed}"
    return "" if candidate.supports(batch) else f"not offered): {batch.regime}"


def cases(op: Op, fmt: str, settings: Settings) -> Iterator[Batch]:
    """The plan's batches; an operation from outside the table goes by the name under which it is imported."""
    kept = [name for name in settings.regimes or REGIMES if name not in settings.without]
    amount: dict[str, Any] = {"profile": settings.profile, "seed": settings.seed}
    amount["sizes"] = lengths(settings)
    amount["regimes"] = kept if settings.without else settings.regimes
    if op.differentiates is not None:
        base = op.differentiates
        return upstreams(op, fmt, plan(base, fmt, name=base.name, **amount), settings.seed)
    return plan(op, fmt, name=op.name if in_table(op) else settings.op or op.name, **amount)


def upstreams(op: Op, fmt: str, batches: Iterator[Batch], seed: int) -> Iterator[Batch]:
    """The calls of an operation with an upstream gradient: ordinary numbers, ones, or a single one; none of many logits."""
    form, base = format_named(fmt), op.differentiates
    assert base is not None
    for number, batch in enumerate(batch for batch in batches if batch.x.size <= LARGEST_COMPARED):
        rng, shape = np.random.default_rng((seed, number)), base.result_shape(batch)
        grad = np.ones(shape) if number % 4 == 1 else rng.normal(size=shape)
        if number % 4 == 3 and grad.size:
            grad = np.zeros(shape)
            grad.reshape(-1)[rng.integers(grad.size)] = 1.0
        yield replace(batch, op=op.name, inputs={**batch.inputs, UPSTREAM: form.narrow(grad)})


def assert_accurate(target: str | Callable[..., Any], *, op: str | Op, **options: Any) -> None:
    """Audit and raise ``AssertionError`` with the findings' text if anything fails (options as for ``audit``).

    ``AuditIncompleteError`` where nothing was seen to fail and not all could be asked.
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
    return AuditReport(targets, dict(reports[0].environment), any(report.interrupted for report in reports))
