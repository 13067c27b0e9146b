"""A newcomer's first minutes with an installed wheel, outside the repository, each message checked.

``python tests/newcomer.py ENVIRONMENT [WHEEL]`` (standard library alone): version, what the wheel holds, the audit of a
NumPy function, results in files, the page, ``init``, a gate that passes, a planted fault that makes it red, a baseline
with which the fault is known, the fault undone. ``.ci/wheel`` makes the environment.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

LOSSES = '''\
import numpy as np


def softmax(x, axis=-1):
    """Probabilities of each row."""
    e = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))
    return e / e.sum(axis=axis, keepdims=True)
'''
SHIFT = " - x.max(axis=axis, keepdims=True, initial=-np.inf)"
QUICK = ("--op", "softmax", "--dtype", "float32", "--profile", "quick")


class Newcomer:
    """A folder, an environment, and what was printed last."""

    def __init__(self, environment: Path, folder: Path) -> None:
        self.program, self.folder, self.out = environment / "bin" / "xent-verify", folder, ""

    def types(self, *words: str, expect: int, shows: tuple[str, ...] = ()) -> None:
        """Run the program: its exit status and what it shows are as expected, and there is never a traceback."""
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
        done = subprocess.run(
            [self.program, *words], cwd=self.folder, env=kept, capture_output=True, encoding="utf-8", check=False
        )
        self.out = done.stdout + done.stderr
        told = f"$ xent-verify {' '.join(words)}\n{self.out}"
        assert done.returncode == expect, f"exit {done.returncode}, expected {expect}\n{told}"
        assert "Traceback" not in self.out, told
        for text in shows:
            assert text in self.out, f"{text!r} is not shown\n{told}"
        print(f"ok: xent-verify {' '.join(words)}")

    def edits(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")


def holds_the_package_alone(wheel: Path) -> str:
    """The wheel's version, and nothing in it but the package and its metadata."""
    version = wheel.name.split("-")[1]
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    roots = {name.split("/")[0] for name in names}
    assert roots == {"xent_verify", f"xent_verify-{version}.dist-info"}, roots
    assert "xent_verify/py.typed" in names
    assert "xent_verify/vectors/schema.json" in names
    return version


def walk(environment: Path, folder: Path, version: str = "") -> None:
    """Everything a newcomer does, in order."""
    one = Newcomer(environment, folder)
    one.types("--version", expect=0, shows=(f"version {version}",))
    one.types("audit", "softmax.py:softmax", *QUICK, expect=2, shows=("softmax.py: not found",))
    one.edits("losses.py", LOSSES)
    one.types("audit", "losses.py:sofmax", *QUICK, expect=2, shows=("did you mean 'softmax'",))
    out = ("--json", "result.json", "--out", "report")
    one.types("audit", "losses.py:softmax", *QUICK, *out, expect=0, shows=("✓ pass", "values checked"))
    assert json.loads((folder / "result.json").read_text(encoding="utf-8"))["ok"] is True
    page = (folder / "report" / "report.html").read_text(encoding="utf-8")
    assert "losses.py:softmax" in page
    assert "<svg" in page
    one.types("init", ".", expect=0)
    settings = (folder / "xent-verify.toml").read_text(encoding="utf-8")
    assert 'op = "softmax"' in settings, settings
    one.edits("xent-verify.toml", settings.replace('["float32", "float64"]', '["float32"]'))
    one.types("gate", expect=0, shows=("gate passes: 0 new",))
    one.edits("losses.py", LOSSES.replace(SHIFT, ""))
    one.types(
        "gate", "--json", "gate.json", expect=1,
        shows=("x = [89]", "no maximum is subtracted", "gate FAILS", "--update-baseline", "xent-verify replay"),
    )  # fmt: skip
    one.types("replay", "gate.json", "--trust", expect=1, shows=("x =",))
    one.types("gate", "--update-baseline", expect=0, shows=("baseline: added",))
    one.types("gate", expect=0, shows=("gate passes", "known"))
    one.edits("losses.py", LOSSES)
    one.types("gate", expect=0, shows=("stale",))
    one.types("gate", "--update-baseline", expect=0, shows=("removed",))


def main(environment: str, wheel: str = "") -> None:
    version = holds_the_package_alone(Path(wheel)) if wheel else ""
    with tempfile.TemporaryDirectory() as folder:
        walk(Path(environment).absolute(), Path(folder), version)


if __name__ == "__main__":
    main(*sys.argv[1:])
