"""``xent-verify list``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from xent_verify.core.failures import UnknownNameError

if TYPE_CHECKING:
    from xent_verify.core.formats import FloatFormat

__all__ = ["command"]

Rows = list[tuple[str, str]]


def _ops() -> Rows:
    from xent_verify.ops import OPS

    return [(op.name, op.about) for op in OPS.values()]


def _implementations() -> Rows:
    from xent_verify.implementations import IMPLEMENTATIONS

    told = ((entry, f": {entry.where_it_fails}" if entry.where_it_fails else "") for entry in IMPLEMENTATIONS)
    return [(f"{entry.op}.{entry.name}", f"{entry.family}{where}") for entry, where in told]


def _regimes() -> Rows:
    from xent_verify.regimes import REGIMES

    return [(regime.name, regime.about) for regime in REGIMES.values()]


def _policies() -> Rows:
    from xent_verify.verdict.blocks import BLOCKS
    from xent_verify.verdict.policies import POLICIES

    more = [("ulp:K", "error_ulp at most K"), ("allclose:rtol,atol", "|y - t| <= atol + rtol |t|, for comparison")]
    more += [(f"block:{name}", f"standard, for results stored as {name}") for name in BLOCKS]
    return [(policy.name, policy.about) for policy in POLICIES.values()] + more


def _formats() -> Rows:
    from xent_verify.core.formats import FORMATS

    return [
        (
            form.name,
            f"{form.precision} bits, 2^{form.e_min} to {form.max_finite:.6g}, smallest {form.smallest_subnormal:.3g}"
            + _lacks(form),
        )
        for form in FORMATS.values()
    ]


def _lacks(form: FloatFormat) -> str:
    held = {"infinity": form.has_inf, "NaN": form.has_nan, "-0": form.has_negative_zero, "sign or 0": not form.scale}
    return "".join(f", no {name}" for name, there in held.items() if not there and (name != "-0" or not form.scale))


def _kinds() -> Rows:
    from xent_verify.core.kinds import KINDS

    return [(kind.name, f"{kind.means}: {kind.remedy}") for kind in KINDS.values()]


def _targets() -> Rows:
    return [
        ("package.module:attribute", "a Python callable (dots allowed in the attribute)"),
        ("path/to/file.py:attribute", "a Python callable in a file"),
        ("model.onnx", "an ONNX model, through ONNX Runtime"),
        ("libfoo.so:symbol", "a C function, through ctypes"),
        ("cmd:./program", "a program that reads and writes JSON lines"),
        ("naive, stable, …", "a built-in implementation (see 'list implementations')"),
    ]


SUBJECTS: dict[str, Callable[[], Rows]] = {
    "ops": _ops,
    "implementations": _implementations,
    "regimes": _regimes,
    "policies": _policies,
    "formats": _formats,
    "kinds": _kinds,
    "targets": _targets,
}


@click.command(name="list")
@click.argument("subject")
def command(subject: str) -> int:
    """List what there is: ops, implementations, regimes, policies, formats, kinds (of findings) or targets.

    \b
    xent-verify list regimes
    """
    if subject not in SUBJECTS:
        raise UnknownNameError("subject to list", subject, SUBJECTS)
    rows = SUBJECTS[subject]()
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        click.echo(f"{name:<{width}}  {' '.join(text.split())}")
    return 0
