"""nestvec embed: texts or images to a file of vectors."""

from __future__ import annotations

from typing import Any

import click

from nestvec.cli.bars import bars
from nestvec.cli.options import json_option, model_options, read_options
from nestvec.cli.output import print_json, say, warn
from nestvec.jobs.amounts import in_bytes
from nestvec.jobs.settings import EmbedSettings


@click.command("embed", short_help="Turn texts or images into a file of vectors.")
@click.argument("src", required=False)
@click.option(
    "--out", metavar="FILE", required=True, help="A .safetensors, .npz, .parquet or .npy file."
)
@read_options
@model_options
@json_option
def command(src: str | None, out: str, as_json: bool, **options: Any) -> None:
    """Turn the texts or images of SRC into a file of vectors with their ids (.npy has no ids)."""
    from nestvec.jobs.embed import embed_with

    result = embed_with(src, out, EmbedSettings(**options), progress=bars())
    if as_json:
        print_json(result.to_json())
        return
    say(
        f"{result.items:,} vectors of {result.dim} dimensions by {result.model} in "
        f"{result.seconds:.0f} s: {out}, {in_bytes(result.file_bytes)}"
    )
    warn(result.warnings)
