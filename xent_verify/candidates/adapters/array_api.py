"""Any namespace of the Array API standard, or with ``from_dlpack`` alone: ``--arrays array-api:array_api_strict``, CuPy …"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xent_verify.candidates.classes import instantiated
from xent_verify.core.arrays import as_numpy
from xent_verify.core.failures import UsageError, clipped

__all__ = ["Arrays"]


class Arrays:
    """Arrays made by ``namespace.asarray`` (or ``from_dlpack``), read back through DLPack or ``__array__``."""

    def __init__(self, argument: str = "", device: str = "cpu") -> None:
        if not argument:
            raise UsageError("--arrays array-api: name the namespace, as in array-api:array_api_strict")
        try:
            self._namespace = importlib.import_module(argument)
        except ImportError as error:
            raise UsageError(f"--arrays array-api:{argument}: {error}") from error
        make = getattr(self._namespace, "asarray", None) or getattr(self._namespace, "from_dlpack", None)
        if make is None:
            raise UsageError(
                f"--arrays array-api:{argument}: has no asarray and no from_dlpack, so it is no Array API namespace"
            )
        self._make: Callable[..., Any] = make
        self.where = ""
        if device != "cpu":
            self._place(argument, device)

    def _place(self, argument: str, device: str) -> None:
        """Make arrays on a device: the namespace's own of that name; CuPy's arrays lie on its current one."""
        info = getattr(self._namespace, "__array_namespace_info__", None)
        known = [] if info is None else list(info().devices())
        found = next((one for one in known if device.lower() in str(one).lower()), device)
        try:
            if hasattr(self._namespace, "cuda"):
                self._namespace.cuda.Device(int(device.partition(":")[2] or 0)).use()
            else:
                self._make = partial(self._make, device=found)
            self._make(np.zeros(1))
        except Exception as error:  # noqa: BLE001  a library's own refusal
            why = str(error).partition("\n")[0]
            raise UsageError(f"device {device!r}: {argument} has none here ({clipped(why, 160)})") from None
        self.where = f"{device}, {argument} {getattr(self._namespace, '__version__', '')}".rstrip()

    def prepare(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return instantiated(function)

    def to_target(self, array: NDArray[Any]) -> Any:
        return self._make(array)

    def from_target(self, value: Any) -> NDArray[Any] | None:
        if hasattr(value, "__dlpack__") and not isinstance(value, np.ndarray | np.generic):
            with contextlib.suppress(BufferError, RuntimeError, TypeError):  # a device or dtype that DLPack refuses
                return np.from_dlpack(value)
        return as_numpy(value)

    def gradient_of(self, _function: Callable[[Any], Any]) -> None:
        return None
