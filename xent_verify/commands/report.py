"""``xent-verify report``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xent_verify.commands.shared import checked_place, names_of, status_of
from xent_verify.core.interrupts import finishing

if TYPE_CHECKING:
    from xent_verify.core.model import Report

__all__ = ["command"]


@click.command(name="report")
@click.argument("results", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out",
    "-o",
    default="reports",
    callback=checked_place,
    show_default=True,
    help="Folder, or one file: .html .md .csv .tex .json .parquet.",
)
@click.option("--profile", default="quick", show_default=True, help="quick, standard or deep.")
@click.option("--seed", default=0, show_default=True, help="Seed of every generator.")
@click.option(
    "--op", "ops", default="", help="Operations, comma-separated. [default: the five of softmax and cross entropy]"
)
@click.option(
    "--dtype", "dtypes", default="", help="Formats, comma-separated. [default: float64, float32, float16, bfloat16]"
)
@click.option("--jobs", default=2, show_default=True, help="Processes that share the work.")
@click.option("--library", default="", help="Audit only this installed library, not this package's implementations.")
@click.option(
    "--certificates", multiple=True, type=click.Path(path_type=Path), help="Certificate, or folder of them, to show."
)
@click.option("--against", default="", help="JSON of an earlier audit: tell what has changed since.")
def command(
    results: tuple[Path, ...],
    out: str,
    profile: str,
    seed: int,
    ops: str,
    dtypes: str,
    jobs: int,
    library: str,
    certificates: tuple[Path, ...],
    against: str,
) -> int:
    """Audit this package's implementations and the installed libraries, and write the report.

    With RESULT files (JSON of earlier audits) nothing is run: the report is rendered again from them. Without, a quick
    report takes minutes: it says what it is at, target by target.

    \b
    xent-verify report --out reports
    xent-verify report result.json --out reports/again
    xent-verify report result.json --against last.json --out page.html
    """
    from xent_verify.auditing.audit import merged
    from xent_verify.auditing.harvest import harvest
    from xent_verify.gate.differences import with_changes
    from xent_verify.prove.beside import certificate_files, with_certificates
    from xent_verify.report import read_report, save
    from xent_verify.report.groups import verdict_by_group
    from xent_verify.report.words import headline

    earlier = read_report(Path(against)) if against else None
    proofs = certificate_files(certificates)
    report: Report
    if results:
        report = merged([read_report(path) for path in results])
    else:
        with _phase("auditing targets") as show:
            report = harvest(
                ops=names_of(ops),
                dtypes=names_of(dtypes),
                library=library,
                profile=profile,
                seed=seed,
                jobs=jobs,
                progress=show,
            )
    if earlier is not None:
        report = with_changes(report, earlier)
    report, stale = with_certificates(report, proofs)
    for line in stale:
        click.echo(f"left out: {line}", err=True)
    with finishing(), _phase("drawing and writing", counted=False) as show:
        show("", 0, 0)
        saved = save(report, Path(out))
    for reason in saved.skipped:
        click.echo(f"left out: {reason}", err=True)
    click.echo(headline(report))
    for line in verdict_by_group(report):
        click.echo(f"  {line}")
    click.echo(_written(saved.paths, Path(out)))
    status = status_of(report)
    return 0 if status == 1 else status  # the report is about faults: finding some is no failure of the command


def _written(paths: Sequence[Path], out: Path) -> str:
    """What to open, and how many files stand beside it."""
    first = next(path for path in (out / "report.html", out / "summary.md", paths[0]) if path in paths)
    others = len(paths) - 1
    return f"open {first}" + (f"  ({others} more files in {out})" if others else "")


def _line(name: str, text: str, done: int, every: int) -> None:
    """Where stderr is piped: how many there are at first, then each."""
    told = f"{name} ({every}) ..." if every else f"{name} ..."
    click.echo(f"[{done} of {every}] {text}" if done else told, err=True)


@contextmanager
def _phase(name: str, *, counted: bool = True) -> Iterator[Callable[[str, int, int], None]]:
    """Tells how far a phase is: a bar on a terminal; a line at its start and one a target where stderr is piped."""
    if not sys.stderr.isatty():
        yield partial(_line, name)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        *((BarColumn(bar_width=20), MofNCompleteColumn(separator=" of ")) if counted else ()),
        TimeElapsedColumn(),
        TextColumn("{task.fields[last]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=None, last="")
        yield lambda text, done, every: bar.update(task, completed=done, total=every or None, last=text)
