"""The nouns that travel down the pipe: Batch, Outcome, Tally, Finding, Report. Values only, no behaviour beyond views."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.core.formats import FORMATS, FloatFormat
from xent_verify.core.kinds import Severity, rank

__all__ = [
    "LAYOUTS",
    "UNUSUAL_LAYOUTS",
    "Batch",
    "Defect",
    "Died",
    "DtypeResult",
    "Example",
    "Finding",
    "Malformed",
    "NotOffered",
    "Outcome",
    "Raised",
    "Report",
    "Returned",
    "TargetResult",
    "TimedOut",
    "joined",
]

LAYOUTS = (
    "C",  # C-contiguous
    "F",  # Fortran order
    "sliced",  # a window of a larger array, last axis not contiguous with the next row
    "strided",  # every second element of the last axis
    "negative",  # last axis reversed twice: negative stride
    "broadcast",  # zero stride along the first axis (needs equal rows)
    "readonly",  # C-contiguous, not writeable
    "upside_down",  # first axis reversed twice: negative stride
    "mixed",  # the last two axes exchanged in memory, the others in order
    "one_column",  # zero stride along the last axis (needs rows of equal values)
    "misaligned",  # begins one byte beyond an address that fits
    "byteswapped",  # the other byte order, where the dtype has one
)

UNUSUAL_LAYOUTS = ("misaligned", "byteswapped")
"""Views that a target may refuse with an exception."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One call of a candidate: an op, a format, arrays of rows, options. The unit of work.

    ``inputs`` holds the op's positional arguments in order (name -> array: ``{"x": …}``; ``{"logits": …, "target": …}``),
    C-ordered; floating inputs carry the format's dtype. ``options`` holds keyword arguments of the op's full signature
    that differ from their defaults (``axis``, ``weight``, ``reduction`` …). ``layout`` says how the arrays among both are
    laid out in memory when the candidate sees them. ``regime`` names the generator; ``aspect`` what the batch is there to
    show ("values", "layout", "state" …; "sweep": one of many, compared with float64 and judged only where it looks wrong).

    ``times``, ``threads``: the call is made that often, in so many threads at once, each on its own rows; the outcome is
    the first answer that differs from the first one to the same rows, else the last. ``result``: the format of the right answer
    ("": the inputs' own).
    """

    op: str
    fmt: str
    regime: str
    inputs: Mapping[str, NDArray[Any]]
    options: Mapping[str, Any] = field(default_factory=dict)
    layout: str = "C"
    aspect: str = "values"
    result: str = ""
    times: int = 1
    threads: int = 1

    @property
    def x(self) -> NDArray[Any]:
        """The first input (the logits)."""
        return next(iter(self.inputs.values()))

    @property
    def form(self) -> FloatFormat:
        """The format of the inputs."""
        return FORMATS[self.fmt]

    @property
    def result_form(self) -> FloatFormat:
        """The format of the result: what truth is rounded to and errors are measured in."""
        return FORMATS[self.result or self.fmt]


@dataclass(frozen=True, slots=True)
class Returned:
    """The candidate answered.

    ``value`` is an array of numbers exactly as returned (its own dtype and shape; a Python scalar becomes 0-d with
    ``dtype_name`` "float" or "int"). ``mutated`` names inputs whose bytes changed during the call; ``earlier_changed``
    says that a result handed out before changed during this call; ``aliases_input`` that the result shares memory with
    an input. ``printed`` is what it wrote to stdout or stderr (truncated).
    """

    value: NDArray[Any]
    dtype_name: str
    mutated: tuple[str, ...] = ()
    earlier_changed: bool = False
    aliases_input: bool = False
    global_state: tuple[str, ...] = ()
    printed: str = ""


@dataclass(frozen=True, slots=True)
class Raised:
    """The candidate raised: type name, message, last lines of its traceback."""

    type_name: str
    message: str
    where: str = ""

    @property
    def identity(self) -> str:
        """What tells one failure from another: the type, and where it was raised."""
        return f"{self.type_name} in {self.where}" if self.where else self.type_name


@dataclass(frozen=True, slots=True)
class NotOffered:
    """The call was not made: the target offers no such call (``what`` it lacks). Never a fault of the target's."""

    what: str


@dataclass(frozen=True, slots=True)
class TimedOut:
    """No answer within the limit (seconds); the process was killed."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Died:
    """The process ended: ``how`` in words ("signal 11 (SIGSEGV)", "exit status 3", "memory limit")."""

    how: str


@dataclass(frozen=True, slots=True)
class Malformed:
    """The answer is not an array of numbers: ``what`` it was."""

    what: str


Outcome = Returned | Raised | NotOffered | TimedOut | Died | Malformed


@dataclass(frozen=True, slots=True)
class Example:
    """One call that shows a finding, with the numbers at its worst element.

    ``inputs`` and ``options`` are the call's own; ``index`` the element of the result; ``true_digits`` the true value
    to 30 significant digits; ``rounded`` and ``observed`` the correctly rounded and the returned value as text (hex and
    decimal are derived); ``error_ulp`` and ``bound_ratio`` may be None where no number makes sense. ``length``: 0, or
    the logits of a row too long to be kept (``inputs`` is then empty).
    """

    inputs: Mapping[str, NDArray[Any]]
    options: Mapping[str, Any]
    layout: str
    index: tuple[int, ...]
    true_digits: str
    rounded: float
    observed: float
    error_ulp: float | None
    bound_ratio: float | None
    length: int = 0


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of failure of one target on one (op, dtype).

    ``kind`` is one of ``kinds.KINDS``; ``severity`` "fail", "warn" or "info"; ``count`` of ``cases`` elements were hit, in
    ``regimes``. ``minimal`` and ``worst`` are the smallest input and the one with the largest error over the limit;
    ``diagnosis`` names the likely mistake; ``script`` reproduces the minimal one on its own. ``relation``: the companion
    or law that found it ("convention" for calls that contradict each other, "" for one plain call). ``raised``: for an
    exception its type and where it was raised. ``limit``: the largest error in ulps that a rule other than the policy
    allowed. ``waived_by``: what makes a failure a warning ("baseline"). ``notes``: what could not be found out about it.
    ``defect``: what failure of the target's this is a sign of, in words; signs of one defect are one finding, and the
    others are its ``parts``.
    """

    kind: str
    severity: Severity
    message: str
    count: int
    cases: int
    regimes: tuple[str, ...]
    minimal: Example | None = None
    worst: Example | None = None
    diagnosis: str = ""
    script: str = ""
    relation: str = ""
    raised: str = ""
    limit: float | None = None
    waived_by: str = ""
    notes: tuple[str, ...] = ()
    defect: str = ""
    parts: tuple[Finding, ...] = ()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of failure under this defect, its own first."""
        return tuple(dict.fromkeys([self.kind, *(part.kind for part in self.parts)]))

    @property
    def shown(self) -> bool:
        """Whether the minimal example fails by itself, in one call, as far as its numbers say."""
        ratio = None if self.minimal is None else self.minimal.bound_ratio
        return not self.relation and (ratio is None or ratio > 1)

    @property
    def identity(self) -> tuple[str, ...]:
        """What tells one defect of a target from another, in any format."""
        return (self.defect,) if self.defect else (self.kind, self.severity, self.raised)

    @property
    def text(self) -> str:
        """The message as it is shown: with the relation that found it, and what excuses it."""
        known = f"known ({self.waived_by}): " if self.waived_by else ""
        return f"{known}{self.relation}{': ' if self.relation else ''}{self.message}"

    @property
    def gravity(self) -> Severity:
        """The severity; a failure stays one where a baseline excuses it."""
        return "fail" if self.waived_by else self.severity

    @property
    def label(self) -> str:
        """fail, known (a failure that a baseline excuses), warn or info: the word that people are shown."""
        return "known" if self.waived_by else self.severity

    @property
    def share(self) -> float:
        """Share of the checked cases that were hit."""
        return self.count / self.cases if self.cases else 0.0


def joined(signs: Iterable[Finding]) -> tuple[Finding, ...]:
    """Signs of one defect as one finding, the others its parts.

    The gravest leads; of equals one that a single call shows, whose minimal example tells it; of these the first.
    """
    groups: dict[tuple[str, int], list[Finding]] = {}
    for number, sign in enumerate(signs):
        groups.setdefault((sign.defect, -1 if sign.defect else number), []).append(sign)
    found = []
    for group in groups.values():
        lead, *others = sorted(group, key=lambda sign: (rank(sign.severity), not sign.shown))
        found.append(replace(lead, parts=tuple(others)))
    return tuple(sorted(found, key=lambda finding: rank(finding.severity)))


@dataclass(frozen=True, slots=True)
class Defect:
    """One defect of a target on one op: its findings by dtype. The gravest finding tells it, the first of equals."""

    target: str
    op: str
    found: Mapping[str, Finding]

    @property
    def finding(self) -> Finding:
        return min(self.found.values(), key=lambda finding: rank(finding.severity))

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(kind for finding in [self.finding, *self.found.values()] for kind in finding.kinds))

    @property
    def regimes(self) -> tuple[str, ...]:
        every = (sign for finding in self.found.values() for sign in (finding, *finding.parts))
        return tuple(sorted({name for sign in every for name in sign.regimes}))


@dataclass(frozen=True, slots=True)
class RegimeResult:
    """Counters of one regime: mergeable by addition (histogram and classes), maximum (worst) alone."""

    regime: str
    cases: int
    correctly_rounded: int
    max_ulp: float
    max_bound_ratio: float
    histogram: NDArray[np.int64]  # [error bin, magnitude bin], bins as in measure.py
    classes: Mapping[str, int]
    tiers: tuple[int, ...]  # values decided per tier, as enclosure.TIERS
    worst: Example | None = None
    length_max: Mapping[int, float] = field(
        default_factory=dict
    )  # row length -> largest error_ulp of well-conditioned values
    measures: Mapping[str, float] = field(default_factory=dict)  # beside ulps: ``rowwise.MEASURES``
    conditioned_ulp: float = 0.0  # largest error_ulp where the limit is below ``measure.ILL_CONDITIONED`` ulps


@dataclass(frozen=True, slots=True)
class Proved:
    """A maximum in ulps over every row of a finite domain, from a certificate; all others are only the largest seen."""

    domain: str
    rows: int
    max_ulp: float


@dataclass(frozen=True, slots=True)
class DtypeResult:
    """One target, one op, one dtype."""

    dtype: str
    cases: int
    max_ulp: float
    max_bound_ratio: float
    classes: Mapping[str, int]
    signs: tuple[Finding, ...]  # one kind of failure each; ``findings`` has them by defect
    regimes: tuple[RegimeResult, ...] = ()
    offered: Mapping[str, bool] = field(default_factory=dict)  # parts of the op's signature
    notes: tuple[str, ...] = ()  # what was inferred, which conventions it keeps
    proved: tuple[Proved, ...] = ()  # what certificates say of the same target
    change: str = ""  # against an earlier result or a baseline, in words
    unasked: tuple[str, ...] = ()  # calls that were left out, and why: a pass says nothing of them
    keeps: str = ""  # class: the strictest policy that every finite answer keeps, or "unsound"
    domain: str = ""  # where "standard" is kept, if not everywhere
    incomplete: tuple[str, ...] = ()  # what of the audit could not be completed, and why

    @property
    def findings(self) -> tuple[Finding, ...]:
        """One for each defect."""
        return joined(self.signs)

    @property
    def ok(self) -> bool:
        """Nothing failed, and all that was to be asked was asked; there may be warnings."""
        return not self.failed and not self.incomplete

    @property
    def conditioned_ulp(self) -> float:
        """The largest error in ulps where an error in ulps says something (``max_ulp`` without results by regime)."""
        return max((regime.conditioned_ulp for regime in self.regimes), default=self.max_ulp)

    @property
    def failed(self) -> bool:
        """Something failed."""
        return any(sign.severity == "fail" for sign in self.signs)

    @property
    def known(self) -> bool:
        """Something fails that a baseline excuses."""
        return any(sign.waived_by for sign in self.signs)


@dataclass(frozen=True, slots=True)
class TargetResult:
    """One target on one op, dtype by dtype, and the settings that it was judged by (``settings.Settings.record``)."""

    target: str
    op: str
    dtypes: tuple[DtypeResult, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""  # the device of its arrays, in words; "" for the CPU

    @property
    def defects(self) -> tuple[Defect, ...]:
        """What is wrong, each defect once over all formats; the gravest first."""
        groups: dict[tuple[str, ...], dict[str, Finding]] = {}
        for result in self.dtypes:
            for finding in result.findings:
                groups.setdefault(finding.identity, {}).setdefault(result.dtype, finding)
        found = (Defect(self.target, self.op, group) for group in groups.values())
        return tuple(sorted(found, key=lambda defect: rank(defect.finding.severity)))

    @property
    def ok(self) -> bool:
        """No format failed, or was left unfinished."""
        return all(result.ok for result in self.dtypes)


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found: per target its results by format. ``report`` has its renderings.

    ``environment`` says where it ran; ``interrupted``: it was ended from outside and holds what there was until then.
    """

    targets: tuple[TargetResult, ...]
    environment: Mapping[str, Any]
    interrupted: bool = False

    @property
    def settings(self) -> Mapping[str, Any]:
        """What the settings of all targets have in common; each target's own are the ones that count."""
        first, *others = [target.settings for target in self.targets] or [{}]
        return {
            name: value
            for name, value in first.items()
            if all(name in other and other[name] == value for other in others)
        }

    @property
    def ok(self) -> bool:
        """No target failed, and every one was audited to the end."""
        return not self.interrupted and all(target.ok for target in self.targets)

    @property
    def failed(self) -> bool:
        """Some target failed."""
        return any(result.failed for target in self.targets for result in target.dtypes)

    @property
    def known(self) -> bool:
        """Some target fails in a way that a baseline excuses."""
        return any(result.known for target in self.targets for result in target.dtypes)

    @property
    def incomplete(self) -> tuple[str, ...]:
        """What could not be completed, a line each."""
        return tuple(
            f"{target.target} {target.op} {result.dtype}: {line}"
            for target in self.targets
            for result in target.dtypes
            for line in result.incomplete
        )

    @property
    def cases(self) -> int:
        return sum(result.cases for target in self.targets for result in target.dtypes)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """One for each defect of each target, op and dtype."""
        return tuple(finding for target in self.targets for result in target.dtypes for finding in result.findings)

    @property
    def defects(self) -> tuple[Defect, ...]:
        """One for each defect of each target and op, over all formats."""
        return tuple(defect for target in self.targets for defect in target.defects)

    @property
    def signs(self) -> tuple[Finding, ...]:
        """One for each kind of failure of each target, op and dtype."""
        return tuple(sign for target in self.targets for result in target.dtypes for sign in result.signs)
