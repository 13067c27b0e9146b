"""cross_entropy: the semantics of torch.nn.functional.cross_entropy over [N, C] logits.

With log p the log-softmax of a row, w class weights (1 by default), e the label smoothing and C classes:

* class-index target t:  loss = (1 - e) w_t (-log p_t) + (e / C) sum_c w_c (-log p_c); 0 where t = ignore_index
* probability target y:  loss = sum_c w_c (y_c (1 - e) + e / C) (-log p_c); a zero coefficient contributes 0

``softcap`` s puts s tanh(x / s) in the place of each logit x. ``lse_square_scale`` times the square of the logsumexp of a row is
added to its loss (the z-loss), but not where the label is ignored. The formula speaks of calls without these two.

``reduction``: "none" (per row), "sum", "mean" (sum divided by the total weight of the targets that count, or by N for
probability targets).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from xent_verify.ops.forms import LOG_SOFTMAX, Form, capped
from xent_verify.ops.op import Arithmetic, Op, Option, RowInputs

__all__ = ["OP"]


def formula(a: Arithmetic, row: RowInputs, wanted: Sequence[int]) -> list[Any]:
    """sum_c a_c (-log p_c), a_c = weight_c ((1 - label_smoothing) y_c + label_smoothing / C); 0 for an ignored label."""
    logits, target = row.values
    used = [(c, value) for c, value in _coefficients(a, row, len(logits), target) if not value.is_zero]
    total = a.number(0)
    if used:  # an ignored row is not looked at: it may hold anything
        terms = a.row(logits)
        for c, coefficient in used:
            total = total - coefficient * terms.log_p(c)
    return [total for _ in wanted]


def _coefficients(a: Arithmetic, row: RowInputs, classes: int, target: Any) -> list[tuple[int, Any]]:
    """(class, a_c) for the classes that can contribute."""
    options = row.options
    weight = options.get("weight")
    smoothing = a.number(options.get("label_smoothing", 0.0))
    kept = a.number(1) - smoothing
    share = smoothing / a.number(classes)

    def scale(c: int) -> Any:
        return a.number(1) if weight is None else a.number(weight[c])

    if np.ndim(target):
        return [(c, scale(c) * (a.number(y) * kept + share)) for c, y in enumerate(target)]
    if int(target) == options.get("ignore_index", -100):
        return []
    single = [(int(target), scale(int(target)) * kept)]
    return single if share.is_zero else single + [(c, scale(c) * share) for c in range(classes)]


def composed(log_softmax: Form, *, given: bool = False) -> Callable[..., Any]:
    """Coefficients times stored -log p, and ``lse_square_scale`` squares of the logsumexp, of capped logits.

    ``given``: the log-probabilities are inputs, so that those of other classes than the label's may hold anything.
    """

    def defined(a: Any, losses: Any, loss: Any) -> Any:
        return loss if given else undefined_stays(a, losses, loss)

    def run(
        a: Any,
        logits: Any,
        target: Any,
        weight: Any,
        ignore_index: int,
        reduction: str,
        label_smoothing: Any,
        softcap: Any = None,
        lse_square_scale: Any = None,
    ) -> Any:
        logits = capped(a, logits, softcap)
        losses, classes = a.store(-log_softmax(a, logits)), a.width(logits)
        penalized = lse_square_scale is not None and a.exists(lse_square_scale)

        def penalty() -> Any:
            return lse_square_scale * a.logsumexp(logits) ** 2

        smooth = a.exists(label_smoothing)
        share = label_smoothing / classes
        if not a.is_labels(target):
            q = target * (1 - label_smoothing) + share if smooth else target
            q = q * weight if weight is not None else q
            loss = defined(a, losses, a.sum(a.weigh(q, losses)))
            return a.reduce(loss + penalty() if penalized else loss, a.count(losses), reduction)
        live = target != ignore_index
        labels = np.where(live, target, 0)
        loss, divisor = a.take(losses, labels), int(np.count_nonzero(live))
        if weight is not None:
            counted = a.take(weight, labels)
            loss, divisor = defined(a, losses, a.weigh(counted, loss)), a.total(a.where(live, counted, 0))
        if smooth:
            every = a.weigh(weight, losses) if weight is not None else losses
            loss = a.weigh(1 - label_smoothing, loss) + share * a.sum(every)
        loss = loss + penalty() if penalized else loss
        return a.reduce(a.where(live, loss, 0), divisor, reduction)

    return run


def undefined_stays(a: Any, losses: Any, loss: Any) -> Any:
    """NaN where a row has no softmax, also where its weights are 0."""
    sound = a.at_least(a.max(-losses), -np.inf)
    return loss + a.where(sound, 0, np.nan)


OP = Op(
    name="cross_entropy",
    about="cross entropy of logits [N, C] against class indices [N] or probabilities [N, C]",
    inputs={"logits": "row", "target": "target"},
    options={
        "weight": Option(None, "class_weights"),
        "ignore_index": Option(-100, "ignored_label"),
        "reduction": Option("mean", "reduction"),
        "label_smoothing": Option(0.0, "share"),
        "softcap": Option(None, "cap", rare=True),
        "lse_square_scale": Option(0.0, "share", rare=True),
    },
    result="loss",
    formula=formula,
    algorithms={name: composed(form) for name, form in LOG_SOFTMAX.items()},
    adjoints={"backward": composed(lambda a, x: a.log_softmax(x))},
    widest=("exp2",),
    built_on="log p",
    log_of_zero=1,
    laws=("shift", "one_hot", "not_negative"),
    formats=("float64", "float32", "float16", "bfloat16"),
)
