"""Nothing is lost: only defined calls are proposed, and what raises costs its own part of the work alone."""

from __future__ import annotations

import json
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import thinned

from xent_verify import audit as public_audit
from xent_verify.auditing import findings as findings_module
from xent_verify.auditing import many
from xent_verify.auditing.audit import AuditReport, assert_accurate, audit, merged
from xent_verify.auditing.replay import chosen, replay
from xent_verify.candidates import open_candidate, probe
from xent_verify.cli import run
from xent_verify.core.failures import AuditIncompleteError, UsageError
from xent_verify.core.model import Batch, DtypeResult, Finding, NotOffered, Report, TargetResult
from xent_verify.gate.differences import differences
from xent_verify.minimise.passes import PASSES, Attempt
from xent_verify.ops import OPS
from xent_verify.ops.defined import undefined
from xent_verify.regimes import plan
from xent_verify.report import from_json, render_annotations, render_junit, render_text, to_json
from xent_verify.report.html import render_html
from xent_verify.report.markdown import render_markdown
from xent_verify.report.words import headline
from xent_verify.truth import certify
from xent_verify.verdict.settings import Settings

LOSSES = """
import numpy as np


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))
    return e / e.sum(axis=axis, keepdims=True)
"""


def log_p(x: np.ndarray) -> np.ndarray:
    shifted = x - x.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def ignoring_by_weight(logits, target, weight=None, ignore_index=-100, reduction="mean"):
    """A loss that ignores a class by the weight 0: an index counted from the end ignores a real class."""
    if target.ndim != 1:
        raise TypeError("indices only")
    classes = logits.shape[1]
    weights = np.ones(classes, logits.dtype) if weight is None else weight.copy()
    if ignore_index != -100 and -classes <= ignore_index < classes:
        weights[ignore_index] = 0
    with np.errstate(all="ignore"):
        inside = (target >= 0) & (target < classes)
        safe = np.where(inside, target, 0)
        each = np.where(inside & (target != ignore_index), weights[safe], 0).astype(logits.dtype)
        loss = np.where(each > 0, -each * log_p(logits)[np.arange(len(safe)), safe], 0).astype(logits.dtype)
        total = {"none": loss, "sum": loss.sum(dtype=logits.dtype), "mean": loss.sum() / each.sum()}[reduction]
    return np.asarray(total, logits.dtype)


def mean_alone(logits, target, ignore_index=-100):
    """A mean and nothing else: NaN over nothing, by convention."""
    if target.ndim != 1:
        raise TypeError("indices only")
    with np.errstate(all="ignore"):
        live = target != ignore_index
        loss = -log_p(logits)[np.arange(len(target)), np.where(live, target, 0)]
        return (np.where(live, loss, 0).sum() / logits.dtype.type(live.sum())).astype(logits.dtype)


def below_one(logits, target, label_smoothing=0.0):
    """A loss of its own reduction that refuses a smoothing of 1, and offers no other option."""
    if target.ndim != 1:
        raise TypeError("indices only")
    if label_smoothing >= 1:
        raise ArithmeticError("label_smoothing must be below 1")
    with np.errstate(all="ignore"):
        logs = log_p(logits)
        own = (1 - label_smoothing) * logs[np.arange(len(target)), target] + label_smoothing * logs.mean(axis=1)
        return (-own).astype(logits.dtype)


def two_faults(x, axis=-1):
    """Raises for one width in one way, for another in another."""
    if x.shape[axis] == 3:
        raise TypeError("three is not offered")
    if x.shape[axis] == 8:
        raise OverflowError("eight is too many")
    e = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))
    return e / e.sum(axis=axis, keepdims=True)


def naive(x, axis=-1):
    with np.errstate(all="ignore"):
        return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)


def stable(x, axis=-1):
    with np.errstate(all="ignore"):
        e = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))
        return e / e.sum(axis=axis, keepdims=True)


def quick(function: Callable[..., Any], op: str = "softmax", **options: Any) -> Any:
    return audit(function, op=op, **{"dtypes": ["float32"], "profile": "quick", **options})


@pytest.mark.parametrize("every", thinned(4))
@pytest.mark.parametrize("op", OPS)
def test_every_call_of_every_regime_is_defined(op: str, every: int) -> None:
    """No regime asks for what its operation does not define, in any format."""
    for fmt in OPS[op].formats[list(OPS).index(op) % every :: every]:
        wrong = [(b.regime, why) for b in plan(op, fmt, profile="quick") if (why := undefined(OPS[op], b))]
        assert not wrong


LOGITS = np.array([[0.0, 1.0, 2.0], [3.0, 1.0, -1.0]], np.float32)
PLAIN = Batch("cross_entropy", "float32", "test", {"logits": LOGITS, "target": np.array([2, 0])})


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"inputs": {"logits": LOGITS, "target": np.array([2, -1])}}, "label"),
        ({"inputs": {"logits": LOGITS, "target": np.array([2, 3])}}, "label"),
        ({"inputs": {"logits": LOGITS, "target": np.array([2])}}, "shape"),
        ({"inputs": {"logits": LOGITS, "target": LOGITS[:, :2]}}, "shape"),
        ({"options": {"label_smoothing": 1.5}}, "range"),
        ({"options": {"reduction": "median"}}, "range"),
        ({"op": "softmax", "inputs": {"x": LOGITS}, "options": {"axis": 2}}, "range"),
        ({"op": "softmax_temperature", "inputs": {"x": LOGITS}, "options": {"temperature": 0.0}}, "range"),
        ({"op": "kl_divergence", "inputs": {"p": LOGITS, "q": LOGITS[:1]}}, "shape"),
    ],
)
def test_what_the_truth_refuses_is_undefined(change: dict[str, Any], word: str) -> None:
    """``undefined`` says why, and only where it says nothing is the truth asked."""
    batch = replace(PLAIN, **change)
    assert word in undefined(OPS[batch.op], batch)
    with pytest.raises(UsageError):
        certify(batch)
    assert not undefined(OPS[PLAIN.op], PLAIN)


def test_an_ignored_label_is_defined_as_long_as_it_is_ignored() -> None:
    """A label outside the classes needs the option that makes it the ignored one."""
    batch = replace(PLAIN, inputs={"logits": LOGITS, "target": np.array([2, -1])}, options={"ignore_index": -1})
    assert not undefined(OPS[batch.op], batch)
    assert undefined(OPS[batch.op], replace(batch, options={}))


def small_calls() -> list[Batch]:
    """One short call of every regime of every operation, its format by turns."""
    found: dict[tuple[str, str], Batch] = {}
    for number, op in enumerate(OPS):
        for batch in plan(op, OPS[op].formats[number % len(OPS[op].formats)], profile="quick", seed=number):
            if batch.x.size <= 400:
                found[op, batch.regime] = batch
    return list(found.values())


@pytest.mark.parametrize("every", thinned(4))
def test_no_pass_proposes_what_raises(every: int) -> None:
    """Any regime's call, any pass, whatever is answered: each proposal is defined, and its truth can be had."""
    asked = 0
    for batch in small_calls()[::every]:
        for one_pass in PASSES:

            def fails(proposal: Batch) -> bool:
                nonlocal asked
                asked += 1
                assert not undefined(OPS[proposal.op], proposal)
                certify(proposal)
                told = repr((proposal.options.keys(), proposal.x.shape, proposal.x.tobytes()[:64]))
                return zlib.crc32(told.encode()) % 3 > 0

            one_pass(Attempt(batch, fails, 8))
    assert asked > 1000


def test_a_loss_that_ignores_by_weight_is_audited_to_the_end() -> None:
    """Dropping the option that a label hangs on is no reproduction: there are findings, and their calls are defined."""
    report = quick(ignoring_by_weight, "cross_entropy")
    assert report.failed
    assert not report.incomplete
    assert any("ignore_index" in one.minimal.options for one in report.signs if one.minimal)
    again = from_json(to_json(report))
    for finding in again.signs:
        assert finding.minimal is not None
        batch = Batch("cross_entropy", "float32", "", finding.minimal.inputs, finding.minimal.options)
        assert not undefined(OPS["cross_entropy"], batch)


def test_the_products_own_refusal_is_no_failure_of_the_target() -> None:
    """An exception shrinks to a call that is offered and raises the same; what is not offered is an outcome of its own."""
    report = quick(below_one, "cross_entropy")
    (found,) = (one for one in report.signs if one.kind == "exception")
    assert found.raised.startswith("ArithmeticError")
    assert found.minimal is not None
    assert found.minimal.options["label_smoothing"] == 1.0
    item = chosen(report, None, "exception")
    with open_candidate(below_one, "cross_entropy") as candidate:
        refused = candidate.call(replace(PLAIN, options={"reduction": "sum"}))
    assert isinstance(refused, NotOffered)
    assert item.finding == found


def test_exceptions_of_different_types_are_different_findings() -> None:
    """Each type has its own finding, message and minimal call."""
    found = {one.raised.split()[0]: one for one in quick(two_faults).signs if one.kind == "exception"}
    assert {"TypeError", "OverflowError"} == set(found)
    for name, width in (("TypeError", 3), ("OverflowError", 8)):
        assert name in found[name].message
        assert found[name].minimal is not None
        assert found[name].minimal.inputs["x"].shape[found[name].minimal.options.get("axis", -1)] == width


def test_a_mean_over_nothing_is_no_wrong_loss_of_an_ignored_row() -> None:
    """A loss that only averages is asked row by row; NaN of an ignored row is its mean over nothing, not its loss."""
    report = quick(mean_alone, "cross_entropy")
    assert not [one for one in report.signs if one.kind in ("special_value", "nan") and one.severity == "fail"]
    with open_candidate(mean_alone, "cross_entropy") as candidate:
        ignored = replace(
            PLAIN, inputs={"logits": LOGITS, "target": np.array([-100, 0])}, options={"reduction": "none"}
        )
        outcome: Any = candidate.call(ignored)
    assert outcome.value[0] == 0
    assert np.isfinite(outcome.value[1])


def test_a_loaded_librarys_refusals_are_the_ones_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no small call is answered, the calls are made with the loaded library's arrays, not with NumPy's."""
    real = probe.adapter_named
    monkeypatch.setattr(probe, "likely", lambda *_: ["numpy", "theirs"])
    monkeypatch.setattr(probe, "adapter_named", lambda name, device="cpu": real("numpy"))

    def refuses(x: Any) -> Any:
        raise ValueError("depth must be at least 2")

    assert probe.plan(refuses, "softmax", "auto", "cpu", {})[1] == "theirs"


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("minimise", "not minimised"),
        ("script", "no script"),
        ("_diagnosis", "no cause looked for"),
        ("focus", "not reduced to a row"),
    ],
)
def test_what_raises_in_a_finding_costs_that_part(name: str, note: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The finding is there, says what is missing, and everything else of the audit too."""

    def broken(*_: Any, **__: Any) -> Any:
        raise IndexError("beyond the end")

    monkeypatch.setattr(findings_module, name, broken)
    found = quick(naive, regimes=("overflow_edge",))
    assert found.failed
    notes = [line for one in found.signs for line in one.notes]
    assert f"{note}: IndexError: beyond the end" in notes
    assert from_json(to_json(found)).signs[0].notes == found.signs[0].notes


def test_a_call_that_cannot_be_judged_costs_that_call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The others are counted, the result says what is missing and is no pass; exit 3, with everything written."""
    real = findings_module.truth_of

    def broken(batch: Batch, **options: Any) -> Any:
        if batch.regime == "ties":
            raise ZeroDivisionError("no truth here")
        return real(batch, **options)

    monkeypatch.setattr(findings_module, "truth_of", broken)
    (tmp_path / "m.py").write_text(LOSSES)
    out = tmp_path / "r.json"
    arguments = ["audit", f"{tmp_path / 'm.py'}:softmax", "--op", "softmax", "--dtype", "float32", "--in-process"]
    assert run([*arguments, "--profile", "quick", "--regimes", "ordinary,ties", "--json", str(out)]) == 3
    report = from_json(out.read_text())
    assert not report.ok
    assert report.cases
    assert "ties was not judged: ZeroDivisionError: no truth here" in report.incomplete[0]


def test_a_target_that_cannot_be_opened_costs_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of several targets the others' results are kept: exit 3, or 1 where they fail. Alone it is wrong use: exit 2."""
    common = ["--op", "softmax", "--dtype", "float32", "--profile", "quick", "--regimes", "overflow_edge"]
    out = tmp_path / "r.json"
    for name, status in (("stable", 3), ("naive", 1)):
        assert run(["audit", "nowhere:f", name, *common, "--in-process", "--json", str(out)]) == status
        report = from_json(out.read_text())
        assert [target.target for target in report.targets] == ["nowhere:f", name]
        assert report.targets[1].dtypes[0].cases
        assert "nowhere" in report.incomplete[0]
        captured = capsys.readouterr()
        assert "could not be completed" in captured.out
        assert "not completed: nowhere:f" in captured.err
    assert run(["audit", "nowhere:f", *common]) == 2


def test_a_gate_keeps_what_its_other_targets_gave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that is gone does not hide the others' results, and the baseline is left as it was."""
    monkeypatch.chdir(tmp_path)
    Path("m.py").write_text(LOSSES)
    tables = "".join(f'[[target]]\ntarget = "m.py:{name}"\n' for name in ("softmax", "gone"))
    Path("xent-verify.toml").write_text(f'op = "softmax"\ndtypes = ["float32"]\nisolated = false\n{tables}')
    assert run(["gate", "--json", "gate.json", "--update-baseline"]) == 3
    report = json.loads(Path("gate.json").read_text())
    assert [target["ok"] for target in report["targets"]] == [True, False]
    assert not Path("xent-verify-baseline.json").exists()


def test_a_worker_that_dies_costs_its_own_target() -> None:
    """The report of everything that is installed keeps what the other workers gave."""
    task = many.Task("m:f", "softmax", ("float32", "float16"), Settings())
    died: Future[tuple[bool, str]] = Future()
    died.set_exception(MemoryError("out of memory"))
    done: Future[tuple[bool, str]] = Future()
    done.set_result((True, to_json(quick(stable, regimes=("ordinary",)))))
    report = merged([many._had(task, died), many._had(task, done)])
    assert report.incomplete == tuple(f"m:f softmax {name}: MemoryError: out of memory" for name in task.dtypes)
    assert report.cases


def test_replay_refuses_a_call_that_is_none(tmp_path: Path) -> None:
    """A recorded call that the operation does not define is wrong use, said in one line."""
    report = public_audit(naive, op="softmax", dtypes=["float32"], profile="quick", regimes=["overflow_edge"])
    item = chosen(report, 0, "")
    assert item.finding.minimal is not None
    bent: Finding = replace(item.finding, minimal=replace(item.finding.minimal, options={"axis": 7}))
    with pytest.raises(UsageError, match="axis = 7 is out of its range"):
        replay(replace(item, finding=bent), isolated=False, trust=True)


def ends_its_process(task: many.Task) -> tuple[bool, str]:
    """What a worker does instead of an audit: for one target it dies."""
    import os

    if task.target == "m:dies":
        os._exit(3)
    result = DtypeResult("float32", 9, 1.0, 1.0, {}, ())
    return True, to_json(Report((TargetResult(task.target, task.op, (result,)),), {}))


def test_a_pool_that_broke_costs_the_task_that_broke_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ends takes its pool along; the tasks that waited are done again, each on its own."""
    monkeypatch.setattr(many, "_run", ends_its_process)
    tasks = [many.Task(f"m:{name}", "softmax", ("float32",), Settings()) for name in ("dies", "lives", "too")]
    report = many.joined(tasks, many.in_processes(tasks, 1))
    assert [bool(target.dtypes[0].cases) for target in report.targets] == [False, True, True]
    assert len(report.incomplete) == 1


def test_what_is_incomplete_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """assert_accurate, compare and every rendering say so."""
    unfinished = DtypeResult("float32", 9, 1.0, 1.0, {}, (), incomplete=("a call of ties was not judged: why",))
    made = Report((TargetResult("m:f", "softmax", (unfinished,)),), {})
    module = sys.modules["xent_verify.auditing.audit"]
    monkeypatch.setattr(module, "audited", lambda *_: AuditReport(made.targets, {}))
    with pytest.raises(AuditIncompleteError, match="not judged: why"):
        assert_accurate(stable, op="softmax")
    assert any("not completed in the new result" in line for line in differences(made, made).lines)
    for text in (
        render_text(made),
        render_markdown(made),
        render_html(made),
        render_junit(made),
        render_annotations(made),
    ):
        assert "not judged: why" in text
    assert "could not be completed" in headline(made)
    assert "All 1" not in headline(made)
