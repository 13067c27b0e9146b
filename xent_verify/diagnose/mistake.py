"""A row of the table of known mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from xent_verify.diagnose.case import Case, Part, Prediction, has
from xent_verify.ops import Op
from xent_verify.ops.op import Quantity

__all__ = ["Mistake"]


@dataclass(frozen=True)
class Mistake:
    """A known mistake: ``model(case)`` yields what it would have given, in its variants.

    ``sentence`` says what is wrong; the variants' words say with what it agrees. ``part``: what an operation must have for
    it; ``quantity``: "" for every ``Op.built_on``. ``everywhere``: tried in other precisions than the usual one, too.
    ``whole``: rows have to do with one another, so that a sample of them says nothing. ``special``: about -inf, +inf and NaN
    logits; comes first where all failing rows have one. ``rows``: about a row's logits, so not tried where each logit stands
    alone; ``paired``: only there.
    """

    key: str
    sentence: str
    model: Callable[[Case], Iterator[Prediction]]
    part: Part = ""
    everywhere: bool = False
    whole: bool = False
    special: bool = False
    rows: bool = False
    paired: bool = False
    quantity: Quantity = ""

    def fits(self, op: Op) -> bool:
        """Whether it is one that the operation may have."""
        return (
            has(op, self.part)
            and self.quantity in ("", op.built_on)
            and (op.by_row or not self.rows)
            and not (self.paired and op.by_row)
        )
