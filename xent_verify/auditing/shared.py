"""The calls of a plan and their true values, drawn and certified once for all targets of a process that are asked the same."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field

from xent_verify.core.enclosure import Enclosure
from xent_verify.core.model import Batch
from xent_verify.ops import Op
from xent_verify.regimes import Regime
from xent_verify.truth import certify

__all__ = ["calls_of", "truth_of"]

_MOST = 2**22
"""Numbers of all calls that are kept: some 50 bytes each, with their truth."""


@dataclass(slots=True)
class _Plan:
    """What has been drawn of a plan, and the rest; of which operation and regime, so that their identities stay theirs."""

    rest: Iterator[Batch]
    of: tuple[Op, Regime]
    calls: list[Batch] = field(default_factory=list)


@dataclass(slots=True)
class _Kept:
    """The plans that are kept, the true values of their calls by identity, and how many numbers that makes."""

    plans: dict[Hashable, _Plan] = field(default_factory=dict)
    truths: dict[int, Enclosure | None] = field(default_factory=dict)
    numbers: int = 0

    def add(self, plan: _Plan, batch: Batch) -> None:
        """One more call of a plan; what would be too much is forgotten, this plan as well."""
        self.numbers += sum(value.size for value in batch.inputs.values())
        if self.numbers > _MOST:
            self.clear()
            return
        plan.calls.append(batch)
        self.truths[id(batch)] = None

    def clear(self) -> None:
        self.plans.clear()
        self.truths.clear()
        self.numbers = 0


_KEPT = _Kept()


def calls_of(op: Op, regime: Regime, amount: Hashable, draw: Callable[[], Iterator[Batch]]) -> Iterator[Batch]:
    """The calls that ``draw`` gives; those of an earlier walk over the same are the same objects."""
    key = id(op), id(regime), amount
    plan = _KEPT.plans.setdefault(key, _Plan(draw(), (op, regime)))
    place = 0
    while True:
        if place < len(plan.calls):
            yield plan.calls[place]
            place += 1
            continue
        try:
            batch = next(plan.rest)
        except StopIteration:
            return
        except BaseException:  # a Ctrl-C too: what was being drawn is drawn anew for the next target, or fails again
            _KEPT.plans.pop(key, None)
            raise
        if _KEPT.plans.get(key) is plan:
            _KEPT.add(plan, batch)
        place += 1
        yield batch


def truth_of(batch: Batch) -> Enclosure:
    """The certified truth of a call; that of a call of a plan is kept."""
    if id(batch) not in _KEPT.truths:
        return certify(batch, errors=True)
    kept = _KEPT.truths[id(batch)]
    if kept is None:
        kept = _KEPT.truths[id(batch)] = certify(batch, errors=True)
    return kept
