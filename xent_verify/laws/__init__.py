"""Laws: what the answers must satisfy whatever the logits are. No truth is asked, so they also hold for rows of 10^6.

Every tolerance follows from the elementwise limit: an answer y_i = t_i + e_i with |e_i| <= limit_i. A value that a
law compares with the answer of *another* call allows that call its own limit: the policy's (``shift``), or the first one's
times the ratio of the two a-priori bounds (``limit_of``). Only rows with a softmax take part: no NaN, no +inf, something finite.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from xent_verify.core.failures import UnknownNameError
from xent_verify.core.outside import is_outside, outside
from xent_verify.laws import between, single
from xent_verify.laws.given import Law

__all__ = ["LAWS", "Law", "law_named"]

LAWS: Mapping[str, Law] = MappingProxyType(
    {
        law.name: law
        for law in (
            Law("shift", "a constant added to a row changes nothing", between.shift),
            Law("shift_adds", "a constant added to a row is added to the result", between.shift_adds),
            Law("permutation", "the order of the logits does not matter", between.permutation),
            Law("sum_to_one", "probabilities add up to 1", single.sum_to_one),
            Law("exp_sums_to_one", "exp of log-probabilities adds up to 1", single.exp_sums_to_one),
            Law("rows_sum_to_zero", "gradients of a row add up to 0", single.rows_sum_to_zero),
            Law("range", "probabilities lie in [0, 1]", single.in_range),
            Law("not_positive", "log-probabilities are not positive", single.not_positive),
            Law("not_negative", "losses are not negative", single.not_negative),
            Law("at_least_max", "logsumexp lies in [max, max + log n]", single.at_least_max),
            Law("monotone", "larger logits have larger results", single.monotone),
            Law("concatenation", "logsumexp of a row is that of its parts", between.concatenation),
            Law("one_hot", "a class index is its one-hot probabilities", between.one_hot),
        )
    }
)


def law_named(name: str) -> Law:
    """The law of that name, or the ``Law`` at ``module:attribute``; ``UsageError`` otherwise."""
    if name in LAWS:
        return LAWS[name]
    if not is_outside(name):
        raise UnknownNameError("law", name, LAWS)
    found: Law = outside(name, Law, "law")
    return found
