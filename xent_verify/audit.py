"""The pipe, on one screen: cases are made, the candidate answers, truth is enclosed, the error judged, findings explained."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xent_verify import companions, conventions, laws
from xent_verify.candidates import Candidate, open_candidate
from xent_verify.environment import describe
from xent_verify.failures import UnknownNameError, UsageError
from xent_verify.findings import Asker, build, inferred, worst_examples
from xent_verify.floating import default_mode
from xent_verify.formats import format_named
from xent_verify.judge import FLUSH_CHOICES, Rules
from xent_verify.ledger import Ledger, Patience
from xent_verify.model import Batch, DtypeResult, Report, Returned, TargetResult
from xent_verify.ops import OPS, Op, op_named
from xent_verify.policies import Policy, parse_policy
from xent_verify.regimes import PROFILES, borrowed, plan, regimes_named
from xent_verify.truth import certify

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["AuditReport", "Settings", "assert_accurate", "audit", "audit_dtype", "merged", "opened"]

LONGEST = 10_000_000
"""The longest row that may be asked for."""

DEFAULT_DTYPES = ("float64", "float32", "float16", "bfloat16")

Progress = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How to audit: the options of ``audit``."""

    policy: Policy
    special: str = "any"
    flush: str = "auto"
    profile: str = "standard"
    seed: int = 0
    arrays: str = "auto"
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    timeout: float = 10.0
    isolated: bool = True
    device: str = "cpu"
    fail_fast: bool = False
    sizes: tuple[int, ...] = ()
    regimes: tuple[str, ...] = ()
    op: str = ""  # how an operation from outside the table is named (module:attribute)

    @property
    def rules(self) -> Rules:
        return Rules(self.policy, self.special, self.flush)  # type: ignore[arg-type]  # checked by ``checked``

    def checked(self) -> Settings:
        """These settings, or a ``UsageError`` naming the first that cannot be."""
        conventions.profile_named(self.special)
        if self.profile not in PROFILES:
            raise UnknownNameError("profile", self.profile, PROFILES)
        if self.flush not in FLUSH_CHOICES:
            raise UnknownNameError("flush rule", self.flush, FLUSH_CHOICES)
        if not self.timeout > 0:
            raise UsageError(f"timeout {self.timeout}: must be a positive number of seconds")
        for size in self.sizes:
            if not 1 <= size <= LONGEST:
                raise UsageError(f"size {size}: a row length is between 1 and {LONGEST}")
        regimes_named(self.regimes)
        return self

    def describe(self) -> dict[str, Any]:
        """The settings that decide the findings, as plain data."""
        always = {
            "policy": self.policy.name,
            "special": self.special,
            "flush": self.flush,
            "profile": self.profile,
            "seed": self.seed,
            "arrays": self.arrays,
            "kwargs": dict(self.kwargs),
        }
        given = {"sizes": list(self.sizes), "regimes": list(self.regimes), "op": self.op if ":" in self.op else ""}
        return always | {name: value for name, value in given.items() if value}


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
    progress: Progress | None = None,
) -> AuditReport:
    """Audit targets (names as on the command line, or callables) as implementations of ``op``.

    * ``targets``: take arrays of the format's dtype and of 1 to 4 dimensions, and the options of ``op`` that they offer
    * ``dtypes``: format names (default: float64, float32, float16, bfloat16 where the op has them)
    * ``policy``: what counts as inaccurate (docs/policies.md); ``special``, ``flush``: rules for NaN, infinities, subnormals
    * ``profile``: "quick", "standard" or "thorough"; ``seed``: the same seed, the same inputs
    * ``arrays``: what targets take ("numpy", "torch", ...; "auto" finds out); ``device``: where such arrays live
    * ``kwargs``: added to every call; ``timeout``: seconds a call may take
    * ``isolated``: names run in a child process unless False; callables run in this process
    * ``fail_fast``: stop at the first failure
    * ``sizes``: row lengths that matter to the caller (a vocabulary), tried besides the profile's own
    * ``regimes``: only these kinds of input; ``progress``: is told how far it is

    Raises ``UsageError`` for anything that cannot be asked; whatever the target does is in the report. A
    ``KeyboardInterrupt`` ends the audit and returns what it has, with ``settings["interrupted"]``.
    """
    operation = op_named(op)
    settings = Settings(
        parse_policy(policy), special, flush, profile, seed, arrays, dict(kwargs or {}), timeout,
        True if isolated is None else isolated, device, fail_fast,
        tuple(sizes), tuple(regimes), op if isinstance(op, str) else "",
    ).checked()  # fmt: skip
    if isinstance(op, Op) and op.name not in OPS:
        raise UsageError(f"operation {op.name!r} is not in the table: name it as module:attribute")
    forms = [format_named(name).name for name in dtypes or [d for d in DEFAULT_DTYPES if d in operation.formats]]
    for name in forms:
        if name not in operation.formats:
            raise UnknownNameError(f"dtype for {operation.name}", name, operation.formats)
    if not targets:
        raise UsageError("no target to audit")
    results: list[TargetResult] = []
    described = settings.describe()
    for target in targets:
        with opened(target, operation, settings) as candidate:
            dtyped: list[DtypeResult] = []
            try:
                dtyped.extend(audit_dtype(candidate, operation, name, settings, progress) for name in forms)
            except KeyboardInterrupt:
                described["interrupted"] = True
            results.append(TargetResult(candidate.name, operation.name, tuple(dtyped)))
        if described.get("interrupted"):
            break
    return AuditReport(tuple(results), described, describe())


def opened(target: str | Callable[..., Any], op: Op, settings: Settings) -> Candidate:
    return open_candidate(
        target,
        op.name,
        arrays=settings.arrays,
        isolated=settings.isolated and isinstance(target, str),
        timeout=settings.timeout,
        kwargs=settings.kwargs,
        device=settings.device,
    )


def audit_dtype(
    candidate: Candidate, op: Op, fmt: str, settings: Settings, progress: Progress | None = None
) -> DtypeResult:
    """One target, one op, one dtype: plan, call, certify, judge, count; then companions, laws, findings."""
    ledger = Ledger(op)
    asker = Asker(op, candidate.call, settings.rules, candidate.name, candidate.expression, begin=candidate.begin)
    skipped: dict[str, int] = {}
    patience = Patience()
    answered: list[tuple[Batch, Returned]] = []
    for number, batch in enumerate(_cases(op, fmt, settings)):
        if progress is not None:
            progress(f"{candidate.name} {op.name} {fmt}: {batch.regime}", number)
        if not candidate.supports(batch):
            skipped[batch.regime] = skipped.get(batch.regime, 0) + 1
            continue
        if patience.spent(batch):
            continue
        outcome, truth, judgement = asker.judged(batch)
        ledger.add(batch, outcome, truth, judgement)
        patience.saw(batch, outcome)
        if isinstance(outcome, Returned) and not judgement.kinds() and batch.x.size:
            answered.append((batch, outcome))
        if settings.fail_fast and ledger.failed:
            break
    if not (settings.fail_fast and ledger.failed):
        _compare(asker, ledger, answered, settings)
    ledger.close()
    findings = build(asker, ledger)
    worst_examples(op, ledger)
    passed = all(finding.severity != "fail" for finding in findings)
    notes = [f"not asked (not offered): {name}, {count} call(s)" for name, count in sorted(skipped.items())]
    notes += patience.notes()
    notes += [f"{name}: answers {', '.join(words)}" for name, words in ledger.conventions.items()]
    notes += inferred(asker, fmt) if passed and ledger.cases else ()
    offered = {**candidate.offered, **ledger.refused}
    return ledger.as_result(fmt, findings, offered, tuple(notes))


def _cases(op: Op, fmt: str, settings: Settings) -> Iterator[Batch]:
    """The plan's batches; an operation from outside the table borrows those of one of its shape."""
    amount: dict[str, Any] = {"profile": settings.profile, "seed": settings.seed}
    amount |= {"sizes": settings.sizes, "regimes": settings.regimes}
    if op.name in OPS:
        return plan(op.name, fmt, **amount)
    return borrowed(op, settings.op or op.name, plan(op.regimes_of, fmt, **amount))


_COMPARED = {"quick": 6, "standard": 14, "deep": 40}
"""Calls that companions and laws are tried on, per profile."""

_LARGEST_COMPARED = 20_000
"""Logits of such a call."""


def _compare(asker: Asker, ledger: Ledger, answered: list[tuple[Batch, Returned]], settings: Settings) -> None:
    """Companion calls and laws, on one sound call of each of several regimes; laws alone on the longest rows too."""
    first_of = {
        batch.regime: (batch, outcome) for batch, outcome in reversed(answered) if 1 < batch.x.size <= _LARGEST_COMPARED
    }
    chosen = itertools.islice(reversed(first_of.values()), _COMPARED[settings.profile])
    for batch, outcome in chosen:
        for name, hit in _compared(asker, batch, outcome, companions.COMPANIONS):
            ledger.note(hit, batch, outcome, name)
        if settings.fail_fast and ledger.failed:
            return
    longest = max(answered, key=lambda pair: pair[0].x.shape[-1] if pair[0].x.ndim else 0, default=None)
    if longest is not None and longest[0].x.size > _LARGEST_COMPARED:
        for name, hit in _compared(asker, *longest, ()):
            ledger.note(hit, *longest, name)


def _compared(
    asker: Asker, batch: Batch, outcome: Returned, others: Sequence[companions.Companion]
) -> Iterator[tuple[str, Any]]:
    limit = asker.rules.policy.limits(asker.op, batch, certify(batch)).error
    for companion in others:
        for hit in companion.run(asker.ask, asker.op, batch, outcome, limit):
            yield companion.name, hit
    for name in asker.op.laws:
        for hit in laws.law_named(name).check(asker.ask, asker.op, batch, outcome.value, limit):
            yield name, hit


def assert_accurate(target: str | Callable[..., Any], *, op: str | Op, **options: Any) -> None:
    """Audit and raise ``AssertionError`` with the findings' text if anything fails (options as for ``audit``)."""
    result = audit(target, op=op, **options)
    failed = [finding for finding in result.findings if finding.severity == "fail"]
    if failed:
        from xent_verify.report import render_finding

        first = result.targets[0]
        raise AssertionError(
            "\n\n".join([f"{first.target} ({first.op}) is not accurate", *map(render_finding, failed)])
        )


def merged(reports: Sequence[Report]) -> AuditReport:
    """Several reports as one: targets in order, settings of the first."""
    if not reports:
        raise UsageError("nothing to merge")
    targets = tuple(target for report in reports for target in report.targets)
    return AuditReport(targets, dict(reports[0].settings), dict(reports[0].environment))
