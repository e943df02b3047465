"""nestvec info: what a collection holds."""

from __future__ import annotations

import click

from nestvec.cli.options import json_option
from nestvec.cli.output import print_json, say


@click.command("info", short_help="Say what a collection holds.")
@click.argument("collection", metavar="DIR")
@json_option
def command(collection: str, as_json: bool) -> None:
    """Say what the collection DIR holds: rows, model, code, plan, sizes."""
    from nestvec.jobs.checks import check_collection

    check_collection(collection)
    from nestvec.jobs.info import info

    found = info(collection)
    if as_json:
        print_json(found.to_json())
        return
    lines = found.lines()
    width = max(len(name) for name, _ in lines)
    for name, value in lines:
        say(f"{name:{width}}  {value}")
