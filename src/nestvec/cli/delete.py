"""nestvec delete: rows that a collection leaves out from now on."""

from __future__ import annotations

import sys

import click

from nestvec.cli.options import json_option
from nestvec.cli.output import print_json, say


@click.command("delete", short_help="Leave rows out of a collection from now on.")
@click.argument("collection", metavar="DIR")
@click.argument("ids", nargs=-1, metavar="[ID]...")
@json_option
def command(collection: str, ids: tuple[str, ...], as_json: bool) -> None:
    """Delete the rows of these IDs from the collection DIR; without IDs, one a line is read.

    One commit: all of them or none. Searches that are running see them to their end.
    """
    from nestvec.jobs.checks import check_collection
    from nestvec.jobs.delete import delete

    check_collection(collection)
    wanted = ids or tuple(filter(None, map(str.strip, sys.stdin)))
    found = delete(collection, wanted)
    if as_json:
        print_json(found.to_json())
    else:
        say(f"deleted {found.deleted:,} rows; {found.rows:,} are left")
