"""``xent-verify search``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from xent_verify.commands.shared import Sectioned, deliver, json_option, out_option, settings_options, status_of
from xent_verify.core.failures import UsageError

if TYPE_CHECKING:
    from xent_verify.verdict.settings import Settings

__all__ = ["command"]


@click.command(name="search", cls=Sectioned)
@click.argument("target")
@click.option("--op", required=True, help="The operation the target implements (see 'list ops').")
@click.option("--evaluations", default=100_000, show_default=True, help="Rows to breed, per dtype.")
@click.option("--examples", default=300, show_default=True, help="Calls to draw and shrink, per dtype.")
@click.option("--time", "time_text", default="", help="Stop breeding after this long, such as 60s or 2m.")
@settings_options(plan=False, dtypes="float32")
@json_option()
@out_option
def command(
    target: str,
    op: str,
    evaluations: int,
    examples: int,
    time_text: str,
    dtypes: tuple[str, ...] | None,
    settings: Settings,
    json_to: str,
    out: str,
) -> int:
    """Hunt for the worst case of TARGET; print the best found per kind, and how it was found.

    \b
    xent-verify search stable --op softmax --dtype float32 --evaluations 20000
    """
    from xent_verify.auditing.worst import search_worst
    from xent_verify.core.formats import format_named

    names = tuple(format_named(name).name for name in dtypes or ["float32"])
    report, curves = search_worst(
        target,
        op=op,
        dtypes=names,
        settings=settings,
        evaluations=evaluations,
        examples=examples,
        seconds=seconds_of(time_text),
    )
    for name, curve in curves.items():
        steps = ", ".join(f"{score:.4g} after {count}" for count, score in curve)
        click.echo(f"{name}: largest error / limit so far: {steps} rows (searched, a lower bound)", err=json_to == "-")
    deliver(report, json_to=json_to, out=out)
    return status_of(report)


def seconds_of(text: str) -> float | None:
    """60, 60s, 2m or 1h in seconds; None for the empty text."""
    if not text:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(s|m|h|)", text.strip())
    if found is None:
        raise UsageError(f"--time {text!r}: write a duration such as 60s, 2m or 1h")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]
