"""One chunk, from inputs to counts: the target is called on every row, in large calls, and each answer judged.

A call that gives no answer (a crash, an exception, a time limit) is narrowed: halves are asked until single rows are
left, as long as patience lasts. Rows that are never answered are counted as such, so that a sum over classes and
unanswered rows is always the whole chunk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from xent_verify.auditing.audit import opened
from xent_verify.candidates import Candidate
from xent_verify.core.environment import instruction_set
from xent_verify.core.interrupts import raise_pending
from xent_verify.core.model import Batch, Died, Malformed, NotOffered, Outcome, Raised, Returned, TimedOut
from xent_verify.ops import op_named
from xent_verify.prove.certified import count_judged, remeasured
from xent_verify.prove.counts import NOT_ANSWERED, Counts, Narrowed
from xent_verify.prove.domain import Block
from xent_verify.prove.pairs import PairJudge, available
from xent_verify.prove.plan import Plan

__all__ = ["Session"]

_PATIENCE = 40
"""Calls without an answer that a chunk may hold before its remaining failing rows are given up."""

_WIDTH = 1 << 16


class Session:
    """A target opened for one plan; ``seconds`` says where time goes by ``clock``. Not for several threads at once."""

    def __init__(self, plan: Plan, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.plan = plan
        self._op = op_named(plan.op)
        self._rules = plan.settings.rules
        self._domain = plan.domain
        self._candidate: Candidate = opened(plan.target, self._op, plan.settings)
        fast = self._domain.tabulated and available(self._op, self._domain.form, self._rules)
        self._pairs = PairJudge(self._op, self._domain.form, self._rules, clock) if fast else None
        self._patience = 0
        self._clock = clock
        self._largest = 1 << 30
        self.seconds = {"candidate": 0.0, "truth": 0.0, "measure": 0.0}

    @property
    def expression(self) -> str:
        return self._candidate.expression

    @property
    def call(self) -> Callable[[Batch], Outcome]:
        """The target itself, for single calls."""
        return self._candidate.call

    def close(self) -> None:
        self._candidate.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def chunk(self, number: int) -> Counts:
        """The counts of one chunk."""
        counts = Counts(machines={instruction_set()})
        self._patience = _PATIENCE
        for block in self._domain.blocks(number):
            for piece in self._pieces(block):
                self._block(counts, piece)
        if self._pairs is not None:
            self._pairs.regions.drain(counts)
            self._settle()
            counts.best = remeasured(self._op, self._domain, self._rules, counts.best)
        return counts

    def _pieces(self, block: Block) -> Iterator[Block]:
        """A block in calls that a slow target can answer in time."""
        for start in range(0, len(block.rows), self._largest):
            some = slice(start, start + self._largest)
            yield Block(block.rows[some], block.x[some])

    def _settle(self) -> None:
        """Move the fast judge's times into the session's own."""
        assert self._pairs is not None
        for name, spent in self._pairs.seconds.items():
            self.seconds[name] += spent
            self._pairs.seconds[name] = 0.0

    def _block(self, counts: Counts, block: Block) -> None:
        raise_pending()
        begun = self._clock()
        batch = Batch(self._op.name, self._domain.fmt, self._domain.name, {self._op.first: block.x})
        outcome = self._candidate.call(batch)
        ready = self._clock()
        self.seconds["candidate"] += ready - begun
        if not isinstance(outcome, Returned):
            self._narrow(counts, block, outcome)
        elif self._pairs is not None and self._plain(outcome, block) and len(block.rows) % _WIDTH == 0:
            self._fast(counts, block, outcome)
        else:
            count_judged(counts, self._op, self._domain, self._rules, block.rows, block.x, outcome)
            self.seconds["measure"] += self._clock() - ready

    def _plain(self, outcome: Returned, block: Block) -> bool:
        """An answer with nothing to remark on but its values."""
        odd = outcome.mutated or outcome.earlier_changed or outcome.global_state
        shape = block.x.shape if self._op.result == "elements" else block.x.shape[:1]
        return not odd and outcome.dtype_name == self._domain.fmt and outcome.value.shape == shape

    def _fast(self, counts: Counts, block: Block, outcome: Returned) -> None:
        assert self._pairs is not None
        form = self._domain.form
        bits: NDArray[np.uint16] = form.to_bits(outcome.value).reshape(len(block.rows), -1)
        left = []
        for start in range(0, len(block.rows), _WIDTH):
            answers = bits[start : start + _WIDTH]
            open_rows = self._pairs.count(counts, int(block.rows[start]) >> 16, answers)
            left.append(start + open_rows)
        self._settle()
        slow = np.sort(np.concatenate(left))
        if slow.size:
            begun = self._clock()
            some = Returned(outcome.value[slow], outcome.dtype_name)
            count_judged(counts, self._op, self._domain, self._rules, block.rows[slow], block.x[slow], some)
            self.seconds["measure"] += self._clock() - begun

    def _narrow(self, counts: Counts, block: Block, outcome: Outcome) -> None:
        """Ask the halves of a block that gave no answer; count what is never answered.

        Where both halves answer, a time limit only means that calls were too large; anything else is a fault of its own.
        """
        how, message = _happened(outcome)
        rows, first = len(block.rows), int(block.rows[0])
        self._patience -= 1
        if rows == 1 or self._patience < 0:
            name = how if rows == 1 else NOT_ANSWERED
            counts.narrow(name, Narrowed(rows, first, message))
            counts.rows += rows
            counts.unanswered[name] = counts.unanswered.get(name, 0) + rows
            return
        if how == "timeout":
            self._largest = min(self._largest, rows // 2)
        before = sum(counts.unanswered.values())
        for half in (slice(0, rows // 2), slice(rows // 2, rows)):
            self._block(counts, Block(block.rows[half], block.x[half]))
        if how != "timeout" and sum(counts.unanswered.values()) == before:
            key = how, "fail", f"{message} (in a call of {rows} rows, whose halves are answered)"
            counts.hits[key] = min(first, counts.hits.get(key, first))


def _happened(outcome: Outcome) -> tuple[str, str]:
    """The kind of finding, and words without what differs from run to run."""
    match outcome:
        case Died(how):
            return "crash", f"the process ended: {how}"
        case TimedOut(seconds):
            return "timeout", f"no answer within {seconds:g} s"
        case Raised(name, message):
            return "exception", f"{name}: {message}".strip().rstrip(":")
        case NotOffered(what):
            return "exception", f"not offered: {what}"
        case Malformed(what):
            return "dtype", f"the answer is not an array of numbers: {what}"
        case Returned():
            raise ValueError("an answer")
