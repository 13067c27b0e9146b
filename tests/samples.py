"""Samples of long tables of cases: some run in every suite, all of them with ``-m "slow or not slow"``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import pytest

__all__ = ["in_turn", "sampled", "thinned"]


def sampled(cases: Iterable[Any], every: int) -> list[Any]:
    """Every so many-th case as it is, the others marked slow."""
    return [case if place % every == 0 else _slow(case) for place, case in enumerate(cases)]


def in_turn(first: Sequence[Any], second: Sequence[Any], each: int = 1) -> list[Any]:
    """All pairs; of those of one ``first`` so many, with values of ``second`` in turn, are in every suite."""
    usual = {(place, (place * each + k) % len(second)) for place in range(len(first)) for k in range(each)}
    pairs = [(i, j) for i in range(len(first)) for j in range(len(second))]
    return [(first[i], second[j]) if (i, j) in usual else _slow((first[i], second[j])) for i, j in pairs]


def thinned(every: int) -> list[Any]:
    """For a test that takes each so many-th of its own cases: the usual stride, and 1 as a slow one."""
    return [every, _slow(1)]


def _slow(case: Any) -> Any:
    values = case if isinstance(case, tuple) else (case,)
    return pytest.param(*values, marks=pytest.mark.slow)
