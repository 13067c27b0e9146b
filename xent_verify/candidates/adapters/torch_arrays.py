"""PyTorch tensors. Half and 8-bit types cross as integer bits, which NumPy and torch agree on."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xent_verify.candidates.classes import instantiated
from xent_verify.core.arrays import as_numpy
from xent_verify.core.failures import UsageError, clipped

__all__ = ["Arrays"]

_BITS = {
    "bfloat16": (np.int16, torch.bfloat16),
    "float8_e4m3fn": (np.uint8, torch.float8_e4m3fn),
    "float8_e5m2": (np.uint8, torch.float8_e5m2),
}


class Arrays:
    """torch.Tensor on one device."""

    def __init__(self, argument: str = "", device: str = "cpu") -> None:  # noqa: ARG002  every adapter's signature
        try:
            torch.zeros(1, device=device).cpu()  # "meta" holds no values
        except (RuntimeError, AssertionError, ValueError, TypeError) as error:
            why = str(error).partition("\n")[0].partition(". ")[0]
            raise UsageError(
                f"device {device!r}: torch has none here that holds values ({clipped(why, 160)})"
            ) from None
        self._device = device
        self.where = "" if device == "cpu" else self._told()

    def _told(self) -> str:
        """The device in words, such as "cuda:0, NVIDIA H200, CUDA 12.8, driver for CUDA 12.9"."""
        if self._device.split(":")[0] != "cuda":
            return self._device
        told = f"{self._device}, {torch.cuda.get_device_name(self._device)}, CUDA {torch.version.cuda or torch.version.hip}"
        number = getattr(torch._C, "_cuda_getDriverVersion", lambda: 0)()
        return f"{told}, driver for CUDA {number // 1000}.{number % 1000 // 10}" if number else told

    def prepare(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Modules move to the device and are put in evaluation mode; their signature is that of ``forward``."""
        if inspect.isclass(function):
            return instantiated(function, self._placed)
        if not isinstance(function, torch.nn.Module):
            return function
        module = self._placed(function)

        def call(*inputs: Any, **options: Any) -> Any:
            return module(*inputs, **options)

        call.__signature__ = inspect.signature(module.forward)  # type: ignore[attr-defined]
        call.__module__ = "torch"
        return call

    def _placed(self, made: Any) -> Any:
        return made.eval().to(self._device) if isinstance(made, torch.nn.Module) else made

    def to_target(self, array: NDArray[Any]) -> torch.Tensor:
        """Strides are kept where torch has them (not negative ones)."""
        if any(step < 0 for step in array.strides) or not array.flags.writeable:
            array = array.copy()
        if array.dtype.name not in _BITS:
            return torch.from_numpy(array).to(self._device)
        bits, dtype = _BITS[array.dtype.name]
        return torch.from_numpy(array.view(bits)).view(dtype).to(self._device)

    def from_target(self, value: Any) -> NDArray[Any] | None:
        if not isinstance(value, torch.Tensor):
            return None
        return as_numpy(value)

    def kept(self, value: Any) -> Any:
        """An answer apart from what the target may write to next."""
        return value.clone() if isinstance(value, torch.Tensor) else copy.copy(value)

    def together(self, values: list[Any]) -> torch.Tensor | None:
        """Answers of one shape as one tensor, so that their bits are moved once; None for others."""
        first = values[0] if values else None
        if not isinstance(first, torch.Tensor):
            return None
        alike = (isinstance(v, torch.Tensor) and v.shape == first.shape and v.dtype == first.dtype for v in values)
        return torch.stack(values) if all(alike) else None

    def gradient_of(self, function: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
        def gradient(x: torch.Tensor, upstream: torch.Tensor | None) -> torch.Tensor:
            leaf = x.detach().clone().requires_grad_(True)
            result = function(leaf)
            given = torch.ones_like(result) if upstream is None else upstream.to(result.dtype)
            (found,) = torch.autograd.grad(result, leaf, given)
            return found

        return gradient
