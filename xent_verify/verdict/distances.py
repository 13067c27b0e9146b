"""How far two answers to the same calls lie apart, as counters that add up over calls."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FloatArray, FloatFormat
from xent_verify.ops import Op
from xent_verify.verdict.measure import CODE, Errors
from xent_verify.verdict.properties import apart

__all__ = ["Distances", "log_probabilities", "ratios"]

_NEAR = (0.9, 1.1)
"""Ratios of probabilities that reinforcement learning does not clip, roughly."""


def log_probabilities(op: Op, values: FloatArray) -> FloatArray | None:
    """log p of an operation's results (of logsumexp: up to the logit), as its page says; None where they are none.

    >>> from xent_verify.ops import OPS
    >>> log_probabilities(OPS["cross_entropy"], np.array([0.25]))
    array([-0.25])
    """
    with np.errstate(all="ignore"):
        if op.built_on == "p" and len(op.inputs) == 1:
            return np.log(values)
    if op.built_on == "log p":
        return values * -float(op.log_of_zero)  # log 0 is -inf
    return -values if op.built_on == "logsumexp" else None


@dataclass(frozen=True, slots=True)
class Distances:
    """What was counted of answers a and b.

    * ``elements`` compared, of which ``equal`` have the same value; ``unlike``: NaN against a number, in no convention;
      ``max_ulp``: the largest distance of two numbers, in steps of the result's format
    * ``logs``: elements with a log-probability, Δ = log p_a − log p_b; ``max_delta``: the largest |Δ|; ``outside``: how many
      ratios exp(Δ) leave [0.9, 1.1], those of a probability 0 among them; ``kl``: the sum of exp(Δ) − 1 − Δ, whose mean over
      samples of b estimates KL(b ‖ a) (Schulman, *Approximating KL divergence*, 2020: k3)
    * ``judged``: elements compared with the truth; ``nearer_a``, ``nearer_b``: how many are nearer to it in one answer;
      ``ratio_a``, ``ratio_b``: the largest error ÷ limit
    """

    elements: int = 0
    equal: int = 0
    unlike: int = 0
    max_ulp: float = 0.0
    logs: int = 0
    max_delta: float = 0.0
    outside: int = 0
    kl: float = 0.0
    judged: int = 0
    nearer_a: int = 0
    nearer_b: int = 0
    ratio_a: float = 0.0
    ratio_b: float = 0.0

    def __add__(self, other: Distances) -> Distances:
        """Counts and sums add up, maxima are kept."""
        both = {one.name: (getattr(self, one.name), getattr(other, one.name)) for one in fields(self)}
        maxima = ("max_ulp", "max_delta", "ratio_a", "ratio_b")
        return Distances(**{name: max(pair) if name in maxima else sum(pair) for name, pair in both.items()})

    @property
    def mean_kl(self) -> float:
        """The k3 estimate, each element a sample."""
        return self.kl / self.logs if self.logs else 0.0

    @staticmethod
    def of(
        op: Op, form: FloatFormat, a: FloatArray, b: FloatArray, errors: tuple[Errors, Errors] | None
    ) -> tuple[Distances, FloatArray]:
        """The counters of one call, and the distance of each element; ``errors``: of both, where the truth was asked for.

        Elements that only a convention decides, and that differ, take no part: their distance is 0.
        """
        steps = apart(form, a, b)
        free = np.zeros(a.shape, np.bool_)
        for one in errors or ():
            free |= one.of("convention").reshape(a.shape)
        free &= steps > 0
        steps[free] = 0.0
        unlike = np.isinf(steps)
        counted: dict[str, Any] = {"elements": int((~free).sum()), "equal": int(((steps == 0) & ~free).sum())}
        counted |= {"unlike": int(unlike.sum()), "max_ulp": float(steps[~unlike].max(initial=0.0))}
        counted |= ratios(op, a[~free & ~unlike], b[~free & ~unlike])
        if errors is not None:
            counted |= _nearer(*errors, ~free.reshape(-1))
        return Distances(**counted), steps


def ratios(op: Op, a: FloatArray, b: FloatArray) -> dict[str, Any]:
    """The counters of log-probabilities; two infinite ones of one sign are equal, one against a number is a ratio of 0 or inf."""
    first, second = log_probabilities(op, a), log_probabilities(op, b)
    if first is None or second is None:
        return {}
    numbers = ~(np.isnan(first) & np.isnan(second))
    first, second = first[numbers], second[numbers]
    with np.errstate(all="ignore"):
        delta = np.where(first == second, 0.0, first - second)
        finite = delta[np.isfinite(delta)]
        ratio = np.exp(delta)
        outside = ~((ratio >= _NEAR[0]) & (ratio <= _NEAR[1]))
        series = finite * finite * (0.5 + finite / 6)
        kl = np.where(np.abs(finite) < 1e-4, series, np.expm1(finite) - finite)
    return {
        "logs": delta.size,
        "max_delta": float(np.abs(finite).max(initial=0.0)),
        "outside": int(outside.sum()),
        "kl": float(kl.sum()),
    }


def _nearer(first: Errors, second: Errors, compared: NDArray[np.bool_]) -> dict[str, Any]:
    """By error in ulps; a value that is no number where one is due is infinitely far."""
    sizes = [
        np.where(np.isnan(one.ulp), np.where(one.code == CODE["ok"], 0.0, np.inf), one.ulp) for one in (first, second)
    ]
    a, b = (size.reshape(-1)[compared] for size in sizes)
    found: dict[str, Any] = {"judged": a.size, "nearer_a": int((a < b).sum()), "nearer_b": int((b < a).sum())}
    for name, one in (("ratio_a", first), ("ratio_b", second)):
        found[name] = float(np.nan_to_num(one.ratio, nan=np.inf, posinf=np.inf).max(initial=0.0))
    return found
