"""The calls of an audit's plan: those that a target is asked, and what is left out, and why."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from xent_verify.auditing.relations import LARGEST_COMPARED, lengths, untimely
from xent_verify.auditing.shared import calls_of
from xent_verify.candidates import Candidate
from xent_verify.core.clock import Clock
from xent_verify.core.formats import format_named
from xent_verify.core.model import Batch
from xent_verify.ops import Op, in_table
from xent_verify.ops.defined import undefined
from xent_verify.ops.tape import UPSTREAM
from xent_verify.regimes import REGIMES, Regime, plan, planned
from xent_verify.verdict.ledger import Ledger
from xent_verify.verdict.patience import Patience
from xent_verify.verdict.settings import Settings

__all__ = ["SWEEP", "Pace", "Progress", "Walk", "cases", "left_out"]

Progress = Callable[[str, int], None]


SWEEP = {"quick": 6.0, "standard": 30.0, "deep": 300.0}
"""Seconds of one sweep in which every call of it is asked, per profile: many times what a fast target needs, and a fraction
of what one needs that is compiled anew for every shape."""


@dataclass(slots=True)
class Pace:
    """Which calls of a sweep a slow target is asked: all for some seconds, then every 8th, then every 64th, and so on."""

    seconds: float
    _spent: dict[str, float] = field(default_factory=dict)
    _met: dict[str, int] = field(default_factory=dict)

    def left_out(self, batch: Batch) -> str:
        """Why a call is left out, in words; "" where it is asked."""
        spent = self._spent.get(batch.regime, 0.0)
        if batch.aspect != "sweep" or spent < self.seconds:
            return ""
        number = self._met[batch.regime] = self._met.get(batch.regime, 0) + 1
        every = 8 ** int(spent / self.seconds)
        return f"slow target): every {every}th call of the rest of {batch.regime}" if number % every else ""

    def took(self, batch: Batch, seconds: float) -> None:
        """Take note of the time of a call."""
        self._spent[batch.regime] = self._spent.get(batch.regime, 0.0) + seconds


@dataclass(slots=True)
class Walk:
    """The calls of the plan that are to be asked, while there is time; and what was left out, and why."""

    candidate: Candidate
    op: Op
    fmt: str
    settings: Settings
    clock: Clock
    patience: Patience
    progress: Progress | None
    pace: Pace
    skipped: dict[str, int] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)
    cut: bool = False

    def batches(self, ledger: Ledger) -> Iterator[Batch]:
        for number, batch in enumerate(ledger.lost.while_drawn(cases(self.op, self.fmt, self.settings))):
            if self.clock.spent:
                self.cut = True
                return
            self.reached.add(batch.regime)
            if self.progress is not None:
                self.progress(f"{self.candidate.name} {self.op.name} {self.fmt}: {batch.regime}", number)
            call = self.settings.rules.of_call(batch)
            why = left_out(self.candidate, self.op, call) or self.pace.left_out(call)
            if why:
                self.skipped[why] = self.skipped.get(why, 0) + 1
            elif not self.patience.spent(call):
                began = time.monotonic()
                yield call
                self.pace.took(call, time.monotonic() - began)

    def left_out(self, ledger: Ledger) -> list[str]:
        """A line for each reason. That the usual time was not enough leaves the audit incomplete, which the ledger says."""
        lines = [f"not asked ({why}, {count} call{'s' * (count != 1)}" for why, count in sorted(self.skipped.items())]
        if not self.cut:
            return lines
        names = [
            one.name for one in planned(self.op.differentiates or self.op, format_named(self.fmt), _kept(self.settings))
        ]
        rest = names[max(len(self.reached) - 1, 0) :]
        text = ", ".join(f"the rest of {name}" if name in self.reached else name for name in rest)
        return lines + untimely(ledger, self.settings, text)


def left_out(candidate: Candidate, op: Op, batch: Batch) -> str:
    """Why a call of the plan is not asked, in words; "" where it is."""
    declared = candidate.outside(batch)
    if declared:
        return f"declared domain): {declared}"
    fixed = undefined(op, batch) if candidate.fixed else ""
    if fixed:
        return f"fixed options): {fixed}"
    return "" if candidate.supports(batch) else f"not offered): {batch.regime}"


def cases(op: Op, fmt: str, settings: Settings) -> Iterator[Batch]:
    """The plan's batches; an operation from outside the table goes by the name under which it is imported."""
    amount: dict[str, Any] = {"profile": settings.profile, "seed": settings.seed}
    amount["sizes"] = lengths(settings)
    if op.differentiates is not None:
        base = op.differentiates
        return upstreams(op, fmt, plan(base, fmt, name=base.name, regimes=_kept(settings), **amount), settings.seed)
    name = op.name if in_table(op) else settings.op or op.name
    return itertools.chain.from_iterable(
        _of_regime(op, fmt, regime, {"name": name, **amount})
        for regime in planned(op, format_named(fmt), _kept(settings))
    )


def _of_regime(op: Op, fmt: str, regime: Regime, amount: Mapping[str, Any]) -> Iterator[Batch]:
    """The calls of one regime, which each have a stream of their own; those of sweeps are many, and not kept."""
    if regime.aspect == "sweep":
        return plan(op, fmt, regimes=[regime], **amount)
    return calls_of(op, regime, (fmt, *amount.values()), lambda: plan(op, fmt, regimes=[regime], **amount))


def _kept(settings: Settings) -> Sequence[str]:
    """The names of the regimes that are tried; () for all of the table."""
    if not settings.without:
        return settings.regimes
    return [name for name in settings.regimes or REGIMES if name not in settings.without]


def _summable(base: Op, by: str, batch: Batch) -> bool:
    """Whether a sum over the rows of a call is asked for: what it is taken by is given, and no ignored row holds NaN or an
    infinity, which a kernel multiplies by 0 or leaves out."""
    given = by in base.inputs or batch.options.get(by) is not None
    ignored = base.option_of("ignored_label")
    if not given or not ignored or batch.inputs[base.labels].dtype.kind not in "iu":
        return given
    rows = batch.x[batch.inputs[base.labels] == base.option(batch, ignored)]
    return bool(np.isfinite(rows.astype(np.float64)).all())


def upstreams(op: Op, fmt: str, batches: Iterator[Batch], seed: int) -> Iterator[Batch]:
    """The calls of an operation with an upstream gradient: ordinary numbers, ones, or a single one; none of many logits."""
    form, base = format_named(fmt), op.differentiates
    assert base is not None
    for number, batch in enumerate(batch for batch in batches if batch.x.size <= LARGEST_COMPARED):
        if op.result == "shared" and not _summable(base, op.by, batch):
            continue
        rng, shape = np.random.default_rng((seed, number)), base.result_shape(batch)
        grad = np.ones(shape) if number % 4 == 1 else rng.normal(size=shape)
        if number % 4 == 3 and grad.size:
            grad = np.zeros(shape)
            grad.reshape(-1)[rng.integers(grad.size)] = 1.0
        yield replace(batch, op=op.name, inputs={**batch.inputs, UPSTREAM: form.narrow(grad)})
