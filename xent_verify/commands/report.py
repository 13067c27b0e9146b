"""``xent-verify report``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from xent_verify.commands.shared import names_of, progress, status_of

if TYPE_CHECKING:
    from xent_verify.model import Report

__all__ = ["command"]


@click.command(name="report")
@click.argument("results", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out", "-o", default="reports", show_default=True, help="Folder, or one file: .html .md .csv .tex .json .parquet."
)
@click.option("--profile", default="quick", show_default=True, help="quick, standard or deep.")
@click.option("--seed", default=0, show_default=True, help="Seed of every generator.")
@click.option(
    "--op", "ops", default="", help="Operations, comma-separated. [default: the five of softmax and cross entropy]"
)
@click.option("--dtype", "dtypes", default="", help="Formats, comma-separated. [default: the audit's four]")
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

    With RESULT files (JSON of earlier audits) nothing is run: the report is rendered again from them.

    \b
    xent-verify report --out reports
    xent-verify report result.json --out reports/again
    xent-verify report result.json --against last.json --out page.html
    """
    from xent_verify.audit import merged
    from xent_verify.differences import with_changes
    from xent_verify.harvest import harvest
    from xent_verify.prove.beside import certificate_files, with_certificates
    from xent_verify.report import read_report, save
    from xent_verify.report.words import headline

    earlier = read_report(Path(against)) if against else None
    proofs = certificate_files(certificates)
    report: Report
    if results:
        report = merged([read_report(path) for path in results])
    else:
        with progress() as show:
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
    saved = save(report, Path(out))
    click.echo(headline(report))
    names = sorted(path.name for path in saved.paths)
    click.echo(f"{out}: {', '.join(names)}" if names != [Path(out).name] else f"{out} written")
    for reason in saved.skipped:
        click.echo(f"left out: {reason}", err=True)
    status = status_of(report)
    return 0 if status == 1 else status  # the report is about faults: finding some is no failure of the command
