"""The same rows in batches of many sizes: at which size do their bits change?"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.companions.known import Known, known_rows
from xent_verify.companions.rows import telling_rows
from xent_verify.core.formats import FloatArray
from xent_verify.core.model import Batch, Died, Outcome, Returned
from xent_verify.ops import Op
from xent_verify.verdict.judge import Hit
from xent_verify.verdict.properties import Ask, answer, result_rows, trouble

__all__ = ["LARGEST", "VOCABULARIES", "sweep"]

VOCABULARIES = (32_000, 50_257, 128_256, 152_064)
"""Row lengths of language models."""

LARGEST = 4096
"""Rows of the largest batch."""

_WIDE, _BYTES, _BYTES_WIDE = 20_000, 1 << 20, 1 << 26
"""Rows beyond this length may fill a call of 64 MB, others one of 1 MB."""

_BLOCK = 1 << 19
"""Values whose bits are compared at a time."""

_TOLD = 1 << 17
"""Values, at most, of one size's copies with other bits that are told how far they moved: at least one row."""


def sweep(ask: Ask, op: Op, batch: Batch, outcome: Returned, limit: FloatArray) -> list[Hit]:
    """A few rows, over and over, in batches of 1 to 4096 rows: every copy has the bits of its row alone.

    Sizes are the powers of two, up to 128 with their neighbours; between two of them the first at which bits change is
    bisected.
    Batches of more than 1 MB (64 MB where rows are long) are left out. The sweep ends at a size that is not answered.
    """
    known = known_rows(ask, op, batch, outcome, limit)
    rows = None if known is None else _Rows.alone(ask, op, known)
    if known is None or rows is None:
        return []
    for size in _sizes(known):
        if not rows.tried(ask, op, size):
            break
    while rows.changing and not rows.failed and rows.changing[0] - rows.agreeing > 1:
        if not rows.tried(ask, op, (rows.agreeing + rows.changing[0]) // 2):
            break
    return rows.hits()


def _sizes(known: Known) -> list[int]:
    room = _BYTES_WIDE if known.rows.x.shape[1] > _WIDE else _BYTES
    most = min(LARGEST, room // sum(value.nbytes for value in known.rows.take([0]).inputs.values()))
    sizes = {2**power for power in range(1, 13)} | {2**power + step for power in range(1, 8) for step in (-1, 1)}
    return sorted(size for size in sizes | {most} if 1 < size <= most)


@dataclass(slots=True)
class _Rows:
    """A few rows, their answers alone, and what batches of them have shown so far: size -> what moved (None: nothing)."""

    known: Known
    raw: NDArray[Any]
    seen: dict[int, Hit | None] = field(default_factory=dict)
    failed: list[Hit] = field(default_factory=list)

    @staticmethod
    def alone(ask: Ask, op: Op, known: Known) -> _Rows | None:
        """The telling rows, each asked as a batch of its own; None where one is not answered."""
        index = telling_rows(known.rows)
        singles = [known.rows.take([row]).batch() for row in index]
        found = [_raw(op, one, ask(one)) for one in singles]
        answered = [value for value in found if value is not None]
        if len(answered) < len(found):
            return None
        raw = np.concatenate(answered)
        own = Known(
            known.rows.take(index), raw.astype(np.float64), known.limit[index], known.places[index], known.free[index]
        )
        return _Rows(own, raw)

    @property
    def changing(self) -> list[int]:
        """The sizes at which bits are others than alone."""
        return sorted(size for size, hit in self.seen.items() if hit is not None)

    @property
    def agreeing(self) -> int:
        """The largest size below the first of those."""
        return max((size for size in self.seen if size < self.changing[0]), default=1)

    def tried(self, ask: Ask, op: Op, size: int) -> bool:
        """Try one size; False where the sweep ends."""
        crowd = self.known.rows.take(np.arange(size) % len(self.raw)).batch()
        outcome = ask(crowd)
        value = _raw(op, crowd, outcome)
        if value is None:
            self.failed = trouble(f"at batch size {size}", outcome) if isinstance(outcome, Died) else []
            return False
        hits = self._moved(value, f"at batch size {size}")
        self.failed = [hit for hit in hits if hit.severity == "fail"]
        self.seen[size] = hits[0] if hits else None
        return not self.failed

    def _moved(self, value: NDArray[Any], words: str) -> list[Hit]:
        """What comes of copies whose bits are not those of their row alone."""
        rows, places = np.arange(len(value)) % len(self.raw), np.arange(len(value))
        if value.dtype == self.raw.dtype:
            step = max(_BLOCK // max(value.shape[1], 1), 1)
            blocks = [slice(start, start + step) for start in range(0, len(value), step)]
            other = [(_bits(value[part]) != _bits(self.raw[rows[part]])).any(axis=1) for part in blocks]
            places = np.flatnonzero(np.concatenate(other))
        places = places[:: -(-len(places) // max(_TOLD // max(value.shape[1], 1), 1)) or 1]
        moved = value[places].astype(np.float64)
        form = self.known.rows.like.result_form
        return self.known.compare("batch_dependence", words, form, rows[places], moved) if len(places) else []

    def hits(self) -> list[Hit]:
        """What all sizes together have shown, in one hit."""
        if self.failed or not self.changing:
            return self.failed[:1]
        first = self.changing[0]
        larger = [size for size in self.seen if size > first]
        others = len(self.changing) - 1
        when = f"from batch size {first} on" if others == len(larger) else f"at batch size {first}"
        more = "" if others == len(larger) else f" (and {others} of {len(larger)} larger ones)"
        agree = f"; sizes up to {self.agreeing} agree" if first > 2 else ""
        farthest = max((self.seen[size] for size in self.changing), key=lambda hit: (hit and hit.apart) or 0.0)
        assert farthest is not None
        return [replace(farthest, message=f"{when}{more} a row has other bits than alone{agree}: {farthest.message}")]


def _raw(op: Op, batch: Batch, outcome: Outcome) -> NDArray[Any] | None:
    """The rows of an answer, in its own format."""
    if not isinstance(outcome, Returned) or answer(op, batch, outcome) is None:
        return None
    return result_rows(op, batch, outcome.value.reshape(op.result_shape(batch)))


def _bits(value: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(value).view(f"u{value.dtype.itemsize}")
