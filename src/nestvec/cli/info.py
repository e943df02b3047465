"""nestvec info: what a collection holds."""

from __future__ import annotations

import click

from nestvec.cli.options import json_option
from nestvec.cli.output import print_json, print_table


@click.command("info", short_help="Say what a collection holds.")
@click.argument("collection", metavar="DIR")
@json_option
def command(collection: str, as_json: bool) -> None:
    """Say what the collection DIR holds: rows, model, code, plan, sizes."""
    from nestvec.jobs.info import info

    found = info(collection)
    if as_json:
        print_json(found.to_json())
        return
    print_table("", [("", False), ("", False)], found.lines())
