"""``xent-verify vectors``."""

from __future__ import annotations

from pathlib import Path

import click

from xent_verify.commands.shared import deliver, json_option, names_of, out_option, sizes_of, status_of
from xent_verify.core.failures import UsageError

__all__ = ["command"]

_SHORT = {"rows": 6, "longest": 300, "per_regime": 3}
"""What a JSON file is limited to unless told otherwise; a binary one takes everything."""


@click.group(name="vectors", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Test vectors for code that cannot be imported, and the judgement of its answers.

    \b
    xent-verify vectors export --op softmax --dtype float32 --out softmax.json
    xent-verify vectors judge softmax.json answers.json
    """


@command.command(name="export")
@click.option("--op", "ops", default="", help="Operations, comma-separated. [default: the five of the standard set]")
@click.option("--dtype", "dtypes", default="", help="Formats, comma-separated. [default: those of the standard set]")
@click.option("--profile", default="quick", show_default=True, help="quick, standard or deep: how much to choose from.")
@click.option("--policy", default="standard", show_default=True, help="What the acceptable ranges follow from.")
@click.option("--seed", default=0, show_default=True, help="Seed of every generator.")
@click.option("--sizes", default="", help="Row lengths besides, comma-separated (a vocabulary's).")
@click.option("--regimes", default="", help="Only these, comma-separated ('list regimes').")
@click.option("--rows", type=int, default=None, help="Rows of each call, 0 for all. [default: 6; .npz: all]")
@click.option("--longest", type=int, default=None, help="Numbers in one call, 0: any. [default: 300; .npz: any]")
@click.option("--per-regime", type=int, default=None, help="Calls per regime, 0: all. [default: 3; .npz: all]")
@click.option("--standard", is_flag=True, help="Write the standard set, a file for each op and format, into --out.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="FILE.json, FILE.npz, or a folder.")
def export(
    ops: str,
    dtypes: str,
    profile: str,
    policy: str,
    seed: int,
    sizes: str,
    regimes: str,
    rows: int | None,
    longest: int | None,
    per_regime: int | None,
    standard: bool,
    out: Path,
) -> int:
    """Write calls with their certified answers.

    \b
    xent-verify vectors export --op softmax,logsumexp --dtype bfloat16 --out vectors.json
    xent-verify vectors export --op softmax --dtype float32 --sizes 50257 --out big.npz
    xent-verify vectors export --standard --out vectors
    """
    from xent_verify.ops import CORE
    from xent_verify.vectors import Selection, choose, chosen, write_vectors

    asked_ops = names_of(ops) or list(CORE)
    asked_dtypes = names_of(dtypes) or list(choose.STANDARD_DTYPES)
    if standard:
        out.mkdir(parents=True, exist_ok=True)
        for op in asked_ops:
            for dtype in asked_dtypes:
                write_vectors(chosen([op], [dtype], choose.STANDARD), out / f"{op}-{dtype}.json")
        return 0
    if out.suffix not in (".json", ".npz"):
        raise UsageError(f"--out {out}: should end in .json or .npz (or add --standard for a folder)")
    limits = _SHORT if out.suffix == ".json" else dict.fromkeys(_SHORT, 0)
    given = {"rows": rows, "longest": longest, "per_regime": per_regime}
    limits = {name: limits[name] if value is None else value for name, value in given.items()}
    names = tuple(name.strip() for name in regimes.split(",") if name.strip())
    selection = Selection(profile, seed, sizes=sizes_of(sizes), regimes=names, **limits)
    vectors = chosen(asked_ops, asked_dtypes, selection, policy)
    write_vectors(vectors, out)
    click.echo(f"{out}: {len(vectors.cases)} cases", err=True)
    return 0


@command.command(name="judge")
@click.argument("vectors", type=click.Path(path_type=Path))
@click.argument("answers", type=click.Path(path_type=Path))
@click.option("--policy", default="standard", show_default=True, help="What counts as inaccurate ('list policies').")
@click.option("--special", default="any", show_default=True, help="Special values: limit, torch, scipy or any.")
@click.option("--flush", default="auto", show_default=True, help="Flush-to-zero rule: auto, forbid, allow.")
@json_option()
@out_option
def judge(vectors: Path, answers: Path, policy: str, special: str, flush: str, json_to: str, out: str) -> int:
    """Judge ANSWERS to VECTORS as an audit would: the same findings, the same exit status.

    \b
    xent-verify vectors judge vectors/softmax-float32.json answers.json --json result.json
    """
    from xent_verify.vectors import judged, read_answers, read_vectors

    cases = read_vectors(vectors)
    given = read_answers(answers, cases)
    report = judged(cases, given, policy=policy, special=special, flush=flush, files=(vectors, answers))
    deliver(report, json_to=json_to, out=out)
    return status_of(report)
