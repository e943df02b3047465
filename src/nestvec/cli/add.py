"""nestvec add: more rows for a collection."""

from __future__ import annotations

import click

from nestvec.cli.bars import bars
from nestvec.cli.options import json_option, kind_options, opening_options
from nestvec.cli.output import print_json, say
from nestvec.data.documents import SPLITS
from nestvec.jobs.settings import ReadSettings, default


@click.command("add", short_help="Add rows to a collection.")
@click.argument("collection", metavar="DIR")
@click.argument("src")
@click.option("--replace", is_flag=True, help="Replace rows of the same ids.")
@click.option("--text-column", metavar="NAME", help="The column of texts.  [text]")
@click.option("--vector-column", metavar="NAME", help="The column of vectors.")
@click.option(
    "--split",
    type=click.Choice(SPLITS),
    default=default(ReadSettings, "split"),
    show_default=True,
    help="Cut long texts into rows.",
)
@kind_options
@opening_options
@json_option
def command(
    collection: str,
    src: str,
    replace: bool,
    text_column: str | None,
    vector_column: str | None,
    split: str,
    kind: str | None,
    skip_broken: bool,
    trust_remote_code: bool,
    api: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Add the rows of SRC to the collection DIR, in one commit.

    Texts and images are encoded by the collection's own model. Searches that are running go on as
    before.
    """
    from nestvec.jobs.add import add

    found = add(
        collection,
        src,
        replace=replace,
        text_column=text_column,
        vector_column=vector_column,
        split=split,
        kind=kind,
        skip_broken=skip_broken,
        trust_remote_code=trust_remote_code,
        api=api,
        device=device,
        progress=bars(),
    )
    if as_json:
        print_json(found.to_json())
        return
    replaced = f", {found.replaced:,} of them replaced" if found.replaced else ""
    say(f"added {found.added:,} rows{replaced}: {found.rows:,} in all, {found.seconds:.0f} s")
