"""``xent-verify claims``."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command(name="claims")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "json_to", default="", help="Write the verdicts as JSON here; '-' for stdout.")
def command(file: Path, json_to: str) -> int:
    """Judge the printed numbers in FILE (TOML) against certified truth, to the digits printed.

    \b
    xent-verify claims reports/claims/tutorial.toml
    """
    from xent_verify import claims

    verdicts = claims.check(file)
    if json_to and json_to != "-":
        Path(json_to).write_text(claims.to_json(verdicts), encoding="utf-8")
    click.echo(claims.to_json(verdicts) if json_to == "-" else claims.render(verdicts), nl=False)
    return 0 if all(verdict.ok for verdict in verdicts) else 1
