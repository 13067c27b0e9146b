"""Regimes of extreme logits: named, seeded, vectorised generators, and the plan that an audit walks.

``draw`` knows a format's edges and ordinals, ``rows`` and ``specials`` make rows, ``calls`` turns rows into the
arguments of an operation by the kinds of its inputs, ``shapes``, ``losses`` and ``options`` make what is not a matter of
row values, ``sweeps`` whatever is tried throughout, ``table`` names everything and puts it in order.
"""

from __future__ import annotations

from xent_verify.regimes.regime import PROFILES, Context, Profile, Regime
from xent_verify.regimes.table import REGIMES, plan, planned, regimes_named, row_makers

__all__ = ["PROFILES", "REGIMES", "Context", "Profile", "Regime", "plan", "planned", "regimes_named", "row_makers"]
