"""Audits of many targets, by name, in several processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from xent_verify.auditing.audit import AuditReport, Kept, audited, formats_of, merged, unfinished
from xent_verify.auditing.walk import Progress
from xent_verify.core.environment import describe
from xent_verify.core.failures import UsageError, one_line
from xent_verify.core.model import DtypeResult, Report, TargetResult
from xent_verify.core.workers import workers
from xent_verify.report import from_json
from xent_verify.verdict.settings import Settings

__all__ = ["Shared", "Task", "audited_in_processes", "in_processes", "joined", "unaudited"]

Told = Callable[[Report | UsageError, int], None]


@dataclass(frozen=True)
class Task:
    """The audit of one target on one operation, both by name, in some formats."""

    target: str
    op: str
    dtypes: tuple[str, ...]
    settings: Settings
    had: Mapping[str, DtypeResult] = field(default_factory=dict)


@dataclass(frozen=True)
class Shared:
    """What processes found: for each task its report, ``UsageError`` where its target cannot be audited, None where an
    interruption came first.
    """

    found: tuple[Report | UsageError | None, ...]
    interrupted: bool = False


def in_processes(tasks: Sequence[Task], jobs: int, told: Told | None = None) -> Shared:
    """Every task, shared among processes. An interruption ends them and keeps the tasks that are done.

    Args:
        tasks: What to audit.
        jobs: Processes that share the work. What is found does not depend on how many.
        told: Is called in the order of the tasks with each one's report (or ``UsageError``), and how many are done.

    Raises:
        UsageError: ``jobs`` is not positive.
    """
    waiting: list[Future[tuple[bool, str]]] = []
    found: list[Report | UsageError | None] = []
    try:
        with workers(min(jobs, max(len(tasks), 1))) as pool:
            waiting += [pool.submit(_run, task) for task in tasks]
            for task, one in zip(tasks, waiting, strict=True):
                report = _had(task, one)
                found.append(report)
                if told is not None:
                    told(report, len(found))
    except KeyboardInterrupt:
        left = list(zip(tasks, waiting, strict=False))[len(found) :]
        found += [_had(task, one) if _is_done(one) else None for task, one in left]
        return Shared((*found, *[None] * (len(tasks) - len(found))), interrupted=True)
    return Shared(tuple(found))


def _is_done(one: Future[tuple[bool, str]]) -> bool:
    return one.done() and not one.cancelled() and one.exception() is None


def audited_in_processes(
    targets: Sequence[str],
    op: str,
    dtypes: Sequence[str] | None,
    settings: Settings,
    jobs: int,
    progress: Progress | None = None,
    kept: Kept = MappingProxyType({}),
) -> AuditReport:
    """``audit.audited`` with the targets shared among ``jobs`` processes; a budget is shared among the targets as well."""
    share = settings.budget * min(jobs, len(targets)) / len(targets)
    forms = tuple(formats_of(op, dtypes, settings))
    tasks = [Task(target, op, forms, replace(settings, budget=share), kept.get(target, {})) for target in targets]
    told = None if progress is None else lambda _, done: progress(f"{targets[done - 1]} {op}", done)
    shared = in_processes(tasks, jobs, told)
    refused = [report for report in shared.found if isinstance(report, UsageError)]
    if len(refused) == len(tasks):
        raise refused[0]
    return joined(tasks, shared)


def joined(tasks: Sequence[Task], shared: Shared) -> AuditReport:
    """One report of what the tasks gave, in their order; those without an answer say why, the unfinished are left out."""
    pairs = [(task, one) for task, one in zip(tasks, shared.found, strict=True) if one is not None]
    if not pairs:
        return AuditReport((), describe(), shared.interrupted)
    whole = [one if isinstance(one, Report) else unaudited(task, one) for task, one in pairs]
    return replace(merged(whole), interrupted=shared.interrupted)


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
        kept = {task.target: task.had}
        return True, audited([task.target], task.op, task.dtypes, task.settings, kept=kept).to_json()
    except UsageError as error:
        return False, str(error)
