"""The kinds of failure and the classes of values: one table, which everything that names a kind reads.

A *class* is what one element of an answer is; a *kind* is what a finding is about. The classes that are failures are
kinds of the same name. Order matters: it is the order of the codes of classes and of findings in a report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["BENIGN", "CLASSES", "FAILING", "KINDS", "SEVERITIES", "Kind", "Severity", "rank"]

Severity = Literal["fail", "warn", "info"]

SEVERITIES: tuple[Severity, ...] = ("fail", "warn", "info")
"""Gravest first."""


def rank(severity: Severity) -> int:
    """0 for the gravest."""
    return SEVERITIES.index(severity)


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of failure.

    ``group``: "value" (elements of an answer), "form" (shape and dtype of an answer), "conduct" (what a call does to its
    arguments or to later calls), "relation" (two answers compared), "outcome" (no answer), "coverage" (nothing wrong).
    ``means``: the kind in a line. ``message``: what the judge says of such elements. ``remedy``: what to do about it.
    ``note``: more about it, for the documentation.
    ``severity``: unless a rule of its own says otherwise. ``last_bits``: whether it is there, or how large it is, may
    depend on the machine's instruction set. ``shown``: a class with a column in tables even where nothing fell into it.
    """

    name: str
    group: Literal["value", "form", "conduct", "relation", "outcome", "coverage"]
    means: str
    remedy: str
    message: str = ""
    note: str = ""
    severity: Severity = "fail"
    last_bits: bool = False
    shown: bool = False


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("overflow", "value", "A finite result came out infinite",
             "subtract the row's maximum before exp; sum in a wider format",
             "infinite where a finite value is due, or the reverse",
             note="A sum or an exponential left the range of the format.", shown=True),
        Kind("underflow", "value", "A representable non-zero result came out 0",
             "subtract the maximum; do not multiply by a reciprocal that overflowed or underflowed",
             "a representable value other than 0 came out 0", shown=True),
        Kind("log_of_zero", "value", "The logarithm of a probability that had rounded to 0",
             "compute log p as (x − max) − log Σ exp(x − max)",
             "infinite as from log(0), but the true value is finite", shown=True),
        Kind("nan", "value", "A result that is a number came out NaN",
             "look at the minimal row: which intermediate is not finite?", "NaN where a number is due",
             note="Usual sources are inf − inf, inf / inf, 0 · inf and 0 / 0.", shown=True),
        Kind("nan_gradient", "value", "The gradient of a number came out NaN",
             "look for 0 · inf on the way back: a branch that is not taken, a logarithm or root of 0",
             "NaN in the gradient, while the value is a number",
             note="The function itself is a number there, so training goes on until the weights are NaN.", shown=True),
        Kind("inaccurate", "value", "The error exceeds the a-priori bound of a sound algorithm",
             "look at the cause, or at where it is wrong; `xent-verify explain` works the minimal row through",
             "error above the policy's limit", last_bits=True),
        Kind("special_value", "value", "A special value is wrong (infinite, empty or masked input)",
             "mask with −inf and let exp make the 0; leave out terms whose weight is 0", "wrong special value",
             note="A masked class, an infinite input or an ignored input is answered wrongly, or the target answers the same "
                  "situation in two ways."),
        Kind("nan_hidden", "value", "A NaN in the input does not show in the result",
             "do not take maxima or masks that drop NaN", "a NaN in the input is missing from the result"),
        Kind("flushed", "value", "A subnormal result was flushed to 0",
             "keep subnormal numbers; where flushing is meant, `--flush allow` says so",
             "a subnormal result was flushed to zero",
             note="It is a failure for float16 and for formats of 8 bits and fewer, and a warning for wider formats. `--flush` "
                  "says otherwise. A result that flushed intermediates explain is counted here, too.", shown=True),
        Kind("shape", "form", "The result has the wrong shape", "cast and reshape at the end"),
        Kind("dtype", "form", "The result has the wrong dtype",
             "cast at the end; where another format is meant, `--result FORMAT` says so"),
        Kind("input_mutated", "conduct", "The input was changed", "copy, or work in place only on what you own"),
        Kind("nondeterministic", "relation", "The same call gives different results",
             "beyond the limit: uninitialised memory, a race. Within it (`info`): the order of summation changes",
             last_bits=True),
        Kind("stateful", "conduct", "A result depends on the calls before it",
             "no shared buffers, no caches keyed by shape alone",
             note="A call depends on the call before it, or a later call changes an earlier result. A change of global state "
                  "(NumPy's error state, the working directory, a random seed) is a warning."),
        Kind("batch_dependence", "relation", "A row's result depends on other rows",
             "beyond the limit: a maximum or a sum over the whole batch. Within it (`info`): blocking depends on the "
             "batch size", last_bits=True),
        Kind("layout_dependence", "relation", "A result depends on the memory layout, the axis or padding",
             "index by strides, or copy to a contiguous array first",
             note="Strides, memory order, axis or padding change the answer.", last_bits=True),
        Kind("property", "relation", "A law of the operation does not hold",
             "the message names the law; the other findings usually say why",
             note="A shift, a permutation or the sum of the probabilities breaks its law by more than the limits allow.",
             last_bits=True),
        Kind("exception", "outcome", "The call raised", "read the message, which is the target's own",
             note="The target raised on a call that it should answer."),
        Kind("crash", "outcome", "The process died", "run the script of the finding under a debugger",
             note="A process that reaches its memory limit (`--memory`) counts as crashed."),
        Kind("timeout", "outcome", "The call did not return in time",
             "allow more time (`--timeout`), or run the script of the finding under a debugger",
             note="It is a failure where the target never answered. It is a failure, too, where nearly all calls of a kind (a "
                  "regime, or logits above or below all that were answered) were late and one of them is late again. "
                  "Otherwise it is a warning and the audit is incomplete (exit 3): a sound target is late now and then, or on "
                  "calls larger than all that it answered."),
        Kind("unsupported", "coverage", "Not offered, so not tested", "nothing, if it is meant; it was not tested",
             note="Examples are a function without `axis`, one that takes only class indices, and one that refuses empty rows.",
             severity="info"),
    )
}  # fmt: skip
"""Every kind of finding, by name."""

FAILING = tuple(name for name, kind in KINDS.items() if kind.group == "value")
"""Classes of elements that are failures."""

BENIGN = ("convention", "tolerated_overflow", "not_judged")
"""Classes that are counted and are no fault."""

CLASSES = ("ok", *FAILING, *BENIGN)
"""What an element of an answer can be; its position is its code."""
