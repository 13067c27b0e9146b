"""What stands beside the package agrees with it: versions, dependencies, and the options that CI templates use."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import xent_verify
from xent_verify.commands.gate import command

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
    (line,) = re.findall(r"- xent-verify gate (.*)", text)
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
