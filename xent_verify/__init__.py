"""Is this softmax or cross entropy numerically right?

Certified truth, derived tolerances, minimal and explained failures. The public names below are loaded on first use, so
importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xent_verify.auditing.audit import assert_accurate, audit
    from xent_verify.auditing.parity import parity
    from xent_verify.core.enclosure import Enclosure
    from xent_verify.core.failures import UsageError, XentVerifyError
    from xent_verify.core.formats import FORMATS, FloatFormat
    from xent_verify.core.model import Finding, Report
    from xent_verify.ops import OPS
    from xent_verify.truth.reference import reference
    from xent_verify.verdict.measure import ulp_error
    from xent_verify.verdict.tolerances import assert_close, limits

__all__ = [
    "FORMATS",
    "OPS",
    "Enclosure",
    "Finding",
    "FloatFormat",
    "Report",
    "UsageError",
    "XentVerifyError",
    "__version__",
    "assert_accurate",
    "assert_close",
    "audit",
    "limits",
    "parity",
    "reference",
    "ulp_error",
]

__version__ = "0.1.0"

_HOME = {
    "FORMATS": "core.formats",
    "OPS": "ops",
    "Enclosure": "core.enclosure",
    "Finding": "core.model",
    "FloatFormat": "core.formats",
    "Report": "core.model",
    "UsageError": "core.failures",
    "XentVerifyError": "core.failures",
    "assert_accurate": "auditing.audit",
    "assert_close": "verdict.tolerances",
    "audit": "auditing.audit",
    "limits": "verdict.tolerances",
    "parity": "auditing.parity",
    "reference": "truth.reference",
    "ulp_error": "verdict.measure",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
