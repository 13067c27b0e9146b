"""What the checks of well-known projects let through: ``python benchmarks/habits.py [--out reports/habits.md]``.

Each habit is the tolerance that a project publishes for float32, on inputs such as it uses, put to the faults of this package
(each in float32, where all of them need not show), to candidates that compute nothing, and to the sound implementations.
Facts and figures of other projects, none of their code.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xent_verify.auditing.power import Power, measure_power
from xent_verify.implementations import find
from xent_verify.ops import OPS

ROOT = Path(__file__).resolve().parents[1]
ROWS_OPS = ("softmax", "log_softmax", "logsumexp", "cross_entropy", "cross_entropy_grad", "sigmoid", "log_sigmoid")
Array = Any
Rule = Callable[[Array, Array, Array], bool]
"""(given, the reference in float64, the usual float32 implementation's answer) -> whether it passes."""


def close(rtol: float, atol: float) -> Rule:
    return lambda given, wanted, _: np.allclose(given, wanted, rtol=rtol, atol=atol)


def twice_the_peer(given: Array, wanted: Array, peer: Array) -> bool:
    return bool(np.abs(given - wanted).max() <= 2 * np.abs(peer - wanted).max())


def mean_square(given: Array, wanted: Array, _: Array) -> bool:
    return bool(((given - wanted) ** 2).sum() / (wanted**2).sum() <= 1e-7)


def ulps(count: int) -> Rule:
    def passes(given: Array, wanted: Array, _: Array) -> bool:
        right = wanted.astype(np.float32)
        return bool((np.abs(given - right) <= count * np.spacing(np.abs(right))).all())

    return passes


@dataclass(frozen=True)
class Habit:
    """One project's check: its rule in words, where it stands, the shape and scale of inputs."""

    project: str
    words: str
    source: str
    rule: Rule
    shape: tuple[int, int] = (16, 64)
    scale: float = 1.0


HABITS = (
    Habit(
        "PyTorch `torch.testing.assert_close`", "rtol 1.3e-6, atol 1e-5", "documentation, default", close(1.3e-6, 1e-5)
    ),
    Habit("NumPy `assert_allclose`", "rtol 1e-7, atol 0", "documentation, default", close(1e-7, 0.0)),
    Habit("JAX `_default_tolerance`", "rtol = atol = 1e-6", "jax/test_util", close(1e-6, 1e-6)),
    Habit("TensorFlow, Keras `assertAllClose`", "rtol = atol = 1e-6", "test_util, default", close(1e-6, 1e-6), (8, 32)),
    Habit(
        "Transformer Engine `dtype_tols`", "rtol 1.3e-6, atol 1e-5", "tests/pytorch", close(1.3e-6, 1e-5), (128, 1024)
    ),
    Habit(
        "Liger-Kernel", "rtol 1e-6, atol 1e-8", "test/transformers/test_cross_entropy", close(1e-6, 1e-8), (64, 4096)
    ),
    Habit("KernelBench", "rtol = atol = 1e-2", "src/eval, one shape a problem", close(1e-2, 1e-2), (16, 16384)),
    Habit("FlashAttention", "at most twice PyTorch's error", "tests/test_flash_attn", twice_the_peer, (32, 128)),
    Habit(
        "llama.cpp", "mean square error at most 1e-7 of the square", "tests/test-backend-ops", mean_square, (32, 1024)
    ),
    Habit("ONNX backend tests", "rtol 1e-3, atol 1e-7", "onnx/backend/test, default", close(1e-3, 1e-7), (3, 5)),
    Habit("tt-metal `assert_with_ulp`", "at most 4 ulps", "tests/ttnn", ulps(4), (32, 64)),
)


def check(habit: Habit) -> Callable[[Callable[..., Any], str], bool]:
    """The habit as a check of ``power``: one call on normal logits of its shape."""

    def passes(candidate: Callable[..., Any], op: str) -> bool:
        rng = np.random.default_rng(0)
        x = (habit.scale * rng.standard_normal(habit.shape)).astype(np.float32)
        labels = OPS[op].labels
        more = [
            rng.integers(0, x.shape[1], len(x)) if name == labels else rng.standard_normal(x.shape).astype(np.float32)
            for name in list(OPS[op].inputs)[1:]
        ]
        double = [value if value.dtype.kind == "i" else value.astype(np.float64) for value in (x, *more)]
        right = find("stable", op).call
        given, wanted, peer = np.asarray(candidate(x, *more)), np.asarray(right(*double)), np.asarray(right(x, *more))
        return given.shape == wanted.shape and habit.rule(given.astype(np.float64), wanted, peer.astype(np.float64))

    return passes


def line(habit: Habit, power: Power) -> str:
    fooled = sorted({trial.name for trial in power.fooled_by if trial.op == "softmax"})
    sound = sum(not trial.faulty for trial in power.trials)
    cells = [
        habit.project, habit.words, f"{habit.shape[0]} × {habit.shape[1]}", f"{len(power.let_through)} of {len(power.faults)}",
        ", ".join(fooled) or "none", f"{len(power.false_alarms)} of {sound}", habit.source,
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


HEAD = """# What published tolerances let through

Made by `python benchmarks/habits.py`. Each row is a project's published tolerance for float32 on one batch of normal logits of
the shape given, put to the faults of this package over {ops}. A fault counts as let through where that batch does not show it to
that tolerance. "Computes nothing": what of zeros, NaN, a constant, 1/n and the input itself passes as a softmax. The figures are
of the tolerance and the inputs alone; projects have other tests beside these. Some faults have a memory, so that a count may
differ by one or two from run to run.

| project | tolerance | inputs | faults let through | computes nothing, and passes | sound forms rejected | published in |
|---|---|---|---:|---|---:|---|
"""
FOOT = """
What `xent-verify audit` catches of the same faults is what `python benchmarks/recall.py` prints, and what it rejects of sound
code `python benchmarks/recall.py --clean`.
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "habits.md")
    arguments = parser.parse_args()
    lines = []
    for habit in HABITS:
        power = measure_power(check(habit), ops=ROWS_OPS)
        lines.append(line(habit, power))
        print(lines[-1], flush=True)
    text = HEAD.format(ops=", ".join(f"`{op}`" for op in ROWS_OPS)) + "\n".join(lines) + "\n"
    text += FOOT
    arguments.out.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
