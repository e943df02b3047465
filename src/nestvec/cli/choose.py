"""nestvec choose: the cheapest code and plan that keep what is wished."""

from __future__ import annotations

from typing import Any

import click

from nestvec.cli.bars import bars
from nestvec.cli.options import (
    json_option,
    label_options,
    measure_options,
    model_options,
    read_options,
    wish_options,
)
from nestvec.cli.output import print_json, say, warn
from nestvec.jobs.amounts import in_bytes
from nestvec.jobs.settings import ChooseSettings


@click.command("choose", short_help="Say the cheapest code and plan that keep what you wish.")
@click.argument("src", metavar="SRC_OR_DIR", required=False)
@wish_options
@label_options
@read_options
@model_options
@measure_options
@json_option
def command(src: str | None, as_json: bool, **options: Any) -> None:
    """Say the cheapest code and plan of SRC, or of a collection's rows, that keep the wish.

    Chosen on one half of the queries, reported on the other.
    """
    from nestvec.jobs.checks import check_measured

    settings = ChooseSettings(**options)
    check_measured(src, settings)
    from nestvec.jobs.choose import choose_with

    result = choose_with(src, settings, progress=bars())
    if as_json:
        print_json(result.to_json())
        return
    say(result.sentence)
    say(f"code {result.spec}, plan {result.plan}, {in_bytes(result.total_bytes)} in all")
    warn(result.warnings)
