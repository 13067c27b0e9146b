"""The house as CONTRIBUTING draws it: imports go down the floors only, and heavy imports stay in their rooms."""

from __future__ import annotations

import ast
from pathlib import Path

import xent_verify

PACKAGE = Path(xent_verify.__file__).parent


def of(package: str, names: str) -> tuple[str, ...]:
    """Modules of a package that is held to an order of its own."""
    return tuple(f"{package}.{name}" for name in names.split())


FLOORS = (
    of(
        "core",
        "failures shapes interrupts documents outputs floating kinds formats enclosure arrays model layouts foldings environment "
        "libraries outside encodings clock workers",
    ),
    ("ops",),
    ("implementations",),
    ("regimes", "strategies"),
    ("truth",),
    ("candidates", "scripts", "testing"),
    (
        *of(
            "verdict",
            "blocks policies requirements domains measure conditions conventions judge rungs tolerances settings properties "
            "distances rowwise refusals patience ledger screen",
        ),
        "companions", "laws", "diagnose",
        *of("verdict", "causes defects"),
    ),
    ("minimise", "search", "sequences", *of("auditing", "shared findings relations recipes")),
    ("report", *of("explain", "claims_truth claims steps explain")),
    of("auditing", "walk audit many parity power"),
    (
        *of("auditing", "harvest worst"), "prove", *of("gate", "baseline settings_file gate differences"),
        "auditing.replay", "gate.scaffold", "vectors", "pytest_plugin",
    ),
    ("commands", "cli", "__main__"),
)  # fmt: skip
"""From the ground up; on a floor a room may import those that are named before it. Rooms of a dotted name are the modules of
a package, which are held to an order of their own."""

FLOOR = {room: (level, place) for level, rooms in enumerate(FLOORS) for place, room in enumerate(rooms)}
HEAVY = {
    "mpmath": {"truth"},
    "hypothesis": {"strategies", "search", "sequences"},
    "pandas": {"report", "auditing.audit"},
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


PARTED = {room.partition(".")[0] for floor in FLOORS for room in floor if "." in room}
ROOMS = 26


def room_of(path: Path) -> str:
    return room_named(".".join(path.relative_to(PACKAGE).with_suffix("").parts))


def room_named(name: str) -> str:
    """The room of a module, named without the package: ``core.formats``, ``truth``."""
    first, *more = name.split(".")
    return ".".join([first, *more[:1]]) if first in PARTED else first


BARE = {"xent_verify", *(f"xent_verify.{name}" for name in PARTED)}
"""Packages whose names are modules: ``from xent_verify.verdict import conventions``."""


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
            names += [f"{node.module}.{alias.name}" if node.module in BARE else node.module for alias in node.names]
    return names


def files() -> list[Path]:
    return [
        path
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "__init__.py" and not (path.name == "__init__.py" and path.parent.name in PARTED)
    ]


def test_every_room_has_a_floor() -> None:
    """A new module is placed in the picture before anything else."""
    assert {room_of(path) for path in files()} <= set(FLOOR)


def test_the_house_has_few_rooms() -> None:
    """What a stranger sees first fits on a page."""
    rooms = {path.relative_to(PACKAGE).parts[0] for path in PACKAGE.rglob("*.py")} - {"__init__.py", "__main__.py"}
    assert len(rooms) <= ROOMS


def test_imports_go_down() -> None:
    """No module imports from a floor above its own, nor from a room that stands after its own on the same floor."""
    wrong = []
    for path in files():
        for name in imports(path):
            room = room_named(name.removeprefix("xent_verify."))
            if name.startswith("xent_verify.") and room in FLOOR and FLOOR[room] > FLOOR[room_of(path)]:
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
    """``xent_verify.audit`` is the function at every use, also after the module that it is in has been imported."""
    import subprocess
    import sys

    for first in (
        "xent_verify.audit",
        "import xent_verify.cli, xent_verify.auditing.audit",
        "from xent_verify.auditing.audit import Settings",
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


def test_a_table_in_the_terminal_needs_no_pandas() -> None:
    """An audit, its table and its Markdown are made without libraries of tables and plots."""
    audit = "report = audit('stable', op='sigmoid', dtypes=['float8_e5m2'], profile='quick'); str(report)"
    code = f"from xent_verify import audit; {audit}; from xent_verify.report import render_markdown as m; m(report)"
    assert not loaded_after(code, "pandas", "matplotlib", "hypothesis", "jinja2", "pyarrow")
