"""``xent-verify replay``."""

from __future__ import annotations

from pathlib import Path

import click

from xent_verify.commands.shared import say

__all__ = ["command"]


@click.command(name="replay")
@click.argument("result", type=click.Path(path_type=Path))
@click.option("--index", type=int, default=None, help="Which finding, counted from 0. [default: the first]")
@click.option("--kind", default="", help="The first finding of this kind.")
@click.option("--target", default="", help="Run this target in place of the recorded one.")
@click.option("--trust", is_flag=True, help="RESULT is your own: code that it names may be imported and run.")
@click.option("--in-process", is_flag=True, help="Run the target in this process: faster, not protected.")
def command(result: Path, index: int | None, kind: str, target: str, trust: bool, in_process: bool) -> int:
    """Run the minimal case of one finding of RESULT (JSON) again and show it in all digits.

    Exit 1 while it still fails, 0 when it is fixed. What a file names is code: a target that is none of the package's own is
    run only where --target names it, or --trust is said.

    \b
    xent-verify replay result.json
    xent-verify replay result.json --kind nan --trust
    """
    from xent_verify.auditing.replay import chosen, replay
    from xent_verify.report import read_report

    report = read_report(result)
    shown = replay(chosen(report, index, kind), target=target, isolated=not in_process, trust=trust)
    for line in shown.lines:
        say(line)
    return int(shown.fails)
