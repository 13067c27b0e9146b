"""The committed certificates: strict, complete, and true of the implementations as they are, in parts run again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xent_verify.auditing.audit import Settings
from xent_verify.candidates import open_candidate
from xent_verify.core.environment import instruction_set
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch, Returned
from xent_verify.ops import op_named
from xent_verify.prove import Plan, Sweep, domain_of, table
from xent_verify.prove.certified import count_judged
from xent_verify.prove.counts import LOWEST, Counts
from xent_verify.prove.pairs import PairJudge
from xent_verify.verdict.policies import parse_policy

FOLDER = Path(__file__).parents[1] / "reports" / "certificates"
FILES = sorted(FOLDER.glob("*.json"))


def loaded(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=pytest.fail)


def plan_of(made: dict[str, Any]) -> Plan:
    run = made["run"]
    settings = Settings(parse_policy(run["policy"]), isolated=False)
    return Plan(
        run["target"], run["op"], domain_of(op_named(run["op"]), FORMATS[run["dtype"]], run["domain"]), settings
    )


def ids(path: Path) -> str:
    return path.stem


def test_the_folder_has_what_it_should() -> None:
    """Certificates of all fp8 triples and all unary inputs, naive and stable, and a table of all of them."""
    names = {path.stem for path in FILES}
    for fmt in ("float8_e4m3fn", "float8_e5m2"):
        for op in ("softmax", "log_softmax", "logsumexp"):
            assert {f"{op}-{name}-{fmt}-triples" for name in ("naive", "stable")} <= names
    for fmt in ("float16", "bfloat16"):
        for op in ("sigmoid", "log_sigmoid"):
            assert {f"{op}-{name}-{fmt}-unary" for name in ("naive", "stable")} <= names
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == table(FILES)


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_a_certificate_is_complete(path: Path) -> None:
    """It covers its whole domain, its counts add up, and sound implementations have no failure in it."""
    made = loaded(path)
    assert made["label"] == "proved"
    assert made["chunks_done"] == [[0, made["run"]["chunks"] - 1]]
    assert made["rows"] == plan_of(made).domain.size
    assert sum(made["classes"].values()) == made["elements"]
    assert sum(entry["count"] for entry in made["histogram"]) == made["numeric"]
    assert made["ok"] == (made["run"]["target"] == "stable")
    assert made["ok"] == (not made["failures"])


def comparable(made: dict[str, Any], plan: Plan) -> tuple[bool, bool]:
    """Whether answers can be compared bit by bit (exp and log are those of the machine), and whether verdicts can.

    A certificate holds under the limits it names; where those of the policy have changed since, errors in ulps and all
    that is counted by them must still agree.
    """
    versions = {name: made["run"]["versions"][name] for name in ("numpy", "ml_dtypes")}
    now = {name: plan.identity["versions"][name] for name in versions}
    same_machine = made["environment"]["instruction_sets"] == [instruction_set()]
    return same_machine and versions == now, made["run"]["limits"] == plan.identity["limits"]


@pytest.mark.parametrize("path", [path for path in FILES if "unary" in path.stem], ids=ids)
def test_a_whole_domain_run_again_gives_the_certificate(path: Path) -> None:
    """Small domains: on the same instruction set the same certificate, on another one the same verdict."""
    made = loaded(path)
    plan = plan_of(made)
    again = json.loads(json.dumps(Sweep(plan).run()))
    bits, verdicts = comparable(made, plan)
    assert made["rows"] == again["rows"]
    if bits:
        assert again["max_ulp"] == made["max_ulp"] or not verdicts
    if bits and verdicts:
        assert without_target(again) == without_target(made)
    if verdicts:
        assert made["ok"] == again["ok"]


def without_target(made: dict[str, Any]) -> dict[str, Any]:
    """A certificate without the hash of the target's files, in which a comment may have changed."""
    return made | {"run": {name: value for name, value in made["run"].items() if name != "fingerprint"}}


@pytest.mark.parametrize("path", [path for path in FILES if "unary" not in path.stem], ids=ids)
def test_a_slice_agrees_with_the_certificate(path: Path) -> None:
    """The rows around the two maxima, run again: the maxima are there, nothing is larger, no bin holds more."""
    made = loaded(path)
    plan = plan_of(made)
    bits, verdicts = comparable(made, plan)
    for what, name in (("max_ulp", "ulp"), ("max_bound_ratio", "ratio")):
        counts = around(plan, made[what]["row"])
        if verdicts:
            assert (not counts.failing) or not made["ok"]
        if bits and (verdicts or what == "max_ulp"):
            assert counts.best[name].value == pytest.approx(float.fromhex(made[what]["hex"]), rel=1e-7, abs=1e-7)
        if bits and (verdicts or made["ok"]):  # where nothing fails, limits decide nothing
            bins = {entry["from"]: entry["count"] for entry in made["histogram"]}
            for k in np.nonzero(counts.histogram)[0]:
                assert counts.histogram[k] <= bins["0" if k == 0 else f"2^{k + LOWEST}"]
            assert all(number <= made["classes"][kind] for kind, number in counts.classes.items())


def around(plan: Plan, row: int) -> Counts:
    """The counts of the neighbourhood of a row."""
    op, form = op_named(plan.op), plan.domain.form
    width = 1 << 16 if plan.domain.tabulated else 1 << 12 if plan.domain.name != "gaps" else 1 << 5
    rows = row // width * width + np.arange(width)
    rows = rows[rows < plan.domain.size]
    x = plan.domain.values(rows)
    with open_candidate(plan.target, plan.op, isolated=False) as candidate:
        outcome = candidate.call(Batch(op.name, form.name, "", {"x": x}))
    assert isinstance(outcome, Returned)
    counts = Counts()
    if plan.domain.tabulated:
        bits = form.to_bits(outcome.value).reshape(width, -1)
        slow = PairJudge(op, form, plan.settings.rules).count(counts, row >> 16, bits)
    else:
        slow = np.arange(len(rows))
    some = Returned(outcome.value[slow], outcome.dtype_name)
    count_judged(counts, op, plan.domain, plan.settings.rules, rows[slow], x[slow], some)
    return counts
