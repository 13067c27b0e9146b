"""One finding's minimal call, run again: what comes out, what is true, how far apart, in all digits."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

import numpy as np

from xent_verify.auditing.audit import opened
from xent_verify.auditing.findings import OF_MANY_CALLS, Asker
from xent_verify.candidates.adapters import ADAPTERS
from xent_verify.candidates.names import is_builtin
from xent_verify.core.documents import shown
from xent_verify.core.enclosure import Enclosure
from xent_verify.core.failures import AuditIncompleteError, UnknownNameError, UsageError
from xent_verify.core.kinds import SEVERITIES
from xent_verify.core.model import (
    Batch,
    Died,
    Example,
    Finding,
    Malformed,
    NotOffered,
    Outcome,
    Raised,
    Report,
    Returned,
    TimedOut,
)
from xent_verify.core.outside import closed, is_outside
from xent_verify.ops import op_named
from xent_verify.ops.defined import undefined
from xent_verify.report.places import Placed, placed
from xent_verify.report.words import call_text
from xent_verify.truth.decimals import digits
from xent_verify.verdict.judge import Hit, Judgement, as_answered
from xent_verify.verdict.policies import parse_policy
from xent_verify.verdict.settings import Settings

__all__ = ["Replayed", "chosen", "replay"]


@dataclass(frozen=True, slots=True)
class Replayed:
    """What the call did this time."""

    fails: bool
    lines: tuple[str, ...]


def chosen(report: Report, index: int | None, kind: str) -> Placed:
    """The finding that is meant: failures come first, then warnings, then the rest."""
    found = [
        replace(item, finding=sign)
        for severity in SEVERITIES
        for item in placed(report, severity)
        for sign in (item.finding, *item.finding.parts)
        if sign.minimal is not None and sign.minimal.inputs
    ]
    if not found:
        raise UsageError("the result holds no finding with a minimal case")
    if kind:
        kinds = [item.finding.kind for item in found]
        if kind not in kinds:
            raise UnknownNameError("kind in this result", kind, set(kinds))
        found = [item for item in found if item.finding.kind == kind]
    number = 0 if index is None else index
    if not 0 <= number < len(found):
        raise UsageError(f"--index {number}: there are {len(found)} findings, 0 to {len(found) - 1}")
    return found[number]


def replay(item: Placed, *, target: str = "", isolated: bool = True, trust: bool = False) -> Replayed:
    """Run the minimal call of a finding again under the settings it was found with.

    Args:
        item: The finding, as ``chosen`` gives it.
        target: Asked in place of the recorded target.
        isolated: In a child process.
        trust: Whether code that the result names (its target, a call expression, operations, policies and array
            libraries from outside the package) may be imported and run.

    Returns:
        What the call did, in lines.

    Raises:
        UsageError: The result names code and nobody vouches for it, or its call cannot be made.
        AuditIncompleteError: The finding compares calls with one another.
    """
    if trust:
        return _replayed(item, target, isolated)
    with closed():
        _refuse_code(item, target)
        return _replayed(item, target, isolated)


def _refuse_code(item: Placed, target: str) -> None:
    """Refuse a result whose replay would run what it names: a built-in implementation is the package's own."""
    recorded = item.target.settings
    if not target and not is_builtin(item.target.target):
        name = item.target.target
        raise UsageError(
            f"the result names {name}, which would be run: --target {shlex.quote(name)} or --trust says that it may be"
        )
    for option, value in (("--call", recorded.get("call")), ("--arrays", recorded.get("arrays"))):
        if value and (option == "--call" or is_outside(str(value), ADAPTERS)):
            raise UsageError(
                f"the result names code ({option} {shown(value)}), which would be run: --trust says that it may be"
            )


def _replayed(item: Placed, target: str, isolated: bool) -> Replayed:
    finding, example = item.finding, item.finding.minimal
    assert example is not None
    settings = _settings(item, isolated)
    op = op_named(settings.op or item.target.op)
    batch = Batch(settings.op or op.name, item.result.dtype, "replay", example.inputs, example.options, example.layout)
    if finding.relation in OF_MANY_CALLS:
        raise AuditIncompleteError("this finding compares calls with one another: 'audit' shows it, one call cannot")
    why = undefined(op, batch)
    if why:
        raise UsageError(f"the recorded call is none that {op.name} defines: {why}")
    batch = settings.rules.of_call(batch)
    with opened(target or item.target.target, op, settings) as candidate:
        asker = Asker(op, candidate.call, settings.rules, candidate.name, candidate.expression)
        outcome, truth, judgement = asker.judged(batch)
        hits = asker.hits(batch, finding.relation)[0] if finding.relation else judgement.hits
    still = [hit for hit in hits if hit.kind == finding.kind and (hit.severity != "info" or finding.severity == "info")]
    lines = [f"{finding.kind} {item.where}: {finding.text}", f"call      {call_text(example)}"]
    lines += _numbers(as_answered(batch, outcome), example, outcome, truth, judgement)
    lines += _verdict(finding, still, hits)
    return Replayed(bool(still), tuple(lines))


def _settings(item: Placed, isolated: bool) -> Settings:
    """As recorded for the target; a relative gate's limit takes the place of the policy's."""
    recorded = {name: value for name, value in item.target.settings.items() if name not in ("regimes", "without")}
    settings = Settings.of(recorded)
    policy = settings.policy if item.finding.limit is None else parse_policy(f"ulp:{item.finding.limit!r}")
    return replace(settings, policy=policy, isolated=isolated)


def _numbers(batch: Batch, example: Example, outcome: Outcome, truth: Enclosure, judgement: Judgement) -> Iterator[str]:
    """Every digit of the recorded element."""
    if not isinstance(outcome, Returned):
        yield f"observed  {_happened(outcome)}"
        return
    value = outcome.value
    yield f"result    {outcome.dtype_name} of shape {value.shape}"
    errors = judgement.errors
    if errors is None or value.size != truth.size or len(example.index) != len(truth.shape) or not truth.size:
        return
    flat = int(np.ravel_multi_index(example.index, truth.shape)) if example.index else 0
    one = truth.reshape(-1)[flat]
    place = f"[{', '.join(map(str, example.index))}]"
    yield f"element   {place}"
    yield f"observed  {_exact(float(value.reshape(-1)[flat]))}"
    yield f"true      {digits(batch, example.index)}"
    yield f"rounded   {_exact(float(one.rounded(batch.result_form)))}  ({batch.result_form.name})"
    yield f"error     {float(errors.ulp.flat[flat])!r} ulp, {float(errors.ratio.flat[flat])!r} x the limit"


def _exact(value: float) -> str:
    """Hexadecimal and every decimal digit there is."""
    return f"{value.hex()} = {Decimal(value):f}" if np.isfinite(value) else str(value)


def _happened(outcome: Outcome) -> str:
    match outcome:
        case NotOffered(what):
            return f"not asked: {what}"
        case Raised(name, message):
            return f"raised {name}: {message}"
        case TimedOut(seconds):
            return f"no answer within {seconds:g} s"
        case Died(how):
            return f"the process ended: {how}"
        case Malformed(what):
            return f"not an array of numbers: {what}"
        case Returned():
            return "an answer"


def _verdict(finding: Finding, still: list[Hit], hits: tuple[Hit, ...]) -> Iterator[str]:
    if still:
        yield f"still fails: {still[0].message}"
        return
    others = sorted({hit.kind for hit in hits if hit.severity == "fail"})
    yield f"no longer fails by {finding.kind}" + (f", but by {', '.join(others)}" if others else "")
