"""nestvec report: the report of a collection or a classifier as one HTML file."""

from __future__ import annotations

import click

from nestvec.cli.options import json_option
from nestvec.cli.output import print_json, say


@click.command("report", short_help="Write the report as one HTML file.")
@click.argument("collection", metavar="DIR")
@click.option(
    "--out", metavar="FILE", help="An .html page, or an .svg of its picture.  [DIR/report.html]"
)
@json_option
def command(collection: str, out: str | None, as_json: bool) -> None:
    """Write the report of the collection or classifier DIR: DIR/report.html, or FILE."""
    from nestvec.jobs.checks import check_collection, is_classifier

    if not is_classifier(collection):
        check_collection(collection)
    from nestvec.jobs.report import report

    path = report(collection, out)
    if as_json:
        print_json({"report": str(path)})
    else:
        say(str(path))
