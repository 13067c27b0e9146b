"""Two targets on the same calls: how far apart, which of them is nearer the truth, and what they differ in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify import diagnose
from xent_verify.auditing.audit import DEFAULT_DTYPES, opened
from xent_verify.auditing.findings import focus
from xent_verify.auditing.walk import Progress, cases, left_out
from xent_verify.candidates import Candidate
from xent_verify.candidates.opening import name_of
from xent_verify.core.environment import describe
from xent_verify.core.failures import UnknownNameError, UsageError
from xent_verify.core.floating import default_mode
from xent_verify.core.formats import FloatArray, format_named
from xent_verify.core.model import Batch
from xent_verify.minimise import minimise
from xent_verify.ops import Op, op_named
from xent_verify.truth import certify
from xent_verify.truth.decimals import digits
from xent_verify.verdict.distances import Distances
from xent_verify.verdict.judge import Judgement, judge
from xent_verify.verdict.patience import Patience
from xent_verify.verdict.properties import answer, apart
from xent_verify.verdict.rungs import Rungs
from xent_verify.verdict.settings import Settings

__all__ = ["DtypeParity", "Farthest", "Parity", "parity", "parity_of"]

_MINIMISED = 60
"""Calls, of each target, by which the farthest pair of values is made small."""


@dataclass(frozen=True, slots=True)
class Farthest:
    """The call with the largest distance, made small: its inputs, the element, both values and the true one."""

    inputs: Mapping[str, NDArray[Any]]
    options: Mapping[str, Any]
    layout: str
    index: tuple[int, ...]
    a: float
    b: float
    true_digits: str
    ulp: float


@dataclass(frozen=True, slots=True)
class DtypeParity:
    """Two targets in one format. ``differ_in``: a line each; ``left_out``: calls that were not compared, and why."""

    dtype: str
    calls: int
    total: Distances
    regimes: Mapping[str, Distances]
    class_a: str = ""
    class_b: str = ""
    farthest: Farthest | None = None
    differ_in: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Parity:
    """What was found of two targets of one operation."""

    a: str
    b: str
    op: str
    dtypes: tuple[DtypeParity, ...]
    settings: Mapping[str, Any]
    environment: Mapping[str, Any] = field(default_factory=dict)

    @property
    def compared(self) -> int:
        """How many pairs of values."""
        return sum(one.total.elements for one in self.dtypes)

    def within(self, ulps: float) -> bool:
        """Whether no two values are farther apart, and no NaN stands against a number."""
        return all(one.total.max_ulp <= ulps and not one.total.unlike for one in self.dtypes)

    def to_json(self) -> str:
        """Strict JSON; numbers also in hex."""
        from xent_verify.report.parity import to_json

        return to_json(self)

    def __str__(self) -> str:
        from xent_verify.report.parity import render

        return render(self)


_OPTIONS = [one.name for one in fields(Settings) if one.name not in ("fail_fast", "require", "op")]
_LISTS = ("in_place", "regimes", "without")
OF_B = ("arrays", "call", "device", "in_place", "kwargs", "only")
"""Settings that B may have of its own: how it is called."""


@default_mode()
def parity(
    a: str | Callable[..., Any],
    b: str | Callable[..., Any],
    *,
    op: str | Op,
    dtypes: Sequence[str] | None = None,
    progress: Progress | None = None,
    of_b: Mapping[str, Any] | None = None,
    **options: Any,
) -> Parity:
    """Make the calls of an audit with two targets and compare their answers.

    * ``a``, ``b``: names as on the command line, or callables; ``op``, ``dtypes``, ``progress``: as for ``audit``
    * ``options``: those of ``audit`` that say how targets are called and what is tried; ``policy`` for the limits
    * ``of_b``: those of ``OF_B`` that are different for ``b``, such as ``{"call": "f(logits, target)[0]"}``

    Calls that one of them does not offer are left out. Raises ``UsageError`` for what cannot be asked.

    >>> found = parity("stable", "naive", op="softmax", dtypes=["float32"], profile="quick", regimes=["ordinary"])
    >>> found.dtypes[0].total.outside
    0
    """
    for name in options:
        if name not in _OPTIONS:
            raise UnknownNameError("option of parity", name, _OPTIONS)
    plain, other = (
        {name: [value] if isinstance(value, str) and name in _LISTS else value for name, value in given.items()}
        for given in (options, of_b or {})
    )
    return parity_of(a, b, op, dtypes, Settings.of(plain), progress, other)


def parity_of(
    a: str | Callable[..., Any],
    b: str | Callable[..., Any],
    op: str | Op,
    dtypes: Sequence[str] | None,
    settings: Settings,
    progress: Progress | None = None,
    of_b: Mapping[str, Any] = MappingProxyType({}),
) -> Parity:
    """``parity`` with its options as ``Settings``."""
    operation = op_named(op)
    for name in of_b:
        if name not in OF_B:
            raise UnknownNameError("setting of B alone", name, OF_B)
    settings = replace(settings, op=op if isinstance(op, str) else "").checked()
    others = replace(settings, **of_b).checked()
    for one in (settings, others):
        one.calling(operation)
    forms = [format_named(name).name for name in dtypes or [d for d in DEFAULT_DTYPES if d in operation.formats]]
    for name in forms:
        operation.check_format(format_named(name))
    if operation.differentiates is not None:
        raise UsageError("parity compares results, not gradients with an upstream: name the operation itself")
    with ExitStack() as stack:
        both = [stack.enter_context(opened(one, operation, its)) for one, its in ((a, settings), (b, others))]
        found = [_Compared(operation, form, settings, (both[0], both[1])).result(progress) for form in forms]
    record = settings.record() | ({"of_b": dict(of_b)} if of_b else {})
    return Parity(name_of(a), name_of(b), operation.name, tuple(found), record, describe())


class _Compared:
    """Two opened targets on one op and format."""

    def __init__(self, op: Op, fmt: str, settings: Settings, both: tuple[Candidate, Candidate]) -> None:
        self.op, self.fmt, self.settings, self.both = op, fmt, settings, both
        self.form = format_named(settings.result or fmt)
        self.regimes: dict[str, Distances] = {}
        self.rungs = Rungs(op, format_named(fmt)), Rungs(op, format_named(fmt))
        self.words: tuple[dict[str, set[str]], dict[str, set[str]]] = {}, {}
        self.formats: tuple[set[str], set[str]] = set(), set()
        self.lengths: dict[int, bool] = {}  # row length of a plain call -> bits differ
        self.calls, self.missed = 0, dict[str, int]()
        self.worst: tuple[float, Batch, int] | None = None

    def result(self, progress: Progress | None) -> DtypeParity:
        """Ask everything."""
        patience = Patience(), Patience()
        for number, drawn in enumerate(cases(self.op, self.fmt, self.settings)):
            if progress is not None:
                progress(f"{self.both[0].name} and {self.both[1].name} {self.fmt}: {drawn.regime}", number)
            batch = self.settings.rules.of_call(drawn)
            why = next((f"{one.name} ({why}" for one in self.both if (why := left_out(one, self.op, batch))), "")
            if why or any(one.spent(batch) for one in patience):
                self._miss(why.partition("): ")[0] + ")" if why else "no more calls after crashes or timeouts")
                continue
            outcomes = [one.call(batch) for one in self.both]
            for one, outcome in zip(patience, outcomes, strict=True):
                one.saw(batch, outcome)
            values = [answer(self.op, batch, outcome) for outcome in outcomes]
            if values[0] is None or values[1] is None:
                silent = [one.name for one, value in zip(self.both, values, strict=True) if value is None]
                self._miss(f"{' and '.join(silent)} gave no numbers")
                continue
            self._count(batch, (outcomes[0], outcomes[1]), (values[0], values[1]))
        total = sum(self.regimes.values(), Distances())
        differ = tuple(self._differ_in()) if self.calls else ()
        missed = tuple(f"{why}: {count} call{'s' * (count != 1)}" for why, count in sorted(self.missed.items()))
        regimes = dict(sorted(self.regimes.items()))
        a, b = (one.name for one in self.rungs)
        return DtypeParity(self.fmt, self.calls, total, regimes, a, b, self._farthest(), differ, missed)

    def _miss(self, why: str) -> None:
        self.missed[why] = self.missed.get(why, 0) + 1

    def _count(self, batch: Batch, outcomes: tuple[Any, Any], values: tuple[FloatArray, FloatArray]) -> None:
        """Compare one call; calls of a sweep (thousands) without the truth."""
        judged = None if batch.aspect == "sweep" else self._judged(batch, outcomes)
        errors = None
        if judged is not None and judged[0].errors is not None and judged[1].errors is not None:
            errors = judged[0].errors, judged[1].errors
        counted, steps = Distances.of(self.op, self.form, *values, errors)
        self.calls += 1
        self.regimes[batch.regime] = self.regimes.get(batch.regime, Distances()) + counted
        for seen, outcome in zip(self.formats, outcomes, strict=True):
            seen.add(outcome.dtype_name)
        if batch.x.ndim == 2 and batch.layout == "C" and not batch.options.keys() - {"reduction"}:
            length = int(batch.x.shape[1])
            self.lengths[length] = self.lengths.get(length, False) or counted.equal < counted.elements
        if steps.size and steps.max() > (self.worst[0] if self.worst else 0.0):
            self.worst = float(steps.max()), batch, int(steps.argmax())

    def _judged(self, batch: Batch, outcomes: tuple[Any, Any]) -> tuple[Judgement, Judgement]:
        truth = certify(batch)
        found = [judge(self.op, batch, outcome, truth, self.settings.rules) for outcome in outcomes]
        for rungs, words, outcome, one in zip(self.rungs, self.words, outcomes, found, strict=True):
            rungs.add(batch, outcome, truth, one, self.settings.rules)
            for situation, word in one.words:
                words.setdefault(situation, set()).add(word)
        return found[0], found[1]

    def _steps(self, batch: Batch) -> tuple[FloatArray, FloatArray, FloatArray] | None:
        """Both answers to a call, and how far apart."""
        a, b = (answer(self.op, batch, one.call(batch)) for one in self.both)
        return None if a is None or b is None else (a, b, apart(self.form, a, b))

    def _farthest(self) -> Farthest | None:
        """The largest distance on as small a call as still has half of it."""
        if self.worst is None:
            return None
        size, batch, index = self.worst

        def far(smaller: Batch, least: float = size / 2) -> bool:
            found = self._steps(self.settings.rules.of_call(smaller))
            return found is not None and bool(found[2].max(initial=0.0) >= least)

        single = focus(self.op, batch, index)
        start = single if far(single) else batch
        small = self.settings.rules.of_call(minimise(start, far, budget=_MINIMISED) if far(start) else start)
        found = self._steps(small)
        if found is None:
            return None
        a, b, steps = (array.reshape(-1) for array in found)
        flat = int(steps.argmax())
        place = tuple(int(i) for i in np.unravel_index(flat, self.op.result_shape(small)))
        values = float(a[flat]), float(b[flat])
        true, ulp = digits(small, place), float(steps[flat])
        return Farthest(small.inputs, small.options, small.layout, place, *values, true, ulp)

    def _differ_in(self) -> Iterator[str]:
        """What the two do otherwise: a line each, in the words of ``diagnose.infer`` and of what was counted."""
        if self.formats[0] != self.formats[1]:
            yield f"format of results: a {', '.join(sorted(self.formats[0]))}; b {', '.join(sorted(self.formats[1]))}"
        if self.rungs[0].name != self.rungs[1].name:
            yield f"class: a keeps {self.rungs[0].name}; b keeps {self.rungs[1].name}"
        yield from self._order()
        seen = [_by_subject(diagnose.infer(self.op, self.fmt, one.call)) for one in self.both]
        for subject in dict.fromkeys([*seen[0], *seen[1]]):
            a, b = (one.get(subject, "not recognised") for one in seen)
            if a != b:
                yield f"{subject}: a {a}; b {b}"
        for situation in sorted(self.words[0].keys() & self.words[1].keys()):
            a, b = (", ".join(sorted(words[situation])) for words in self.words)
            if a != b:
                yield f"{situation}: a answers {a}; b answers {b}"

    def _order(self) -> Iterator[str]:
        """A sum of two terms has one order: bits that differ there come from elsewhere."""
        lengths = sorted(self.lengths)
        differing = [length for length in lengths if self.lengths[length]]
        if not self.op.by_row or not differing:
            return
        first = differing[0]
        if first <= 2:
            yield f"exp, formula or cast: bits differ on rows of {first}, whose sum has one order only"
        else:
            agree = max((length for length in lengths if length < first), default=0)
            alike = f"agree on rows of up to {agree} logits and " if agree else ""
            yield f"order of the sum: bits {alike}differ from rows of {first} on"


def _by_subject(sentences: Sequence[str]) -> dict[str, str]:
    """``formula: …`` and the like, apart; without the shares that differ from target to target."""
    return {subject: text for subject, _, text in (sentence.partition(": ") for sentence in sentences)}
