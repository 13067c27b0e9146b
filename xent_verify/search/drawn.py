"""Search by Hypothesis: draw calls, aim at large errors, shrink each kind of failure to a minimal call."""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, configuration
from hypothesis.errors import Flaky
from hypothesis.strategies import SearchStrategy

from xent_verify.core.formats import FloatFormat
from xent_verify.core.model import Batch
from xent_verify.strategies import batches

__all__ = ["Found", "Verdict", "hypothesis_search"]

_HIGHEST = 1e300  # ``target`` takes finite numbers only


class Verdict(Protocol):
    """What a judge says of one call: the kind of failure (None: sound), and how far off it is (larger is worse)."""

    @property
    def kind(self) -> str | None: ...

    @property
    def score(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Found:
    """One kind of failure: the minimal call, the worst one seen with its score, and how many calls failed so."""

    kind: str
    minimal: Batch
    worst: Batch
    score: float
    count: int


class _Failure(Exception):  # noqa: N818  (raised to tell Hypothesis; nobody else sees it)
    """A failing call. Each kind gets its own subclass: Hypothesis shrinks every exception type on its own."""


def hypothesis_search(
    op: str,
    fmt: str | FloatFormat,
    judge: Callable[[Batch], Verdict],
    *,
    seed: int = 0,
    examples: int = 500,
    special: bool = False,
) -> tuple[Found, ...]:
    """Every kind of failure among ``examples`` drawn calls, with its minimal call, sorted by kind.

    Hypothesis draws little more once something has failed; so the calls are drawn in rounds, and what an earlier round has
    found no longer ends a later one.

    The same seed finds the same calls. Settings are this function's own: no database, no deadline, and nothing is
    written into the user's ``.hypothesis`` directory.
    """
    found: dict[str, Found] = {}
    drawn, turn = 0, 0
    while drawn < examples:
        before = len(found)
        drawn += _round(batches(op, fmt, special=special), judge, found, seed + turn, examples - drawn)
        turn += 1
        if len(found) == before:
            break
    return tuple(found[kind] for kind in sorted(found))


def _round(
    calls: SearchStrategy[Batch], judge: Callable[[Batch], Verdict], found: dict[str, Found], seed: int, examples: int
) -> int:
    """Draw until something fails that ``found`` does not hold, and add it; how many calls were drawn."""
    drawn, known = 0, frozenset(found)
    failures: dict[str, type[_Failure]] = {}

    @hypothesis.seed(seed)
    @_settings(examples)
    @hypothesis.given(calls)
    def probe(batch: Batch) -> None:
        nonlocal drawn
        drawn += 1
        verdict = judge(batch)
        kind, score = verdict.kind, _finite(verdict.score)
        hypothesis.target(score, label="error")
        if kind is None:
            return
        noted = _noted(found.get(kind), kind, batch, score)
        if kind in known:
            found[kind] = replace(noted, minimal=found[kind].minimal)
            return
        found[kind] = noted
        raise failures.setdefault(kind, type(f"{kind}_failure", (_Failure,), {}))

    with _private_home(), contextlib.suppress(Flaky):
        try:
            probe()
        except* _Failure:
            pass  # everything is in ``found``: the last call of each kind is the minimal one, run again at the end
    return drawn


def _settings(examples: int) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=examples,
        derandomize=False,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.target, Phase.shrink),
        report_multiple_bugs=True,
        suppress_health_check=tuple(HealthCheck),
        verbosity=Verbosity.quiet,
        print_blob=False,
        backend="hypothesis",
    )


def _finite(score: float) -> float:
    if math.isnan(score):
        return _HIGHEST
    return max(-_HIGHEST, min(_HIGHEST, float(score)))


def _noted(before: Found | None, kind: str, batch: Batch, score: float) -> Found:
    if before is None:
        return Found(kind, batch, batch, score, 1)
    worst, highest = (batch, score) if score > before.score else (before.worst, before.score)
    return Found(kind, batch, worst, highest, before.count + 1)


@contextlib.contextmanager
def _private_home() -> Iterator[None]:
    """Hypothesis caches constants of local modules in its home directory, database or not: give it another one."""
    name = "__hypothesis_home_directory"
    before = getattr(configuration, name, None)
    with tempfile.TemporaryDirectory(prefix="xent-verify-") as directory:
        configuration.set_hypothesis_home_dir(directory)
        try:
            yield
        finally:
            configuration.set_hypothesis_home_dir(before)
