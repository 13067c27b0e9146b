"""Is this softmax or cross entropy numerically right?

Certified truth, derived tolerances, minimal and explained failures. The public names below are loaded on first use, so
importing the package costs next to nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xent_verify.audit import assert_accurate, audit
    from xent_verify.enclosure import Enclosure
    from xent_verify.failures import UsageError, XentVerifyError
    from xent_verify.formats import FORMATS, FloatFormat
    from xent_verify.measure import ulp_error
    from xent_verify.model import Finding, Report
    from xent_verify.ops import OPS
    from xent_verify.parity import parity
    from xent_verify.tolerances import assert_close, limits
    from xent_verify.truth.reference import reference

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
    "FORMATS": "formats",
    "OPS": "ops",
    "Enclosure": "enclosure",
    "Finding": "model",
    "FloatFormat": "formats",
    "Report": "model",
    "UsageError": "failures",
    "XentVerifyError": "failures",
    "assert_accurate": "audit",
    "assert_close": "tolerances",
    "audit": "audit",
    "limits": "tolerances",
    "parity": "parity",
    "reference": "truth.reference",
    "ulp_error": "measure",
}


class _Package(ModuleType):
    """Keeps a public name for what it stands for: importing the module ``xent_verify.audit`` would rebind ``audit``."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOME and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
