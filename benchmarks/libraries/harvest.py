"""Audit one library in an environment of its own: ``python benchmarks/libraries/harvest.py scipy``.

Makes a virtual environment, installs this package and the library into it, audits every op and format that
``libraries.toml`` lists for it, runs the script of every failure alone (``confirm.py``), and writes
``reports/libraries/scipy.json``: verdicts, maxima and findings, no tables of elements. Several names, or ``all``, are
done one after the other; an interrupted harvest goes on where it stopped unless ``--fresh`` is given.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TABLE = tomllib.loads((HERE / "libraries.toml").read_text())


def environment(name: str, envs: Path, *, install: bool) -> Path:
    """The Python of the library's environment, made and filled where needed."""
    home = envs / name
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)  # noqa: S603  words of this file
    if install:
        requirements = [str(ROOT), *TABLE[name]["requires"]]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *requirements], check=True)  # noqa: S603
    return python


def harvest(name: str, arguments: argparse.Namespace) -> int:
    """One library; the exit status of the worker."""
    python = environment(name, arguments.envs, install=not arguments.no_install)
    out = arguments.out / f"{name}.json"
    if arguments.fresh:
        out.unlink(missing_ok=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    settings = {**os.environ, **TABLE[name].get("environment", {})}
    for script in ("worker.py", "confirm.py"):
        words = [str(python), str(HERE / script), name, str(out)]
        words += ["--profile", arguments.profile, "--again", arguments.again] if script == "worker.py" else []
        done = subprocess.run(words, cwd=ROOT, env=settings, check=False)  # noqa: S603
        if done.returncode:
            return done.returncode
    return 0


def main() -> int:
    """Every library that is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=[*TABLE, "all"], metavar="LIBRARY")
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--envs", type=Path, default=ROOT / "build" / "libraries", help="where environments are kept")
    parser.add_argument("--out", type=Path, default=ROOT / "reports" / "libraries")
    parser.add_argument("--no-install", action="store_true", help="the environment is complete")
    parser.add_argument("--again", default="", help="operations, comma-separated, to audit again")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    arguments = parser.parse_args()
    names = list(TABLE) if "all" in arguments.names else arguments.names
    failed = [name for name in names if harvest(name, arguments)]
    if failed:
        print(f"could not be completed: {', '.join(failed)}", file=sys.stderr)
    return 3 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
