"""nestvec refit: a codec for the rows that a collection has now."""

from __future__ import annotations

import click

from nestvec.cli.bars import bars
from nestvec.cli.options import json_option
from nestvec.cli.output import print_json, say


@click.command("refit", short_help="Fit a collection's codec on the rows it has now.")
@click.argument("collection", metavar="DIR")
@click.option("--seed", type=int, metavar="N", help="Of every draw.  [the codec's own]")
@json_option
def command(collection: str, seed: int | None, as_json: bool) -> None:
    """Fit the codec of the collection DIR on its rows as they are now, and code all of them anew.

    nestvec info says how well rows that were added are coded. Older versions keep their codec.
    """
    from nestvec.jobs.refit import refit

    found = refit(collection, seed=seed, progress=bars())
    if as_json:
        print_json(found.to_json())
    else:
        say(f"{found.rows:,} rows coded anew by {found.spec}")
