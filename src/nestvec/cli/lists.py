"""nestvec lists: a search that reads the nearest rows only."""

from __future__ import annotations

import click

from nestvec.cli.bars import bars
from nestvec.cli.options import json_option
from nestvec.cli.output import print_json, say
from nestvec.jobs.amounts import in_bytes


@click.command("lists", short_help="Sort a collection's rows into lists, for plans with probe.")
@click.argument("collection", metavar="DIR")
@click.option("--on", metavar="CUT", help="8B, a cut of the code, or 64d, a width.  [near 8B]")
@click.option("--count", type=int, metavar="N", help="How many.  [the square root of the rows]")
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Of the draw.")
@json_option
def command(collection: str, on: str | None, count: int | None, seed: int, as_json: bool) -> None:
    """Sort the rows of the collection DIR into lists by their nearest center.

    A plan such as probe=16;8B:2000,raw:10 then reads the 16 nearest lists alone.
    """
    from nestvec.jobs.lists import lists

    found = lists(collection, on=on, count=count, seed=seed, progress=bars())
    if as_json:
        print_json(found.to_json())
        return
    say(
        f"{found.rows:,} rows in {found.lists:,} lists by {found.on}, {found.shortest:,} to "
        f"{found.longest:,} each; {in_bytes(found.centers_bytes)} of centers"
    )
