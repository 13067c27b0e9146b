"""What an audit and a gate cost, import to exit: ``python benchmarks/audit.py [--repeat 3]``.

Seconds of the processor, user and system, of a process and its children, the best of several runs: the quick and the standard
audit of NumPy's stable forms in float32; the same with the target in this process (the ratio is what isolation costs), and of
the naive form, which fails (beside the passing one); the quick gate of three functions in two formats. The peer in the same run
is what people write today: the same function against float64 NumPy on 1000 rows of normal logits with ``assert_allclose``.
Where a C compiler is found, also what the glue costs a row of a C function that is called row by row (its own time is a
thousandth of that).
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from xent_verify.candidates import open_candidate
from xent_verify.core.model import Batch, Returned

PEER = """
import numpy as np
x = np.random.default_rng(0).standard_normal((1000, 1000)).astype(np.float32)
def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
np.testing.assert_allclose(softmax(x), softmax(x.astype(np.float64)), rtol=1.3e-6, atol=1e-5)
"""
FUNCTIONS = """
import numpy as np

def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)

def log_softmax(x, axis=-1):
    d = x - x.max(axis=axis, keepdims=True)
    return d - np.log(np.exp(d).sum(axis=axis, keepdims=True))

def cross_entropy(logits, target, reduction="mean"):
    losses = -np.take_along_axis(log_softmax(logits), target[:, None], 1)[:, 0]
    return {"none": losses, "sum": losses.sum(), "mean": losses.mean()}[reduction]
"""
SETTINGS = 'dtypes = ["float32", "float64"]\n' + "".join(
    f'[[target]]\ntarget = "losses:{name}"\nop = "{name}"\n' for name in ("softmax", "log_softmax", "cross_entropy")
)
OPS = ("softmax", "log_softmax", "logsumexp", "cross_entropy", "cross_entropy_grad", "kl_divergence", "attention")


def seconds(arguments: list[str], repeat: int, folder: Path) -> float:
    """Processor time of a Python process and its children, the best of ``repeat``."""
    best = float("inf")
    for _ in range(repeat):
        before = _spent()
        subprocess.run([sys.executable, *arguments], cwd=folder, check=False, capture_output=True)  # noqa: S603
        best = min(best, _spent() - before)
    return best


def _spent() -> float:
    """Processor time of all children that have ended."""
    found = resource.getrusage(resource.RUSAGE_CHILDREN)
    return found.ru_utime + found.ru_stime


KERNEL = "void half(float *x, int n) { for (int i = 0; i < n; i++) x[i] = 0.5f; }"


def glue(folder: Path, repeat: int, rows: int = 20_000) -> float | None:
    """Microseconds of the processor a row of a C function that takes one row in place; None where no compiler is found."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    (folder / "half.c").write_text(KERNEL)
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", "half.so", "half.c"], cwd=folder, check=True)  # noqa: S603
    batch = Batch("softmax", "float32", "", {"x": np.zeros((rows, 2), np.float32)})
    best = float("inf")
    said = {"signature": "void half(float *x, int n)"}
    with open_candidate(f"{folder / 'half.so'}:half", "softmax", kwargs=said, isolated=False) as candidate:
        for _ in range(repeat):
            start = time.process_time()
            if not isinstance(candidate.call(batch), Returned):
                return None
            best = min(best, time.process_time() - start)
    return best / rows * 1e6


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "losses.py").write_text(FUNCTIONS)
        (folder / "xent-verify.toml").write_text(SETTINGS)
        peer = seconds(["-c", PEER], repeat, folder)
        print(f"assert_allclose on normal logits  {peer:6.2f} s")
        tool = ["-m", "xent_verify"]
        gate = seconds([*tool, "gate"], repeat, folder)
        print(f"quick gate, three functions x two formats  {gate:6.2f} s ({gate / peer:.0f} x)")
        row = glue(folder, repeat)
        print("glue of a C function called row by row  " + ("no compiler" if row is None else f"{row:6.2f} µs a row"))
        heads = f"{'quick':>16}{'standard':>18}{'of it isolation':>18}{'failing / passing':>20}"
        print(f"{'audit, one operation, float32':32}{heads}")
        for op in OPS:
            audit = ["--op", op, "--dtype", "float32"]
            passing = [*tool, "audit", "stable", *audit]
            quick, standard = (seconds([*passing, "--profile", name], repeat, folder) for name in ("quick", "standard"))
            inside = seconds([*passing, "--in-process"], repeat, folder)
            failing = seconds([*tool, "audit", "naive", *audit], repeat, folder)
            cells = f"{quick:8.2f} s ({quick / peer:3.0f} x){standard:8.2f} s ({standard / peer:3.0f} x)"
            print(f"{op:32}{cells}{standard / inside - 1:14.0%}{failing / standard:20.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
