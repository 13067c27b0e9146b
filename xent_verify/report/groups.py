"""The verdict of a report in words, released libraries apart from forms that are naive by design."""

from __future__ import annotations

from xent_verify.core.libraries import LIBRARIES
from xent_verify.core.model import Report
from xent_verify.implementations import IMPLEMENTATIONS
from xent_verify.report.words import verdict

__all__ = ["as_designed", "verdict_by_group"]

_LIBRARIES, _STABLE, _NAIVE, _OTHERS = "released libraries", "stable forms", "naive forms", "other targets"
_GROUPS = (_LIBRARIES, _STABLE, _NAIVE, _OTHERS)


def verdict_by_group(report: Report) -> tuple[str, ...]:
    """A line for each group that is there, such as ``released libraries: 8 of 8 pass``; a target counts once a format.

    This package's naive implementations are there to fail; a failure of theirs is no surprise.
    """
    found = _groups(report)
    return tuple(_line(name, found[name]) for name in _GROUPS if found.get(name))


def as_designed(report: Report) -> bool:
    """Whether something fails, and only what is naive by design, beside other targets that were audited to their end."""
    found = _groups(report)
    naive = found.pop(_NAIVE, [])
    others = [verdict for verdicts in found.values() for verdict in verdicts]
    return "fail" in naive and bool(others) and not {"fail", "incomplete", "unchecked"} & {*others}


def _groups(report: Report) -> dict[str, list[str]]:
    """Group -> the verdicts on its targets, one for each format."""
    families = {(entry.op, entry.name): entry.family for entry in IMPLEMENTATIONS}
    released = {(entry.op, entry.target) for entry in LIBRARIES}
    found: dict[str, list[str]] = {}
    for target in report.targets:
        key = (target.op, target.target)
        own = {"naive": _NAIVE, "stable": _STABLE}.get(families.get(key, ""), _OTHERS)
        found.setdefault(_LIBRARIES if key in released else own, []).extend(map(verdict, target.dtypes))
    return found


def _line(name: str, verdicts: list[str]) -> str:
    passed = sum(one in ("pass", "warn") for one in verdicts)
    if name == _NAIVE:
        return f"{name}: {verdicts.count('fail')} of {len(verdicts)} fail, by design"
    others = [f"{verdicts.count(one)} {one}" for one in ("fail", "known", "incomplete", "unchecked") if one in verdicts]
    return f"{name}: {passed} of {len(verdicts)} pass" + (f" ({', '.join(others)})" if others else "")
