"""What a passing target was seen to do: formula, accumulator, subnormals. A few calls made for the purpose."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from xent_verify.core.formats import FloatArray, FloatFormat, format_named
from xent_verify.core.model import Batch
from xent_verify.ops import Op
from xent_verify.verdict.properties import Ask, answer

__all__ = ["infer"]


def infer(op: Op, fmt: str, ask: Ask) -> list[str]:
    """Sentences of information; few for narrow formats, where different ways give the same bits."""
    form = format_named(fmt)
    probes: tuple[Callable[[Op, FloatFormat, Ask], Iterator[str]], ...] = (_formula, _log1p, _accumulator, _subnormals)
    with np.errstate(all="ignore"):
        return [sentence for probe in probes for sentence in probe(op, form, ask)]


def _ask(op: Op, form: FloatFormat, ask: Ask, rows: Any) -> FloatArray | None:
    """The answer to rows of logits (losses and gradients: of class 0, per row)."""
    x = form.narrow(np.asarray(rows, np.float64))
    inputs = {op.first: x}
    if op.name in ("cross_entropy", "cross_entropy_grad"):
        inputs["target"] = np.zeros(len(x), np.int64)
    elif len(op.inputs) > 1 or not op.by_row:
        return None
    batch = Batch(op.name, form.name, "inference", inputs, {"reduction": "none"} if op.result == "loss" else {})
    return answer(op, batch, ask(batch))


def _formula(op: Op, form: FloatFormat, ask: Ask) -> Iterator[str]:
    """Which of the usual forms has the target's bits, on rows far from 0 where their roundings differ."""
    if form.bits < 32 or op.name not in ("softmax", "log_softmax"):
        return
    rng = np.random.default_rng(7)
    x = form.narrow(rng.normal(size=(40, 24)) * 3 + 40)
    got = _ask(op, form, ask, x)
    if got is None:
        return
    top = x.max(axis=1, keepdims=True)
    gaps = x - top
    terms = np.exp(gaps)
    total = terms.sum(axis=1, keepdims=True)
    lse = top + np.log(total)
    ways = {
        "softmax": (
            ("shifted: exp(x - m) / Σ", terms / total),
            ("shifted, with the reciprocal of the sum: exp(x - m) · (1/Σ)", terms * (1 / total)),
            ("division-free: exp((x - m) - log Σ)", np.exp(gaps - np.log(total))),
            ("division-free: exp(x - logsumexp)", np.exp(x - lse)),
        ),
        "log_softmax": (
            ("shifted: (x - m) - log Σ", gaps - np.log(total)),
            ("x - logsumexp", x - lse),
            ("log of softmax", np.log(terms / total)),
        ),
    }[op.name]
    shares = [float(np.mean(form.widen(values) == got)) for _, values in ways]
    best = int(np.argmax(shares))
    runner_up = max(share for k, share in enumerate(shares) if k != best)
    if shares[best] > 0.5 and shares[best] > runner_up + (0.02 if shares[best] > 0.99 else 0.15):
        yield f"formula: {ways[best][0]} ({shares[best]:.0%} of the bits agree, {runner_up:.0%} with the next)"


def _log1p(op: Op, form: FloatFormat, ask: Ask) -> Iterator[str]:
    """log s of [0, -d] with exp(-d) far below u: log1p keeps it, log(1 + exp(-d)) is 0."""
    if op.name not in ("log_softmax", "cross_entropy"):
        return
    gap = -math.log(form.unit_roundoff) + 4 if form.bits >= 32 else 9.0 if form.name == "float16" else 20.0
    got = _ask(op, form, ask, [[0.0, -gap]])
    if got is None:
        return
    small = abs(float(got.ravel()[0]))
    wanted = math.log1p(math.exp(-gap))
    if small == 0:
        yield "log of the sum: small losses round to 0 (log, not log1p)"
    elif abs(small - wanted) < 0.05 * wanted and form.bits >= 32:
        yield "log of the sum: log1p, or a wider format: small losses keep their digits"


def _accumulator(op: Op, form: FloatFormat, ask: Ask) -> Iterator[str]:
    """A large term, then many that a running sum in the format would round away."""
    if op.name not in ("softmax", "log_softmax", "logsumexp", "cross_entropy"):
        return
    count, bits = 8192, {64: 53, 32: 24}.get(form.bits, 24)
    gap = form.widen(form.narrow((bits + 1.25) * math.log(2)))
    row = np.full((1, count + 1), -float(gap))
    row[0, 0] = 0.0
    got = _ask(op, form, ask, row)
    if got is None or form.bits < 32:
        yield from _narrow_accumulator(op, form, ask)
        return
    value = float(got.ravel()[0])
    extra = {"softmax": 1 - value, "log_softmax": -value}.get(op.name, value)
    wanted = count * math.exp(-float(gap))
    lost = 1 - extra / wanted
    if lost > 0.98:
        yield f"accumulator: terms below half an ulp of the sum are lost (a running sum in {form.name})"
    elif abs(lost) < 5e-4:
        yield "accumulator: small terms beside a large one are kept (wider or compensated, or the large term apart)"
    elif lost > 0:
        yield f"accumulator: {lost:.2g} of the small terms beside a large one are lost (pairwise, in blocks or in lanes)"


def _narrow_accumulator(op: Op, form: FloatFormat, ask: Ask) -> Iterator[str]:
    """A row of ones: a running sum in the format stalls at 2^p."""
    stall = 2.0**form.precision
    count = int(min(8 * stall, 32768))
    got = _ask(op, form, ask, np.zeros((1, count)))
    if got is None or count <= stall:
        return
    value = got.ravel()[0]
    total = float({"softmax": 1 / value, "log_softmax": np.exp(-value)}.get(op.name, np.exp(value)))
    if not 2 <= total <= 2 * count:
        return  # no sum of ones, narrow or not
    if total > 0.9 * count:
        yield f"accumulator: a sum of {count} ones is kept (wider than {form.name}, or pairwise)"
    else:
        yield f"accumulator: a sum of {count} ones stalls at {total:.4g}"


def _subnormals(op: Op, form: FloatFormat, ask: Ask) -> Iterator[str]:
    """A result halfway into the subnormal range."""
    if op.name != "softmax":
        return
    got = _ask(op, form, ask, [[0.0, math.log(form.smallest_normal) - 1.0]])
    if got is not None:
        yield f"subnormal results: {'flushed to 0' if got.ravel()[-1] == 0 else 'kept'}"
