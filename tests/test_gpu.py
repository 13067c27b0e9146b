"""What needs a GPU: arrays lie on the device, and its arithmetic is judged. Skipped, and said so, where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from xent_verify import audit
from xent_verify.candidates import open_candidate
from xent_verify.core.model import Batch, Returned

torch = pytest.importorskip("torch", reason="needs torch and a GPU")
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")


def seen(x: Any) -> Any:
    """A softmax that refuses arrays elsewhere."""
    if x.device.type != "cuda":
        raise TypeError(f"an array on {x.device}")
    return torch.softmax(x, -1)


def test_arrays_lie_on_the_device() -> None:
    """The target is given tensors of the device and its answer comes back."""
    with open_candidate(seen, "softmax", arrays="torch", device="cuda", isolated=False) as candidate:
        outcome = candidate.call(Batch("softmax", "float32", "", {"x": np.zeros((2, 4), np.float32)}))
    assert isinstance(outcome, Returned)
    assert (outcome.value == 0.25).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_released_softmax_passes(dtype: str) -> None:
    """torch's own kernels, by the policy of their arithmetic; the report names the device and its driver."""
    report = audit(
        "torch:softmax", op="softmax", dtypes=[dtype], arrays="torch", device="cuda", policy="gpu", profile="quick"
    )
    assert report.ok, str(report)
    assert "cuda" in report.environment["devices"][0].lower()
