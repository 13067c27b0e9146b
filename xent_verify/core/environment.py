"""What the results depend on besides the code: versions and the machine's instruction set."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable
from importlib import import_module, metadata
from typing import Any

__all__ = ["describe", "instruction_set"]

_PACKAGES = (
    "xent-verify",
    "numpy",
    "ml_dtypes",
    "mpmath",
    "hypothesis",
    "pandas",
    "scipy",
    "scikit-learn",
    "torch",
    "jax",
)
_KNOWN_FEATURES = ("AVX512_SKX", "AVX512F", "AVX2", "FMA3", "SSE42", "ASIMD", "NEON", "SVE", "VSX")


def instruction_set() -> str:
    """The vector extensions NumPy found, widest first ("AVX512_SKX AVX2 …"): its exp and log depend on them."""
    features = getattr(import_module("numpy._core._multiarray_umath"), "__cpu_features__", {})
    found = [name for name in _KNOWN_FEATURES if features.get(name)]
    return " ".join([platform.machine(), *found])


def describe(devices: Iterable[str] = ()) -> dict[str, Any]:
    """Versions, platform and instruction set, and the devices that arrays lay on (nothing that names this machine)."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    told = sorted({device for device in devices if device})
    return {
        "python": platform.python_version(),
        "implementation": sys.implementation.name,
        "platform": f"{platform.system()} {platform.machine()}",
        "instruction_set": instruction_set(),
        "packages": versions,
        **({"devices": told} if told else {}),
    }
