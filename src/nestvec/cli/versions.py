"""nestvec versions: what a collection was, and how to open it so."""

from __future__ import annotations

import click

from nestvec.cli.options import json_option
from nestvec.cli.output import print_json, say


@click.command("versions", short_help="List a collection's versions.")
@click.argument("collection", metavar="DIR")
@json_option
def command(collection: str, as_json: bool) -> None:
    """List the versions of the collection DIR that are kept, the newest last."""
    from nestvec.jobs.versions import versions

    found = versions(collection)
    if as_json:
        print_json(found.to_json())
        return
    digits = len(str(found.versions[-1].number))
    for each in found.versions:
        when = f"{each.written:%Y-%m-%d %H:%M:%S} UTC"
        say(f"{each.number:{digits}}  {when}  {each.rows:,} rows  {' '.join(each.tags)}".rstrip())
