"""``xent-verify merge``."""

from __future__ import annotations

from pathlib import Path

import click

from xent_verify.commands.shared import json_option, status_of, write

__all__ = ["command"]


@click.command(name="merge")
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option("the joined JSON", required=True)
def command(results: tuple[Path, ...], json_to: str) -> int:
    """Join the RESULT files (JSON) of several audits into one; exit as the joined audit would.

    \b
    xent-verify merge linux.json arm.json --json all.json
    """
    from xent_verify.auditing.audit import merged
    from xent_verify.core.outside import closed
    from xent_verify.report import read_report, to_json
    from xent_verify.report.words import headline

    with closed():
        reports = [read_report(path) for path in results]
        report = merged(reports)
        text = to_json(report)
    machines = {str(one.environment.get("instruction_set", "")) for one in reports}
    if len(machines) > 1:
        click.echo(f"xent-verify: the results come from {len(machines)} instruction sets", err=True)
    write(text, json_to)
    click.echo(headline(report), err=True)
    return status_of(report)
