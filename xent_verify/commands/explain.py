"""``xent-verify explain``."""

from __future__ import annotations

import click

from xent_verify.commands.shared import json_option, names_of, write

__all__ = ["command"]


@click.command(name="explain", context_settings={"ignore_unknown_options": True})
@click.argument("logits", type=str)
@click.option("--target", type=int, default=None, help="Class whose loss is worked out. [default: the largest logit]")
@click.option("--dtype", "dtypes", default="", help="Formats, comma-separated. [default: the four usual ones]")
@json_option("the numbers as JSON")
def command(logits: str, target: int | None, dtypes: str, json_to: str) -> int:
    """Work one row of LOGITS (comma-separated) through: true values, every implementation's, their errors.

    \b
    xent-verify explain 3,1,-1 --target 0
    """
    from xent_verify.explain import explain

    row = explain.logits_of(logits)
    names = names_of(dtypes)
    worked = explain.explain(row, target) if not names else explain.explain(row, target, names)
    write(explain.to_json(worked), json_to)
    if json_to != "-":
        click.echo(explain.render(worked), nl=False)
    return 0
