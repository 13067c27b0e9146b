"""What stands beside the package agrees with it: versions, dependencies, and the options that CI templates use."""

from __future__ import annotations

import os
import re
import subprocess
import textwrap
import tomllib
from pathlib import Path

import pytest

import xent_verify
from xent_verify.commands.gate import command
from xent_verify.report.github import COMMENT_MARK

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RECIPE = (ROOT / "packaging" / "conda" / "meta.yaml").read_text()
GATE = {option for parameter in command.params for option in parameter.opts}


def test_there_is_one_version() -> None:
    """The package, its metadata and the conda recipe."""
    assert xent_verify.__version__ == PROJECT["version"]
    assert f'{{% set version = "{PROJECT["version"]}" %}}' in RECIPE


def test_the_conda_recipe_needs_what_the_package_needs() -> None:
    """The same packages from the same versions on."""
    listed = RECIPE.partition("  run:\n")[2].partition("\n\n")[0]
    found = {line.strip("- ").replace(" ", "") for line in listed.splitlines()}
    assert found == {f"python{PROJECT['requires-python']}", *PROJECT["dependencies"]}
    assert "xent-verify = xent_verify.cli:main" in RECIPE


def test_the_gitlab_template_calls_the_gate_as_it_is() -> None:
    """Every option that it gives exists, and every file that it keeps is one that the gate writes."""
    text = (ROOT / "packaging" / "gitlab" / "xent-verify.gitlab-ci.yml").read_text()
    (line,) = re.findall(r"^ +- xent-verify gate (.*)", text, re.M)
    assert set(re.findall(r"--[a-z]+", line)) <= GATE
    for name in ("xent-verify-report", "xent-verify.json", "xent-verify.md", "xent-verify.xml"):
        assert name in line
        assert name in text.partition("artifacts:")[2]


def test_the_action_gives_the_gate_its_options() -> None:
    """Each input that becomes an option is one of the gate's, and has a description."""
    text = (ROOT / "action.yml").read_text()
    (names,) = re.findall(r"for name in (.*); do", text)
    for name in names.split():
        assert f"--{name}" in GATE
        assert re.search(rf"^  {name}:\n    description: .", text, re.M)
        assert f"XENT_{name.upper()}: ${{{{ inputs.{name} }}}}" in text


def test_the_image_and_the_release_use_the_wheel() -> None:
    """The image installs the built wheel with its report extra; a tag is published from what ``.ci/wheel`` checked."""
    assert "*.whl)[report]" in (ROOT / "packaging" / "docker" / "Dockerfile").read_text()
    release = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    assert ".ci/wheel dist" in release
    assert "id-token: write" in release


ACTION = (ROOT / "action.yml").read_text()
TEMPLATE = (ROOT / "packaging" / "gitlab" / "xent-verify.gitlab-ci.yml").read_text()


def step(text: str, start: str) -> str:
    """The lines of the first block scalar (``|``) after ``start``."""
    after = text.partition(start)[2].partition("|\n")[2]
    indent = re.match(r" *", after)
    assert indent
    return textwrap.dedent("".join(re.findall(rf"\A(?:{indent.group()}.*\n)+", after)))


def ran(script: str, folder: Path, program: str, stands_in: str, **variables: str) -> str:
    """Run a step of a template as its runner does, with ``program`` replaced; what it was asked, a line a call."""
    (folder / program).write_text(f'#!/bin/bash\nprintf "%s " "$@" >> calls; echo >> calls\n{stands_in}\n')
    (folder / program).chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    subprocess.run(shell, cwd=folder, env={"PATH": path, **variables}, check=True)
    calls = folder / "calls"
    return calls.read_text() if calls.exists() else ""


@pytest.mark.parametrize(("earlier", "method"), [("", "POST"), ("77", "PATCH")])
def test_the_action_writes_one_comment_and_then_replaces_it(tmp_path: Path, earlier: str, method: str) -> None:
    """The comment of an earlier run is found by its mark."""
    (tmp_path / "xent-verify.md").write_text(f"{COMMENT_MARK}\n## xent-verify\n")
    listing = f'case "$*" in *--jq*) printf "{earlier}";; esac'
    place = "repos/o/r/issues/5/comments"
    given = {"RUNNER_TEMP": str(tmp_path), "XENT_COMMENTS": place, "GITHUB_REPOSITORY": "o/r"}
    script = step(ACTION, "- name: Comment")
    assert COMMENT_MARK in script
    written = ran(script, tmp_path, "gh", listing, **given).splitlines()[-1]
    assert f"--method {method} " in written
    assert ("repos/o/r/issues/comments/77 " if earlier else f"{place} ") in written
    assert f"body=@{tmp_path / 'xent-verify.md'}" in written


def test_the_action_writes_no_comment_where_the_gate_wrote_nothing(tmp_path: Path) -> None:
    assert ran(step(ACTION, "- name: Comment"), tmp_path, "gh", "", RUNNER_TEMP=str(tmp_path)) == ""


@pytest.mark.parametrize("earlier", ["", "77"])
def test_the_gitlab_job_writes_one_note_and_then_replaces_it(tmp_path: Path, earlier: str) -> None:
    """Only with a token, and on a merge request."""
    (tmp_path / "xent-verify.md").write_text(f"{COMMENT_MARK}\n")
    note = f'{{"id": {earlier}, "body": "{COMMENT_MARK} older"}}' if earlier else ""
    listing = f"""case "$*" in *per_page*) echo '[{note}]';; esac"""
    given = {"CI_API_V4_URL": "https://x/api/v4", "CI_PROJECT_ID": "3", "CI_MERGE_REQUEST_IID": "5"}
    script = step(TEMPLATE, "cat xent-verify.md")
    assert COMMENT_MARK in script
    assert ran(script, tmp_path, "curl", listing, **given) == ""
    written = ran(script, tmp_path, "curl", listing, XENT_VERIFY_TOKEN="t", **given).splitlines()[-1]
    assert ("--request PUT" in written) == bool(earlier)
    assert f"merge_requests/5/notes{'/77' if earlier else ''} " in written
    assert "body@xent-verify.md" in written
