"""A starting settings file: functions of a package that look like an operation, by name and signature, from its source.

Nothing is imported and nothing asked. What looks like an operation and takes probabilities or too many arguments is
written as a comment, with the reason.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from xent_verify.core.failures import UsageError
from xent_verify.ops import OPS

__all__ = ["Found", "functions", "package_folder", "settings_text"]

_PATTERNS = (
    ("cross_entropy_grad", r"(cross_?entropy|xent|softmax_loss).*(grad|backward)|grad.*(cross_?entropy|xent)"),
    ("", r"grad|backward|jvp|vjp|plot|gumbel|softmax2d|sparse_softmax$|argmax|test"),
    ("binary_cross_entropy_with_logits", r"bce|binary_?cross_?entropy|sigmoid_?cross_?entropy"),
    ("cross_entropy", r"cross_?entropy|(^|_)xent|softmax_loss"),
    ("kl_divergence", r"kl_?div"),
    ("log_softmax", r"log_?softmax"),
    ("softmax_temperature", r"softmax.*temp|temp.*softmax"),
    ("logsumexp", r"log_?sum_?exp|(^|_)lse($|_)"),
    ("log_sigmoid", r"log_?sigmoid"),
    ("softmax", r"softmax"),
    ("sigmoid", r"sigmoid|(^|_)expit($|_)"),
)
"""Operation ("" for none of them) and what a name of it contains; the first that fits counts, before the names of all others."""

_OTHERS = tuple((op, rf"^{op.replace('_', '_?')}$") for op in OPS if op not in dict(_PATTERNS))
"""Operations that go by their own name alone."""
_PROBABILITIES = frozenset({"p", "q", "prob", "probs", "probabilities", "y_hat", "y_prob"})
_OUT = ("out", "output", "result", "dst")
"""Names of arguments that a function writes its answer to."""
_SKIPPED = frozenset({"tests", "test", "docs", "build", "dist", "node_modules", "site-packages", "venv", "env"})


@dataclass(frozen=True, slots=True)
class Found:
    """A function that looks like an operation; ``doubt`` says why it may not be one.

    ``call``: the expression that calls it, where its source shows that the answer is in a tuple or in an argument;
    ``in_place``: the input that is then overwritten.
    """

    target: str
    op: str
    signature: str
    place: str
    doubt: str = ""
    call: str = ""
    in_place: str = ""


def package_folder(name: str) -> Path:
    """The folder (or file) of a package given by path or by name; found, not imported."""
    path = Path(name or ".")
    if path.exists():
        return path
    try:
        spec = importlib.util.find_spec(name.partition(".")[0])
    except (ImportError, ValueError):
        spec = None
    if spec is None or not spec.origin:
        raise UsageError(f"package {name}: no such folder, and no module of that name is installed")
    origin = Path(spec.origin)
    return origin.parent if origin.name == "__init__.py" else origin


def functions(folder: Path) -> list[Found]:
    """Every function, and class of callables, at the top of a module that looks like an operation, in a stable order."""
    files = [folder] if folder.is_file() else sorted(_files(folder))
    return [found for file in files for found in _functions(file)]


def _files(folder: Path) -> Iterator[Path]:
    for entry in folder.iterdir():
        if entry.name.startswith(".") or entry.name in _SKIPPED:
            continue
        if entry.is_dir() and not (entry / "pyvenv.cfg").exists():
            yield from _files(entry)
        elif entry.suffix == ".py" and not re.match(r"test_|conftest|setup\.py", entry.name):
            yield entry


def _functions(file: Path) -> Iterator[Found]:
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError, OSError, ValueError):
        return
    module = _module(file)
    for top in tree.body:
        node = _calls(top) if isinstance(top, ast.ClassDef) else top
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            op = _op(node)
            if op:
                place = f"{file.as_posix()}:{node.lineno}"
                signature = f"{node.name}({ast.unparse(node.args)})"
                yield Found(f"{module}:{node.name}", op, signature, place, _doubt(op, node), *_called(op, node))


def _calls(kind: ast.ClassDef) -> ast.FunctionDef | None:
    """What calling an instance does, under the name of its class; None where none can be made without arguments."""
    methods = {node.name: node for node in kind.body if isinstance(node, ast.FunctionDef)}
    found = next((methods[name] for name in ("forward", "call", "__call__") if name in methods), None)
    lacking = len(_required(methods["__init__"])) > 1 if "__init__" in methods else False
    if found is None or lacking or not found.args.args:
        return None
    found.args.args.pop(0)  # self
    found.name = kind.name
    return found


def _module(file: Path) -> str:
    """The dotted name where packages lead to the file, else its path."""
    names = [] if file.stem == "__init__" else [file.stem]
    parent = file.resolve().parent
    while (parent / "__init__.py").exists():
        names.insert(0, parent.name)
        parent = parent.parent
    return ".".join(names) if len(names) > 1 or file.stem == "__init__" else file.as_posix()


def _op(node: ast.FunctionDef) -> str:
    """The operation that the name says, corrected by a temperature that has to be given."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", node.name).lower()
    op = next((op for op, pattern in (*_OTHERS, *_PATTERNS) if re.search(pattern, name)), "")
    required = _required(node)
    if op == "softmax" and len(required) == 2 and re.match(r"temp|tau$|t$", required[1].lower()):
        return "softmax_temperature"
    return op


def _required(node: ast.FunctionDef) -> list[str]:
    arguments = [*node.args.posonlyargs, *node.args.args]
    return [argument.arg for argument in arguments[: len(arguments) - len(node.args.defaults)]]


def _required_by_name(node: ast.FunctionDef) -> list[str]:
    return [
        one.arg for one, default in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if default is None
    ]


def _called(op: str, node: ast.FunctionDef) -> tuple[str, str]:
    """(call expression, input that is overwritten); empty for a function that returns its answer."""
    inputs = list(OPS[op].inputs)
    required, named = _required(node), [name for name in _required_by_name(node) if name in _OUT]
    given = iter(inputs)
    words = [f"out := empty({inputs[0]})" if name in _OUT else next(given, "") for name in required]
    words += [f"{name}=(out := empty({inputs[0]}))" for name in named]
    plain = f"f({', '.join(word for word in words if word)})"
    if named or any(name in _OUT for name in required):
        return f"({plain}, out)[1]", ""
    returned = [one.value for one in ast.walk(node) if isinstance(one, ast.Return) and one.value is not None]
    if returned and all(isinstance(value, ast.Tuple) for value in returned):
        return f"{plain}[0]", ""
    if not returned and node.name.endswith("_") and len(inputs) == 1:
        return f"({plain}, {inputs[0]})[1]", inputs[0]
    return "", ""


def _arguments(op: str) -> int:
    """How many arguments a call gives by position: the inputs, and the options that are never left out."""
    return len(OPS[op].inputs) + sum(option.always for option in OPS[op].options.values())


def _doubt(op: str, node: ast.FunctionDef) -> str:
    out = [name for name in _required(node) if name in _OUT]
    required, wanted = [name for name in _required(node) if name not in _OUT], _arguments(op)
    total = len(node.args.posonlyargs) + len(node.args.args) - len(out)
    odd = _PROBABILITIES & {name.lower() for name in required}
    if odd and op != "kl_divergence":
        return f"{sorted(odd)[0]} looks like probabilities: {op} takes logits"
    if total < wanted or len(required) > wanted:
        return f"{op} takes {wanted} argument{'s' * (wanted > 1)}"
    if any(name not in _OUT for name in _required_by_name(node)):
        return "a keyword argument without default: give it in kwargs"
    return ""


_HEAD = """\
# Settings of 'xent-verify gate' (in pyproject.toml: the same keys below [tool.xent-verify]).
# Keys up here are defaults; every [[target]] may override them.

profile = "quick"                   # quick, standard or deep: how much is tried
policy = "standard"                 # what counts as inaccurate: 'xent-verify list policies'
dtypes = ["float32", "float64"]     # 'xent-verify list formats'
# sizes = [50257]                   # row lengths that matter to you, tried besides
# seed = 0                          # seed of every generator
# special = "any"                   # special values: limit, torch, scipy or any
# flush = "auto"                    # subnormals flushed to zero: auto, forbid or allow
# arrays = "auto"                   # what targets are called with: numpy, torch, jax, tensorflow
# result = "float32"                # format of the answers, where it is not that of the inputs
# call = "f(logits, target)[0]"     # how a target is called; also options, in_place, only, without (docs/kernels.md)
# timeout = 10.0                    # seconds for one call
# isolated = true                   # false: in one process, faster and unprotected
# baseline = "xent-verify-baseline.json"   # known findings; 'xent-verify gate --update-baseline' writes it
# worse_factor = 1.5                # growth of a known finding beyond which it fails
"""
_EXAMPLE = """\
# [[target]]
# target = "package.module:softmax"     # or path/to/file.py:softmax
# op = "softmax"                        # 'xent-verify list ops'
# relative_to = "stable"                # no worse than 2 times this implementation …
# factor = 2.0
# floor = 1.0                           # … or than 1 ulp
"""


def settings_text(found: Iterable[Found]) -> str:
    """The file."""
    return "\n".join([_HEAD, *(_table(one) for one in found), _EXAMPLE])


def _table(found: Found) -> str:
    lines = ["[[target]]", f'target = "{found.target}"', f'op = "{found.op}"']
    lines += [f'call = "{found.call}"'] if found.call else []
    lines += [f'in_place = ["{found.in_place}"]'] if found.in_place else []
    about = f"# {found.place}  {' '.join(found.signature.split())}"
    if found.doubt:
        return "\n".join([about, f"# left out: {found.doubt}", *(f"# {line}" for line in lines), ""])
    return "\n".join([about, *lines, ""])
