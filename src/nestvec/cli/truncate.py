"""nestvec truncate: a model cut to fewer layers and dimensions."""

from __future__ import annotations

import click

from nestvec.cli.options import json_option
from nestvec.cli.output import print_json, say, warn


@click.command("truncate", short_help="Cut a model to fewer layers and dimensions.")
@click.argument("model")
@click.option("--layers", type=int, metavar="N", help="Layers to keep, from the first.")
@click.option("--dims", type=int, metavar="M", help="Dimensions to keep, from the first.")
@click.option("--out", metavar="DIR", required=True, help="A folder for the smaller model.")
@click.option("--force", is_flag=True, help="Cut where the model was not trained for it, too.")
@click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the model.")
@json_option
def command(
    model: str,
    layers: int | None,
    dims: int | None,
    out: str,
    force: bool,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Save MODEL with its first layers and dimensions alone, as an ordinary model folder."""
    from nestvec.jobs.truncate import truncate

    result = truncate(
        model,
        out,
        layers=layers,
        dims=dims,
        force=force,
        trust_remote_code=trust_remote_code,
    )
    if as_json:
        print_json(result.to_json())
        return
    warn(result.notes)
    say(
        f"{out}: {result.layers} layers, {result.dims} dimensions, {result.parameters / 1e6:.1f} "
        f"of {result.parameters_before / 1e6:.1f} million parameters"
    )
