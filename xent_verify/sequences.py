"""Sequences of calls, found and shrunk by Hypothesis: formats, sizes and options in turn, earlier calls made again.

What one call shows no test of single calls misses; what a call leaves behind (a cache, a buffer, an accumulator of the last
format) shows in a later one. Subclass ``CallSequence``, and add rules of your own where you like::

    from xent_verify.sequences import CallSequence

    class SoftmaxCalls(CallSequence):
        target = staticmethod(my_softmax)
        op = "softmax"
        formats = ("float32", "bfloat16")

    TestSoftmaxCalls = SoftmaxCalls.TestCase

``SoftmaxCalls.TestCase.settings = hypothesis.settings(stateful_step_count=20)`` makes the sequences shorter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, multiple, rule
from numpy.typing import NDArray

from xent_verify.candidates import open_candidate
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch, NotOffered, Returned
from xent_verify.ops import op_named
from xent_verify.ops.defined import undefined
from xent_verify.strategies import batches
from xent_verify.truth import certify
from xent_verify.verdict.judge import Rules, judge
from xent_verify.verdict.policies import parse_policy

__all__ = ["CallSequence"]

Seen = tuple[Batch, NDArray[Any]]
"""A call and its answer."""


class CallSequence(RuleBasedStateMachine):
    """A rule-based state machine whose every step is a call of ``target``, judged against certified truth.

    ``target``: a callable, or a name as on the command line (called in this process); ``fresh`` makes a new one for each
    sequence. ``op``: the operation it computes. ``formats``: those of the calls. ``policy``: what is too far off.
    ``same_bits``: a call made again gives the same bits (False: for kernels whose sums have no fixed order).

    A step fails with ``AssertionError``: a wrong value, an exception, an argument written to, an earlier answer that changed,
    other bits than before. Calls that the target does not offer (an option that it lacks) are not made.
    """

    target: ClassVar[str | Callable[..., Any]]
    op: ClassVar[str]
    formats: ClassVar[tuple[str, ...]] = ("float32",)
    policy: ClassVar[str] = "standard"
    same_bits: ClassVar[bool] = True
    seen: ClassVar[Bundle[Seen]] = Bundle("seen")

    def __init__(self) -> None:
        super().__init__()
        self.candidate = open_candidate(self.fresh(), self.op, isolated=False)
        self.judged_by = Rules(policy=parse_policy(self.policy))

    def fresh(self) -> str | Callable[..., Any]:
        """The target of a new sequence. Override it where the target keeps state, so that a sequence can be replayed."""
        return type(self).target

    def answer_of(self, batch: Batch) -> NDArray[Any] | None:
        """The target's answer to a call; None where it does not offer it. ``AssertionError`` where anything is wrong."""
        operation = op_named(self.op)
        outcome = self.candidate.call(batch)
        if isinstance(outcome, NotOffered):
            return None
        found = judge(operation, batch, outcome, certify(batch), self.judged_by)
        wrong = [f"{hit.kind}: {hit.message}" for hit in found.hits if hit.severity == "fail"]
        assert not wrong, "; ".join(wrong)
        return outcome.value if isinstance(outcome, Returned) else None

    @rule(target=seen, data=st.data())
    def call(self, data: st.DataObject) -> Any:
        """Any call in one of the formats."""
        fmt = data.draw(st.sampled_from(self.formats), label="format")
        return self._kept(data.draw(batches(self.op, fmt), label="call"))

    @rule(past=seen)
    def call_again(self, past: Seen) -> None:
        """An earlier call, after whatever came between."""
        batch, before = past
        now = self.answer_of(batch)
        if self.same_bits and now is not None:
            assert now.tobytes() == before.tobytes(), "the same call gives other bits than before"

    @rule(target=seen, past=seen, data=st.data())
    def call_in_another_format(self, past: Seen, data: st.DataObject) -> Any:
        """The numbers of an earlier call in another format."""
        batch, form = past[0], FORMATS[data.draw(st.sampled_from(self.formats), label="format")]
        old = batch.form

        def moved(value: Any) -> Any:
            floats = isinstance(value, np.ndarray) and value.dtype == old.dtype
            return form.narrow(old.widen(value)) if floats else value

        inputs, options = (
            {name: moved(value) for name, value in part.items()} for part in (batch.inputs, batch.options)
        )
        return self._kept(replace(batch, fmt=form.name, inputs=inputs, options=options))

    def _kept(self, batch: Batch) -> Any:
        """What a rule hands on: the call with its answer, where the operation defines it and the target answers."""
        value = None if undefined(op_named(self.op), batch) else self.answer_of(batch)
        return multiple() if value is None else (batch, value)

    def teardown(self) -> None:
        """End the target."""
        self.candidate.close()
