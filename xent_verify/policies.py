"""Policies: what counts as inaccurate (docs/policies.md), as data.

``standard``, ``textbook`` and ``native`` derive the limit from the op's error bound under a stated arithmetic and
summation constant; ``faithful`` and ``ulp:K`` limit error_ulp; ``allclose:rtol,atol`` is what people use today.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, assert_never

import numpy as np

from xent_verify.enclosure import Enclosure
from xent_verify.failures import UnknownNameError, UsageError
from xent_verify.formats import FORMATS, FloatFormat
from xent_verify.model import Batch
from xent_verify.ops import Op
from xent_verify.ops.limits import Limits, limits_of
from xent_verify.ops.machine import Machine, Summation
from xent_verify.outside import is_outside, outside

__all__ = ["POLICIES", "Policy", "across_memory", "parse_policy"]


def across_memory(batch: Batch) -> bool:
    """True when rows do not lie along the fast axis: another axis than the last, or the strides turned round."""
    last = int(batch.options.get("axis", -1)) in (-1, batch.x.ndim - 1)
    return batch.x.ndim > 1 and (batch.layout in ("F", "broadcast") or not last)


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy. ``wide`` says that narrow formats may be computed in float32; ``summation`` names the order of sums."""

    name: str
    about: str
    kind: Literal["bound", "ulp", "allclose"]
    wide: bool = True
    summation: Summation = "library"
    ulps: float = 1.0
    rtol: float = 0.0
    atol: float = 0.0

    def machine(self, form: FloatFormat) -> Machine:
        """The machine assumed for a target of this format."""
        arithmetic = FORMATS["float32"] if self.wide and form.bits < 32 else form
        return Machine(arithmetic, arithmetic, form, self.summation)

    def machine_for(self, batch: Batch) -> Machine:
        """The same for one call: a sum across memory is added up row by row, a plain loop, by libraries as well.

        NumPy says so of itself (``numpy.sum``, Notes: partial pairwise summation only along the fast axis in memory).
        """
        machine = self.machine(batch.form)
        return replace(machine, summation="loop") if across_memory(batch) else machine

    def limits(self, op: Op, batch: Batch, truth: Enclosure) -> Limits:
        """Largest absolute error allowed per output element, and where an intermediate may leave the range."""
        form, nowhere = batch.form, np.zeros(truth.shape, np.bool_)
        with np.errstate(all="ignore"):
            match self.kind:
                case "bound":
                    return limits_of(op, batch, self.machine_for(batch))
                case "ulp":
                    error = self.ulps * np.ldexp(1.0, truth.units(form).quantum.astype(np.int32))
                case "allclose":
                    error = self.atol + self.rtol * np.abs(truth.to_float64())
                case _:
                    assert_never(self.kind)
            return Limits(np.asarray(error, np.float64), nowhere, nowhere)


POLICIES = {
    policy.name: policy
    for policy in (
        Policy("standard", "derived bound; float32 inside for narrow formats; library sums", "bound"),
        Policy("textbook", "derived bound; a plain summation loop is fine", "bound", summation="loop"),
        Policy(
            "native",
            "derived bound; accumulation in the format itself is accepted",
            "bound",
            wide=False,
            summation="loop",
        ),
        Policy("faithful", "error below one ulp everywhere", "ulp", ulps=math.nextafter(1.0, 0.0)),
    )
}


def parse_policy(text: str | Policy) -> Policy:
    """A policy by name, ``ulp:K``, ``allclose:rtol,atol``, or the ``Policy`` at ``module:attribute``; else ``UsageError``."""
    if isinstance(text, Policy):
        return text
    name, _, arguments = text.partition(":")
    if not arguments and name in POLICIES:
        return POLICIES[name]
    if name == "ulp":
        (ulps,) = _numbers(text, arguments, ("K",))
        return Policy(text, f"error_ulp at most {arguments}", "ulp", ulps=ulps)
    if name == "allclose":
        rtol, atol = _numbers(text, arguments, ("rtol", "atol"))
        return Policy(text, f"|y - t| <= {atol} + {rtol} |t|", "allclose", rtol=rtol, atol=atol)
    if is_outside(text, POLICIES):
        found: Policy = outside(text, Policy, "policy")
        return replace(found, name=text)  # the name under which a result can be replayed
    raise UnknownNameError("policy", text, [*POLICIES, "ulp:K", "allclose:rtol,atol", "module:attribute"])


def _numbers(text: str, arguments: str, names: tuple[str, ...]) -> list[float]:
    parts = arguments.split(",")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if len(values) != len(names) or not all(math.isfinite(value) and value >= 0 for value in values):
        raise UsageError(f"policy {text!r}: needs non-negative numbers {','.join(names)} after the colon")
    return values
