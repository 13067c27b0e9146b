"""The hunt for failures and worst cases.

``hypothesis_search`` draws whole calls, and shrinks what fails to a minimal call per kind of failure.
``guided_search`` breeds rows, many at a time, towards the largest error: what it finds is a lower bound, never a proof.
Both take their judge from outside and are functions of their seed.
"""

from __future__ import annotations

from xent_verify.search.drawn import Found, Verdict, hypothesis_search
from xent_verify.search.guided import GuidedResult, Niche, guided_search

__all__ = ["Found", "GuidedResult", "Niche", "Verdict", "guided_search", "hypothesis_search"]
