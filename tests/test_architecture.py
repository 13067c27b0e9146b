"""The house as CONTRIBUTING draws it: imports go down the floors only, and heavy imports stay in their rooms."""

from __future__ import annotations

import ast
from pathlib import Path

import xent_verify

PACKAGE = Path(xent_verify.__file__).parent
FLOORS = (
    (
        "failures", "documents", "floating", "kinds", "formats", "enclosure", "arrays", "model", "layouts", "environment",
        "libraries", "outside", "encodings", "clock", "workers",
    ),
    ("ops", "defined"),
    ("implementations",),
    ("regimes", "strategies"),
    ("truth",),
    ("candidates", "scripts", "testing"),
    (
        "policies", "requirements", "domains",
        "measure", "conventions", "judge", "rungs", "tolerances", "settings", "properties", "distances", "rowwise",
        "refusals", "ledger", "screen", "companions", "laws", "diagnose", "causes", "defects",
    ),
    ("minimise", "search", "findings", "relations", "recipes"),
    ("report", "claims_truth", "claims", "steps", "explain"),
    ("walk", "audit", "many", "parity", "power"),
    (
        "harvest", "worst", "prove", "baseline", "settings_file", "gate", "differences", "replay", "scaffold", "vectors",
        "pytest_plugin",
    ),
    ("commands", "cli", "__main__"),
)  # fmt: skip
"""From the ground up; inside a floor a room may import those that are named before it."""

FLOOR = {room: (level, place) for level, rooms in enumerate(FLOORS) for place, room in enumerate(rooms)}
HEAVY = {
    "mpmath": {"truth"},
    "hypothesis": {"strategies", "search"},
    "pandas": {"report", "audit"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "numba": {"truth"},
    "torch": {"candidates"},
    "jax": {"candidates"},
    "tensorflow": {"candidates"},
    "onnxruntime": {"candidates"},
    "click": {"cli", "commands"},
    "distributed": {"prove"},
}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> list[str]:
    """Every module a file imports, wherever in the file (type-checking imports left out)."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    names = []
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [
                f"{node.module}.{alias.name}" if node.module == "xent_verify" else node.module for alias in node.names
            ]
    return names


def files() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def test_every_room_has_a_floor() -> None:
    """A new module is placed in the picture before anything else."""
    assert {room_of(path) for path in files()} <= set(FLOOR)


def test_imports_go_down() -> None:
    """No module imports from a floor above its own, nor from a room that stands after its own on the same floor."""
    wrong = []
    for path in files():
        for name in imports(path):
            parts = name.split(".")
            if (
                parts[0] == "xent_verify"
                and len(parts) > 1
                and parts[1] in FLOOR
                and FLOOR[parts[1]] > FLOOR[room_of(path)]
            ):
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not wrong


def test_heavy_imports_stay_in_their_rooms() -> None:
    """Each heavy library is imported by the one room that owns it."""
    wrong = []
    for path in files():
        for name in imports(path):
            root = name.split(".")[0]
            if root in HEAVY and room_of(path) not in HEAVY[root]:
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not wrong


def test_public_names_are_sorted_and_there() -> None:
    """``__all__`` is sorted (upper case first, as ruff sorts) and every name resolves."""
    assert all(hasattr(xent_verify, name) for name in xent_verify.__all__)
    assert len(set(xent_verify.__all__)) == len(xent_verify.__all__)
    assert set(dir(xent_verify)) == set(xent_verify.__all__)


def test_public_names_stay_what_they_are() -> None:
    """``xent_verify.audit`` is the function at every use, also after the module of that name has been imported."""
    import subprocess
    import sys

    for first in (
        "xent_verify.audit",
        "import xent_verify.cli, xent_verify.audit",
        "from xent_verify.audit import Settings",
    ):
        code = f"import xent_verify; {first}; print(*(type(xent_verify.audit).__name__ for _ in range(2)))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.split() == ["function", "function"]


def loaded_after(code: str, *names: str) -> list[str]:
    """Which of these modules a new process has loaded after some code."""
    import subprocess
    import sys

    told = f"import sys; {code}; print(*(m for m in {names!r} if m in sys.modules))"
    return subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout.split()


def test_importing_the_package_is_light() -> None:
    """``import xent_verify`` imports nothing but itself; its functions no library of tables, plots or tests."""
    tools = ("pandas", "matplotlib", "hypothesis", "jinja2", "pyarrow", "scipy", "numba", "click", "rich")
    assert not loaded_after("import xent_verify", "numpy", "ml_dtypes", "mpmath", *tools)
    assert not loaded_after("import xent_verify as x; x.audit, x.reference, x.limits, x.assert_close", *tools)
