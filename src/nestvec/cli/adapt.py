"""nestvec adapt: an adapter over frozen vectors, with the judge's verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nestvec.cli.bars import bars
from nestvec.cli.options import json_option, parsed_widths
from nestvec.cli.output import print_json, print_table, say, signed_interval
from nestvec.jobs.settings import ADAPTERS, AdaptSettings, default
from nestvec.report.style import number

if TYPE_CHECKING:
    from nestvec.choose.judge import Verdict


@click.command("adapt", short_help="Train an adapter over frozen vectors, and judge it.")
@click.argument("vectors")
@click.option("--out", metavar="DIR", required=True, help="A folder for adapter and verdict.")
@click.option(
    "--method",
    type=click.Choice(ADAPTERS),
    default=default(AdaptSettings, "method"),
    show_default=True,
    help="What to train.",
)
@click.option("--pairs", metavar="FILE", help="Query id, document id and score, a line each.")
@click.option("--queries", metavar="FILE", help="The queries' vectors, with ids.")
@click.option("--widths", metavar="LIST", help="Dimensions to be good at, such as 32,64,128.")
@click.option("--epochs", type=int, default=default(AdaptSettings, "epochs"), show_default=True)
@click.option("--batch", type=int, default=default(AdaptSettings, "batch"), show_default=True)
@click.option(
    "--learning-rate",
    type=float,
    default=default(AdaptSettings, "learning_rate"),
    show_default=True,
)
@click.option(
    "--temperature",
    type=float,
    default=default(AdaptSettings, "temperature"),
    show_default=True,
    help="Of the contrastive loss.",
)
@click.option(
    "--blend/--no-blend",
    default=default(AdaptSettings, "blend"),
    show_default=True,
    help="Draw linear's map back towards SVD where held-out pairs rank better.",
)
@click.option(
    "--model", metavar="NAME", help="The vectors' encoder: write both as one model folder, too."
)
@click.option("--force", is_flag=True, help="Write the adapter though the judge refuses it.")
@click.option("--device", default=default(AdaptSettings, "device"), show_default=True)
@click.option("--seed", type=int, default=default(AdaptSettings, "seed"), show_default=True)
@json_option
def command(vectors: str, out: str, widths: str | None, as_json: bool, **options: Any) -> None:
    """Train an adapter on VECTORS: .npy, .npz, .safetensors, .parquet or .arrow.

    It is compared with prefix, random, variance order, PCA and SVD on a fifth of the pairs, which
    it was not trained on, and written where it is better.
    """
    settings = AdaptSettings(widths=parsed_widths(widths), **options)
    from nestvec.jobs.adapt_inputs import check_adapt

    check_adapt(vectors, out, settings)
    from nestvec.jobs.adapt import adapt_with

    result = adapt_with(vectors, out, settings, progress=bars())
    if as_json:
        print_json(result.to_json())
        return
    _print(result.verdict)
    say(result.verdict.reason)
    if result.written is None:
        say(f"{out}: the verdict alone; --force writes the adapter all the same.")
    else:
        say(f"{result.written}: widths {', '.join(map(str, result.adapter.widths))}")


def _print(verdict: Verdict) -> None:
    columns = [("bytes", True), (verdict.measure, True), ("best baseline", False)]
    rows = [
        (
            str(each.size),
            number(each.value),
            f"{each.baseline} {number(each.baseline_value)}",
            signed_interval(each.difference.value, each.difference.low, each.difference.high),
        )
        for each in verdict.sizes
    ]
    title = f"{verdict.method} at equal bytes, {verdict.queries:,} held-out queries"
    print_table(title, [*columns, ("difference", False)], rows)
