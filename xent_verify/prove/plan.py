"""What is to be proved, as a value: target, operation, format, domain, rules. It names the run in logs and certificates."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from typing import Any

import numpy as np

from xent_verify.auditing.audit import Settings
from xent_verify.core.model import Batch
from xent_verify.ops import op_named
from xent_verify.ops.limits import limits_of
from xent_verify.prove.domain import Domain
from xent_verify.prove.fingerprint import fingerprint
from xent_verify.prove.widths import FAMILIES
from xent_verify.verdict.policies import Policy

__all__ = ["Plan", "limits"]

_SAMPLES = 509
_DECISIVE = ("xent-verify", "numpy", "ml_dtypes")


@dataclass(frozen=True)
class Plan:
    """One run: everything that decides its result. Pickles, so that any process can open the same target.

    ``part``: (k, n) takes the k-th of n slices of the chunks (1 <= k <= n).
    """

    target: str | Callable[..., Any]
    op: str
    domain: Domain
    settings: Settings
    part: tuple[int, int] = (1, 1)

    @property
    def name(self) -> str:
        """The target as it is named on the command line."""
        if isinstance(self.target, str):
            return self.target
        return f"{getattr(self.target, '__module__', '')}:{getattr(self.target, '__qualname__', 'callable')}"

    @property
    def chunks(self) -> range:
        """The chunks of this plan's slice: neighbours, so that slices are intervals of the domain."""
        k, n = self.part
        total = self.domain.chunks
        return range((k - 1) * total // n, k * total // n)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What results must have in common to be added up: slices of one domain are alike in it."""
        settings = self.settings
        return {
            "target": self.name,
            "fingerprint": fingerprint(self.target, self.op),
            "op": self.op,
            "dtype": self.domain.fmt,
            "domain": self.domain.name,
            "rows": self.domain.size,
            "chunks": self.domain.chunks,
            "policy": settings.policy.name,
            "limits": limits(self.op, self.domain, settings.policy),
            "special": settings.special,
            "flush": settings.flush,
            "arrays": settings.arrays,
            "kwargs": dict(settings.kwargs),
            "seed": settings.seed,
            "versions": {name: metadata.version(name) for name in _DECISIVE},
        }

    @property
    def key(self) -> str:
        """A short name of the identity."""
        text = json.dumps(self.identity, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def limits(op: str, domain: Domain, policy: Policy) -> str:
    """A short name of the policy's limits on this domain, from samples: results under other bounds do not add up."""
    if policy.kind != "bound":
        return policy.name
    operation = op_named(op)
    rows = (
        np.linspace(0, domain.size - 1, _SAMPLES).astype(np.int64)
        if domain.arity
        else np.arange(len(FAMILIES)) + 41 * len(FAMILIES)
    )
    batch = Batch(op, domain.fmt, "", {operation.first: domain.values(rows)})
    found = limits_of(operation, batch, policy.machine_for(batch)).error.reshape(-1)
    text = " ".join(f"{value:.9e}" for value in found[np.isfinite(found)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
