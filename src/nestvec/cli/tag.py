"""nestvec tag: a name for a version, which then stays."""

from __future__ import annotations

import click

from nestvec.cli.options import json_option
from nestvec.cli.output import print_json, say


@click.command("tag", short_help="Name a version, so that it stays.")
@click.argument("collection", metavar="DIR")
@click.argument("name")
@click.option("--version", type=int, metavar="N", help="Which one.  [the newest]")
@click.option("--remove", is_flag=True, help="Take the name away.")
@json_option
def command(collection: str, name: str, version: int | None, remove: bool, as_json: bool) -> None:
    """Name a version of the collection DIR: search opens it by NAME, compact lets it stand."""
    from nestvec.jobs.versions import tag, untag

    if remove and version is not None:
        raise click.UsageError("--remove needs no --version: a name is one version's.")
    found = untag(collection, name) if remove else tag(collection, name, version)
    if as_json:
        print_json(found.to_json())
        return
    if remove:
        say(f"{name} is no version's name now")
    else:
        number = next(each.number for each in found.versions if name in each.tags)
        say(f"{name} is version {number}")
