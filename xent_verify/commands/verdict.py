"""``xent-verify verdict``."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from xent_verify.commands.shared import Sectioned, json_option, progress, settings_options, write
from xent_verify.core.failures import UsageError

if TYPE_CHECKING:
    from xent_verify.verdict.settings import Settings

__all__ = ["command"]


@click.command(name="verdict", cls=Sectioned)
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
    3 INCONCLUSIVE (also where TARGET does not load), 2 wrong use.

    \b
    xent-verify verdict stable --op softmax --dtype float32 --profile quick
    xent-verify verdict kernel.py:softmax --op softmax --dtype bfloat16 --result float32
    """
    from xent_verify.auditing.audit import AuditReport, audited, formats_of, unfinished
    from xent_verify.core.environment import describe
    from xent_verify.core.model import TargetResult
    from xent_verify.ops import op_named
    from xent_verify.report.json import compact
    from xent_verify.report.verdicts import STATUS, as_verdict

    if not open_seed:
        settings = replace(settings, seed=secrets.randbelow(2**31))
    asked = f"vjp({op})" if grad else op
    operation = op_named(asked)
    formats = formats_of(operation, dtypes, settings)
    try:
        with progress() as show:
            report = audited([target], asked, dtypes, settings, show)
    except UsageError as error:  # operation and formats are right: it is the target that does not load
        refused = tuple(unfinished(name, str(error)) for name in formats)
        report = AuditReport((TargetResult(target, operation.name, refused, settings.record()),), describe())
    made = as_verdict(report)
    write(compact(made) + "\n", json_to)
    return STATUS[str(made["verdict"])]
