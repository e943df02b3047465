"""nestvec search: hits for a question, an image, or every line of standard input."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from nestvec.cli.options import json_option, opening_options
from nestvec.cli.output import print_json, say, warn
from nestvec.report.style import number

if TYPE_CHECKING:
    from nestvec.jobs.search import Answer, Opened

#: characters of a hit's text on one line of the terminal
SHOWN = 200


@click.command("search", short_help="Answer a question from a collection.")
@click.argument("collection", metavar="DIR")
@click.argument("text", required=False)
@click.option("-k", type=click.IntRange(min=1), metavar="N", help="How many hits.  [the plan's]")
@click.option(
    "--plan",
    metavar="PLAN",
    help="Stages such as 8B:2000,32B:10, exact, or auto.  [the collection's]",
)
@click.option("--where", metavar="SQL", help="Only rows that match, such as 'year >= 2020'.")
@click.option("--image", metavar="FILE", help="Search by a picture, not by a text.")
@click.option("--vector", metavar="FILE", help="Search by the vectors of a file, not by a text.")
@click.option("--version", metavar="N|TAG", help="An older version.  [the newest]")
@click.option("--on", metavar="RAY", help="Search by many machines: ray, or ray://HOST:10001.")
@opening_options
@json_option
def command(
    collection: str,
    text: str | None,
    k: int | None,
    plan: str | None,
    where: str | None,
    image: str | None,
    vector: str | None,
    version: str | None,
    on: str | None,
    trust_remote_code: bool,
    api: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Answer TEXT from the collection DIR; without TEXT, one question a line is read.

    A collection of images is searched by --image, and by TEXT where its model reads texts.
    """
    from nestvec.jobs.checks import check_collection

    if sum(given is not None for given in (text, image, vector)) > 1:
        raise click.UsageError("give a text, --image or --vector, and only one of them.")
    check_collection(collection)
    if plan not in (None, "auto"):
        from nestvec.index.plan import Plan

        Plan.parse(plan)
    from nestvec.jobs.search import open_collection

    opened = open_collection(
        collection,
        version=version,
        trust_remote_code=trust_remote_code,
        api=api,
        device=device,
        on=on,
    )
    warn(opened.collection.notes)
    opened.check(plan, k)
    if vector is not None:
        for answer in opened.search_file(vector, k=k, plan=plan, where=where):
            _show(answer, as_json)
    elif image is not None:
        _show(opened.search_image(image, k=k, plan=plan, where=where), as_json)
    elif text is not None:
        _show(opened.search(text, k=k, plan=plan, where=where), as_json)
    else:
        _converse(opened, k, plan, where, as_json)


def _converse(
    opened: Opened, k: int | None, plan: str | None, where: str | None, as_json: bool
) -> None:
    """A question a line until the end of input; one that is empty is passed over."""
    prompt = sys.stdin.isatty()
    _ = opened.text_encoder  # loaded before the first question, not during it
    while True:
        if prompt:
            click.echo("? ", nl=False, err=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            _show(opened.search(line.strip(), k=k, plan=plan, where=where), as_json)


def _show(answer: Answer, as_json: bool) -> None:
    if as_json:
        print_json(answer.to_json())
        return
    if answer.question:
        say(click.style(answer.question, bold=True))
    for rank, hit in enumerate(answer.hits, 1):
        words = " ".join(hit.text.split())
        if len(words) > SHOWN:
            words = words[:SHOWN].rsplit(" ", 1)[0] + " …"
        name = click.style(hit.title or hit.id, fg="cyan")
        say(f"{rank:3}. {number(hit.score)}  {name}")
        if words and words not in (hit.title, hit.id):
            say(f"           {words}")
    stages = ", ".join(
        f"{stage.stage} of {stage.scanned:,} rows in {stage.ms:.1f} ms"
        + ("" if stage.share is None else f", {stage.share:.0%} of the vectors' bytes")
        for stage in answer.stages
    )
    say(click.style(f"     read {stages}", dim=True))
