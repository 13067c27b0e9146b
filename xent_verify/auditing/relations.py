"""Which answered calls are held against others: companions and laws, around one sound call of each of several regimes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial

from xent_verify import companions
from xent_verify.auditing.findings import Asker
from xent_verify.companions.sizes import VOCABULARIES
from xent_verify.core.clock import USUAL
from xent_verify.core.model import Batch, Returned
from xent_verify.verdict.judge import Hit
from xent_verify.verdict.ledger import Ledger, Lost
from xent_verify.verdict.properties import rows_view
from xent_verify.verdict.settings import Settings

__all__ = ["LARGEST_COMPARED", "lengths", "relations", "untimely"]

_COMPARED = {"quick": 6, "standard": 14, "deep": 40}
"""Calls that companions and laws are tried on, per profile."""

LARGEST_COMPARED = 20_000
"""Logits of such a call."""

Pairs = list[tuple[Batch, Returned]]


def lengths(settings: Settings) -> tuple[int, ...]:
    """The row lengths that the caller names; with those of language models where invariance is required."""
    vocabularies = () if settings.rules.require.ulps is None else VOCABULARIES
    return tuple(dict.fromkeys([*settings.sizes, *vocabularies]))


def relations(asker: Asker, ledger: Ledger, answered: Pairs, settings: Settings) -> list[str]:
    """Note every hit of companions and laws around sound answers; what could not be looked at, a line each.

    Batches of many sizes come first: where they change bits, other companions' words for the same are left out.
    """
    short = [pair for pair in answered if 1 < pair[0].x.size <= LARGEST_COMPARED and pair[0].aspect != "sweep"]
    first_of = {pair[0].regime: pair for pair in reversed(short)}
    chosen = list(itertools.islice(reversed(first_of.values()), _COMPARED[settings.profile]))
    strict = settings.rules.require.ulps is not None
    longest = _longest([pair for pair in short if rows_view(asker.op, pair[0]) is not None])
    apart = [*chosen, *longest, *_of_lengths(answered, lengths(settings))] if strict else longest
    once = ("always", "once", "lasting") if strict or settings.profile != "quick" else ("always", "once")
    laws = asker.op.laws
    work = [(pair, _when("longest")) for pair in apart]
    work += [(pair, (*_when(*(once if pair is chosen[0] else ["always"])), *laws)) for pair in chosen]
    work += [(pair, laws) for pair in _longest(answered) if pair[0].x.size > LARGEST_COMPARED]
    told: set[tuple[str, str]] = set()
    done = 0
    for pair, names in work:
        if (settings.fail_fast and ledger.failed) or asker.clock.spent:
            break
        done += 1
        for name, hit in _hits(asker, *pair, names, ledger.lost):
            if hit.apart is None or (hit.kind, hit.severity) not in told:
                ledger.note(hit, *pair, name)
            told |= {(hit.kind, hit.severity)} if name == "sizes" and hit.apart is not None else set()
    lines = (
        ["not asked (invariance): no call in which rows have results of their own"] if strict and not longest else []
    )
    reached = {_length(batch) for batch, _ in answered}
    missed = [f"{length:,}" for length in VOCABULARIES if length not in reached]
    if strict and missed and settings.regimes and "named_sizes" not in settings.regimes:
        lines += [f"not asked (--regimes): invariance of rows of {', '.join(missed)} logits (named_sizes has them)"]
    if work and asker.clock.spent:
        left = len(work) - max(done - 1, 0)  # the last one was broken off, perhaps
        lines += untimely(ledger, settings, f"companions and laws of {left} of {len(work)} calls, or some of them")
    return lines


def untimely(ledger: Ledger, settings: Settings, what: str) -> list[str]:
    """A line on what no time was left for. That the usual time was not enough leaves the audit incomplete: the ledger says it."""
    if settings.budget:
        return [f"not asked (--budget {settings.budget:g} s): {what}"]
    ledger.lost.say(f"not asked within {USUAL[settings.profile]:g} s (--budget allows more): {what}")
    return []


def _longest(pairs: Pairs) -> Pairs:
    """The call of the longest rows, if there is any."""
    return [max(pairs, key=lambda pair: _length(pair[0]))] if pairs else []


def _of_lengths(pairs: Pairs, wanted: Sequence[int]) -> Pairs:
    """One call of each of these row lengths."""
    named = {_length(pair[0]): pair for pair in reversed(pairs) if pair[0].regime == "named_sizes"}
    return [named[length] for length in wanted if length in named]


def _length(batch: Batch) -> int:
    return int(batch.x.shape[-1]) if batch.x.ndim else 0


def _when(*whens: str) -> tuple[str, ...]:
    """The names of the companions that are asked then."""
    return tuple(companion.name for companion in companions.COMPANIONS if companion.when in whens)


def _hits(asker: Asker, batch: Batch, outcome: Returned, names: Sequence[str], lost: Lost) -> list[tuple[str, Hit]]:
    """(relation, hit) of one call; a relation that cannot be looked at costs itself alone."""
    found: list[tuple[str, Hit]] = []
    limit = lost.unless("relations", partial(asker.limit, batch), None)
    if limit is None:
        return found
    plain = asker.op.plain(batch)
    for name in names if plain else (name for name in names if name not in asker.op.laws):
        hits: Sequence[Hit] = lost.unless(name, partial(asker.related, batch, outcome, name, limit), ())
        found += [(name, hit) for hit in hits]
    return found
