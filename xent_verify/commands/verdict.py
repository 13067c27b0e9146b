"""``xent-verify verdict``."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from xent_verify.commands.shared import json_option, progress, settings_options, write

if TYPE_CHECKING:
    from xent_verify.verdict.settings import Settings

__all__ = ["command"]


@click.command(name="verdict")
@click.argument("target")
@click.option("--op", required=True, help="The operation the target implements (see 'list ops'), or module:attribute.")
@click.option(
    "--grad", is_flag=True, help="TARGET is a gradient f(*inputs, grad), or a function that a library differentiates."
)
@settings_options(plan=True)
@click.option("--open-seed", is_flag=True, help="Use --seed as it is given. [default: a secret one, told afterwards]")
@json_option("the verdict", default="-", show_default=True)
def command(
    target: str,
    op: str,
    grad: bool,
    dtypes: tuple[str, ...] | None,
    settings: Settings,
    open_seed: bool,
    json_to: str,
) -> int:
    """One JSON verdict on TARGET: PASS, LIMITED with what it is limited to, FAIL with its defects, or INCONCLUSIVE.

    Inputs come from a seed that nobody knows before the verdict, which tells it. Exit status: 0 PASS or LIMITED, 1 FAIL,
    3 INCONCLUSIVE, 2 wrong use.

    \b
    xent-verify verdict stable --op softmax --dtype float32 --profile quick
    xent-verify verdict kernel.py:softmax --op softmax --dtype bfloat16 --result float32
    """
    from xent_verify.auditing.audit import audited
    from xent_verify.report.json import compact
    from xent_verify.report.verdicts import STATUS, as_verdict

    if not open_seed:
        settings = replace(settings, seed=secrets.randbelow(2**31))
    with progress() as show:
        report = audited([target], f"vjp({op})" if grad else op, dtypes, settings, show)
    made = as_verdict(report)
    write(compact(made) + "\n", json_to)
    return STATUS[str(made["verdict"])]
