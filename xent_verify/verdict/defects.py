"""Which signs of failure belong to one defect of the target.

A sign is one kind of failure. Three rules, each from what a sign is evidence of:

* Wrong numbers that one known mistake explains are one defect: the mistake that is named for one of them is tried on the
  calls of the others. Wrong numbers without a known cause are one defect as well, since nothing tells them apart.
* Laws of the operation hold for the truth. A broken law is a sign of wrong numbers, where there are any.
* A row whose numbers are right alone and wrong in company (of other rows, another layout, earlier calls) shows the same
  defect as the relation that compares the two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from xent_verify.core.kinds import KINDS
from xent_verify.core.model import Batch, Finding
from xent_verify.verdict.causes import UNKNOWN, Causes

__all__ = ["Sign", "by_defect"]

_NUMBERS = "wrong numbers"
_COMPANY = "what is right alone is wrong in company"
_CONDUCT = "stateful"
"""A conduct that shows as changed numbers, unlike a changed input."""


@dataclass(frozen=True, slots=True)
class Sign:
    """A finding of one kind, the call it was explained from, and whether that call is one row that fails by itself."""

    finding: Finding
    batch: Batch
    alone: bool


def by_defect(signs: Sequence[Sign], causes: Causes) -> tuple[Finding, ...]:
    """The findings, each labelled with its defect; within a defect the one that says most comes first."""
    failing = [sign for sign in signs if sign.finding.severity == "fail"]
    company = [sign for sign in failing if _compares(sign.finding)]
    numbers = [sign for sign in signs if _numbers(sign.finding)]
    labels: dict[int, str] = {}
    mistakes: list[str] = []
    for sign in sorted(numbers, key=lambda sign: not causes.named(sign.finding.diagnosis)):
        label = causes.named(sign.finding.diagnosis)
        known = next((one for one in mistakes if one != label and causes.explains(one, sign.batch)), "")
        if known or label:
            label = known or label
            mistakes.append(label)
        elif sign.finding.severity != "fail":
            continue
        else:
            label = _COMPANY if company and not sign.alone else _NUMBERS
        labels[id(sign)] = label
    main = next((one for sign in failing if (one := labels.get(id(sign), _COMPANY)) != _COMPANY), "")
    shared = next((labels[id(sign)] for sign in numbers if id(sign) in labels and not sign.alone), _COMPANY)
    for sign in company:
        labels[id(sign)] = main if main and sign.finding.kind == "property" else shared
    labelled = [replace(sign.finding, defect=labels.get(id(sign), "")) for sign in signs]
    return tuple(sorted(labelled, key=lambda one: _telling(one, causes)))


def _numbers(finding: Finding) -> bool:
    return KINDS[finding.kind].group == "value" and finding.severity != "info" and not finding.relation


def _compares(finding: Finding) -> bool:
    return KINDS[finding.kind].group == "relation" or finding.kind == _CONDUCT


def _telling(finding: Finding, causes: Causes) -> tuple[bool, bool, float]:
    """Least for the sign that a defect is told by: what explains it, what is told in words, the call of the fewest numbers."""
    if not finding.defect:
        return False, False, 0.0
    explained = _compares(finding) if finding.defect == _COMPANY else bool(causes.named(finding.diagnosis))
    inputs = finding.minimal.inputs if finding.minimal else {}
    told = bool(finding.diagnosis) and not finding.diagnosis.startswith(UNKNOWN)
    return not explained, not told, sum(value.size for value in inputs.values()) or math.inf
