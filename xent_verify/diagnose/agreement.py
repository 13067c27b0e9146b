"""How well a prediction meets what was observed."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Agreement"]


@dataclass(frozen=True)
class Agreement:
    """How many failing values a prediction meets, which share of the others it leaves, which share it meets to the bit."""

    hits: int
    failing: int
    others: float
    exact: float = 0.0

    @property
    def share(self) -> float:
        return self.hits / self.failing if self.failing else 0.0
