"""Regimes of extreme logits: named, seeded, vectorised generators, and the plan that an audit walks.

``draw`` knows a format's edges and ordinals, ``rows`` and ``specials`` make rows, ``calls`` turns rows into the
arguments of each operation, ``shapes``, ``losses`` and ``siblings`` make what is not a matter of row values, ``table``
names everything and puts it in order.
"""

from __future__ import annotations

from xent_verify.regimes.borrow import borrowed
from xent_verify.regimes.regime import PROFILES, Context, Profile, Regime
from xent_verify.regimes.table import REGIMES, plan, regimes_named, row_makers

__all__ = ["PROFILES", "REGIMES", "Context", "Profile", "Regime", "borrowed", "plan", "regimes_named", "row_makers"]
