"""The table of kernels (benchmarks/kernels): every entry can be asked, in glue of at most three lines."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xent_verify.auditing.audit import audit, formats_of
from xent_verify.auditing.walk import upstreams
from xent_verify.ops import op_named
from xent_verify.regimes import plan
from xent_verify.truth import certify
from xent_verify.verdict.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks" / "libraries"))

from entries import LIBRARIES, Entry, entries, glue, read  # noqa: E402  a script's neighbour, not a package
from textbook import true_value  # noqa: E402

TABLE = read(ROOT / "benchmarks" / "kernels" / "kernels.toml")
ENTRIES = [entry for library in TABLE.values() for entry in entries(library)]
OPERATIONS = sorted(
    {entry.op for table in (TABLE, read(LIBRARIES)) for part in table.values() for entry in entries(part)}
)
OF_A_TABLE = {
    "requires", "bare", "versions", "shares", "environment", "build", "releases", "settings", "kernels", "said"
}  # fmt: skip


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.target}-{entry.op}-{entry.dtype}")
def test_every_entry_can_be_asked(entry: Entry) -> None:
    """Its keys are arguments of ``audit``; operation, format, call expression and domain are read without the kernel."""
    settings: dict[str, Any] = dict(entry.settings)
    settings.pop("answers", None)
    assert set(settings) <= set(inspect.signature(audit).parameters)
    assert formats_of(entry.op, [entry.dtype], Settings.of(settings)) == [entry.dtype]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.target}-{entry.op}-{entry.dtype}")
def test_glue_is_short(entry: Entry) -> None:
    """At most three statements between a kernel and the audit; a wrapper that is named has them."""
    lines = glue(entry.target, entry.settings)
    assert len(lines) <= 3
    assert lines or "/wrappers/" not in entry.target


def test_tables_know_their_keys_and_have_no_doubles() -> None:
    """A misspelt key would be passed over."""
    assert all(set(library) <= OF_A_TABLE for library in TABLE.values())
    for library in TABLE.values():
        keys = [entry.key for entry in entries(library)]
        assert len(set(keys)) == len(keys)


def test_kernels_are_many() -> None:
    """Twelve of eight projects at least."""
    assert len({(entry.target, entry.op) for entry in ENTRIES}) >= 12
    assert len(TABLE) >= 8


@pytest.mark.parametrize("op", OPERATIONS)
def test_plain_formulas_agree_with_the_truth(op: str) -> None:
    """What confirms a failure shares nothing with the package's truth; they are the same numbers, by every option."""
    chosen = {}
    gradient = op_named(op).differentiates
    regimes = ["ordinary", "masks", "state", "options", *(["dominated", "pairs", "crossed"] if gradient else [])]
    calls = plan(gradient or op, "float64", profile="quick", regimes=regimes)
    for batch in upstreams(op_named(op), "float64", calls, 0) if gradient else calls:
        if 0 < batch.x.size and sum(value.size for value in batch.inputs.values()) < (60 if gradient else 400):
            chosen.setdefault((batch.regime, *sorted(batch.options), len(chosen) * bool(gradient)), batch)
        if gradient and len(chosen) == 5:
            break
    assert len(chosen) >= 3
    for batch in chosen.values():
        true = np.asarray(certify(batch).rounded("float64"))
        for place in {0, true.size - 1}:
            index = tuple(int(i) for i in np.unravel_index(place, true.shape))
            plain = float(true_value(op, batch.inputs, batch.options, index))
            np.testing.assert_allclose(plain, true[index], rtol=2.0**-50, atol=5e-324, err_msg=f"{batch.options}")
