"""``xent-verify init``."""

from __future__ import annotations

from pathlib import Path

import click

from xent_verify.core.failures import UsageError

__all__ = ["command"]


@click.command(name="init")
@click.argument("package", default="")
@click.option("--out", default="xent-verify.toml", show_default=True, help="File to write; never overwritten.")
def command(package: str, out: str) -> int:
    """Write a starting settings file for the gate from the functions found in PACKAGE (a folder or a module's name).

    Functions are found by name and signature in the source; nothing is imported. Without PACKAGE: this folder.

    \b
    xent-verify init
    xent-verify init my_package --out xent-verify.toml
    """
    from xent_verify.gate.scaffold import functions, package_folder, settings_text
    from xent_verify.gate.settings_file import OWN_FILE, SHARED_FILE, has_table

    found = functions(package_folder(package))
    try:
        with Path(out).open("x", encoding="utf-8") as file:
            file.write(settings_text(found))
    except FileExistsError:
        raise UsageError(f"{out}: is there already and is not overwritten; --out names another file") from None
    if Path(out).name == OWN_FILE and has_table(Path(out).absolute().with_name(SHARED_FILE)):
        click.echo(f"xent-verify: {OWN_FILE} hides [tool.xent-verify] of {SHARED_FILE}: keep one of them", err=True)
    for one in found:
        click.echo(f"{one.op}: {one.target}" + (f" (left out: {one.doubt})" if one.doubt else ""))
    listed = sum(not one.doubt for one in found)
    click.echo(f"{out}: {listed} target{'s' * (listed != 1)}" + ("" if listed else "; write yours below [[target]]"))
    return 0
