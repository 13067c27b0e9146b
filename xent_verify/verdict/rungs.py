"""The class of a target: the strictest policy of ``policies.CLASSES`` that every finite answer keeps; and a biased store.

A class says how good the answers are, whatever policy was asked for. Special values and conduct are judged apart.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from xent_verify.core.enclosure import Enclosure
from xent_verify.core.formats import FloatFormat
from xent_verify.core.model import Batch, Outcome, Returned
from xent_verify.core.shapes import among
from xent_verify.ops import Op
from xent_verify.verdict.domains import Domain
from xent_verify.verdict.judge import Judgement, Rules, judge
from xent_verify.verdict.measure import CODE, Errors
from xent_verify.verdict.policies import CLASSES, POLICIES

__all__ = ["LOST", "UNSOUND", "Bias", "Rungs", "classes_of"]

UNSOUND = "unsound"
"""Below every class."""

LOST = [CODE[name] for name in ("overflow", "underflow", "log_of_zero", "nan", "inaccurate")]
"""Codes of elements that break a class."""

_NUMBERS = [CODE["ok"], CODE["inaccurate"]]


def classes_of(form: FloatFormat) -> tuple[str, ...]:
    """Classes from the strictest to the weakest; in 32 and 64 bits ``stored`` and ``native`` are ``textbook``."""
    return tuple(name for name in CLASSES if form.bits <= 16 or name not in ("stored", "native"))


class Rungs:
    """The classes that all answers so far keep.

    ``standard`` lies within the derived classes below it: they are asked only about calls that break it.
    """

    def __init__(self, op: Op, form: FloatFormat) -> None:
        self._op = op
        self.left = list(classes_of(form))
        self.answers = 0
        self.domain = Domain(op)
        self.broken: dict[str, tuple[Batch, int]] = {}  # class -> the first call that breaks it, and its worst element

    @property
    def name(self) -> str:
        """The strictest class left; "" before any answer."""
        if not self.answers:
            return ""
        return self.left[0] if self.left else UNSOUND

    def keeps(self, name: str) -> bool:
        """Whether no answer has broken a class so far."""
        return name in self.left

    def add(self, batch: Batch, outcome: Outcome, truth: Enclosure, judgement: Judgement, rules: Rules) -> None:
        """Drop what one judged call breaks."""
        before = list(self.left)
        self._drop(batch, outcome, truth, judgement, rules)
        for name in set(before) - set(self.left):
            assert judgement.errors is not None
            sizes = np.nan_to_num(judgement.errors.ulp, nan=math.inf)
            self.broken[name] = batch, int(np.argmax(sizes))

    def _drop(self, batch: Batch, outcome: Outcome, truth: Enclosure, judgement: Judgement, rules: Rules) -> None:
        errors = judgement.errors
        if errors is None or not isinstance(outcome, Returned) or not errors.ulp.size:
            return
        self.answers += 1
        if rules.policy == POLICIES["standard"]:
            self.domain.add(batch, among(errors.code, LOST))
        ulps = _largest(errors)
        self.left = [name for name in self.left if POLICIES[name].kind != "ulp" or ulps <= POLICIES[name].ulps]
        derived = [name for name in self.left if POLICIES[name].kind == "bound"]
        if not derived:
            return

        def broken(name: str) -> bool:
            asked = judgement
            if POLICIES[name] != rules.policy:
                asked = judge(self._op, batch, outcome, truth, replace(rules, policy=POLICIES[name]))
            return asked.errors is None or bool(among(asked.errors.code, LOST).any())

        if broken("standard"):
            self.left = [name for name in self.left if name not in derived or (name != "standard" and not broken(name))]


def _largest(errors: Errors) -> float:
    """The largest error in ulps; infinite where a number is missing."""
    if among(errors.code, LOST[:-1]).any():
        return math.inf
    numbers = errors.ulp[among(errors.code, _NUMBERS)]
    return float(np.nanmax(numbers, initial=0.0))


class Bias:
    """Signs of errors of a narrow store: rounding to nearest errs either way, truncation always one way.

    The sign of an error that is decided is a fair coin for a store that rounds to nearest: of N such errors a share
    outside 1/2 +- 8 sqrt(1/(4 N)) has a probability below 1e-14. Only errors above 2**-4 ulp are counted, and a store is
    called biased when 98 % of at least 200 lie on one side and some exceed half an ulp.

    Stochastic rounding of a value that lies a share f of an ulp above its lower neighbour errs by 1 - f with probability f
    and by -f otherwise: the mean is 0, the variance f (1 - f), and the error e of either outcome has |e| (1 - |e|) = f (1 - f).
    It is called biased when the sum of at least 200 errors is beyond 8 standard deviations and 2**-9 ulp each, which is more
    than what the steps before the store are off by.
    """

    _LEAST, _SHARE = 200, 0.98

    def __init__(self) -> None:
        self.count = 0
        self.toward_zero = 0
        self.drift, self.variance = 0.0, 0.0
        self.beyond_half: Batch | None = None
        self.index = 0
        self._worst = 0.5 + 2.0**-10

    def add(
        self, batch: Batch, outcome: Outcome, truth: Enclosure, judgement: Judgement, *, stochastic: bool = False
    ) -> None:
        """Count one call's errors of up to one ulp."""
        errors = judgement.errors
        if errors is None or not isinstance(outcome, Returned) or batch.result_form.bits > 16 or not errors.ulp.size:
            return
        value = batch.result_form.widen(outcome.value).reshape(truth.shape)
        counted = (errors.code == CODE["ok"]) & (errors.ulp > (0 if stochastic else 2.0**-4)) & (errors.ulp <= 1.0)
        counted &= np.abs(value) >= 2 * batch.result_form.smallest_normal
        if not counted.any():
            return
        smaller = np.abs(value) < np.abs(truth.to_float64())
        self.count += int(np.count_nonzero(counted))
        self.toward_zero += int(np.count_nonzero(counted & smaller))
        sizes = np.where(counted, errors.ulp, 0.0)
        if stochastic:
            self.drift += float(np.where(smaller, -sizes, sizes).sum())
            self.variance += float((sizes * (1 - sizes)).sum())
        if float(sizes.max()) > self._worst:
            self._worst, self.index, self.beyond_half = float(sizes.max()), int(sizes.argmax()), batch

    @property
    def text(self) -> str:
        """What is biased, in words; "" where nothing is."""
        if self.count < self._LEAST or self.beyond_half is None:
            return ""
        if self.variance:
            far = abs(self.drift) > 8 * math.sqrt(self.variance) + self.count * 2.0**-9
            mean = f"the mean of {self.count} rounding errors is {self.drift / self.count:+.3f} ulp of the magnitude"
            return f"the store is biased: {mean}" if far else ""
        share = self.toward_zero / self.count
        if max(share, 1 - share) < self._SHARE:
            return ""
        where = "below" if share > 0.5 else "above"
        number = max(self.toward_zero, self.count - self.toward_zero)
        return f"the store is biased: {number} of {self.count} rounding errors lie {where} the true magnitude (rounded one way)"
