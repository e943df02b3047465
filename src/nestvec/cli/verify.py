"""nestvec verify: whether a collection's files are as they were written."""

from __future__ import annotations

import sys

import click

from nestvec.cli.bars import bars
from nestvec.cli.options import json_option
from nestvec.cli.output import print_json, say, warn

#: the exit code where something is damaged
DAMAGED = 1


@click.command("verify", short_help="Check that a collection's files are as they were written.")
@click.argument("collection", metavar="DIR")
@json_option
def command(collection: str, as_json: bool) -> None:
    """Read every file of the collection DIR and compare it with its hash.

    Exit code 1 where a file is damaged, with its fragment and column.
    """
    from nestvec.jobs.verify import verify

    found = verify(collection, progress=bars())
    if as_json:
        print_json(found.to_json())
    else:
        for each in found.damage:
            place = "" if each.fragment is None else f", fragment {each.fragment}"
            column = f", column {each.column}" if each.column else ""
            say(f"{each.path}{place}{column}: {each.what}")
        if found.opens is not None:
            say(found.opens)
        say("every file is as it was written" if found.whole else "damaged: restore it from a copy")
        if found.unknown:
            warn(
                (
                    f"{len(found.unknown):,} files have no hash, since their writer was stopped or "
                    f"kept none: {found.unknown[0]}"
                    f"{', ...' if len(found.unknown) > 1 else ''}",
                )
            )
    if not found.whole:
        sys.exit(DAMAGED)
