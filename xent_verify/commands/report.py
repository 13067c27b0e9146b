"""``xent-verify report``."""

from __future__ import annotations

from pathlib import Path

import click

from xent_verify.commands.shared import dtypes_of, progress, status_of

__all__ = ["command"]


@click.command(name="report")
@click.argument("results", nargs=-1, type=click.Path(path_type=Path))
@click.option("--out", default="reports", show_default=True, help="Folder to write into.")
@click.option("--profile", default="quick", show_default=True, help="quick, standard or deep.")
@click.option("--seed", default=0, show_default=True, help="Seed of every generator.")
@click.option(
    "--op", "ops", default="", help="Operations, comma-separated. [default: the five of softmax and cross entropy]"
)
@click.option("--dtype", "dtypes", default="", help="Formats, comma-separated. [default: the audit's four]")
@click.option("--jobs", default=2, show_default=True, help="Processes that share the work.")
@click.option("--library", default="", help="Audit only this installed library, not this package's implementations.")
def command(
    results: tuple[Path, ...], out: str, profile: str, seed: int, ops: str, dtypes: str, jobs: int, library: str
) -> int:
    """Audit this package's implementations and the installed libraries, and write the report.

    With RESULT files (JSON of earlier audits) nothing is run: the report is rendered again from them.

    \b
    xent-verify report --out reports
    xent-verify report result.json --out reports/again
    """
    from xent_verify.audit import merged
    from xent_verify.harvest import harvest
    from xent_verify.report import from_json, save
    from xent_verify.report.words import headline

    if results:
        report = merged([from_json(path.read_text(encoding="utf-8")) for path in results])
    else:
        names = [name.strip() for name in ops.split(",") if name.strip()]
        with progress() as show:
            report = harvest(
                ops=names,
                dtypes=dtypes_of(dtypes) or (),
                library=library,
                profile=profile,
                seed=seed,
                jobs=jobs,
                progress=show,
            )
    saved = save(report, Path(out))
    click.echo(headline(report))
    click.echo(f"{out}: {', '.join(sorted(path.name for path in saved.paths))}")
    for reason in saved.skipped:
        click.echo(f"left out: {reason}", err=True)
    status = status_of(report)
    return 0 if status == 1 else status  # the report is about faults: finding some is no failure of the command
