"""``xent-verify audit``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xent_verify.commands.shared import deliver, out_option, progress, settings_options, status_of

if TYPE_CHECKING:
    from xent_verify.settings import Settings

__all__ = ["command"]


@click.command(name="audit")
@click.argument("targets", nargs=-1, required=True)
@click.option("--op", required=True, help="The operation the targets implement (see 'list ops'), or module:attribute.")
@settings_options(plan=True)
@click.option("--json", "json_to", default="", help="Write the JSON here; '-' for stdout.")
@out_option
def command(
    targets: tuple[str, ...],
    op: str,
    dtypes: tuple[str, ...] | None,
    settings: Settings,
    json_to: str,
    out: str,
) -> int:
    """Audit TARGETS against certified truth.

    TARGET is package.module:attribute, path/to/file.py:attribute, model.onnx, libfoo.so:symbol, cmd:./program, or the
    name of a built-in implementation.

    \b
    xent-verify audit naive --op softmax --dtype float32 --profile quick
    xent-verify audit scipy.special:softmax --op softmax --dtype float64,float32 --json result.json
    """
    from xent_verify.audit import audited

    with progress() as show:
        report = audited(targets, op, dtypes, settings, show)
    deliver(report, json_to=json_to, out=out)
    return status_of(report)
