"""nestvec compact: deleted rows and old versions leave the disk."""

from __future__ import annotations

import click

from nestvec.cli.options import json_option
from nestvec.cli.output import print_json, say
from nestvec.jobs.amounts import in_bytes


@click.command("compact", short_help="Free the disk of deleted rows and old versions.")
@click.argument("collection", metavar="DIR")
@click.option(
    "--keep-days",
    type=float,
    default=7,
    show_default=True,
    metavar="DAYS",
    help="Versions younger than this stay.",
)
@json_option
def command(collection: str, keep_days: float, as_json: bool) -> None:
    """Write the collection DIR anew without deleted rows, in few files; old versions go."""
    from nestvec.jobs.compact import compact

    found = compact(collection, keep_days)
    if as_json:
        print_json(found.to_json())
    else:
        say(f"{found.rows:,} rows; {in_bytes(found.freed_bytes)} of old files removed")
