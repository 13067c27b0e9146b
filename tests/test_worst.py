"""The search over a target: it finds what is there, shrinks it, and says the same for the same seed."""

from __future__ import annotations

import pytest

from xent_verify.auditing.audit import Settings
from xent_verify.auditing.worst import search_worst
from xent_verify.cli import run
from xent_verify.verdict.policies import parse_policy

SETTINGS = Settings(parse_policy("standard"), isolated=False)


def test_the_naive_softmax_shrinks_to_a_logit_past_the_edge() -> None:
    """Overflow of float32's exp: the NaN comes down to a single logit just past 88.72."""
    report, _ = search_worst(
        "naive", op="softmax", dtypes=("float32",), settings=SETTINGS, evaluations=2000, examples=200
    )
    found = {finding.kind: finding for finding in report.signs if finding.severity == "fail"}
    assert found["nan"].minimal is not None
    assert found["nan"].minimal.inputs["x"].ravel().tolist() == [89.0]
    assert {"underflow"} <= set(found)


def test_the_stable_softmax_stays_within_its_bound_and_near_it() -> None:
    """The search breeds rows up to, and not beyond, the derived bound of a sound implementation."""
    report, curves = search_worst(
        "stable", op="softmax", dtypes=("float32",), settings=SETTINGS, evaluations=6000, examples=50
    )
    assert report.ok
    assert 0.4 < curves["float32"][-1][1] <= 1  # the limit also covers base-2 and division-free forms


def test_the_same_seed_finds_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """Two searches with one seed have equal findings and curves."""
    one, two = (
        search_worst("naive", op="logsumexp", dtypes=("float16",), settings=SETTINGS, evaluations=1500, examples=60)
        for _ in range(2)
    )
    assert one[1] == two[1]
    assert [(f.kind, f.count, f.message) for f in one[0].signs] == [(f.kind, f.count, f.message) for f in two[0].signs]


def test_the_verb_prints_the_curve(capsys: pytest.CaptureFixture[str]) -> None:
    """search prints the best so far, and exits 1 for a violated policy; a malformed time is exit 2."""
    arguments = [
        "search",
        "naive",
        "--op",
        "softmax",
        "--dtype",
        "float16",
        "--evaluations",
        "1000",
        "--examples",
        "50",
    ]
    assert run([*arguments, "--in-process"]) == 1
    assert "largest error / limit so far" in capsys.readouterr().out
    assert run([*arguments, "--time", "soon"]) == 2
