"""``xent-verify claims``."""

from __future__ import annotations

from pathlib import Path

import click

from xent_verify.commands.shared import json_option, write

__all__ = ["command"]


@click.command(name="claims")
@click.argument("file", type=click.Path(path_type=Path))
@json_option("the verdicts as JSON")
def command(file: Path, json_to: str) -> int:
    """Judge the printed numbers in FILE (TOML) against certified truth, to the digits printed.

    docs/claims.md describes the file.

    \b
    xent-verify claims reports/claims/tutorial.toml
    """
    from xent_verify.explain import claims

    verdicts = claims.check(file)
    write(claims.to_json(verdicts), json_to)
    if json_to != "-":
        click.echo(claims.render(verdicts), nl=False)
    return 0 if all(verdict.ok for verdict in verdicts) else 1
