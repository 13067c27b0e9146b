"""The pages are true: every command and every piece of Python in README.md and docs/ is run, and does what they say."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import subprocess
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import site_pages
from doc_pages import PAGES, ROOT, Step, links, steps

from xent_verify.cli import VERBS, run
from xent_verify.core.formats import FORMATS
from xent_verify.core.kinds import CLASSES, KINDS
from xent_verify.ops import OPS
from xent_verify.regimes import PROFILES
from xent_verify.regimes import regime as regime_module

ELSEWHERE = {
    "python3 -m venv": "sets up an environment: .ci/run does",
    "pip install": "sets up an environment: .ci/run does",
    "dask ": "a cluster: tests/test_prove_cluster.py has one",
    "xent-verify prove stable --op softmax --dtype float16 --cluster": "a cluster: tests/test_prove_cluster.py has one",
    "cc -O2 -ffp-contract=off examples/judges": "a compiler: tests/test_vectors.py has it",
    "./softmax vectors": "a compiler: tests/test_vectors.py has it",
    "node examples/judges": "Node.js: tests/test_vectors.py has it",
    "pytest -m slow": "takes hours: whoever changes truth runs it",
    "pytest --xent": "a suite of its own: tests/test_pytest_plugin.py has one",
}
"""Beginnings of commands that are not run here, and why."""

SHORTER = {
    "xent-verify prove naive --op softmax --dtype float8_e4m3fn": "--slice 8/16",
    "xent-verify prove stable --op softmax --dtype float8_e4m3fn": "--slice 8/64",
    "xent-verify prove stable --op softmax --dtype bfloat16": "--slice 9/1024",
    "xent-verify search stable": "--evaluations 300 --examples 5",
    "xent-verify vectors export --standard": "--op softmax --dtype bfloat16",
}
"""What is added to commands that take minutes as they stand."""

C_SOFTMAX = """
#include <math.h>
#include <stddef.h>
void softmax(const float *x, float *out, size_t rows, size_t n) {
    for (; rows--; x += n, out += n) {
        float top = -INFINITY;
        double sum = 0;
        for (size_t i = 0; i < n; i++) if (!(x[i] <= top)) top = x[i];
        for (size_t i = 0; i < n; i++) sum += out[i] = expf(x[i] - top);
        for (size_t i = 0; i < n; i++) out[i] = (float)(out[i] / sum);
    }
}
"""

SOFTMAX = """\
import numpy as np


def softmax(x, axis=-1):
    wide = x.astype(np.float32) if x.dtype.itemsize < 4 else x
    e = np.exp(wide - wide.max(axis=axis, keepdims=True, initial=-np.inf))
    return (e / e.sum(axis=axis, keepdims=True)).astype(x.dtype)
"""


def strangers_files(folder: Path) -> None:
    """What README takes for granted: a package, a colleague's file, this repository's claims."""
    (folder / "my_package").mkdir()
    (folder / "my_package" / "__init__.py").touch()
    (folder / "my_package" / "losses.py").write_text(SOFTMAX)
    (folder / "colleague.py").write_text(SOFTMAX)
    shutil.copytree(ROOT / "reports" / "claims", folder / "reports" / "claims")


def tiny_losses(folder: Path) -> None:
    """The package of the page on CI, and results of two branches and two machines."""
    shutil.copytree(ROOT / "examples" / "tiny_losses", folder, dirs_exist_ok=True)
    for target, names in (("stable", ("main", "arm", "linux")), ("naive", ("branch", "result"))):
        arguments = ["audit", target, "--op", "softmax", "--dtype", "float32", "--profile", "quick"]
        _, text = called([*arguments, "--json", "one.json"])
        assert text
        for name in names:
            (folder / f"{name}.json").write_text(Path("one.json").read_text().replace(f'"{target}"', '"softmax"'))
    shutil.copy("one.json", "result.json")


def answers(folder: Path) -> None:
    """What somebody's code answers to softmax.json: here what is right."""
    cases = json.loads((folder / "softmax.json").read_text())["cases"]
    given = {"format": "xent-verify answers", "version": 1, "target": "mine"}
    (folder / "answers.json").write_text(json.dumps(given | {"answers": {c["id"]: c["answer"] for c in cases}}))


def library(folder: Path) -> None:
    """A C library with a softmax of many rows."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no C compiler")
    source = folder / "foo.c"
    source.write_text(C_SOFTMAX)
    subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", str(source), "-o", str(folder / "libfoo.so"), "-lm"], check=True
    )


BEFORE: dict[str, Callable[[Path], None]] = {
    "docs/kernels.md": library,
    "docs/targets.md": library,
    "README.md": strangers_files,
    "README.zh.md": strangers_files,
    "docs/ci.md": tiny_losses,
    "xent-verify vectors judge softmax.json": answers,
}
"""What has to be there before a page, or a command that begins so."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder, profiles with few rows, and modules that are forgotten again."""
    import sys

    few = replace(
        PROFILES["quick"], rows=12, mask_widths=(11,), sizes=(3, 8, 17), long=((300, 1),), many=(3,), options=1,
        every=20, farthest=64, stride=2**16,
    )  # fmt: skip
    for name in PROFILES:
        monkeypatch.setitem(regime_module.PROFILES, name, replace(few, name=name))
    monkeypatch.chdir(tmp_path)
    known, path = set(sys.modules), list(sys.path)
    sys.path.insert(0, str(tmp_path))
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def called(words: list[str]) -> tuple[int, str]:
    """Exit status and output of one invocation, in this process."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = run(words)
    return status, out.getvalue()


def prefixed(table: dict[str, Any], text: str) -> Any:
    """The entry for the beginning of a command."""
    return next((value for beginning, value in table.items() if text.startswith(beginning)), None)


def do(step: Step, folder: Path, request: pytest.FixtureRequest) -> None:
    """Do what a page says, and compare with what it says comes of it."""
    match step.kind:
        case "file":
            (folder / step.name).parent.mkdir(parents=True, exist_ok=True)
            (folder / step.name).write_text(step.text)
        case "diff":
            change(folder, step.text)
        case "python":
            execute(step.text, request)
        case _ if step.words[0] == "python":
            script_exists(step.words)
        case _:
            command(step, folder)


def change(folder: Path, diff: str) -> None:
    """Replace the lines of a diff in the one file that has them."""
    old, new = (
        "\n".join(line[1:] for line in diff.splitlines() if line[:1] in (" ", sign)).strip("\n") for sign in "-+"
    )
    holders = [path for path in folder.rglob("*.py") if old in path.read_text()]
    assert len(holders) == 1
    holders[0].write_text(holders[0].read_text().replace(old, new))


def execute(text: str, request: pytest.FixtureRequest) -> None:
    """Run Python with a sound softmax of the reader's own at hand; tests in it are called with their fixture."""
    names: dict[str, Any] = {"np": np, "pytest": pytest, "__name__": "page"}
    exec(SOFTMAX, names)
    names["my_softmax"] = names["softmax"]
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore", pytest.PytestUnknownMarkWarning)
        exec(text, names)
        if "xent_audit" in text:
            names["test_softmax"](request.getfixturevalue("xent_audit"))


def script_exists(words: list[str]) -> None:
    """Benchmarks take minutes: the script is there and knows the options."""
    path = ROOT / words[1]
    source = (path / "__main__.py" if path.is_dir() else path).read_text()
    assert all(f'"{word}"' in source for word in words[2:] if word.startswith("--")), words


def command(step: Step, folder: Path) -> None:
    assert step.words[0] == "xent-verify", step.text
    prepare = prefixed(BEFORE, step.text)
    if prepare:
        prepare(folder)
    more = (prefixed(SHORTER, step.text) or "").split()
    status, text = called([*step.words[1:], *more])
    assert status == step.status, f"{step.text}: exit {status}, but should be {step.status}\n{text}"
    shows(text, step.shown)


def shows(text: str, wanted: tuple[str, ...]) -> None:
    """The lines that a page shows occur in the output, in their order; … stands for anything, and counts may differ."""
    lines = iter([plain(line) for line in text.splitlines()])
    for line in (plain(line) for line in wanted):
        assert not line or any(line in found for found in lines), f"{line!r} is not in\n{text}"


def plain(line: str) -> str:
    """Without columns, without what follows an ellipsis, without the number of values."""
    shown = re.sub(r"\d[\d\u202f ]* values checked", "values checked", line.partition("…")[0])
    return " ".join(shown.split())


def is_verb(step: Step) -> bool:
    """A verb's name in a sentence is a name, not a command."""
    return step.kind == "command" and not (set(step.words) - {"xent-verify", *VERBS, "export", "judge"})


def runnable(page: str) -> list[Step]:
    """What is run of a page; verbs that are only named are asked for help elsewhere."""
    return [step for step in steps(page) if not (step.kind == "command" and prefixed(ELSEWHERE, step.text))]


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_says_happens(page: str, folder: Path, request: pytest.FixtureRequest) -> None:
    """Commands exit as the page says and print what it shows; its Python runs; in its order, in one empty folder."""
    prepare = BEFORE.get(page)
    if prepare:
        prepare(folder)
    fenced = {step.text for step in steps(page) if step.kind == "command" and not is_verb(step)}
    done = set()
    for step in runnable(page):
        if is_verb(step) and (step.text in fenced or not in_a_block(page, step)):
            continue
        if step.kind == "command" and (step.text, step.status) in done:
            continue
        try:
            do(step, folder, request)
        except Exception as error:
            raise AssertionError(f"{page}:{step.line}: {error}") from error
        done.add((step.text, step.status))


def in_a_block(page: str, step: Step) -> bool:
    """Whether a step is a line of its own."""
    line = (ROOT / page).read_text().splitlines()[step.line - 1]
    return line.removeprefix("$ ").startswith(step.text)


def test_what_is_not_run_here_is_on_a_page() -> None:
    """An exception that no page needs any more is taken away."""
    texts = [step.text for page in PAGES for step in steps(page) if step.kind == "command"]
    unused = [start for start in (*ELSEWHERE, *SHORTER) if not any(text.startswith(start) for text in texts)]
    assert not unused


def test_ci_sets_up_as_the_pages_say() -> None:
    """What pages install with, ``.ci/run`` and the package's extras know."""
    ci = (ROOT / ".ci" / "run").read_text()
    assert "-m venv" in ci
    assert "pytest -n auto" in ci
    extras = re.search(r"optional-dependencies\](.*?)\n\[", (ROOT / "pyproject.toml").read_text(), re.S)
    named = {
        name
        for page in PAGES
        for found in re.findall(r"\[([a-z,]+)\]'", (ROOT / page).read_text())
        for name in found.split(",")
    }
    assert extras is not None
    assert named <= set(re.findall(r"^(\w+) =", extras[1], re.M))


def test_links_lead_somewhere() -> None:
    """Every link into the repository has a file, and its anchor a heading."""
    broken = []
    for page in PAGES:
        for link in links(page):
            place, _, anchor = link.partition("#")
            target = (ROOT / page).parent / place if place else ROOT / page
            if not target.exists() or (anchor and anchor not in anchors(target)):
                broken.append(f"{page}: {link}")
    assert not broken


def anchors(path: Path) -> set[str]:
    """As GitHub makes them of headings; the site fills tables in."""
    headings = re.findall(r"^#+ (.*)$", site_pages.tables(path.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_index_has_every_page() -> None:
    """docs/README.md links to each of its neighbours."""
    assert {Path(page).name for page in PAGES if page.startswith("docs/")} - {"README.md"} <= set(
        links("docs/README.md")
    )


def test_every_class_is_explained() -> None:
    """docs/reading.md has a row for every class of values."""
    text = (ROOT / "docs" / "reading.md").read_text()
    assert not [name for name in CLASSES if name != "ok" and f"| {name} |" not in text]


def test_the_site_has_an_anchor_for_each_name() -> None:
    """The tables that the site fills in have a heading for every kind, operation and command, and a row for every format."""
    made = {name: site_pages.tables(f"<!-- table: {name} -->") for name in site_pages.TABLES}
    headings = {name: re.findall(r"^#+ (.*)$", text, re.M) for name, text in made.items()}
    assert headings["kinds"] == list(KINDS)
    assert headings["operations"] == list(OPS)
    assert {f"xent-verify {verb}" for verb in VERBS} <= set(headings["commands"])
    assert not [name for name in FORMATS if f"| `{name}` |" not in made["formats"]]
    assert not [kind.remedy for kind in KINDS.values() if kind.remedy not in made["kinds"]]


def test_the_site_asks_for_every_table_once() -> None:
    """Each table stands on one page, and no page asks for one that does not exist."""
    asked = [name for page in PAGES for name in re.findall(r"<!-- table: (\w+) -->", (ROOT / page).read_text())]
    assert sorted(asked) == sorted(site_pages.TABLES)


def test_every_page_has_its_place_in_the_site() -> None:
    """mkdocs.yml names each page of docs/ and each page from elsewhere once."""
    named = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M)
    elsewhere = [path.relative_to(ROOT).as_posix() for one in site_pages.ELSEWHERE for path in ROOT.glob(one)]
    assert sorted(named) == sorted(
        [site_pages.page_of(page) for page in PAGES if not page.startswith("README")] + elsewhere
    )


@pytest.mark.parametrize(
    ("source", "link", "becomes"),
    [
        ("docs/tests.md", "[x](../examples/ten_tests.py)", "[x](examples/ten_tests.py)"),
        ("docs/tests.md", "[x](policies.md#classes)", "[x](policies.md#classes)"),
        ("reports/README.md", "[x](../docs/policies.md)", "[x](../policies.md)"),
        ("CONTRIBUTING.md", "[x](docs/ci.md)", "[x](ci.md)"),
        ("docs/prove.md", "[x](#domains) [y](https://example.org/a.md)", "[x](#domains) [y](https://example.org/a.md)"),
    ],
)
def test_a_link_of_the_repository_is_one_of_the_site(source: str, link: str, becomes: str) -> None:
    """Pages lie elsewhere in the site; the links between them follow."""
    assert site_pages.linked(link, source) == becomes


def test_a_wrong_page_would_be_noticed() -> None:
    """Another exit status or another output than a page shows is an error."""
    with pytest.raises(AssertionError, match="exit 0, but should be 1"):
        command(Step("command", "xent-verify list ops", 1, status=1), Path())
    with pytest.raises(AssertionError, match="is not in"):
        command(Step("command", "xent-verify list ops", 1, shown=("sofmax",)), Path())
