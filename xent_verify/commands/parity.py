"""``xent-verify parity``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xent_verify.commands.shared import json_option, progress, settings_options, write
from xent_verify.core.failures import UsageError

if TYPE_CHECKING:
    from xent_verify.verdict.settings import Settings

__all__ = ["command"]


@click.command(name="parity")
@click.argument("a")
@click.argument("b")
@click.option("--op", required=True, help="The operation that both implement (see 'list ops'), or module:attribute.")
@settings_options(plan=True, verdict=False)
@click.option("--within", type=float, default=None, help="Ulps that A and B may be apart; exit 1 beyond.")
@json_option()
def command(
    a: str,
    b: str,
    op: str,
    dtypes: tuple[str, ...] | None,
    settings: Settings,
    within: float | None,
    json_to: str,
) -> int:
    """Compare two targets on the same inputs: how far apart, which is nearer the truth, what they differ in.

    \b
    xent-verify parity stable scipy.special:softmax --op softmax --dtype float32 --profile quick
    """
    from xent_verify.auditing.parity import parity_of

    if within is not None and not within >= 0:
        raise UsageError(f"--within {within}: must be a number of ulps of at least 0")
    with progress() as show:
        found = parity_of(a, b, op, dtypes, settings, show)
    click.echo(str(found), err=json_to == "-", nl=False)
    write(found.to_json() if json_to else "", json_to)
    if not found.compared:
        click.echo("xent-verify: no call was answered by both", err=True)
        return 5
    return int(within is not None and not found.within(within))
