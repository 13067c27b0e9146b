"""The nouns of this room: a Case (one call, why it is there, what is right), and Vectors (many, with their notes)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xent_verify.core.model import Batch
from xent_verify.vectors.known import Known

__all__ = ["FORMAT", "VERSION", "Case", "Vectors"]

FORMAT = "xent-verify vectors"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Case:
    """One call. ``flags`` say why it exists, first the regime; ``known`` what is right (None where it was not read)."""

    id: str
    flags: tuple[str, ...]
    batch: Batch
    known: Known | None = None


@dataclass(frozen=True, slots=True)
class Vectors:
    """A set of cases: ``settings`` they were made with, ``notes`` on every flag."""

    cases: tuple[Case, ...]
    settings: Mapping[str, Any]
    notes: Mapping[str, str]

    def groups(self) -> dict[tuple[str, str], list[Case]]:
        """The cases of each (op, format), in order."""
        found: dict[tuple[str, str], list[Case]] = {}
        for case in self.cases:
            found.setdefault((case.batch.op, case.batch.fmt), []).append(case)
        return found
