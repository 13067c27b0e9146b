"""What went wrong, in words: failing values compared with what known mistakes would have given.

``MISTAKES`` is the table, the most specific first. A mistake is named when it predicts at least 80 % of the failing
values and leaves the others as they are; otherwise the region in which the values fail is described.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.enclosure import Enclosure
from xent_verify.core.model import Batch
from xent_verify.diagnose import (
    inputs,
    losses,
    merges,
    pages,
    readings,
    reductions,
    region,
    shifts,
    slopes,
    sums,
    values,
)
from xent_verify.diagnose.agreement import Agreement
from xent_verify.diagnose.case import Case, Prediction
from xent_verify.diagnose.inference import infer
from xent_verify.diagnose.mistake import Mistake
from xent_verify.ops import Op

__all__ = ["MISTAKES", "Diagnosis", "Mistake", "Suspect", "explain", "infer", "region_of", "suspects"]

MISTAKES: tuple[Mistake, ...] = (
    values.ROUNDED_P,
    *shifts.MISTAKES,
    *slopes.MISTAKES,
    *reductions.MISTAKES,
    *losses.MISTAKES,
    *inputs.SENTINELS,
    *values.MISTAKES,
    *inputs.MISTAKES,
    *values.RESULTS,
    *sums.MISTAKES,
    *merges.MISTAKES,
    values.IN_DENOMINATOR,
    inputs.NARROW_WORK,
    *readings.MISTAKES,
)

_SHARE = 0.8
_OTHERS = 0.9
_FEW = 4_000
"""Logits of the sample for the table for all operations, whose predictions take longer."""
_TRY_ALL = 20_000
"""Logits (of the sample) up to which every mistake is tried, so that others that predict the same can be named."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """``mistake``: a key of the table, or "region"; ``text``: a sentence with its evidence."""

    mistake: str
    text: str


@dataclass(frozen=True, slots=True)
class Suspect:
    """A mistake that one call's failing values agree with: how it is told, on how many values, and what these tell.

    ``alike``: the words of all its variants that agree as well; ``apart``: how many of the call's values it misses;
    ``pattern``: what it tells that some of the call's values fail and others do not, in bits;
    ``agrees``: whether it does, ``special``: it is about the infinities or NaN that all failing rows hold.
    """

    key: str
    sentence: str
    words: str
    hits: int
    failing: int
    telling: int
    exact: float
    surprise: Mapping[float, float]
    alike: tuple[str, ...]
    apart: int
    pattern: float
    agrees: bool
    special: bool


def suspects(
    op: Op,
    batch: Batch,
    observed: NDArray[Any],
    failing: NDArray[np.bool_],
    truth: Enclosure,
    only: frozenset[str] = frozenset(),
    variants: bool = False,
    of_any: bool | None = None,
) -> list[Suspect]:
    """All mistakes that agree with one call, the best first.

    ``only``: those of these keys, whether or not best; ``variants``: each variant by itself, agreeing or not, also of calls
    that do not fail; ``of_any``: those of the table for all operations alone, or (False) of the operation's own.
    """
    with np.errstate(all="ignore"):
        case = Case.of(op, batch, observed, failing, truth, passing=variants)
        tried = iter(()) if case is None else _tried(case, case.sampled(), only, of_any)
        found = [] if case is None else _each(tried) if variants else _found(case, tried, only)
    return [
        Suspect(
            match.mistake.key,
            match.mistake.sentence,
            match.words,
            match.agreement.hits,
            match.agreement.failing,
            match.agreement.telling,
            match.agreement.exact,
            match.agreement.surprise,
            match.alike,
            match.agreement.apart,
            case.pattern if case is not None else 0.0,
            match.agrees,
            match.mistake.special and case is not None and case.about_specials,
        )
        for match in found
    ]


Answered = tuple[Batch, NDArray[Any], NDArray[np.bool_], Enclosure]
"""A call, the observed values, which of them fail (both in the shape of the truth), the truth."""


def region_of(op: Op, calls: Sequence[Answered], band: str = "") -> str:
    """Where the first of these failing calls is wrong, in words; "" where nothing sets the wrong values apart.

    The other calls are looked at as well: what sets wrong values apart in all of them. ``band``: that much is known.
    """
    cases = [case for call in calls if (case := Case.of(op, *call)) is not None]
    if not cases:
        found = _empty(op, *calls[0][:2])
        return "" if found is None else found.text
    return region.describe(cases, band)


def explain(
    op: Op, batch: Batch, observed: NDArray[Any], failing: NDArray[np.bool_], truth: Enclosure
) -> Diagnosis | None:
    """The mistake that the failing values agree with best, or where they fail; None where nothing can be said.

    ``observed`` and ``failing`` have the shape of ``truth``.
    """
    with np.errstate(all="ignore"):
        case = Case.of(op, batch, observed, failing, truth)
        if case is None:
            return _empty(op, batch, observed)
        found = _found(case, _tried(case, case.sampled()))
        if not found:
            text = region.describe([case])
            return Diagnosis("region", text) if text else None
    best = found[0]
    count, of = best.agreement.hits, best.agreement.failing
    looked = " looked at" if of < int(failing.sum()) else ""
    text = f"{best.mistake.sentence}: agrees with {best.words} on {count} of {of} failing value{'s' if of > 1 else ''}{looked}"
    if len(found) > 1:
        text += f" (as it would if {' or if '.join(other.mistake.sentence for other in found[1:3])}"
        text += f", or for {len(found) - 3} other mistakes)" if len(found) > 4 else ")"
    return Diagnosis(best.mistake.key, text)


def _empty(op: Op, batch: Batch, observed: NDArray[Any]) -> Diagnosis | None:
    """Rows of no logits."""
    if batch.x.size or not observed.size or op.result != "rows":
        return None
    value = float(observed.astype(np.float64).flat[0])
    return Diagnosis("empty-row", f"a row of no logits gives {value:g}; the logarithm of an empty sum is -inf")


@dataclass(frozen=True, slots=True)
class _Match:
    """``alike``: the words of all variants of the mistake that agree as well as this one."""

    mistake: Mistake
    words: str
    agreement: Agreement
    alike: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        return self.agreement.share >= _SHARE and self.agreement.others >= _OTHERS

    @property
    def score(self) -> float:
        return self.agreement.share + self.agreement.others

    @property
    def rank(self) -> tuple[float, float]:
        """Better matches are greater: first by agreement, then by the share that they meet to the bit."""
        return self.score, self.agreement.exact


_Tried = tuple[Mistake, str, Agreement]


def _each(tried: Iterator[_Tried]) -> list[_Match]:
    """Every variant."""
    return [_Match(mistake, words, agreement, (words,)) for mistake, words, agreement in tried]


def _found(case: Case, tried: Iterator[_Tried], only: frozenset[str] = frozenset()) -> list[_Match]:
    """The best match, and (where the case is small enough to try everything) other mistakes that do as well."""
    matches: dict[str, _Match] = {}
    wrong = case.observed[case.failing]
    telling = bool((np.isfinite(wrong) & (wrong != 0)).any())
    for mistake, words, agreement in tried:
        match = _Match(mistake, words, agreement)
        if not match.agrees:
            continue
        best = matches.get(mistake.key)
        if best is None or match.rank > best.rank:
            best = match
        if match.rank == best.rank:
            matches[mistake.key] = replace(best, alike=(*best.alike, words))
        if not only and telling and match.rank >= (2, 0.5) and case.batch.x.size > _TRY_ALL:
            break
    ranked = sorted(
        matches.values(),
        key=lambda match: (
            -match.score,
            not (match.mistake.special and case.about_specials),
            not (case.slight and match.mistake.key == inputs.NARROW_WORK.key),
            -match.agreement.exact,
        ),
    )
    return [match for match in ranked if only or match.score == ranked[0].score]


def _tried(
    case: Case, sample: Case, only: frozenset[str] = frozenset(), of_any: bool | None = None
) -> Iterator[_Tried]:
    """Every prediction of the operation's own table, and of the table for all operations where none of the first agrees."""
    agreed = False
    for found in _predicted(case, sample, only, _table(case)) if case.wants and not of_any else ():
        agreed |= _Match(*found).agrees
        yield found
    if of_any or not (agreed or (case.wants and of_any is False)):
        few = case.sampled(_FEW)
        yield from _predicted(case, few, only, pages.MISTAKES if few.batch.x.size <= _TRY_ALL else ())


def _table(case: Case) -> tuple[Mistake, ...]:
    particular = (*reductions.MISTAKES, *losses.MISTAKES)
    return (
        (*particular, *MISTAKES) if case.observed.ndim == 0 else MISTAKES
    )  # one number fits much: the particular first


def _predicted(case: Case, sample: Case, only: frozenset[str], table: tuple[Mistake, ...]) -> Iterator[_Tried]:
    """Every prediction: in the usual precision, then (where ranges matter) in the logits' own and in float64."""
    precisions = [case.dtype]
    precisions += [dtype for dtype in (case.own, np.dtype(np.float64)) if dtype not in precisions]
    for dtype in precisions:
        usual = dtype == case.dtype
        whole, part = (case, sample) if usual else (case.computed_in(dtype), sample.computed_in(dtype))
        for mistake in table:
            if only and mistake.key not in only:
                continue
            if not (mistake.fits(case.op) and (usual or mistake.everywhere)):
                continue
            used = whole if mistake.whole else part
            for words, predicted in _predictions(mistake, used):
                yield mistake, words if usual else f"{words} in {dtype.name}", used.evidence.meets(predicted)


def _predictions(mistake: Mistake, case: Case) -> Iterator[Prediction]:
    """What the mistake's model has to say; one that does not fit the call (its shapes, its class ids) says no more."""
    try:
        yield from mistake.model(case)
    except (ArithmeticError, LookupError, RecursionError, ValueError):
        return
