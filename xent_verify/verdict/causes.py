"""The likely cause of a failure: a known mistake that several calls bear out, or else where the values fail.

A cause is named when it explains at least ``LEAST`` telling values (neither 0 nor infinite nor NaN, of more than 8 bits) of at
least two calls, and when these tell at least ``BITS`` bits: thousands of variants are tried, and one that is a quarter off
the error tells two bits a value. The other calls are fresh ones, since the target is there to be asked again, and failing
ones that the audit met. "Sound in a narrower precision" is a mistake of the table, too, and goes first where it explains as much.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify import diagnose
from xent_verify.core.enclosure import Enclosure
from xent_verify.core.model import Batch, Outcome, Returned
from xent_verify.diagnose import Suspect
from xent_verify.diagnose.agreement import ways
from xent_verify.diagnose.bands import band
from xent_verify.diagnose.forms import Sample, form_of
from xent_verify.diagnose.options import option, other_format
from xent_verify.diagnose.probes import fresh, probes
from xent_verify.diagnose.sizes import size
from xent_verify.ops import Op
from xent_verify.verdict.judge import Judgement, as_answered

__all__ = ["LEAST", "UNKNOWN", "Causes"]

UNKNOWN = "no known cause"

LEAST = 8
"""Telling values that a cause must explain."""

BITS = 32
"""log2 of the number of variants tried (about 2^12), and 20 more."""

_SMALL = 20_000
"""Logits of another failing call that a cause is looked for in."""
_SCANS = 8
"""Times that a call is compared with a whole table of mistakes: later ones with those alone that were named."""
_ASKED = 8
"""Calls that one mistake is tried on, and no others are left."""
_WIDER = " in float64"
"""What a variant in a wider precision than the usual one says of itself: it is as good as one that misses a call."""
_ALIKE = 2
"""Mistakes that no call tells apart, of which the first is named."""
_MISSED = 1
"""Probes of which a cause may be wrong."""
_FITTED = 6
"""Calls that a form is fitted to, beside the one that is looked at."""
_NARROW = "narrow-work"
_AGREES = ": agrees with "
_FORMAT = "format"
_FORM = "form"
_CLASS = "class"
"""The keys of what is told of an array's format, of a form, or of the class that is kept, as a mistake that is named."""

_NARROW_CLASSES = ("stored", "native")
_NARROW_KEYS = frozenset((_NARROW, "narrow-accumulator", "narrow-total")) | {
    mistake.key for mistake in diagnose.MISTAKES if mistake.special
}
"""The mistakes that a target of such a class can have made."""

Judged = Callable[[Batch], tuple[Outcome, Enclosure, Judgement]]


@dataclass(frozen=True, slots=True)
class _Seen:
    """One failing call: the answer, which of its values fail, the truth."""

    batch: Batch
    observed: NDArray[Any]
    failing: NDArray[np.bool_]
    truth: Enclosure
    ratio: NDArray[Any]

    @property
    def sample(self) -> Sample:
        """What forms are fitted to."""
        true, given, ratio = (
            self.truth.to_float64()[self.failing],
            self.observed[self.failing],
            self.ratio[self.failing],
        )
        with np.errstate(all="ignore"):
            given = given.astype(np.float64)
            length = self.batch.x.shape[-1] if self.batch.x.ndim else 1
            return Sample(true, given, np.abs(given - true) / ratio, length)


class Causes:
    """Causes of one target's failures; ``calls``: failing calls that the audit met, of different regimes.

    ``condition``: what sets the calls that fail apart from the others, in words; ``keeps``: the class that all answers keep.
    """

    def __init__(
        self, op: Op, judged: Judged, calls: Sequence[Batch] = (), condition: str = "", keeps: str = ""
    ) -> None:
        self._op, self._judged, self._calls, self._condition, self._keeps = op, judged, calls, condition, keeps
        self._known: dict[int, tuple[Batch, _Seen | None]] = {}  # with the call, so that its id is no other's
        self._causes: dict[int, str] = {}
        self._told: dict[str, None] = {}
        self._scans = 0
        self._named: dict[str, str] = {}  # sentence -> key of the mistake

    def text(self, batch: Batch) -> str:
        """What one failing call and others agree with, or where its values fail; "" where nothing can be said."""
        seen = self._seen(batch)
        if seen is None:
            return ""
        told = other_format(self._op, batch, self._fails)
        if told:
            self._named[told] = _FORMAT
            return told
        narrow = f"intermediates are kept in {batch.fmt}: every answer is within the limits of class {self._keeps}"
        told = next((text for text in self._told if self.explains(self.named(text), batch)), "")
        told = told or self._cause(seen) or self._elsewhere(seen) or (narrow if self._by_class(seen) else "")
        if told:
            self._told[told] = None
            self._named.setdefault(self.named(told) or told, _CLASS)
            return told
        form = self._form(seen)
        if form:
            self._named[form] = _FORM
            return form
        told = band(self._op, seen.batch, seen.failing, self._failing)
        condition = size(self._op, batch, self._fails) or option(self._op, batch, self._fails)
        if not condition and self._condition:
            condition = f"wrong only for {self._condition}"
        parts = [condition, self._where(seen, told)]
        where = "; ".join(part for part in parts if part)
        return f"{UNKNOWN}; {where}" if where else ""

    def _cause(self, seen: _Seen) -> str:
        """A known mistake that explains this call and others; "" where there is none."""
        if id(seen.batch) in self._causes:
            return self._causes[id(seen.batch)]
        told, keys = "", [frozenset[str]()]
        if self._keeps in _NARROW_CLASSES:
            keys = [_NARROW_KEYS, *([] if self._by_class(seen) and self._keeps == _NARROW_CLASSES[0] else keys)]
        for only, of_any in itertools.product(keys, (False, True) if self._op.built_on else (True,)):
            if self._scans >= _SCANS:
                break
            self._scans += 1
            found = diagnose.suspects(
                self._op, seen.batch, seen.observed, seen.failing, seen.truth, only, of_any=of_any
            )
            told = self._borne_out(seen, found, of_any) if found else ""
            if told:
                break
        self._causes[id(seen.batch)] = told
        return told

    def _elsewhere(self, seen: _Seen) -> str:
        """The mistake that explains another failing call, where it explains this one, too."""
        for batch in itertools.islice(self._calls, _FITTED // 2):
            other = self._seen(batch)
            told = "" if other is None or other is seen or other.batch.x.size > _SMALL else self._cause(other)
            if told and self.explains(self.named(told), seen.batch):
                return told
        return ""

    def named(self, text: str) -> str:
        """The mistake that a text of this object names; "" where it names none."""
        sentence = text.partition(_AGREES)[0]
        return sentence if sentence in self._named else ""

    def explains(self, mistake: str, batch: Batch) -> bool:
        """Whether a mistake that was named predicts the failing values of another call."""
        seen = self._seen(batch)
        if seen is None or mistake not in self._named:
            return False
        if self._named[mistake] == _FORMAT:
            return other_format(self._op, batch, self._fails) == mistake
        if self._named[mistake] == _CLASS:
            return self._by_class(seen)
        if self._named[mistake] == _FORM:
            return self._form(seen).partition(" (")[0] == mistake.partition(" (")[0]
        keys = frozenset((self._named[mistake],))
        return bool(diagnose.suspects(self._op, seen.batch, seen.observed, seen.failing, seen.truth, keys))

    def _by_class(self, seen: _Seen) -> bool:
        """Whether narrow intermediates explain the failing numbers: the limits of such a class hold for all answers."""
        return self._keeps in _NARROW_CLASSES and bool(
            np.isfinite(seen.observed[seen.failing].astype(np.float64)).all()
        )

    def _form(self, seen: _Seen) -> str:
        """The form that the failing values of this call and others have; "" where there is none."""
        others = (self._seen(batch) for batch in itertools.islice(self._others(seen), _FITTED))
        form = form_of([seen.sample, *(other.sample for other in others if other is not None)], LEAST)
        return f"results are off by a factor or a constant: {form}" if form else ""

    def _fails(self, batch: Batch) -> bool | None:
        """Whether a value of another call fails; None where it is not answered."""
        failing = self._failing(batch)
        return None if failing is None else bool(failing.any())

    def _where(self, seen: _Seen, told: str) -> str:
        """Where values fail: of this call, and of a few others, where this one's place is not known."""
        others = () if told else (self._seen(batch) for batch in itertools.islice(self._calls, _FITTED))
        calls = [seen, *(other for other in others if other is not None and other is not seen)]
        known = [(one.batch, one.observed, one.failing, one.truth) for one in calls]
        return diagnose.region_of(self._op, known, told) or diagnose.region_of(self._op, known[:1], told)

    def _failing(self, batch: Batch) -> NDArray[np.bool_] | None:
        """Which values of another call fail."""
        errors = self._judged(batch)[2].errors
        return None if errors is None else np.asarray(errors.ratio > 1)

    def _seen(self, batch: Batch) -> _Seen | None:
        """A call with failing values."""
        seen = self._answer(batch)
        return None if seen is None or not seen.failing.any() else seen

    def _answer(self, batch: Batch) -> _Seen | None:
        if id(batch) not in self._known:
            outcome, truth, judgement = self._judged(batch)
            errors, seen = judgement.errors, None
            if isinstance(outcome, Returned) and errors is not None and outcome.value.size == truth.size:
                value, called = outcome.value.reshape(truth.shape), as_answered(batch, outcome)
                seen = _Seen(called, value, np.asarray(errors.ratio > 1), truth, errors.ratio)
            self._known[id(batch)] = batch, seen
        return self._known[id(batch)][1]

    def _probed(self, batch: Batch) -> NDArray[np.bool_] | None:
        seen = self._answer(batch)
        return None if seen is None else seen.failing

    def _borne_out(self, seen: _Seen, found: list[Suspect], of_any: bool) -> str:
        """The best suspect that other calls agree with as well; "" where there is none."""
        keys = frozenset(suspect.key for suspect in found)
        met = {suspect.key: [suspect] for suspect in found}
        for batch in self._others(seen):
            other = self._seen(batch)
            if other is None:
                continue
            for one in diagnose.suspects(
                self._op, other.batch, other.observed, other.failing, other.truth, keys, of_any=of_any
            ):
                met[one.key].append(one)
            if len(found) == 1 and _enough(met[found[0].key]):
                break
        sure = [suspect for suspect in found if _enough(met[suspect.key])]
        if sure:
            most = max(len(met[suspect.key]) for suspect in sure)
            sure = [suspect for suspect in sure if len(met[suspect.key]) == most]  # they explain the most calls
        if len(sure) != 1 or _several(met[sure[0].key]):
            told, better = self._by_pattern(seen, sure or found, of_any)
            sure, met = (told, better) if told else (sure, met)
        if not sure:
            return ""
        best = sure[0]
        if np.isfinite(seen.observed[seen.failing].astype(np.float64)).all():  # else nothing says that it is sound
            best = next((one for one in sure if one.key == _NARROW and one.exact >= best.exact), best)
        calls = met[best.key]
        hits, failing = sum(call.hits for call in calls), sum(call.failing for call in calls)
        count = sum(call.failing > 0 for call in calls)
        self._named[best.sentence] = best.key
        return f"{best.sentence}{_AGREES}{_of_all(calls)} on {hits} of {failing} failing values of {count} calls"

    def _by_pattern(
        self, seen: _Seen, found: list[Suspect], of_any: bool
    ) -> tuple[list[Suspect], dict[str, list[Suspect]]]:
        """The suspects of which a variant says of every probe which of its values fail, and what it meets."""
        variants = self._variants(seen, {suspect.key for suspect in found}, of_any)
        met = {(one.key, one.words): [one] for one in variants if one.agrees}
        missed = Counter[tuple[str, str]]()
        for batch in probes(self._op, seen.batch, seen.failing, self._probed):
            other, left = self._answer(batch), {name for name in met if missed[name] <= _MISSED}
            if not left or self._decided(left, met):
                break
            if other is None or (not other.failing.any() and other.batch.x.shape[-1:] != seen.batch.x.shape[-1:]):
                continue  # rows of another length may well be right
            found_there = {(one.key, one.words): one for one in self._variants(other, {key for key, _ in left}, of_any)}
            for name in left:
                one = found_there.get(name)
                if one is not None and one.agrees:
                    met[name].append(one)
                elif one is not None or other.failing.any():  # a model that does not fit a right call says nothing
                    missed[name] += 1
        far = {
            name: (missed[name] + name[1].endswith(_WIDER), sum(one.apart for one in calls))
            for name, calls in met.items()
            if missed[name] <= _MISSED and _patterned(calls)
        }
        best: dict[str, tuple[str, str]] = {}
        for name in sorted(far, key=lambda name: far[name]):
            best.setdefault(name[0], name)
        sure = [one for one in found if one.key in best]
        sure.sort(key=lambda one: (far[best[one.key]][0], not one.special, far[best[one.key]][1]))
        level = [one for one in sure if far[best[one.key]] == far[best[sure[0].key]]]
        if len(level) > _ALIKE and not sure[0].special:
            sure = []  # they say the same of all calls
        return sure, {key: met[name] for key, name in best.items()}

    @staticmethod
    def _decided(left: set[tuple[str, str]], met: dict[tuple[str, str], list[Suspect]]) -> bool:
        """Whether one mistake is left that enough calls bear out."""
        return len({key for key, _ in left}) == 1 and all(
            len(met[name]) > _ASKED and _patterned(met[name]) for name in left
        )

    def _variants(self, seen: _Seen, keys: set[str], of_any: bool) -> list[Suspect]:
        return diagnose.suspects(
            self._op, seen.batch, seen.observed, seen.failing, seen.truth, frozenset(keys), True, of_any
        )

    def _others(self, seen: _Seen) -> Iterator[Batch]:
        for seed in range(2 if seen.failing.size > 1 else LEAST + 1):  # a reduced loss is one value a call
            batch = fresh(self._op, seen.batch, seen.failing, seed)
            if batch is not None:
                yield batch
        yield from (batch for batch in self._calls if batch is not seen.batch)


def _patterned(calls: Sequence[Suspect]) -> bool:
    """Whether a mistake says of so many values whether they fail that chance does not."""
    told: dict[float, float] = {}
    for call in calls:
        told |= call.surprise
    wrong = [call for call in calls if call.failing]
    bits = sum(told.values()) + sum(call.pattern for call in calls) + ways(len(calls), len(wrong))
    return len(wrong) > 1 and sum(call.hits for call in calls) >= LEAST and bits >= BITS


def _of_all(calls: Sequence[Suspect]) -> str:
    """The words of the variant that agrees with most calls; of several the first."""
    count = Counter(words for call in calls for words in call.alike)
    return max(calls[0].alike, key=lambda words: count[words])


def _several(calls: Sequence[Suspect]) -> bool:
    """Whether several variants agree with as many calls."""
    count = sorted(Counter(words for call in calls for words in call.alike).values())
    return len(count) > 1 and count[-1] == count[-2]


def _enough(calls: Sequence[Suspect]) -> bool:
    """Whether several calls bear a mistake out; a value that comes again tells nothing new."""
    told: dict[float, float] = {}
    for call in calls:
        told |= call.surprise
    return len(calls) > 1 and sum(call.telling for call in calls) >= LEAST and sum(told.values()) >= BITS
