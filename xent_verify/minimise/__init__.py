"""From any failing batch to a minimal one that fails in the same way.

``minimise`` walks ``PASSES`` again and again until none of them finds anything simpler, or the budget is spent. A pass
proposes simpler batches; the driver keeps the first that still fails. Only what ``surgery.cost`` calls simpler is ever
kept, so the walk ends, and it is deterministic: no pass draws random numbers.

What "still fails" means is the caller's predicate: it should ask for the *same kind* of failure.
"""

from __future__ import annotations

from collections.abc import Callable

from xent_verify.core.model import Batch
from xent_verify.minimise.passes import PASSES, Attempt

__all__ = ["minimise"]


def minimise(batch: Batch, fails: Callable[[Batch], bool], *, budget: int = 300) -> Batch:
    """The simplest batch found that still fails, within ``budget`` questions to ``fails``.

    Only calls that the operation defines are proposed. The given batch is trusted to fail; if nothing simpler does, it
    comes back unchanged.
    """
    attempt = Attempt(batch, fails, budget)
    progress = True
    while progress and attempt.budget > 0:
        before = attempt.batch
        for one_pass in PASSES:
            one_pass(attempt)
        progress = attempt.batch is not before
    return attempt.batch
