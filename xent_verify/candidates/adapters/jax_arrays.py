"""JAX arrays, with 64-bit types (a float64 target would silently be float32 otherwise) unless JAX_ENABLE_X64 is set."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from xent_verify.candidates.classes import instantiated
from xent_verify.core.failures import UsageError

__all__ = ["Arrays"]


class Arrays:
    """jax.Array on the device named (JAX's platform names: cpu, gpu, tpu)."""

    def __init__(self, argument: str = "", device: str = "cpu") -> None:  # noqa: ARG002  every adapter's signature
        if "JAX_ENABLE_X64" not in os.environ:
            jax.config.update("jax_enable_x64", True)
        try:
            self._device = jax.devices("gpu" if device.startswith("cuda") else device)[0]
        except RuntimeError as error:
            raise UsageError(f"device {device!r}: JAX has none here ({str(error).splitlines()[0]})") from None
        version = " ".join(str(getattr(self._device.client, "platform_version", "")).split())
        self.where = "" if device == "cpu" else f"{self._device.platform}, {self._device.device_kind}, {version}"

    def prepare(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return _applied(instantiated(function, _applied))

    def to_target(self, array: NDArray[Any]) -> Any:
        """A copy: JAX may keep a NumPy array's memory and read it later."""
        if array.dtype == np.float64 and not jax.config.jax_enable_x64:
            raise TypeError("float64 without JAX_ENABLE_X64")
        return jax.device_put(jnp.array(array, copy=True), self._device)

    def from_target(self, value: Any) -> NDArray[Any] | None:
        return np.asarray(value) if isinstance(value, jax.Array) else None

    def gradient_of(self, function: Callable[[Any], Any]) -> Callable[[Any, Any], Any]:
        def gradient(x: Any, upstream: Any) -> Any:
            result, back = jax.vjp(function, x)
            (found,) = back(jax.numpy.ones_like(result) if upstream is None else upstream.astype(result.dtype))
            return found

        return gradient


def _applied(function: Any) -> Callable[..., Any]:
    """A module of Flax that is bound to no variables is applied without any; everything else is called as it is."""
    linen = sys.modules.get("flax.linen")
    plain: Callable[..., Any] = function
    if linen is None or not isinstance(function, linen.Module) or function.scope is not None:
        return plain

    def call(*inputs: Any, **options: Any) -> Any:
        return function.apply({}, *inputs, **options)

    call.__signature__ = inspect.signature(function.__call__)  # type: ignore[attr-defined]
    return call
