"""nestvec build: texts, images or vectors to a collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
from nestvec.cli.output import interval, print_json, print_table, say, warn
from nestvec.jobs.amounts import in_bytes
from nestvec.jobs.settings import ADAPTERS, BuildSettings

if TYPE_CHECKING:
    from nestvec.jobs.build import BuildResult
    from nestvec.jobs.evaluation import Evaluation
    from nestvec.jobs.forecast import Forecast


@click.command("build", short_help="Turn texts, images or vectors into a collection.")
@click.argument("src", required=False)
@click.option("--out", metavar="DIR", help="The collection to make.  [demo.nv with --demo]")
@wish_options
@label_options
@read_options
@model_options
@measure_options
@click.option(
    "--adapt",
    type=click.Choice(("auto", *ADAPTERS)),
    help="Train an adapter, and use it where the judge finds that it helps.",
)
@click.option(
    "--pairs",
    metavar="FILE",
    help="What to train it on; else qrels/train, titles, passages, sentences.",
)
@click.option("--force", is_flag=True, help="Use the adapter though the judge refuses it.")
@click.option("--no-vectors", is_flag=True, help="Keep the codes only, not the float16 vectors.")
@click.option("--dry-run", is_flag=True, help="Say sizes and time, and build nothing.")
@click.option(
    "--on",
    metavar="RAY",
    help="Build on many machines: ray, or ray://HOST:10001; SRC and --out may be addresses.",
)
@json_option
def command(
    src: str | None,
    out: str | None,
    no_vectors: bool,
    dry_run: bool,
    on: str | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Turn SRC, texts, images or vectors, into a small, measured, searchable collection.

    SRC is a folder of .txt, .md, .rst or .html; a .jsonl, .csv, .tsv, .parquet or .arrow file
    with a column of texts; a folder with corpus.jsonl, queries.jsonl and qrels/; or vectors in
    .npy, .npz, .safetensors or .parquet. Or images, with a --model that reads them: a folder
    (by class, if you like), an IDX file, or a .parquet file with their bytes.
    """
    from nestvec.jobs.checks import check_build

    settings = BuildSettings(**options, store_vectors=not no_vectors)
    if on is not None:
        if dry_run:
            raise click.UsageError("--dry-run says what one machine would take: leave out --on.")
        from nestvec.jobs.build_on_ray import build_on_ray_with

        _tell(build_on_ray_with(src, out, settings, on, progress=bars()), as_json)
        return
    check_build(src, out, settings)
    from nestvec.jobs.build import build_with
    from nestvec.jobs.forecast import forecast

    if dry_run:
        found = forecast(src, out, settings, progress=bars())
        if as_json:
            print_json(found.to_json())
        else:
            _show_forecast(found)
        return
    _tell(build_with(src, out, settings, progress=bars()), as_json)


def _tell(result: BuildResult, as_json: bool) -> None:
    if as_json:
        print_json(result.to_json())
    else:
        _show(result)


def _show_forecast(found: Forecast) -> None:
    say(f"{found.items:,} {found.kind}, {found.dim} dimensions")
    say(f"codes and facts: about {in_bytes(found.code_bytes)}")
    say(f"codec: about {in_bytes(found.codec_bytes)}")
    say(f"vectors on disk: {in_bytes(found.vectors_on_disk_bytes)}")
    say(f"time: about {found.seconds:,.0f} s ({found.time_note})")


def _show(result: BuildResult) -> None:
    if result.evaluation is not None:
        _show_cuts(result, result.evaluation)
    say(result.sentence)
    say(
        f"{result.items:,} rows at {result.bytes_per_vector:g} bytes and a {result.codec_parts} of "
        f"{in_bytes(result.codec_bytes)}: {in_bytes(result.total_bytes)} to search by"
        + (
            f"; float16 vectors on disk: {in_bytes(result.vectors_on_disk_bytes)}."
            if result.vectors_on_disk_bytes
            else "."
        )
    )
    warn(result.warnings)
    say(f"{result.out} in {result.seconds:.0f} s, {result.peak_rss_mb:,.0f} MB of memory at most.")
    say(f"Report: {result.report}")
    if result.model is not None:
        example = "--image FILE" if result.kind == "images" else '"your question"'
        say(f"Try: nestvec search {result.out} {example}")


def _show_cuts(result: BuildResult, evaluation: Evaluation) -> None:
    """The nested codes' cuts, and the chosen cell where it is another code's."""
    from nestvec.report.sheet import is_nested, title

    chosen = (result.method, result.code_bytes)
    rows = []
    for cell in evaluation.cells:
        is_chosen = (cell.method, cell.bytes) == chosen
        if not is_nested(cell.method) and not is_chosen:
            continue
        figures = [
            title(cell.method),
            f"{cell.bytes} + {cell.fact_bytes}",
            interval(cell.value, cell.low, cell.high),
            interval(cell.delta, cell.delta_low, cell.delta_high),
        ]
        rows.append([f"[bold green]{text}[/]" if is_chosen else text for text in figures])
    value = interval(*evaluation.full)
    print_table(
        f"{evaluation.metric} on {evaluation.queries:,} queries ({evaluation.kind_of_queries}); "
        f"full vectors, {evaluation.full_bytes:,} bytes: {value}",
        [("code", False), ("bytes", True), ("value [95 %]", True), ("difference [95 %]", True)],
        rows,
    )
