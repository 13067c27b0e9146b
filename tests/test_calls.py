"""How a target is called: result formats, call expressions, fixed options, in place, declared domains; each can fail."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from kernels import overwrites

from xent_verify import audit
from xent_verify.auditing.audit import AuditReport
from xent_verify.candidates import open_candidate
from xent_verify.candidates.adapters import likely
from xent_verify.candidates.calling import Expression
from xent_verify.candidates.domain import Domain
from xent_verify.cli import run
from xent_verify.core.failures import UsageError
from xent_verify.core.formats import FORMATS
from xent_verify.core.model import Batch, NotOffered, Raised, Returned, TimedOut
from xent_verify.gate.scaffold import functions, settings_text
from xent_verify.gate.settings_file import read_settings
from xent_verify.ops import OPS
from xent_verify.pytest_plugin import _audited as plugin_audited
from xent_verify.truth import certify
from xent_verify.verdict.judge import Rules, judge
from xent_verify.verdict.policies import POLICIES
from xent_verify.verdict.refusals import refusal
from xent_verify.verdict.settings import Settings, command_of

KERNELS = str(Path(__file__).parent / "kernels.py")
FEW = ("ordinary", "pairs")
LOSS = OPS["cross_entropy"]


def audited(name: str, op: str = "softmax", **options: Any) -> AuditReport:
    given = {"dtypes": ["float32"], "profile": "quick", "regimes": FEW, "isolated": False}
    return audit(f"{KERNELS}:{name}", op=op, **(given | options))


def kinds(report: AuditReport) -> set[str]:
    return {finding.kind for finding in report.signs if finding.severity == "fail"}


def call(**options: Any) -> Batch:
    logits = np.array([[0.0, 1.0, 2.0], [3.0, 1.0, -1.0]], np.float32)
    return Batch("cross_entropy", "float32", "", {"logits": logits, "target": np.array([2, 0])}, options)


# --- result format


def test_a_declared_result_format_is_no_fault() -> None:
    """float32 losses of bfloat16 logits pass where they are declared, and fail as ``dtype``, with the option, where not."""
    plain = {"op": "cross_entropy", "dtypes": ["bfloat16"], "options": {"reduction": "none"}, "only": "index labels"}
    assert audited("wide_losses", **plain, result="float32").ok
    report = audited("wide_losses", **plain)
    assert kinds(report) == {"dtype"}
    assert "--result float32" in next(finding.message for finding in report.signs if finding.kind == "dtype")


def test_a_declared_result_is_held_to_its_own_format() -> None:
    """A float32 loss of bfloat16 quality is inaccurate once it is declared, and is measured in ulps of float32 before."""
    plain = {"op": "cross_entropy", "dtypes": ["bfloat16"], "options": {"reduction": "none"}, "only": "index labels"}
    assert kinds(audited("coarse_losses", **plain, result="float32")) == {"inaccurate"}
    assert audited("coarse_losses", **plain).targets[0].dtypes[0].max_ulp > 1000


def test_a_narrower_answer_than_declared_is_a_fault() -> None:
    """What is declared as float32 must come as float32."""
    report = audited("softmax", dtypes=["bfloat16"], result="float32")
    assert "dtype" in kinds(report)


@pytest.mark.parametrize(
    ("inputs", "result", "steps"),
    [
        ("bfloat16", "float32", "float32"),
        ("float32", "float64", "float64"),
        ("float64", "float32", "float64"),
        ("float32", "bfloat16", "float32"),
    ],
)
def test_the_machine_computes_in_the_wider_format_and_stores_the_result(inputs: str, result: str, steps: str) -> None:
    """Limits of another result format: intermediates in the wider of the two, float32 at least."""
    machine = POLICIES["standard"].machine(FORMATS[inputs], FORMATS[result])
    assert (machine.steps.name, machine.store.name) == (steps, result)


def test_the_ulp_that_narrow_results_are_allowed_belongs_to_the_result() -> None:
    """The floor of one ulp is there for bfloat16 results, not for float32 results of bfloat16 inputs."""
    x = np.array([[1.0, 2.0, 3.0]], ml_dtypes.bfloat16)
    narrow, wide = (Batch("softmax", "bfloat16", "", {"x": x}, result=result) for result in ("", "float32"))
    limit = {
        one.result: POLICIES["standard"].limits(OPS["softmax"], one, certify(one)).error.max() for one in (narrow, wide)
    }
    assert limit[""] > 1e-3
    assert limit["float32"] < 1e-6


def test_a_finding_of_another_result_format_is_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Replay judges by the recorded result format and shows the value rounded to it."""
    plain = {"op": "cross_entropy", "dtypes": ["bfloat16"], "options": {"reduction": "none"}, "only": "index labels"}
    file = tmp_path / "result.json"
    file.write_text(audited("coarse_losses", **plain, result="float32").to_json())
    assert run(["replay", str(file), "--in-process", "--trust"]) == 1
    shown = capsys.readouterr().out
    assert "(float32)" in shown
    assert "still fails" in shown


def test_settings_record_and_repeat_what_was_said(tmp_path: Path) -> None:
    """The record of a result and the command that repeats it hold every one of the options."""
    said: dict[str, Any] = {
        "result": "float32", "call": "f(logits, target)", "options": {"reduction": "none"}, "only": "index labels",
        "without": ("masks",), "in_place": ("logits",),
    }  # fmt: skip
    report = audited("wide_losses", op="cross_entropy", dtypes=["bfloat16"], **said)
    again = Settings.of(json.loads(json.dumps(dict(report.targets[0].settings))))
    assert {name: getattr(again, name) for name in said} == said
    words = command_of(report.targets[0])
    for option in ("--result", "--call", "--option", "--only", "--without", "--in-place"):
        assert option in words
    assert words[words.index("--option") + 1] == 'reduction="none"'


# --- call expressions


def test_an_expression_picks_from_a_tuple() -> None:
    """A (loss, z_loss) tuple with arguments that have no defaults passes through an expression, in a process of its own."""
    report = audited(
        "pair", op="cross_entropy", isolated=True, call="f(logits, target, 0.5, reduction)[0]", only="index labels"
    )
    assert report.ok
    offered = report.targets[0].dtypes[0].offered
    assert offered["reduction"]
    assert not offered["label_smoothing"]


def test_an_out_argument_that_is_not_written_whole_is_seen() -> None:
    """``empty`` is full of NaN: what the target leaves out is a failure."""
    written = {"call": "(f(out := empty(x), x), out)[1]", "only": "last axis, not empty"}
    assert audited("into", **written).ok
    assert "nan" in kinds(audited("into_all_but_one", **written))


def test_an_expression_may_use_numpy() -> None:
    """The library's usual name is there."""
    assert audited("softmax_of_floats", call="f(np.asarray(x, np.float64)).astype(x.dtype)", only="last axis").ok


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("f(logits, tagret)", "column 11: unknown name 'tagret'; did you mean 'target'?"),
        ("f(logits, target", "'(' was never closed at column 2"),
        ("g(logits, target)", "unknown name 'g'"),
        ("logits + target", "does not use f"),
        ("f(logits)", "does not use target"),
        ("x = f(logits, target)", "column 3"),
    ],
)
def test_a_mistake_in_an_expression_is_told_with_its_place(text: str, words: str) -> None:
    """Wrong use is one line that quotes the expression and says where."""
    with pytest.raises(UsageError) as error:
        Expression.of(text, LOSS)
    assert words in str(error.value)
    assert text in str(error.value)


def test_wrong_use_ends_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    """On the command line every mistake in these options is exit 2 and one line."""
    start = ["audit", f"{KERNELS}:softmax", "--op", "softmax"]
    for words in (
        ["--call", "f(y)"],
        ["--option", "label_smoothing=0.1"],
        ["--option", "axis"],
        ["--in-place", "logits"],
        ["--only", "n << 3"],
        ["--only", "n <= many"],
        ["--result", "float31"],
        ["--without", "nothing"],
        ["--call", "f(x)", "--kwargs", '{"a": 1}'],
    ):
        assert run([*start, *words]) == 2, words
        told = capsys.readouterr().err.strip().splitlines()
        assert len(told) == 1, told
        assert told[0].startswith("xent-verify: ")


def test_an_expression_that_fails_by_itself_is_wrong_use() -> None:
    """A place that the tuple does not have is told as the expression's mistake, not as the target's fault."""
    with pytest.raises(UsageError, match=r"--call 'f\(x\)\[7\]': IndexError: tuple index out of range"):
        audited("a_pair_of_softmaxes", call="f(x)[7]")


def test_what_the_call_needs_is_suggested() -> None:
    """A target that lacks an argument in every small call is wrong use, with the call to write."""
    with pytest.raises(UsageError, match=r"--call '\(f\(out := empty\(x\), x\), out\)\[1\]'"):
        audited("into")
    with pytest.raises(UsageError, match=r"--call 'f\(logits, target, VALUE, reduction\)'"):
        audited("pair", op="cross_entropy")


def test_a_missing_argument_inside_the_target_is_its_fault() -> None:
    """A TypeError of the target's own making stays an exception."""
    assert "exception" in kinds(audited("calls_wrongly"))


def test_what_small_calls_met_is_reported() -> None:
    """Where none of them was answered the notes say what came instead, for each library."""
    report = audited("a_pair_of_softmaxes")
    assert any(
        "small calls with numpy arrays: answered a tuple of 2" in note for note in report.targets[0].dtypes[0].notes
    )


def test_an_interpreter_that_rounds_otherwise_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's cuts bfloat16 off: the notes say so where it is switched on, and nothing where it is not."""
    target = tmp_path / "kernel.py"
    target.write_text(COMPILED.replace("numba", "triton"))
    for value, told in (("1", True), ("0", False)):
        monkeypatch.setenv("TRITON_INTERPRET", value)
        with open_candidate(f"{target}:f", "softmax") as candidate:
            assert any("interpreter" in note for note in candidate.met) == told


# --- fixed options, in place


def test_an_option_fixed_in_the_target_is_known_to_the_truth() -> None:
    """A configured loss passes with its option and fails without; the option is never given to it."""
    plain = {"op": "cross_entropy", "only": "index labels, finite"}
    assert audited("smoothed", **plain, options={"label_smoothing": 0.25}).ok
    assert "inaccurate" in kinds(audited("smoothed", **plain))


def test_calls_that_fixed_options_do_not_fit_are_not_asked() -> None:
    """Class weights for three classes: other widths are left out, and the result says so."""
    options = {"weight": [1.0, 2.0, 0.5], "reduction": "sum"}
    report = audited("weighted", op="cross_entropy", options=options, only="index labels, finite", regimes=())
    assert report.ok
    assert report.cases
    assert any("fixed options" in line for line in report.targets[0].dtypes[0].unasked)


def test_other_values_of_a_fixed_option_are_refused_by_name() -> None:
    """A companion's call with another value never reaches the target."""
    with open_candidate(
        f"{KERNELS}:smoothed", "cross_entropy", isolated=False, options={"label_smoothing": 0.25}
    ) as one:
        assert isinstance(one.call(call(label_smoothing=0.25, reduction="mean")), Returned)
        assert one.call(call(reduction="mean")) == NotOffered("not asked: label_smoothing is fixed inside the target")


def test_fixed_labels_to_ignore_replace_the_others() -> None:
    """Labels that were ignored are ignored still under another number."""
    batch = Rules(options={"ignore_index": -1}).of_call(call(ignore_index=-100))
    moved = Batch("cross_entropy", "float32", "", {**batch.inputs, "target": np.array([-100, 0])}, {})
    assert Rules(options={"ignore_index": -1}).of_call(moved).inputs["target"].tolist() == [-1, 0]
    assert batch.options["ignore_index"] == -1


@pytest.mark.parametrize("isolated", [True, False])
def test_in_place_is_no_fault_where_it_is_the_contract(isolated: bool) -> None:
    """An input that is overwritten is reported, unless it was said; its value can be the answer."""
    plain = {"call": "(f(x), x)[1]", "only": "last axis, not empty", "isolated": isolated}
    assert "input_mutated" in kinds(audited("overwrites", **plain))
    assert audited("overwrites", **plain, in_place="x").ok


def test_the_script_of_a_finding_calls_as_the_audit_did(tmp_path: Path) -> None:
    """The script that reproduces a finding has the call, the options and what is in place; its fault is there."""
    report = audited(
        "into_all_but_one", isolated=True, call="(f(out := empty(x), x), out)[1]", only="last axis, not empty"
    )
    script = tmp_path / "script.py"
    script.write_text(next(finding.script for finding in report.signs if finding.kind == "nan"))
    path = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, env=path)
    assert done.returncode == 1, done.stderr
    assert "observed nan" in done.stdout


def test_the_gate_takes_the_same_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A target of the settings passes with all of them; a mistake in one is told with the target's place."""
    text = f"""
[[target]]
target = "{KERNELS}:wide_losses"
op = "cross_entropy"
dtypes = ["bfloat16"]
result = "float32"
call = "f(logits, target)"
options = {{reduction = "none"}}
only = "index labels"
without = ["long_rows", "many_rows", "sizes", "options", "crossed", "reductions", "any_bits"]
"""
    file = tmp_path / "xent-verify.toml"
    file.write_text(text)
    assert run(["gate", "--config", str(file)]) == 0
    capsys.readouterr()
    file.write_text(text.replace("f(logits, target)", "f(logits)"))
    assert run(["gate", "--config", str(file)]) == 2
    assert "[[target]] 1" in capsys.readouterr().err


C_SOURCE = r"""
#include <math.h>
void softmax(float *x, int n) {
    double sum = 0;
    float max = x[0];
    for (int i = 1; i < n; i++) if (!(x[i] <= max)) max = x[i];
    for (int i = 0; i < n; i++) sum += x[i] = expf(x[i] - max);
    for (int i = 0; i < n; i++) x[i] = (float)(x[i] / sum);
}
void scaled(const float *x, float *out, int n, float max, float temp) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += out[i] = expf((x[i] - max) / temp);
    for (int i = 0; i < n; i++) out[i] = (float)(out[i] / sum);
}
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two C functions, compiled."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler here")
    folder = tmp_path_factory.mktemp("c")
    (folder / "kernels.c").write_text(C_SOURCE)
    made = folder / "libkernels.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", str(folder / "kernels.c"), "-o", str(made), "-lm"], check=True)
    return str(made)


@pytest.mark.parametrize(
    ("symbol", "kwargs"),
    [
        ("softmax", {"signature": "void f(float *x, int n)"}),
        (
            "scaled",
            {
                "signature": "void f(const float *x, float *out, int n, float max, float temp)",
                "constants": {"temp": 1.0, "max": "max"},
            },
        ),
    ],
)
def test_c_in_place_and_with_constants(library: str, symbol: str, kwargs: dict[str, Any]) -> None:
    """A C function that overwrites its row (llama2.c) and one with floating constants (ggml's maximum) pass as they are."""
    report = audit(
        f"{library}:{symbol}",
        op="softmax",
        dtypes=["float32"],
        profile="quick",
        regimes=FEW,
        kwargs=kwargs,
        isolated=False,
    )
    assert report.ok
    assert report.cases > 100


@pytest.mark.parametrize(
    ("signature", "op", "words"),
    [
        ("void f(float *x, int n, float temp)", "softmax", '"constants": {"temp": 1.0}'),
        ("void f(float *x, int n)", "logsumexp", "logsumexp has one number a row"),
        ("void f(const float *x, int n)", "softmax", "a result"),
    ],
)
def test_a_declaration_that_lacks_something_is_told(library: str, signature: str, op: str, words: str) -> None:
    """A constant without a value, or no place for the result, is wrong use."""
    with pytest.raises(UsageError, match=re.escape(words)):
        open_candidate(f"{library}:softmax", op, isolated=False, kwargs={"signature": signature})


def test_init_finds_calls_where_the_source_shows_them(tmp_path: Path) -> None:
    """A tuple, an out-argument and a function that ends in "_" are listed with the call that the gate needs."""
    (tmp_path / "mine.py").write_text(
        "def softmax_into(out, x):\n    out[...] = x\n\n\n"
        "def softmax_(x):\n    x[...] = 1\n\n\n"
        "def cross_entropy(logits, target):\n    return logits.sum(), 0\n\n\n"
        "def log_softmax(x):\n    return x\n\n\n"
        "def softmax_named(x, *, out):\n    out[...] = x\n\n\n"
        "class LogSoftmax:\n    def forward(self, x):\n        return x\n\n\n"
        "class SoftmaxOf:\n    def __init__(self, n):\n        pass\n\n    def __call__(self, x):\n        return x\n"
    )
    found = {one.target.rpartition(":")[2]: one for one in functions(tmp_path)}
    assert not any(one.doubt for one in found.values())
    assert found["softmax_into"].call == "(f(out := empty(x), x), out)[1]"
    assert (found["softmax_"].call, found["softmax_"].in_place) == ("(f(x), x)[1]", "x")
    assert found["cross_entropy"].call == "f(logits, target)[0]"
    assert found["softmax_named"].call == "(f(x, out=(out := empty(x))), out)[1]"
    assert (found["LogSoftmax"].op, found["LogSoftmax"].call) == ("log_softmax", "")
    assert "SoftmaxOf" not in found  # it asks for a number
    assert not found["log_softmax"].call
    file = tmp_path / "xent-verify.toml"
    file.write_text(settings_text(found.values()))
    calls = {target.settings.call for target in read_settings(file).targets}
    assert "(f(x), x)[1]" in calls


# --- declared domains, refusals


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("n <= 3", call(), Batch("cross_entropy", "float32", "", {"logits": np.zeros((2, 4), np.float32)})),
        ("contiguous", call(), Batch("cross_entropy", "float32", "", call().inputs, layout="F")),
        ("reduction == mean", call(), call(reduction="sum")),
        ("label_smoothing < 0.5", call(), call(label_smoothing=0.5)),
        ("finite", call(), Batch("cross_entropy", "float32", "", {"logits": np.full((1, 2), np.inf, np.float32)})),
        ("index labels", call(), Batch("cross_entropy", "float32", "", {**call().inputs, "target": call().x})),
        ("2-D", call(), Batch("cross_entropy", "float32", "", {"logits": np.zeros(3, np.float32)})),
        ("dtype == float32, rows >= 2", call(), Batch("cross_entropy", "float32", "", {"logits": call().x[:1]})),
    ],
)
def test_conditions_of_a_domain(text: str, inside: Batch, outside: Batch) -> None:
    """Every kind of condition holds for one call and not for another, and is told in its own words."""
    domain = Domain.of(text, LOSS)
    assert not domain.outside(inside)
    assert domain.outside(outside) in text


def test_what_lies_outside_is_not_asked_and_told() -> None:
    """A kernel for short rows passes within its domain; what was left out stands in the result."""
    report = audited("short_rows", regimes=("ordinary", "long_rows"), only="n <= 100", without=["pairs"])
    assert report.ok
    unasked = report.targets[0].dtypes[0].unasked
    assert any(line.startswith("not asked (declared domain): n <= 100, ") for line in unasked)
    assert "not asked (--without): pairs" in unasked


def test_a_refused_length_is_unsupported() -> None:
    """Without a declared domain, too, an exception that refuses a length is no failure, and a layout likewise."""
    report = audited("short_rows", regimes=("ordinary", "long_rows", "layouts"))
    assert not kinds(report)
    told = {finding.message for finding in report.signs if finding.kind == "unsupported"}
    assert any("rows of" in text and "at most 100" in text for text in told)
    assert any("layout" in text and "contiguous" in text for text in told)


def test_an_exception_for_values_stays_one() -> None:
    """What ordinary numbers of the same shape do not raise is a fault, and so is what nobody raises on purpose."""
    x = np.full((2, 3), 1e30, np.float32)
    batch = Batch("softmax", "float32", "", {"x": x})
    answer = Returned(x, "float32")
    raised = Raised("ValueError", "too large")
    assert not refusal(OPS["softmax"], batch, raised, lambda other: raised if (other.x > 1).any() else answer)
    assert (
        refusal(OPS["softmax"], batch, raised, lambda other: raised if other.x.shape[-1] == 3 else answer)
        == "rows of 3"
    )
    slip = Raised("IndexError", "out of bounds")
    assert not refusal(OPS["softmax"], batch, slip, lambda other: slip if other.x.shape[-1] == 3 else answer)


# --- time, libraries


def test_compiling_is_not_call_time(tmp_path: Path) -> None:
    """Where a library is loaded that compiles, the first call of a shape has ten times the limit, and others have one."""
    target = tmp_path / "compiled.py"
    target.write_text(COMPILED)
    with open_candidate(f"{target}:f", "softmax", timeout=0.4) as candidate:
        for n in (5, 6, 5):
            x = np.zeros((2, n), np.float32)
            assert isinstance(candidate.call(Batch("softmax", "float32", "", {"x": x})), Returned)
        slow = np.zeros((2, 7), np.float32)
        assert isinstance(candidate.call(Batch("softmax", "float32", "", {"x": slow})), Returned)
        assert candidate.call(Batch("softmax", "float32", "", {"x": slow})) == TimedOut(0.4)
    with open_candidate(f"{target}:f", "softmax", timeout=0.1) as candidate:
        assert candidate.call(Batch("softmax", "float32", "", {"x": np.zeros((2, 99), np.float32)})) == TimedOut(1.0)


COMPILED = """
import sys, time, types
import numpy as np

sys.modules.setdefault("numba", types.ModuleType("numba"))
calls = {}

def f(x, axis=-1):
    n = calls[x.shape] = calls.get(x.shape, 0) + 1
    time.sleep(9 if x.shape[-1] == 99 else 1.0 if x.shape[-1] > 4 and (n == 1 or x.shape[-1] == 7) else 0)
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)
"""


def test_the_library_is_told_by_class_annotation_owner_and_partial() -> None:
    """A module's subclass, an annotated function, a bound method and a partial name their library; others are asked."""
    import functools

    tensor = type("Tensor", (), {"__module__": "torch"})
    module = type("Module", (), {"__module__": "torch.nn.modules.module", "__call__": lambda self, x: x})
    own = type("Mine", (module,), {"__module__": "mine"})()

    def annotated(x: Any) -> Any:
        return x

    assert likely(annotated)[0] == "numpy"
    annotated.__annotations__ = {"x": tensor | None, "return": tensor}
    for target in (own, annotated, functools.partial(annotated, 1), own.__call__):
        assert likely(target) == ["torch"], target


def test_probabilities_that_are_cast_to_labels_are_not_offered() -> None:
    """A loss that casts whatever comes to whole numbers and flattens it takes labels only."""
    report = audited("casts_labels", op="cross_entropy", regimes=("ordinary", "probabilities"))
    assert report.ok
    assert not report.targets[0].dtypes[0].offered["probability_targets"]


def test_the_fixture_of_pytest_takes_the_same_options() -> None:
    """What ``xent_audit`` passes on reaches the audit."""
    given = {"op": "softmax", "dtypes": ["float32"], "profile": "quick", "regimes": FEW, "only": "last axis, not empty"}
    assert plugin_audited(overwrites, given | {"call": "(f(x), x)[1]", "in_place": "x"}).ok


def test_a_wider_answer_keeps_the_limit_that_was_due() -> None:
    """An undeclared float64 answer of float32 quality is one finding: its dtype."""
    x = np.array([[0.0, 1.0, 3.0]], np.float32)
    batch = Batch("softmax", "float32", "", {"x": x}, result="float64")
    value = certify(batch).rounded("float32").astype(np.float64)
    judgement = judge(OPS["softmax"], batch, Returned(value, "float64"), certify(batch), Rules())
    assert judgement.kinds() == {"dtype"}
    assert judge(
        OPS["softmax"], batch, Returned(value, "float64"), certify(batch), Rules(result="float64")
    ).kinds() == {"inaccurate"}


@pytest.mark.parametrize(
    ("body", "op", "words"),
    [
        ("return x, 0", "softmax", '--call "f(x)[0]"'),
        ("return {'p': x}", "softmax", """--call "f(x)['NAME']\""""),
        ("x[...] = 0", "softmax", '--call "(f(x), x)[1]" --in-place x'),
    ],
)
def test_an_answer_that_is_no_array_names_the_call_that_gets_one(
    body: str, op: str, words: str, tmp_path: Path
) -> None:
    """Of a tuple, of a dictionary, and of a function that returns nothing."""
    (tmp_path / "mine.py").write_text(f"def kernel(x):\n    {body}\n")
    report = audit(
        f"{tmp_path}/mine.py:kernel", op=op, dtypes=["float32"], profile="quick", regimes=["ordinary"], isolated=False
    )
    assert words in next(one.message for one in report.findings if one.kind == "dtype")


def test_a_call_of_the_function_is_refused_for_a_gradient_that_no_library_makes() -> None:
    """NumPy does not differentiate."""
    with pytest.raises(UsageError, match="does not use grad, and no library was found to differentiate f"):
        audit(np.exp, op="vjp(softplus)", call="f(x)", dtypes=["float32"], profile="quick")
