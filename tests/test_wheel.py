"""What people install is what was tested."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_built_wheel_serves_a_newcomer() -> None:
    """``.ci/wheel``: wheel and sdist are sound, and the installed wheel does a first day's work outside the repository."""
    done = subprocess.run([ROOT / ".ci" / "wheel"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
