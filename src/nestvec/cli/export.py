"""nestvec export: a collection in another engine, with its staged query."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nestvec.cli.bars import bars
from nestvec.cli.options import json_option
from nestvec.cli.output import interval, print_json, say

if TYPE_CHECKING:
    from nestvec.jobs.export import Loss


@click.command("export", short_help="Write a collection into another engine, with its query.")
@click.argument("collection", metavar="DIR_OR_MODEL")
@click.option("--to", required=True, metavar="TARGET", help="pgvector, sqlite-vec, qdrant, ...")
@click.option("--out", metavar="PATH", help="The file or folder to write.")
@click.option("--dsn", metavar="URL", help="The server to write to.")
@click.option("--name", metavar="NAME", help="The table's name.  [the collection's]")
@click.option("--plan", metavar="PLAN", help="Stages of the query.  [the target's own choice]")
@click.option(
    "--sample-queries",
    type=int,
    default=200,
    show_default=True,
    metavar="N",
    help="Most queries to measure the loss by.",
)
@click.option("--dims", type=int, metavar="N", help="Of an encoder's vectors (onnx).  [all]")
@click.option("--trust-remote-code", is_flag=True, help="Let a model run code of its own (onnx).")
@json_option
def command(collection: str, to: str, as_json: bool, **options: Any) -> None:
    """Write what a collection holds into the engine TARGET, in its own types.

    TARGET is pgvector, sqlite-vec, qdrant, lancedb or faiss. The staged query is written out as
    that engine takes it, and run there on sample queries: what it loses against the collection's
    own plan is told. Or TARGET is onnx, for the encoder alone, a collection's or a model.
    """
    from nestvec.jobs.export import export

    found = export(collection, to, progress=bars(), **options)
    if as_json:
        print_json(found.to_json())
        return
    if found.query:
        say(found.query)
    for name, value in found.facts:
        say(f"{name}: {value}")
    say(f"{found.rows:,} rows in {found.place}" if found.rows else found.place)
    if found.loss is not None:
        _say_loss(str(found.plan), found.loss)


def _say_loss(plan: str, loss: Loss) -> None:
    say(f"plan here {loss.own_plan}, there {plan}")
    agreed, own, theirs, less = (
        interval(each.value, each.low, each.high)
        for each in (loss.agreement, loss.own, loss.exported, loss.difference)
    )
    say(f"agreement of the first ten with the plan here: {agreed}, {loss.agreement.n:,} queries")
    say(f"{loss.measure}: {theirs} there, {own} here, difference {less} ({loss.about})")
