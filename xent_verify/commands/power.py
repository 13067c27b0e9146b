"""``xent-verify power``."""

from __future__ import annotations

import json

import click

from xent_verify.commands.shared import json_option, names_of, write

__all__ = ["command"]


@click.command(name="power")
@click.argument("check")
@click.option("--op", "ops", default="", help="Operations, comma-separated. [default: all that have planted faults]")
@click.option("--seed", default=0, show_default=True, help="Seed of the logits that allclose draws.")
@click.option("--fail-under", default=0.0, show_default=True, help="Exit 1 when a smaller share of faults is caught.")
@json_option("the trials as JSON")
def command(check: str, ops: str, seed: int, fail_under: float, json_to: str) -> int:
    """Run a CHECK of your own over planted faults: which ones does it let through?

    CHECK is allclose:rtol,atol, or module:function (file.py:function) called as check(candidate) or check(candidate, op),
    that returns whether the candidate passes (or raises if it does not).

    \b
    xent-verify power allclose:1.3e-6,1e-5
    """
    from dataclasses import asdict

    from xent_verify.auditing.power import measure_power

    power = measure_power(check, ops=names_of(ops), seed=seed)
    if json_to:
        data = {"schema": 1, "check": power.check, "share": power.share, "trials": [asdict(t) for t in power.trials]}
        write(json.dumps(data, indent=1) + "\n", json_to)
    if json_to != "-":
        for category, caught, count in power.by_category():
            click.echo(f"{category:<24} {caught:>3} of {count} caught")
        for trial in power.let_through:
            click.echo(f"lets through  {trial.op}.{trial.name}: {trial.mistake}")
        for trial in power.false_alarms:
            click.echo(f"rejects a sound one  {trial.op}.{trial.name} {trial.error}".rstrip())
        for trial in power.fooled_by:
            click.echo(f"computes nothing, and passes  {trial.op}: {trial.mistake}")
        if power.idle:
            click.echo("it passes everything that it was given: does it compare a value with itself?")
        caught = len(power.faults) - len(power.let_through)
        click.echo(f"{power.check}: catches {caught} of {len(power.faults)} faults ({power.share:.0%})")
    return 1 if power.share < fail_under else 0
