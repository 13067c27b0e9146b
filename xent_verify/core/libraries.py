"""The released implementations an audit can reach when they are installed: one table."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

__all__ = ["LIBRARIES", "LibraryTarget", "installed"]


@dataclass(frozen=True, slots=True)
class LibraryTarget:
    """One function of one library: where it is, what it computes, in which formats it takes arrays."""

    package: str
    target: str
    op: str
    dtypes: tuple[str, ...] = ("float64", "float32")
    arrays: str = "auto"


_HALF = ("float64", "float32", "float16", "bfloat16")

LIBRARIES: tuple[LibraryTarget, ...] = (
    LibraryTarget("scipy", "scipy.special:softmax", "softmax"),
    LibraryTarget("scipy", "scipy.special:log_softmax", "log_softmax"),
    LibraryTarget("scipy", "scipy.special:logsumexp", "logsumexp"),
    LibraryTarget("scipy", "scipy.special:expit", "sigmoid"),
    LibraryTarget("scipy", "scipy.special:log_expit", "log_sigmoid"),
    LibraryTarget("sklearn", "sklearn.utils.extmath:softmax", "softmax"),
    LibraryTarget("torch", "torch.nn.functional:softmax", "softmax", _HALF, "torch"),
    LibraryTarget("torch", "torch.nn.functional:log_softmax", "log_softmax", _HALF, "torch"),
    LibraryTarget("torch", "torch:logsumexp", "logsumexp", _HALF, "torch"),
    LibraryTarget("torch", "torch.nn.functional:cross_entropy", "cross_entropy", _HALF, "torch"),
    LibraryTarget("torch", "torch:sigmoid", "sigmoid", _HALF, "torch"),
    LibraryTarget("torch", "torch.nn.functional:logsigmoid", "log_sigmoid", _HALF, "torch"),
    LibraryTarget("jax", "jax.nn:softmax", "softmax", _HALF, "jax"),
    LibraryTarget("jax", "jax.nn:log_softmax", "log_softmax", _HALF, "jax"),
    LibraryTarget("jax", "jax.nn:logsumexp", "logsumexp", _HALF, "jax"),
    LibraryTarget("jax", "jax.nn:sigmoid", "sigmoid", _HALF, "jax"),
    LibraryTarget("jax", "jax.nn:log_sigmoid", "log_sigmoid", _HALF, "jax"),
)


def installed(package: str = "") -> tuple[LibraryTarget, ...]:
    """The targets whose library can be imported here (of one package, if named)."""
    return tuple(
        entry
        for entry in LIBRARIES
        if (not package or entry.package == package) and find_spec(entry.package) is not None
    )
