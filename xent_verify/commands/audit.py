"""``xent-verify audit``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from xent_verify.commands.shared import (
    Sectioned,
    deliver,
    json_option,
    out_option,
    progress,
    settings_options,
    status_of,
)

if TYPE_CHECKING:
    from xent_verify.verdict.settings import Settings

__all__ = ["command"]


@click.command(name="audit", cls=Sectioned)
@click.argument("targets", nargs=-1, required=True)
@click.option("--op", required=True, help="The operation the targets implement (see 'list ops'), or module:attribute.")
@click.option(
    "--grad",
    is_flag=True,
    help="TARGETS are gradients f(*inputs, grad), or functions that a library differentiates.",
)
@settings_options(plan=True)
@click.option("--jobs", default=1, show_default=True, help="Processes that share the targets.")
@click.option(
    "--resume", metavar="FILE", default="", help="A --json of this audit: what it has complete is not asked again."
)
@json_option()
@out_option
def command(
    targets: tuple[str, ...],
    op: str,
    grad: bool,
    dtypes: tuple[str, ...] | None,
    settings: Settings,
    jobs: int,
    resume: str,
    json_to: str,
    out: str,
) -> int:
    """Audit TARGETS against certified truth.

    TARGET is package.module:attribute, path/to/file.py:attribute, model.onnx, libfoo.so:symbol, cmd:./program, or the
    name of a built-in implementation.

    \b
    xent-verify audit naive --op softmax --dtype float32 --profile quick
    xent-verify audit scipy.special:softmax --op softmax --dtype float64,float32 --json result.json
    xent-verify audit my_kernels.py:softmax_backward --op softmax --grad
    """
    from pathlib import Path

    from xent_verify.auditing.audit import audited, kept_of
    from xent_verify.auditing.many import audited_in_processes
    from xent_verify.report import read_report

    name = f"vjp({op})" if grad else op
    kept = kept_of(read_report(Path(resume)), name, settings) if resume else {}
    with progress() as show:
        if jobs == 1:
            report = audited(targets, name, dtypes, settings, show, kept)
        else:
            report = audited_in_processes(targets, name, dtypes, settings, jobs, show, kept)
    deliver(report, json_to=json_to, out=out)
    return status_of(report)
