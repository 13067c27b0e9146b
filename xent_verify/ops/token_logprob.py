"""token_logprob: log p_t of the label t of each row, p = softmax(x / T): what trainers and rollout engines exchange.

Conventions, those of reinforcement-learning trainers (TRL, verl): the temperature divides the logits before the softmax,
and an ignored label gives 0, whatever its row holds. A masked token (-inf) at the label gives -inf.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xent_verify.ops.forms import LOG_SOFTMAX, Form
from xent_verify.ops.op import Op, Option

__all__ = ["OP"]


def gathered(log_softmax: Form, scaled: Form) -> Callable[..., Any]:
    """The label's element of a log-softmax; 0 where the label is ignored."""

    def run(a: Any, logits: Any, target: Any, temperature: Any, ignore_index: int) -> Any:
        live = target != ignore_index
        log_p = log_softmax(a, scaled(logits, temperature))
        return a.where(live, a.take(log_p, np.where(live, target, 0)), 0)

    return run


def divided(x: Any, temperature: Any) -> Any:
    """x / T."""
    return x / temperature


def multiplied(x: Any, temperature: Any) -> Any:
    """x (1 / T)."""
    return x * (1 / temperature)


whole = gathered(lambda a, x: a.log_softmax(x), divided)

OP = Op(
    name="token_logprob",
    about="log p of the label of each row [N] for logits [N, C], p = softmax(logits / temperature); 0 where ignored",
    inputs={"logits": "row", "target": "label"},
    options={"temperature": Option(1.0, "divisor"), "ignore_index": Option(-100, "ignored_label")},
    result="rows",
    formula=None,
    algorithms={
        "divided": whole,
        "divided, exp2": gathered(LOG_SOFTMAX["exp2"], divided),
        "multiplied": gathered(LOG_SOFTMAX["exp2"], multiplied),
    },
    adjoints={"backward": whole},
    built_on="log p",
    log_of_zero=-1,
    laws=("not_positive",),
)
