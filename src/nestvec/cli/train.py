"""nestvec train: a model from a recipe."""

from __future__ import annotations

import click

from nestvec.cli.bars import bars
from nestvec.cli.options import json_option
from nestvec.cli.output import print_json, print_table, say


@click.command("train", short_help="Train an encoder whose prefixes and layers work.")
@click.argument("recipe")
@click.option("--out", metavar="DIR", required=True, help="A folder for the model.")
@click.option(
    "--set",
    "settings",
    metavar="KEY=VALUE",
    multiple=True,
    help="Change the recipe: --set train.batch=64. May be repeated.",
)
@json_option
def command(recipe: str, out: str, settings: tuple[str, ...], as_json: bool) -> None:
    """Train the model that RECIPE (a TOML file) describes.

    What is saved is an ordinary sentence-transformers folder. A run that was stopped goes on when
    the same command is given again. To train on several devices, start it by torchrun.
    """
    from nestvec.jobs.train import train
    from nestvec.learn.launched import is_first

    result = train(recipe, out, settings=settings, progress=bars())
    if not is_first():
        return
    if as_json:
        print_json(result.to_json())
        return
    ended = "stopped early after" if result.stopped else "after"
    say(
        f"{out}: {result.examples:,} examples, {ended} {result.steps:,} steps, "
        f"{result.seconds:.0f} s; widths {', '.join(map(str, result.widths))}"
    )
    if result.quality:
        measures = list(next(iter(result.quality.values())))
        rows = [
            [cut, *(f"{values[name]:.4f}" for name in measures)]
            for cut, values in result.quality.items()
        ]
        print_table("dev", [("cut to", True), *((name, True) for name in measures)], rows)
