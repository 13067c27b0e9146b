"""Any namespace of the Array API standard: ``--arrays array-api:array_api_strict``, ``array-api:cupy`` …"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.candidates.classes import instantiated
from xent_verify.core.failures import UsageError

__all__ = ["Arrays"]


class Arrays:
    """Arrays made by ``namespace.asarray``, read back through DLPack or ``__array__``."""

    def __init__(self, argument: str = "", device: str = "cpu") -> None:  # noqa: ARG002  every adapter's signature
        if not argument:
            raise UsageError("--arrays array-api: name the namespace, as in array-api:array_api_strict")
        try:
            self._namespace = importlib.import_module(argument)
        except ImportError as error:
            raise UsageError(f"--arrays array-api:{argument}: {error}") from error
        if not hasattr(self._namespace, "asarray"):
            raise UsageError(f"--arrays array-api:{argument}: has no asarray, so it is no Array API namespace")

    def prepare(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return instantiated(function)

    def to_target(self, array: NDArray[Any]) -> Any:
        return self._namespace.asarray(array)

    def from_target(self, value: Any) -> NDArray[Any] | None:
        if isinstance(value, (np.ndarray, np.generic)):
            return np.asarray(value)
        if hasattr(value, "__dlpack__"):
            try:
                return np.from_dlpack(value)
            except (BufferError, RuntimeError, TypeError):  # a device or dtype that DLPack or NumPy refuses
                return np.asarray(value) if hasattr(value, "__array__") else None
        return np.asarray(value) if hasattr(value, "__array__") else None

    def gradient_of(self, _loss: Callable[..., Any]) -> None:
        return None
