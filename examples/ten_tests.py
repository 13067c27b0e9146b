"""Ten tests as projects write them, with guessed tolerances, and the same with derived limits.

Each has a kernel, the inputs that its test uses, and the tolerance. ``guessed`` is the test as it is found; ``derived`` is the
same line with ``assert_close``. Run it to see what a kernel of zeros does to each: ``python examples/ten_tests.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xent_verify import assert_close
from xent_verify.implementations import find

rng = np.random.default_rng(0)


def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
    return (scale * rng.standard_normal(shape)).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """A test of one operation: what it is called on, and the tolerance that somebody guessed."""

    title: str
    op: str
    inputs: tuple[Any, ...]
    rtol: float
    atol: float
    options: dict[str, Any] = field(default_factory=dict)

    def right(self) -> np.ndarray:
        return np.asarray(find("stable", self.op).call(*self.inputs, **self.options))

    def guessed(self, answer: np.ndarray) -> None:
        """The test as it is found."""
        np.testing.assert_allclose(answer, self.right(), rtol=self.rtol, atol=self.atol)

    def derived(self, answer: np.ndarray) -> None:
        """The test with derived limits: no reference, no tolerance."""
        assert_close(answer, op=self.op, inputs=self.inputs, **self.options)


sure = normal(64, 10, scale=0.1)
sure[:, 7] += 10.0
label = np.full(64, 7)
before = normal(32, 16)
after = before + normal(32, 16, scale=0.03)

CASES = (
    Case("softmax over a long row", "softmax", (normal(4, 16384),), 1e-2, 1e-2),
    Case("softmax over a vocabulary when training starts", "softmax", (normal(2, 128256, scale=0.01),), 1.3e-6, 1e-5),
    Case("cross entropy of confident rows", "cross_entropy", (sure, label), 1e-3, 1e-3),
    Case("its gradient", "cross_entropy_grad", (sure, label), 1e-3, 1e-3),
    Case("log-probability of a token that was sampled", "token_logprob", (sure, label), 1e-3, 1e-3),
    Case("entropy of confident rows", "entropy", (sure,), 1e-2, 1e-2),
    Case("KL divergence of a policy from its last step", "kl_divergence", (before, after), 1e-3, 5e-3),
    Case("log-mean-exp of logits near 0", "logmeanexp", (normal(8, 100, scale=1e-3),), 1e-3, 1e-3),
    Case("sigmoid of gates that are closed", "sigmoid", (normal(512) - 20,), 1e-5, 1e-6),
    Case("softplus of small rates", "softplus", (normal(512) - 20,), 1e-5, 1e-6),
)


def passes(test: Callable[[np.ndarray], None], answer: np.ndarray) -> bool:
    try:
        test(answer)
    except AssertionError:
        return False
    return True


def main() -> None:
    for case in CASES:
        zeros = np.zeros_like(case.right())
        told = ["passes" if passes(test, zeros) else "fails" for test in (case.guessed, case.derived)]
        print(f"{case.title}: zeros {told[0]} with rtol={case.rtol:g}, atol={case.atol:g}; {told[1]} with assert_close")


if __name__ == "__main__":
    main()
