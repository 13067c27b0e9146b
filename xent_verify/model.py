"""The nouns that travel down the pipe: Batch, Outcome, Tally, Finding, Report. Values only, no behaviour beyond views."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.formats import FORMATS, FloatFormat
from xent_verify.kinds import Severity

__all__ = [
    "Batch",
    "Died",
    "DtypeResult",
    "Example",
    "Finding",
    "Malformed",
    "Outcome",
    "Raised",
    "Report",
    "Returned",
    "TargetResult",
    "TimedOut",
]

LAYOUTS = (
    "C",  # C-contiguous
    "F",  # Fortran order
    "sliced",  # a window of a larger array, last axis not contiguous with the next row
    "strided",  # every second element of the last axis
    "negative",  # last axis reversed twice: negative stride
    "broadcast",  # zero stride along the first axis (needs equal rows)
    "readonly",  # C-contiguous, not writeable
)


@dataclass(frozen=True, slots=True)
class Batch:
    """One call of a candidate: an op, a format, arrays of rows, options. The unit of work.

    ``inputs`` holds the op's positional arguments in order (name -> array: ``{"x": …}``; ``{"logits": …, "target": …}``),
    C-ordered; floating inputs carry the format's dtype. ``options`` holds keyword arguments of the op's full signature
    that differ from their defaults (``axis``, ``weight``, ``reduction`` …). ``layout`` says how the arrays among both are
    laid out in memory when the candidate sees them. ``regime`` names the generator; ``aspect`` what the batch is there to
    show ("values", "layout", "state" …).
    """

    op: str
    fmt: str
    regime: str
    inputs: Mapping[str, NDArray[Any]]
    options: Mapping[str, Any] = field(default_factory=dict)
    layout: str = "C"
    aspect: str = "values"

    @property
    def x(self) -> NDArray[Any]:
        """The first input (the logits)."""
        return next(iter(self.inputs.values()))

    @property
    def form(self) -> FloatFormat:
        return FORMATS[self.fmt]


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


Outcome = Returned | Raised | TimedOut | Died | Malformed


@dataclass(frozen=True, slots=True)
class Example:
    """One call that shows a finding, with the numbers at its worst element.

    ``inputs`` and ``options`` are the call's own; ``index`` the element of the result; ``true_digits`` the true value
    to 30 significant digits; ``rounded`` and ``observed`` the correctly rounded and the returned value as text (hex and
    decimal are derived); ``error_ulp`` and ``bound_ratio`` may be None where no number makes sense.
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


@dataclass(frozen=True, slots=True)
class Finding:
    """One kind of failure of one target on one (op, dtype).

    ``kind`` is one of ``kinds.KINDS``; ``severity`` "fail", "warn" or "info"; ``count`` of ``cases`` elements were hit, in
    ``regimes``. ``minimal`` and ``worst`` are the smallest input and the one with the largest error; ``diagnosis`` names
    the likely mistake; ``script`` reproduces the minimal one on its own.
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

    @property
    def share(self) -> float:
        """Share of the checked cases that were hit."""
        return self.count / self.cases if self.cases else 0.0


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
    length_max: Mapping[int, float] = field(default_factory=dict)  # row length -> largest error_ulp
    measures: Mapping[str, float] = field(default_factory=dict)  # beside ulps: ``rowwise.MEASURES``


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
    findings: tuple[Finding, ...]
    regimes: tuple[RegimeResult, ...] = ()
    offered: Mapping[str, bool] = field(default_factory=dict)  # parts of the op's signature
    notes: tuple[str, ...] = ()  # what was inferred, what was not reached
    proved: tuple[Proved, ...] = ()  # what certificates say of the same target
    change: str = ""  # against an earlier result or a baseline, in words

    @property
    def ok(self) -> bool:
        """Nothing failed; there may be warnings."""
        return all(finding.severity != "fail" for finding in self.findings)


@dataclass(frozen=True, slots=True)
class TargetResult:
    """One target on one op, dtype by dtype."""

    target: str
    op: str
    dtypes: tuple[DtypeResult, ...]

    @property
    def ok(self) -> bool:
        """No format failed."""
        return all(result.ok for result in self.dtypes)


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found: per target its results by format. ``report`` has its renderings.

    ``settings`` are those of the audit that decide the findings; ``environment`` says where it ran.
    """

    targets: tuple[TargetResult, ...]
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]

    @property
    def ok(self) -> bool:
        """No target failed."""
        return all(target.ok for target in self.targets)

    @property
    def cases(self) -> int:
        return sum(result.cases for target in self.targets for result in target.dtypes)

    @property
    def findings(self) -> tuple[Finding, ...]:
        return tuple(finding for target in self.targets for result in target.dtypes for finding in result.findings)
