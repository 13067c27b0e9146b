"""Audits of many targets, by name, in several processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace

from xent_verify.auditing.audit import AuditReport, audited, formats_of, merged, unfinished
from xent_verify.auditing.walk import Progress
from xent_verify.core.environment import describe
from xent_verify.core.failures import UsageError, one_line
from xent_verify.core.model import Report, TargetResult
from xent_verify.core.workers import workers
from xent_verify.report import from_json
from xent_verify.verdict.settings import Settings

__all__ = ["Task", "audited_in_processes", "in_processes", "unaudited"]


@dataclass(frozen=True)
class Task:
    """The audit of one target on one operation, both by name, in some formats."""

    target: str
    op: str
    dtypes: tuple[str, ...]
    settings: Settings


def in_processes(tasks: Sequence[Task], jobs: int, progress: Progress | None = None) -> Iterator[Report | UsageError]:
    """The report of each task, in their order; ``UsageError`` where the target cannot be audited.

    Args:
        tasks: What to audit.
        jobs: Processes that share the work. What is found does not depend on how many.
        progress: Is told each target that is done, and how many are.

    Raises:
        UsageError: ``jobs`` is not positive.
    """
    with workers(min(jobs, max(len(tasks), 1))) as pool:
        waiting = [pool.submit(_run, task) for task in tasks]
        for done, (task, report) in enumerate(zip(tasks, waiting, strict=True), 1):
            found = _had(task, report)
            if progress is not None:
                progress(f"{task.target} {task.op}", done)
            yield found


def audited_in_processes(
    targets: Sequence[str],
    op: str,
    dtypes: Sequence[str] | None,
    settings: Settings,
    jobs: int,
    progress: Progress | None = None,
) -> AuditReport:
    """``audit.audited`` with the targets shared among ``jobs`` processes; a budget is shared among the targets as well."""
    share = settings.budget * min(jobs, len(targets)) / len(targets)
    forms = tuple(formats_of(op, dtypes, settings))
    tasks = [Task(target, op, forms, replace(settings, budget=share)) for target in targets]
    found: list[Report | UsageError] = []
    interrupted = False
    try:
        found.extend(in_processes(tasks, jobs, progress))
    except KeyboardInterrupt:
        interrupted = True
    refused = [report for report in found if isinstance(report, UsageError)]
    if refused and len(refused) == len(found):
        raise refused[0]
    if not found:
        return AuditReport((), describe(), interrupted)
    pairs = zip(tasks, found, strict=False)
    whole = [report if isinstance(report, Report) else unaudited(task, report) for task, report in pairs]
    return replace(merged(whole), interrupted=interrupted)


def _had(task: Task, waiting: Future[tuple[bool, str]]) -> Report | UsageError:
    """A task's report; where it raised or its process ended, one that says so for each format.

    A process that ends takes the whole pool along: each task that was waiting gets a process of its own.
    """
    try:
        try:
            usable, text = waiting.result()
        except BrokenProcessPool:
            with workers(1) as alone:
                usable, text = alone.submit(_run, task).result()
        return from_json(text) if usable else UsageError(text)
    except Exception as error:  # noqa: BLE001  (said in the report)
        return unaudited(task, error)


def unaudited(task: Task, error: Exception) -> Report:
    """A report that says for each format of a task why there is no result."""
    lost = tuple(unfinished(name, one_line(error)) for name in task.dtypes)
    return Report((TargetResult(task.target, task.op, lost, task.settings.record()),), {})


def _run(task: Task) -> tuple[bool, str]:
    """One audit in a worker process, as JSON; or (False, why it cannot be)."""
    try:
        return True, audited([task.target], task.op, task.dtypes, task.settings).to_json()
    except UsageError as error:
        return False, str(error)
