"""Audit one library in an environment of its own: ``python benchmarks/libraries/harvest.py scipy``.

Makes a virtual environment, installs this package and the library into it, audits every op and format that
``libraries.toml`` lists for it, runs the script of every failure alone (``confirm.py``), and writes
``reports/libraries/scipy.json``: verdicts, maxima and findings, no tables of elements. Several names, or ``all``, are
done one after the other; an interrupted harvest goes on where it stopped unless ``--fresh`` is given.

Kernels that are called in ways of their own stand in another table:

    python benchmarks/libraries/harvest.py --table benchmarks/kernels/kernels.toml --out reports/kernels all

``--proofs`` walks the finite domains that the table lists in place of the audits (minutes to half an hour each; resumed
where one was interrupted), and writes their certificates and the table of these:

    python benchmarks/libraries/harvest.py --proofs --out reports/proofs scipy torch jax onnxruntime tinygrad
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from entries import LIBRARIES, ROOT, read

HERE = Path(__file__).resolve().parent


def _run(words: list[str], *, check: bool = True, **options: Any) -> subprocess.CompletedProcess[bytes]:
    """A command of this repository's own table."""
    return subprocess.run(words, check=check, **options)  # noqa: S603  words of the table


def environment(name: str, library: Mapping[str, Any], envs: Path, *, install: bool) -> Path:
    """The Python of the library's environment, made and filled where needed."""
    home = envs / library.get("shares", name)
    python = home / "bin" / "python"
    if not python.exists():
        _run([sys.executable, "-m", "venv", str(home)])
    if install:
        pip = [str(python), "-m", "pip", "install", "--quiet"]
        _run([*pip, str(ROOT), *library["requires"]])
        if "bare" in library:
            _run([*pip, "--no-deps", *library["bare"]])
        for line in library.get("build", ()):
            _run(shlex.split(line.format(python=python)), cwd=ROOT)
    return python


def harvest(name: str, library: Mapping[str, Any], arguments: argparse.Namespace) -> int:
    """One library; the exit status of the worker."""
    python = environment(name, library, arguments.envs, install=not arguments.no_install)
    out = arguments.out / f"{name}.json"
    if arguments.fresh and not arguments.proofs:
        out.unlink(missing_ok=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    settings = {**os.environ, **library.get("environment", {})}
    if arguments.proofs:
        return prove(python, library, arguments.out, settings)
    worker = ["worker.py", str(arguments.table), name, "--profile", arguments.profile, "--again", arguments.again]
    for script, *words in (worker, ["confirm.py"]):
        words = [str(python), str(HERE / script), *words, str(out)]
        done = _run(words, cwd=ROOT, env=settings, check=False)
        if done.returncode:
            return done.returncode
    return 0


def prove(python: Path, library: Mapping[str, Any], out: Path, settings: Mapping[str, str]) -> int:
    """The library's domains, each to its end; 3 where one could not be walked (a failing target is a result)."""
    status = 0
    for target, op, dtype, domain in library.get("proofs", ()):
        log = out / f"{op}-{target.rpartition('/')[2].replace(':', '-')}-{dtype}-{domain}.log"
        command = [str(python), "-m", "xent_verify", "prove", target, "--op", op, "--dtype", dtype, "--domain", domain]
        command += ["--timeout", "60", "--out", str(out), "--resume" if log.exists() else "--log", str(log)]
        if _run(command, cwd=ROOT, env=settings, check=False).returncode in (0, 1):
            log.unlink()
        else:
            status = 3
    return status


def main() -> int:
    """Every library that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", metavar="LIBRARY", help="or all")
    parser.add_argument("--table", type=Path, default=LIBRARIES, help="what is audited")
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--envs", type=Path, default=ROOT / "build" / "libraries", help="where environments are kept")
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "libraries")
    parser.add_argument("--no-install", action="store_true", help="the environment is complete")
    parser.add_argument("--again", default="", help="operations, comma-separated, to audit again")
    parser.add_argument("--proofs", action="store_true", help="walk the table's finite domains")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    arguments = parser.parse_args()
    for name in ("table", "envs", "out"):  # the worker runs in this repository's root
        setattr(arguments, name, getattr(arguments, name).resolve())
    table = read(arguments.table)
    unknown = set(arguments.names) - {*table, "all"}
    if unknown:
        parser.error(f"not in {arguments.table.name}: {', '.join(sorted(unknown))}")
    names = list(table) if "all" in arguments.names else arguments.names
    failed = [name for name in names if harvest(name, table[name], arguments)]
    if failed:
        print(f"could not be completed: {', '.join(failed)}", file=sys.stderr)
    return 3 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
