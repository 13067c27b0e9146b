"""``xent-verify parity``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from xent_verify.commands.shared import Sectioned, json_option, kwargs_of, names_of, progress, settings_options, write
from xent_verify.core.failures import UsageError

if TYPE_CHECKING:
    from xent_verify.verdict.settings import Settings

__all__ = ["command"]


@click.command(name="parity", cls=Sectioned)
@click.argument("a")
@click.argument("b")
@click.option("--op", required=True, help="The operation that both implement (see 'list ops'), or module:attribute.")
@settings_options(plan=True, verdict=False)
@click.option(
    "--b",
    "of_b",
    multiple=True,
    help="NAME=VALUE that is different for B: arrays, call, device, in_place, kwargs or only.",
)
@click.option("--within", type=float, default=None, help="Ulps that A and B may be apart; exit 1 beyond.")
@json_option()
def command(
    a: str,
    b: str,
    op: str,
    dtypes: tuple[str, ...] | None,
    settings: Settings,
    of_b: tuple[str, ...],
    within: float | None,
    json_to: str,
) -> int:
    """Compare two targets on the same inputs: how far apart, which is nearer the truth, what they differ in.

    \b
    xent-verify parity stable scipy.special:softmax --op softmax --dtype float32 --profile quick
    xent-verify parity train.py:loss serve.py:loss --op cross_entropy --b "call=f(logits, target)[0]"
    """
    from xent_verify.auditing.parity import parity_of

    if within is not None and not within >= 0:
        raise UsageError(f"--within {within}: must be a number of ulps of at least 0")
    with progress() as show:
        found = parity_of(a, b, op, dtypes, settings, show, _read(of_b))
    click.echo(str(found), err=json_to == "-", nl=False)
    write(found.to_json() if json_to else "", json_to)
    if not found.compared:
        click.echo("xent-verify: no call was answered by both", err=True)
        return 5
    return int(within is not None and not found.within(within))


def _read(given: tuple[str, ...]) -> dict[str, Any]:
    """The settings of B alone."""
    found: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign or not name.strip():
            raise UsageError(f"--b {text!r}: write NAME=VALUE, such as --b 'call=f(x)[0]'")
        found[name.strip()] = _READERS.get(name.strip(), str)(value.strip())
    return found


_READERS: dict[str, Callable[[str], Any]] = {"in_place": names_of, "kwargs": kwargs_of}
