"""nestvec fit: a codec from a file of vectors."""

from __future__ import annotations

from typing import Any

import click

from nestvec.cli.bars import bars
from nestvec.cli.options import json_option
from nestvec.cli.output import print_json, say
from nestvec.jobs.amounts import in_bytes
from nestvec.jobs.settings import SIMILARITIES, FitSettings, default


@click.command("fit", short_help="Fit a nested codec on a file of vectors.")
@click.argument("vectors")
@click.option("--out", metavar="FILE", required=True, help="A .safetensors file.")
@click.option(
    "--spec",
    default=default(FitSettings, "spec"),
    show_default=True,
    metavar="SPEC",
    help="Levels of the code, or auto: the best of a few, measured.",
)
@click.option(
    "--similarity",
    type=click.Choice(SIMILARITIES),
    default=default(FitSettings, "similarity"),
    show_default=True,
    help="How vectors compare.",
)
@click.option(
    "--beam",
    type=click.IntRange(min=1),
    default=default(FitSettings, "beam"),
    show_default=True,
    help="Candidates kept while encoding.",
)
@click.option("--seed", type=int, default=default(FitSettings, "seed"), show_default=True)
@json_option
def command(vectors: str, out: str, as_json: bool, **options: Any) -> None:
    """Fit a nested codec on VECTORS: .npy, .npz, .safetensors, .parquet or .arrow."""
    from nestvec.jobs.checks import check_fit

    settings = FitSettings(**options)
    check_fit(vectors, out, settings)
    from nestvec.jobs.fit import fit_with

    result = fit_with(vectors, out, settings, progress=bars())
    if as_json:
        print_json(result.to_json())
        return
    say(
        f"codec {result.spec} for {result.dim} dimensions, {result.bytes} bytes a vector, fitted "
        f"on {result.rows:,} rows in {result.seconds:.1f} s: {out}, {in_bytes(result.codec_bytes)}"
    )
