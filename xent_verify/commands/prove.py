"""``xent-verify prove``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xent_verify.commands.shared import Sectioned, deliver, json_option, settings_options, status_of
from xent_verify.core.failures import UsageError
from xent_verify.core.interrupts import finishing

if TYPE_CHECKING:
    from xent_verify.verdict.settings import Settings

__all__ = ["command"]


@click.command(name="prove", cls=Sectioned)
@click.argument("target")
@click.option("--op", required=True, help="The operation the target implements (see 'list ops').")
@click.option(
    "--domain",
    default="",
    help="unary, pairs, triples, quadruples, quintuples, sextuples, widths or gaps. [default: by operation and format]",
)
@click.option("--slice", "part", default="", help="K/N: the K-th of N parts of the domain only.")
@click.option("--jobs", default=1, show_default=True, help="Processes on this machine.")
@click.option("--cluster", default="", help="Address of a Dask scheduler that runs the chunks (extra 'cluster').")
@click.option("--log", "log_to", default="", help="Write finished chunks here, so that the run can be resumed.")
@click.option("--resume", default="", help="Go on with the run of this log.")
@click.option("--include", multiple=True, help="Count the chunks of another log of the same run too (may be repeated).")
@settings_options(plan=False, dtypes="bfloat16")
@json_option()
@click.option("--out", default="", help="Write the certificate into this folder, and its table anew.")
def command(
    target: str,
    op: str,
    domain: str,
    part: str,
    jobs: int,
    cluster: str,
    log_to: str,
    resume: str,
    include: tuple[str, ...],
    dtypes: tuple[str, ...] | None,
    settings: Settings,
    json_to: str,
    out: str,
) -> int:
    """Prove what the largest error of TARGET is, over every input of a finite domain.

    The default domain is every input of elementwise operations, every row of three 8-bit or two 16-bit logits, and rows
    of every length up to 4096 in wider formats. A run can be killed and resumed from its log.

    \b
    xent-verify prove naive --op softmax --dtype float8_e4m3fn --jobs 2
    xent-verify prove stable --op softmax --dtype bfloat16 --jobs 2 --log run.log
    """
    from xent_verify.core.formats import format_named
    from xent_verify.core.outputs import check_folder
    from xent_verify.ops import op_named
    from xent_verify.prove import Plan, Sweep, domain_of, report_of, write

    if log_to and resume:
        raise UsageError("--log begins a run and --resume goes on with one; give one of them")
    for name in ("result", "options", "only"):
        if getattr(settings, name):
            raise UsageError(f"--{name.removesuffix('s')}: a proof is of a whole domain, in the format of its inputs")
    names = dtypes or ("bfloat16",)
    if len(names) != 1:
        raise UsageError(f"--dtype {','.join(names)}: a proof is of one format at a time")
    operation = op_named(op)
    plan = Plan(target, op, domain_of(operation, format_named(names[0]), domain), settings, part_of(part))
    if out:
        check_folder(out)
    log = Path(log_to or resume) if log_to or resume else None
    sweep = Sweep(
        plan, jobs=jobs, cluster=cluster, log=log, resume=bool(resume), include=[Path(name) for name in include]
    )
    with progress() as shown:
        made = sweep.run(shown)
    with finishing():
        if out and made["chunks_done"]:
            write(made, Path(out))
    try:
        report = report_of(plan, made, interrupted=sweep.interrupted)
    except KeyboardInterrupt:
        report = report_of(plan, made, interrupted=True)
    deliver(report, json_to=json_to, out="")
    click.echo(f"{made['label']}: {made['statement']}", err=json_to == "-")
    for failure in made["failures"]:
        click.echo(f"{failure['kind']}: {failure['where']}", err=json_to == "-")
    return status_of(report) or (0 if made["ok"] else 1)


def part_of(text: str) -> tuple[int, int]:
    """K/N with 1 <= K <= N."""
    if not text:
        return 1, 1
    k, _, n = text.partition("/")
    if not (k.isdecimal() and n.isdecimal() and 1 <= int(k) <= int(n)):
        raise UsageError(f"--slice {text!r}: write K/N with K from 1 to N, such as 1/8")
    return int(k), int(n)


@contextmanager
def progress() -> Iterator[Callable[[int, int], None] | None]:
    """A bar with the time left on a terminal's stderr; nothing when piped."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("chunks", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
