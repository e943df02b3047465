"""nestvec add: more rows for a collection."""

from __future__ import annotations

from typing import Any

import click

from nestvec.cli.bars import bars
from nestvec.cli.options import json_option, opening_options, row_options
from nestvec.cli.output import print_json, say


@click.command("add", short_help="Add rows to a collection.")
@click.argument("collection", metavar="DIR")
@click.argument("src")
@click.option("--replace", is_flag=True, help="Replace rows of the same ids.")
@row_options
@opening_options
@json_option
def command(collection: str, src: str, as_json: bool, **options: Any) -> None:
    """Add the rows of SRC to the collection DIR, in one commit.

    Texts and images are encoded by the collection's own model. Searches that are running go on as
    before.
    """
    from nestvec.jobs.add import add

    found = add(collection, src, progress=bars(), **options)
    if as_json:
        print_json(found.to_json())
        return
    replaced = f", {found.replaced:,} of them replaced" if found.replaced else ""
    say(f"added {found.added:,} rows{replaced}: {found.rows:,} in all, {found.seconds:.0f} s")
