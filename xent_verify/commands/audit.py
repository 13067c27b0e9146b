"""``xent-verify audit``."""

from __future__ import annotations

import click

from xent_verify.commands.shared import (
    audit_options,
    deliver,
    dtypes_of,
    kwargs_of,
    out_option,
    progress,
    sizes_of,
    status_of,
)

__all__ = ["command"]


@click.command(name="audit")
@click.argument("targets", nargs=-1, required=True)
@click.option("--op", required=True, help="The operation the targets implement (see 'list ops'), or module:attribute.")
@audit_options
@click.option("--json", "json_to", default="", help="Write the JSON here; '-' for stdout.")
@out_option
def command(
    targets: tuple[str, ...],
    op: str,
    dtypes: str,
    policy: str,
    special: str,
    flush: str,
    profile: str,
    seed: int,
    arrays: str,
    kwargs_text: str,
    device: str,
    timeout: float,
    in_process: bool,
    sizes: str,
    regimes: str,
    fail_fast: bool,
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
    from xent_verify.audit import audit

    with progress() as show:
        report = audit(
            *targets,
            op=op,
            dtypes=dtypes_of(dtypes),
            policy=policy,
            special=special,
            flush=flush,
            profile=profile,
            seed=seed,
            arrays=arrays,
            kwargs=kwargs_of(kwargs_text),
            timeout=timeout,
            isolated=not in_process,
            device=device,
            fail_fast=fail_fast,
            sizes=sizes_of(sizes),
            regimes=dtypes_of(regimes) or (),
            progress=show,
        )
    deliver(report, json_to=json_to, out=out)
    return status_of(report)
