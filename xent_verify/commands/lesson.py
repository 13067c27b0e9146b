"""``xent-verify lesson``."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["command"]


@click.command(name="lesson")
@click.option(
    "--out", default="reports", show_default=True, type=click.Path(path_type=Path), help="Folder to write to."
)
@click.option("--language", default="", help="Languages, comma-separated: en, zh. [default: all]")
def command(out: Path, language: str) -> int:
    """Write the lesson: naive against stable, worked from one row, as pages with plots.

    \b
    xent-verify lesson --out reports
    """
    from xent_verify import lesson

    for path in lesson.write(out, [name.strip() for name in language.split(",") if name.strip()]):
        click.echo(path)
    return 0
