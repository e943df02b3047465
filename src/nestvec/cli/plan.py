"""nestvec plan: which bytes of which rows a collection's searches read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nestvec.cli.bars import bars
from nestvec.cli.options import json_option, opening_options
from nestvec.cli.output import interval, print_json, print_table, say
from nestvec.jobs.amounts import in_bytes

if TYPE_CHECKING:
    from nestvec.jobs.plan import PlanResult


@click.command("plan", short_help="Choose a collection's plan by measurement, or set one.")
@click.argument("collection", metavar="DIR")
@click.argument("text", metavar="[PLAN]", required=False)
@click.option(
    "--recall",
    type=float,
    default=0.99,
    show_default=True,
    metavar="SHARE",
    help="Of the hits of exact search, the share to find.",
)
@click.option("-k", type=int, default=10, show_default=True, metavar="N", help="How many hits.")
@click.option("--budget-ms", type=float, metavar="MS", help="Best recall within this time a query.")
@click.option("--max-ram", type=int, metavar="BYTES", help="Most that every query reads whole.")
@click.option("--queries", metavar="FILE", help="Texts or vectors to measure by.")
@click.option(
    "--sample-queries", type=int, default=400, show_default=True, metavar="N", help="Most queries."
)
@click.option("--dry-run", is_flag=True, help="Only say; the collection keeps its plan.")
@opening_options
@json_option
def command(
    collection: str, text: str | None, dry_run: bool, as_json: bool, **options: Any
) -> None:
    """Choose the plan by which the collection DIR is searched, the fastest that keeps the wish.

    Depths are found on one half of the sample queries, recall is told of the other. With PLAN,
    that one is stored as it is.
    """
    from nestvec.jobs.plan import plan

    found = plan(collection, text, store=not dry_run, progress=bars(), **options)
    if as_json:
        print_json(found.to_json())
        return
    if found.choice is not None:
        _show(found)
    say(f"{'plan' if found.stored else 'would take'} {found.plan}")


def _show(found: PlanResult) -> None:
    choice = found.choice
    assert choice is not None
    print_table(
        f"{choice.queries:,} sample queries ({found.about}); recall of {choice.wanted}",
        [
            ("plan", False),
            ("recall [95 %]", True),
            ("ms", True),
            ("ms, 99 %", True),
            ("read", True),
            ("whole", True),
            ("", False),
        ],
        [
            [
                each.plan,
                interval(each.recall.value, each.recall.low, each.recall.high),
                f"{each.ms:.2f}",
                f"{each.slow_ms:.2f}",
                in_bytes(each.bytes_read),
                in_bytes(each.ram),
                _mark(each.plan, choice.taken.plan, choice.before.plan),
            ]
            for each in found.rows()
        ],
    )
    if not choice.met:
        say("no plan keeps the wish; this one comes nearest.")


def _mark(plan: str, taken: str, before: str) -> str:
    words = [word for word, one in (("taken", taken), ("before", before)) if plan == one]
    return ", ".join(words)
