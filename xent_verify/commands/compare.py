"""``xent-verify compare``."""

from __future__ import annotations

from pathlib import Path

import click

from xent_verify.commands.shared import say

__all__ = ["command"]


@click.command(name="compare")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option("--factor", default=1.0, show_default=True, help="Growth of share or error that is not yet worse.")
def command(old: Path, new: Path, factor: float) -> int:
    """What appeared, vanished, worsened and improved between two results, finding by finding.

    Exit 1 if a failure or a warning appeared or worsened. Targets that only one of them has are told, not judged.

    \b
    xent-verify compare main.json branch.json
    """
    from xent_verify.core.failures import UsageError
    from xent_verify.core.outside import closed
    from xent_verify.gate.differences import differences
    from xent_verify.report import read_report

    if not factor >= 1:
        raise UsageError(f"--factor {factor}: must be at least 1")
    with closed():
        before, after = (read_report(path) for path in (old, new))
        found = differences(before, after, factor=factor)
    for line in found.lines:
        say(line)
    if not found.places:
        click.echo("xent-verify: the two results have no target, operation and dtype in common", err=True)
        return 5
    return int(found.worse)
