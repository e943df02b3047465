"""nestvec graph: a search that walks to the nearest rows."""

from __future__ import annotations

import click

from nestvec.cli.bars import bars
from nestvec.cli.options import json_option
from nestvec.cli.output import print_json, say
from nestvec.jobs.amounts import in_bytes


@click.command("graph", short_help="Link a collection's rows to their neighbours (HNSW).")
@click.argument("collection", metavar="DIR")
@click.option("--on", metavar="CUT", help="sign, 8B or 64d.  [sign where there are signs, else 8B]")
@click.option("--links", type=int, metavar="N", help="Of a row, at most.  [16]")
@json_option
def command(collection: str, on: str | None, links: int | None, as_json: bool) -> None:
    """Link the rows of the collection DIR to their nearest neighbours, as HNSW does.

    A plan such as graph=400;8B:200,raw:10 then reads some 400 near rows, to which the links lead.
    """
    from nestvec.jobs.graph import graph

    found = graph(collection, on=on, links=links, progress=bars())
    if as_json:
        print_json(found.to_json())
        return
    say(
        f"{found.rows:,} rows linked by {found.on}, up to {found.links} links each; "
        f"{in_bytes(found.graph_bytes)} beside the collection, in {found.seconds:.1f} s"
    )
