"""Policies: what counts as inaccurate (docs/policies.md), as data.

``standard``, ``textbook``, ``backward``, ``stored`` and ``native`` derive the limit from the operation's algorithms on a
stated machine; ``exact``, ``faithful`` and ``ulp:K`` limit error_ulp; ``allclose:rtol,atol`` is what people use today;
``block:NAME`` is ``standard`` for results that were stored in a block format.
``CLASSES`` ranks them: an implementation's class is the strictest of them that all its answers keep.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal, assert_never

import numpy as np

from xent_verify.core.enclosure import Enclosure
from xent_verify.core.failures import UnknownNameError, UsageError
from xent_verify.core.formats import FORMATS, FloatArray, FloatFormat
from xent_verify.core.model import Batch
from xent_verify.core.outside import is_outside, outside
from xent_verify.ops import Op
from xent_verify.ops.limits import Limits, limits_of
from xent_verify.ops.machine import Machine, Summation
from xent_verify.verdict.blocks import BLOCKS

__all__ = ["CLASSES", "POLICIES", "Policy", "across_memory", "parse_policy"]


def across_memory(batch: Batch) -> bool:
    """True when rows do not lie along the fast axis: another axis than the last, or the strides turned round."""
    last = int(batch.options.get("axis", -1)) in (-1, batch.x.ndim - 1)
    return batch.x.ndim > 1 and (batch.layout in ("F", "broadcast", "mixed", "one_column") or not last)


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy.

    Of a derived limit: ``steps`` and ``sums`` say whether elementwise steps and sums of narrow formats run in float32
    ("wide") or in the format itself ("own"); ``summation`` names the order of sums; ``moved`` allows other logits
    (``Machine.moved``); ``gpu`` is the fast arithmetic of GPUs (``Machine.gpu``); ``block`` names the block format
    (``BLOCKS``) in which results were stored, along the last axis; ``stochastic`` allows either neighbour;
    ``flushes``: steps may give 0 for subnormal results. In 16 and 8 bits a derived limit is at least one ulp: a faithful
    answer is no fault for its size.
    """

    name: str
    about: str
    kind: Literal["bound", "ulp", "allclose"]
    steps: Literal["wide", "own"] = "wide"
    sums: Literal["wide", "own"] = "wide"
    moved: float = 0.0
    summation: Summation = "library"
    gpu: bool = False
    ulps: float = 1.0
    rtol: float = 0.0
    atol: float = 0.0
    block: str = ""
    stochastic: bool = False
    flushes: bool = False

    def machine(self, form: FloatFormat, result: FloatFormat | None = None) -> Machine:
        """The machine assumed for a target whose inputs have this format, and its result another one (or the same).

        "wide" is the wider of the two, float32 at least: what is handed out as float64 has been computed so.
        """
        store = form if result is None else result
        wide = max(FORMATS["float32"], form, store, key=lambda one: one.bits)
        steps, sums = (wide if kind == "wide" else form for kind in (self.steps, self.sums))
        machine = Machine(steps, sums, store, self.summation, moved=self.moved, flushes=self.flushes)
        return machine.gpu if self.gpu else machine

    def machine_for(self, batch: Batch) -> Machine:
        """The same for one call: a sum across memory is added up row by row, a plain loop, by libraries as well.

        NumPy says so of itself (``numpy.sum``, Notes: partial pairwise summation only along the fast axis in memory).
        """
        machine = self.machine(batch.form, batch.result_form)
        return replace(machine, summation="loop") if across_memory(batch) else machine

    def limits(self, op: Op, batch: Batch, truth: Enclosure) -> Limits:
        """Largest absolute error allowed per output element, and where an intermediate may leave the range."""
        form, nowhere = batch.result_form, np.zeros(truth.shape, np.bool_)
        with np.errstate(all="ignore"):
            match self.kind:
                case "bound":
                    found = limits_of(op, batch, self.machine_for(batch))
                    if self.block:
                        room = BLOCKS[self.block].room(truth.to_float64(), found.error)
                        return replace(found, error=np.where(np.isnan(room), np.inf, found.error + room))
                    if self.stochastic:
                        return replace(found, error=found.error + _ulps(0.5, truth, form))
                    if form.bits > 16:
                        return found
                    return replace(found, error=np.maximum(found.error, _ulps(_BELOW_ONE, truth, form)))
                case "ulp":
                    error = _ulps(self.ulps, truth, form)
                case "allclose":
                    error = self.atol + self.rtol * np.abs(truth.to_float64())
                case _:
                    assert_never(self.kind)
            return Limits(np.asarray(error, np.float64), nowhere, nowhere)


_BELOW_ONE = math.nextafter(1.0, 0.0)


def _ulps(number: float, truth: Enclosure, form: FloatFormat) -> FloatArray:
    """So many ulps of the true values."""
    return np.asarray(number * np.ldexp(1.0, truth.units(form).quantum.astype(np.int32)))


POLICIES = {
    policy.name: policy
    for policy in (
        Policy("exact", "correctly rounded everywhere", "ulp", ulps=0.5 + 2.0**-20),
        Policy("faithful", "error below one ulp everywhere", "ulp", ulps=_BELOW_ONE),
        Policy("standard", "limit of the sound algorithms; float32 inside for narrow formats; library sums", "bound"),
        Policy("textbook", "the same; a plain summation loop of any length is fine", "bound", summation="loop"),
        Policy(
            "backward",
            "as textbook, for logits moved by roundings of the largest |x| (lse - x_t)",
            "bound",
            moved=2.0,
            summation="loop",
        ),
        Policy(
            "stored", "intermediates rounded to the format, sums in float32", "bound", steps="own", summation="loop"
        ),
        Policy(
            "native", "everything in the format itself, sums too", "bound", steps="own", sums="own", summation="loop"
        ),
        Policy(
            "gpu",
            "as standard, with the fast division, exp2 and log of GPUs; float32 subnormals flushed",
            "bound",
            gpu=True,
        ),
        Policy(
            "stochastic", "as standard, rounded to either neighbour at random, without bias", "bound", stochastic=True
        ),
    )
}

CLASSES = tuple(name for name, policy in POLICIES.items() if not (policy.gpu or policy.stochastic))
"""From the strictest to the weakest; beyond the last: unsound. ``gpu`` and ``stochastic`` are another arithmetic, no rank."""


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
    if name == "block" and arguments in BLOCKS:
        return Policy(text, f"standard, stored as {arguments}", "bound", block=arguments)
    if name == "allclose":
        rtol, atol = _numbers(text, arguments, ("rtol", "atol"))
        return Policy(text, f"|y - t| <= {atol} + {rtol} |t|", "allclose", rtol=rtol, atol=atol)
    if is_outside(text, POLICIES):
        found: Policy = outside(text, Policy, "policy")
        return replace(found, name=text)  # the name under which a result can be replayed
    raise UnknownNameError(
        "policy",
        text,
        [*POLICIES, "ulp:K", "allclose:rtol,atol", *(f"block:{one}" for one in BLOCKS), "module:attribute"],
    )


def _numbers(text: str, arguments: str, names: tuple[str, ...]) -> list[float]:
    parts = arguments.split(",")
    try:
        values = [float(part) for part in parts]
    except ValueError:
        values = []
    if len(values) != len(names) or not all(math.isfinite(value) and value >= 0 for value in values):
        raise UsageError(f"policy {text!r}: needs non-negative numbers {','.join(names)} after the colon")
    return values
