"""The audit's book for one target, op and dtype: counts, the worst call per finding, capabilities, conventions.

Entries add up over batches; a call is kept only while it is the worst of its kind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from xent_verify.core.enclosure import Enclosure
from xent_verify.core.failures import one_line
from xent_verify.core.formats import format_named
from xent_verify.core.kinds import KINDS, Severity, rank
from xent_verify.core.model import (
    UNUSUAL_LAYOUTS,
    Batch,
    DtypeResult,
    Finding,
    Outcome,
    Raised,
    RegimeResult,
    Returned,
)
from xent_verify.ops import Op
from xent_verify.verdict.conditions import Conditions
from xent_verify.verdict.conventions import PROFILES
from xent_verify.verdict.judge import Hit, Judgement, Rules
from xent_verify.verdict.measure import CODE, Tally, stated
from xent_verify.verdict.policies import CLASSES
from xent_verify.verdict.refusals import refusal as properties_refused
from xent_verify.verdict.requirements import Requirements
from xent_verify.verdict.rowwise import added, beside_ulps
from xent_verify.verdict.rungs import Bias, Rungs

__all__ = ["Entry", "Ledger", "Lost", "WorstCall", "capabilities"]

T = TypeVar("T")
_INACCURATE = CODE["inaccurate"]
_EVIDENCE, _LARGEST_EVIDENCE = 4, 50_000
"""Failing calls that are kept to confirm causes, and logits of such a call."""

_ASKED_ABOUT = 40
"""Kinds of calls that raised, at most, of which it is found out whether they are refused."""
_CONSISTENT = ("all -inf", "all masked", "mean over nothing")
"""Situations in which one target must always answer with the same word."""


@dataclass(slots=True)
class Entry:
    """One kind of failure so far, of one relation's or a plain call's making ("").

    ``raised``: for exceptions, which (exceptions of another type or from another place are another failure).
    """

    kind: str
    severity: Severity
    relation: str
    hit: Hit
    batch: Batch
    outcome: Outcome | None
    raised: str = ""
    count: int = 0
    regimes: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Refusal:
    capabilities: frozenset[str]
    batch: Batch
    hit: Hit
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class WorstCall:
    """The call behind a regime's largest error in ulps: the flat element, what was answered there, error over limit."""

    batch: Batch
    index: int
    observed: float
    ratio: float


def capabilities(op: Op, batch: Batch) -> frozenset[str]:
    """What a call asks of a target beyond the base case (2-D, last axis, int64 targets, no options)."""
    asked = {f"{batch.layout} arrays"} if batch.layout in UNUSUAL_LAYOUTS else set()
    if batch.x.ndim != 2:
        asked.add(f"{batch.x.ndim}-D input")
    target = batch.inputs.get("target")
    if target is not None and op.labels:
        if target.ndim == 2:
            asked.add("probability targets")
        elif target.dtype != np.int64:
            asked.add(f"{target.dtype.name} targets")
    for name, value in batch.options.items():
        if name == "axis" and value % max(batch.x.ndim, 1) == batch.x.ndim - 1:
            continue  # the last axis, however it is counted
        default = op.options[name].default if name in op.options else None
        if isinstance(value, np.ndarray) and value.dtype != batch.form.dtype:
            asked.add(f"{value.dtype.name} {name}")
        if value is not default and not (np.ndim(value) == 0 and value == default):
            asked.add(f"reduction={value}" if name == "reduction" else name)
    return frozenset(asked)


class Lost:
    """What could not be done because something raised: a part of the work each, and why."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def __call__(self, what: str, error: Exception) -> None:
        self.say(f"{what}: {one_line(error)}")

    def say(self, line: str) -> None:
        """Add a line."""
        self._seen[line] = self._seen.get(line, 0) + 1

    def unless(self, what: str, make: Callable[[], T], default: T) -> T:
        """What ``make`` gives, or the default where it raises."""
        try:
            return make()
        except Exception as error:  # noqa: BLE001  (said in the report)
            self(what, error)
            return default

    def while_drawn(self, cases: Iterable[T]) -> Iterator[T]:
        """The cases up to where making them raises."""
        try:
            yield from cases
        except Exception as error:  # noqa: BLE001  (said in the report)
            self("the plan ended early", error)

    def lines(self) -> tuple[str, ...]:
        return tuple(line if count == 1 else f"{line} ({count} times)" for line, count in self._seen.items())


class Ledger:
    """Everything learned about one target on one (op, dtype)."""

    def __init__(self, op: Op, fmt: str) -> None:
        self.op = op
        self.rungs, self.bias = Rungs(op, format_named(fmt)), Bias()
        self.lost = Lost()
        self.cases = 0
        self.max_ulp = 0.0
        self.max_ratio = 0.0
        self.entries: dict[tuple[str, Severity, str], Entry] = {}
        self.tallies: dict[str, Tally] = {}
        self.worst_calls: dict[str, WorstCall] = {}
        self._refusals: list[_Refusal] = []
        self._granted: dict[str, int] = {}
        self._base_answers = 0
        self._answered: set[tuple[str, int]] = set()  # lengths; layouts, with the number of dimensions
        self._properties: dict[str, bool] = {}
        self._words: dict[str, dict[str, Batch]] = {}
        self._failing: dict[str, tuple[int, Batch]] = {}
        self.conditions = Conditions(op)

    @property
    def failing_calls(self) -> list[Batch]:
        """Of the regimes with failing numbers the call with most of them, those with most first."""
        ordered = sorted(self._failing.values(), key=lambda item: -item[0])
        return [batch for _, batch in ordered[:_EVIDENCE]]

    @property
    def failed(self) -> bool:
        """Whether a failure is certain; that timeouts are one shows at the end."""
        return any(severity == "fail" and kind != "timeout" for kind, severity, _ in self.entries)

    def add(self, batch: Batch, outcome: Outcome, truth: Enclosure, judgement: Judgement, rules: Rules) -> None:
        """Count one judged call."""
        self.rungs.add(batch, outcome, truth, judgement, rules)
        self.bias.add(batch, outcome, truth, judgement, stochastic=rules.policy.stochastic)
        refused = [hit for hit in judgement.hits if hit.kind == "exception"]
        asked = capabilities(self.op, batch)
        if refused:
            self._refusals.append(_Refusal(asked, batch, refused[0], outcome))
        elif isinstance(outcome, Returned):
            self._base_answers += 1
            self._answered.add((f"rows of {batch.x.shape[-1] if batch.x.ndim else 1}", 0))
            plain = batch.x.ndim < 2 or min(batch.x.shape) < 2 or batch.layout == "broadcast"
            if not plain:  # else the layout may be the ordinary one
                self._answered.add((f"layout {batch.layout}", batch.x.ndim))
            for name in asked:
                self._granted[name] = self._granted.get(name, 0) + 1
        for hit in judgement.hits:
            if hit.kind != "exception":
                self.note(hit, batch, outcome)
        for situation, word in judgement.words:
            self._words.setdefault(situation, {}).setdefault(word, batch)
        wrong = any(hit.severity == "fail" and KINDS[hit.kind].group == "value" for hit in judgement.hits)
        self.conditions.add(batch, wrong=wrong)
        self._measure(batch, outcome, truth, judgement)

    def _measure(self, batch: Batch, outcome: Outcome, truth: Enclosure, judgement: Judgement) -> None:
        errors = judgement.errors
        if errors is None:
            self.cases += 1
            return
        self.cases += max(errors.ulp.size, 1)
        if not errors.ulp.size:
            return
        tally = self.tallies.setdefault(batch.regime, Tally())
        if isinstance(outcome, Returned):
            observed = batch.result_form.widen(outcome.value).reshape(truth.shape)
            tally.measures = added(tally.measures, beside_ulps(self.op, batch, observed, truth, errors))
        axis = int(batch.options.get("axis", -1))
        length = batch.x.shape[axis] if self.op.by_row and batch.x.ndim else 1
        place = tally.add(batch, errors, truth, length)
        if place is not None and isinstance(outcome, Returned):
            answer, ratio = float(outcome.value.reshape(-1)[place]), float(errors.ratio.flat[place])
            self.worst_calls[batch.regime] = WorstCall(batch, place, answer, ratio)
        numbers = int(np.count_nonzero((errors.code == _INACCURATE) & np.isfinite(errors.ulp)))
        if numbers > self._failing.get(batch.regime, (0, batch))[0] and batch.x.size <= _LARGEST_EVIDENCE:
            self._failing[batch.regime] = numbers, batch
        self.max_ulp = max(self.max_ulp, tally.max_ulp)
        self.max_ratio = max(self.max_ratio, tally.max_ratio)

    def note(self, hit: Hit, batch: Batch, outcome: Outcome | None, relation: str = "") -> None:
        """Count one hit; keep its call if it is the worst of its kind."""
        raised = ""
        if isinstance(outcome, Raised) and hit.kind in ("exception", "unsupported"):
            raised = outcome.identity if hit.kind == "exception" else outcome.type_name
        if relation == "bias":
            raised = relation  # a failure of its own, beside errors of another cause
        key = (hit.kind, hit.severity, raised)
        entry = self.entries.get(key)
        if entry is None:
            entry = self.entries[key] = Entry(hit.kind, hit.severity, relation, hit, batch, outcome, raised)
        elif _worse(hit, batch, entry):
            entry.hit, entry.batch, entry.outcome, entry.relation = hit, batch, outcome, relation
        entry.count += hit.count
        entry.regimes[batch.regime] = entry.regimes.get(batch.regime, 0) + hit.count

    def excuse_timeouts(self, why: str, late: int) -> None:
        """Timeouts, ``late`` of them, that are no fault of a kind of calls: shown, and they leave the audit incomplete."""
        for key in [key for key in self.entries if key[:2] == ("timeout", "fail")]:
            entry = self.entries.pop(key)
            entry.severity, entry.hit = "warn", replace(entry.hit, severity="warn")
            self.entries["timeout", "warn", entry.raised] = entry
            self.lost.say(f"{why}: {entry.count} call{'s' * (entry.count != 1)} of {', '.join(sorted(entry.regimes))}")
            late -= entry.count
        if late > 0:
            self.lost.say(f"{why}: {late} call{'s' * (late != 1)} that were to be compared with others")

    def close(
        self,
        ask: Callable[[Batch], Outcome] | None = None,
        require: Requirements = Requirements(),  # noqa: B008  a frozen value
    ) -> None:
        """Turn refusals, conventions and a missed class into hits, once every call has been made.

        ``ask``: the target, to find out whether an exception refuses a length, a layout or a rank.
        """
        self._require_class(require)
        seen: dict[tuple[Any, ...], str] = {}
        for refusal in self._refusals:
            missing = {name for name in refusal.capabilities if not self._granted.get(name)}
            if missing and self._base_answers:
                text = f"not offered: {', '.join(sorted(missing))} ({refusal.hit.message})"
                self.note(Hit("unsupported", "info", text), refusal.batch, refusal.outcome)
                continue
            what = self._refused_property(refusal, ask, seen)
            if what:
                text = f"not offered: {what} ({refusal.hit.message})"
                self.note(Hit("unsupported", "info", text), refusal.batch, refusal.outcome)
                self._properties[what] = False
            else:
                self.note(refusal.hit, refusal.batch, refusal.outcome)
        if self.bias.text and self.bias.beyond_half is not None:
            hit = Hit("inaccurate", "fail", self.bias.text, self.bias.count, self.bias.index)
            self.note(hit, self.bias.beyond_half, None, "bias")
        for situation in _CONSISTENT:
            words = self._words.get(situation, {})
            if len(words) > 1:
                text = f"{situation}: the same kind of row is answered {' and '.join(sorted(words))}"
                for batch in words.values():
                    self.note(Hit("special_value", "fail", text), batch, None, "convention")

    def _require_class(self, require: Requirements) -> None:
        """A class that is asked for and not kept is a failure of its own, unless a value fails anyway."""
        keeps, broken = self.rungs.name, self.rungs.broken
        values = any(KINDS[kind].group == "value" and severity == "fail" for kind, severity, _ in self.entries)
        if require.met_by(keeps) or values:
            return
        weaker = CLASSES[CLASSES.index(require.keeps) :]
        name = next((one for one in weaker if one in broken), max(broken, key=CLASSES.index))
        text = f"class {require.keeps} is required, {keeps} is kept"
        self.note(Hit("inaccurate", "fail", text, 1, broken[name][1]), broken[name][0], None, "class")

    def _refused_property(
        self, refusal: _Refusal, ask: Callable[[Batch], Outcome] | None, seen: dict[tuple[Any, ...], str]
    ) -> str:
        """The length, layout or rank that an exception refuses; "" for a fault. Each kind of call is asked about once."""
        outcome, batch = refusal.outcome, refusal.batch
        if ask is None or not self._base_answers or not isinstance(outcome, Raised):
            return ""
        key = (outcome.type_name, batch.x.shape, batch.layout, tuple(sorted(batch.options)))
        if key not in seen:
            if len(seen) >= _ASKED_ABOUT:
                return ""
            found = self.lost.unless("refusals", lambda: properties_refused(self.op, batch, outcome, ask), "")
            seen[key] = "" if {(found, 0), (found, batch.x.ndim)} & self._answered else found
        return seen[key]

    @property
    def conventions(self) -> dict[str, tuple[str, ...]]:
        """Situation -> words seen."""
        return {name: tuple(sorted(words)) for name, words in sorted(self._words.items()) if name in PROFILES["any"]}

    @property
    def refused(self) -> dict[str, bool]:
        """Capability -> offered, for every capability that was asked for."""
        asked = {name for refusal in self._refusals for name in refusal.capabilities}
        granted = {name: bool(self._granted.get(name)) for name in sorted(asked | set(self._granted))}
        return granted | self._properties

    def classes(self) -> dict[str, int]:
        """Class counts over all regimes."""
        total: dict[str, int] = {}
        for tally in self.tallies.values():
            for name, count in tally.classes.items():
                total[name] = total.get(name, 0) + count
        for entry in self.entries.values():
            if KINDS[entry.kind].group == "outcome":
                total[entry.kind] = total.get(entry.kind, 0) + entry.count
        return dict(sorted(total.items()))

    def regimes(self) -> tuple[RegimeResult, ...]:
        return tuple(tally.result(name) for name, tally in sorted(self.tallies.items()))

    def as_result(
        self,
        fmt: str,
        findings: tuple[Finding, ...],
        offered: Mapping[str, bool],
        notes: tuple[str, ...],
        unasked: tuple[str, ...] = (),
    ) -> DtypeResult:
        """The frozen record of everything counted here."""
        return DtypeResult(
            fmt, self.cases, self.max_ulp, stated(self.max_ratio), self.classes(), findings, self.regimes(), offered, notes,
            unasked=unasked, incomplete=self.lost.lines(), keeps=self.rungs.name,
        )  # fmt: skip

    def ordered(self) -> list[Entry]:
        """Entries, gravest first."""
        return sorted(self.entries.values(), key=lambda entry: (rank(entry.severity), list(KINDS).index(entry.kind)))


def _worse(hit: Hit, batch: Batch, entry: Entry) -> bool:
    """Larger error over limit first, then larger error, then the smaller input."""
    now = (_number(hit.ratio), _number(hit.ulp), -batch.x.size)
    return now > (_number(entry.hit.ratio), _number(entry.hit.ulp), -entry.batch.x.size)


def _number(value: float | None) -> float:
    return -1.0 if value is None or np.isnan(value) else float(value)
