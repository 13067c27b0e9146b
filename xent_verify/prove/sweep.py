"""A run: chunks that are not done yet go out, results come back and are written down, counts add up to a certificate."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xent_verify.auditing.audit import AuditReport, opened
from xent_verify.auditing.findings import Asker, build
from xent_verify.core.environment import describe
from xent_verify.core.failures import UsageError
from xent_verify.core.model import Batch, DtypeResult, Finding, TargetResult
from xent_verify.ops import op_named
from xent_verify.prove.certificate import certificate
from xent_verify.prove.cluster import on_cluster
from xent_verify.prove.counts import Counts, Gathered
from xent_verify.prove.local import Done, in_processes, in_this_process
from xent_verify.prove.log import ChunkLog, read_log
from xent_verify.prove.plan import Plan
from xent_verify.verdict.ledger import Ledger

__all__ = ["Sweep", "report_of"]

Progress = Callable[[int, int], None]
"""(chunks done, chunks in all)."""


class Sweep:
    """One run of a plan: what is ``done`` so far, ``interrupted`` from outside."""

    def __init__(
        self,
        plan: Plan,
        *,
        jobs: int = 1,
        cluster: str = "",
        log: Path | None = None,
        resume: bool = False,
        include: Sequence[Path] = (),
    ) -> None:
        if jobs < 1:
            raise UsageError(f"--jobs {jobs}: at least one process is needed")
        if jobs > 1 and not isinstance(plan.target, str):
            raise UsageError("--jobs: a target that is no name runs in this process only")
        self.plan = plan
        self._jobs, self._cluster, self._log, self._resume, self._include = jobs, cluster, log, resume, include
        self.done = Gathered()
        self.interrupted = False

    def run(self, progress: Progress | None = None) -> dict[str, Any]:
        """The certificate of everything done, after the rest of the plan's chunks is done too."""
        with ExitStack() as stack:
            for path in self._include:
                read_log(path, self.plan, self.done)
            log = None
            if self._log is not None:
                log = stack.enter_context(ChunkLog(self._log, self.plan, self.done, resume=self._resume))
            left = [chunk for chunk in self.plan.chunks if chunk not in self.done]
            total = len(left) + len(self.done)
            if progress is not None:
                progress(len(self.done), total)
            try:
                for chunk, data, seconds in () if not left else stack.enter_context(closing(self._results(left))):
                    if log is not None:
                        log.add(chunk, data, seconds)
                    self.done.add(chunk, Counts.from_plain(data))
                    if progress is not None:
                        progress(len(self.done), total)
            except KeyboardInterrupt:
                self.interrupted = True
        return certificate(self.plan, self.done)

    def _results(self, left: Sequence[int]) -> Generator[Done, None, None]:
        if self._cluster:
            return on_cluster(self.plan, left, self._cluster)
        if self._jobs > 1:
            return in_processes(self.plan, left, self._jobs)
        return in_this_process(self.plan, left)


def report_of(plan: Plan, made: dict[str, Any], *, interrupted: bool = False) -> AuditReport:
    """A report like the audit's: a finding for each failing class; the certificate in its settings.

    Findings are minimised and explained, for which the target is asked; not where the run was ``interrupted``.
    """
    op = op_named(plan.op)
    findings: list[Finding] = []
    lost: tuple[str, ...] = ()
    failing = [*made["failures"], *made["unanswered"], *made["conduct"]]
    counts = {item["kind"]: item.get("elements", item.get("rows", 1)) for item in failing}
    cases = max(made["elements"], 1)
    if failing and not interrupted:
        with opened(plan.target, op, plan.settings) as candidate:
            ledger = Ledger(op, plan.domain.fmt)
            asker = Asker(
                op, candidate.call, plan.settings.rules, candidate.name, candidate.expression, begin=candidate.begin
            )
            for item in failing:
                place = item.get("worst") or item.get("first_row")
                if place is None:
                    continue
                x = plan.domain.values(np.array([place["row"]]))
                batch = Batch(op.name, plan.domain.fmt, plan.domain.name, {op.first: x})
                asker.observe(ledger, batch)
            ledger.close()
            found = [finding for finding in build(asker, ledger) if finding.kind in counts]
            findings = [replace(finding, count=counts[finding.kind], cases=cases) for finding in found]
            lost = ledger.lost.lines()
    findings += [_told(item, plan, cases) for item in failing if item["kind"] not in {f.kind for f in findings}]
    where = tuple(f"{item['kind']}: {item['where']}" for item in made["failures"])
    classes = {name: number for name, number in made["classes"].items() if name != "ok"}
    classes |= {item["kind"]: item["rows"] for item in made["unanswered"]}
    result = DtypeResult(
        plan.domain.fmt,
        made["elements"],
        _value(made["max_ulp"]),
        _value(made["max_bound_ratio"]),
        classes,
        tuple(findings),
        notes=(f"{made['label']}: {made['statement']}", *where),
        incomplete=lost,
    )
    described = {**plan.settings.record(), "certificate": made}
    return AuditReport((TargetResult(plan.name, op.name, (result,), described),), describe(), interrupted)


def _told(item: Mapping[str, Any], plan: Plan, cases: int) -> Finding:
    """A failure that its row alone does not show again."""
    text = item.get("message") or item.get("where") or f"{item['rows']:,} rows without an answer"
    count = int(item.get("elements", item.get("rows", 1)))
    return Finding(item["kind"], item["severity"], text, count, max(cases, count), (plan.domain.name,))


def _value(found: Any) -> float:
    return 0.0 if found is None else float(found["value"])
