"""PyTorch tensors. Half and 8-bit types cross as integer bits, which NumPy and torch agree on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import torch
from numpy.typing import NDArray

NAME = "torch"

_BITS = {
    "bfloat16": (np.int16, torch.int16, torch.bfloat16, ml_dtypes.bfloat16),
    "float8_e4m3fn": (np.uint8, torch.uint8, torch.float8_e4m3fn, ml_dtypes.float8_e4m3fn),
    "float8_e5m2": (np.uint8, torch.uint8, torch.float8_e5m2, ml_dtypes.float8_e5m2),
}


def prepare(function: Callable[..., Any], device: str) -> Callable[..., Any]:
    """Module classes are instantiated (with ``dim=-1`` where they take it); modules move to the device."""
    if inspect.isclass(function) and issubclass(function, torch.nn.Module):
        takes_dim = "dim" in inspect.signature(function.__init__).parameters
        function = function(dim=-1) if takes_dim else function()
    if isinstance(function, torch.nn.Module):
        function = function.eval().to(device)
    return function


def to_target(array: NDArray[Any], device: str) -> torch.Tensor:
    """A tensor with the same bits; strides are kept where torch has them (not negative ones), memory is shared."""
    if any(step < 0 for step in array.strides) or not array.flags.writeable:
        array = array.copy()
    name = array.dtype.name
    if name in _BITS:
        bits, _, dtype, _ = _BITS[name]
        return torch.from_numpy(array.view(bits)).view(dtype).to(device)
    return torch.from_numpy(array).to(device)


def from_target(value: Any) -> NDArray[Any] | None:
    """The tensor's bits as an array."""
    if not isinstance(value, torch.Tensor):
        return None
    tensor = value.detach().resolve_conj().resolve_neg().cpu()
    name = str(tensor.dtype).removeprefix("torch.")
    if name in _BITS:
        _, bits, _, dtype = _BITS[name]
        return tensor.contiguous().view(bits).numpy().view(dtype)
    return tensor.numpy()


def gradient_of(loss: Callable[..., Any], _device: str) -> Callable[..., Any]:
    """The gradient of the per-sample loss, by autograd."""

    def gradient(logits: torch.Tensor, target: torch.Tensor, **options: Any) -> torch.Tensor:
        leaf = logits.clone().requires_grad_(True)
        value = loss(leaf, target, **{"reduction": "sum", **options})
        (result,) = torch.autograd.grad(value.sum(), leaf)
        return result

    return gradient
