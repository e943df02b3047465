"""Options that several subcommands share; each default is read from the jobs' settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from nestvec.data.documents import SPLITS
from nestvec.data.rows import KINDS
from nestvec.errors import UserError
from nestvec.jobs.settings import (
    SIMILARITIES,
    EmbedSettings,
    EvaluateSettings,
    ReadSettings,
    default,
)

F = TypeVar("F", bound=Callable[..., Any])


def together(*decorators: Callable[[Any], Any]) -> Callable[[F], F]:
    """One decorator of several, whose options --help lists in this order."""

    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


def json_option(function: F) -> F:
    """--json, as the argument as_json."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(function)


def column_options(function: F) -> F:
    """--text-column and --vector-column."""
    return together(
        click.option("--text-column", metavar="NAME", help="The column of texts.  [text]"),
        click.option("--vector-column", metavar="NAME", help="The column of vectors."),
    )(function)


def row_options(function: F) -> F:
    """How a source is read as rows: its columns, --split, --kind and --skip-broken."""
    return together(
        column_options,
        click.option(
            "--split",
            type=click.Choice(SPLITS),
            default=default(ReadSettings, "split"),
            show_default=True,
            help="Cut long texts into rows.",
        ),
        click.option(
            "--kind", type=click.Choice(KINDS), help="What of SRC is meant.  [what it holds]"
        ),
        click.option("--skip-broken", is_flag=True, help="Leave out images that cannot be read."),
    )(function)


def read_options(function: F) -> F:
    """The options of ReadSettings but --queries and --qrels."""
    return together(
        click.option("--demo", is_flag=True, help="Use the running Python's own documentation."),
        row_options,
    )(function)


def parsed_widths(widths: str | None) -> tuple[int, ...] | None:
    """The numbers of --widths, rising; raises UserError where they are none."""
    if widths is None:
        return None
    try:
        return tuple(sorted({int(width) for width in widths.split(",")}))
    except ValueError:
        raise UserError(f"widths are whole numbers with commas; got {widths!r}.") from None


def label_options(function: F) -> F:
    """--queries and --qrels."""
    return together(
        click.option("--queries", metavar="FILE", help="Queries; else those beside SRC."),
        click.option(
            "--qrels", metavar="FILE", help="Judgements, a file or a split; else those beside SRC."
        ),
    )(function)


_TRUST = click.option(
    "--trust-remote-code", is_flag=True, help="Let the model's repository run its code."
)
_API = click.option("--api", metavar="URL", help="An OpenAI-compatible server to embed with.")
_DEVICE = click.option(
    "--device",
    metavar="NAME",
    default=default(EmbedSettings, "device"),
    show_default=True,
    help="Where the model runs.",
)


def opening_options(function: F) -> F:
    """What a collection's own model needs in order to be loaded again."""
    return together(
        _TRUST,
        click.option(
            "--api",
            metavar="URL",
            help="The server the collection was embedded by; texts go there.",
        ),
        _DEVICE,
    )(function)


def encoder_options(function: F) -> F:
    """What any model needs in order to be loaded."""
    return together(_TRUST, _API, _DEVICE)(function)


def model_options(function: F) -> F:
    """The options of EmbedSettings."""
    return together(
        click.option(
            "--model",
            metavar="NAME",
            default=default(EmbedSettings, "model"),
            show_default=True,
            help="minilm, or a sentence-transformers name or folder; images need one for them.",
        ),
        click.option("--query-prompt", metavar="TEXT", help="Goes before each query."),
        click.option("--doc-prompt", metavar="TEXT", help="Goes before each document."),
        _TRUST,
        _API,
        click.option(
            "--dimensions", type=int, metavar="N", help="How many to ask the API or model for."
        ),
        click.option(
            "--any-dimensions",
            is_flag=True,
            help="Fewer than the model was trained for, too.",
        ),
        _DEVICE,
    )(function)


def measure_options(function: F) -> F:
    """The options of EvaluateSettings."""
    return together(
        click.option(
            "--metric",
            metavar="NAME",
            help="Measure: nDCG@k, R@k, RR@k, AP@k, P@k.  [nDCG@10; R@10 without labels or titles]",
        ),
        click.option(
            "--similarity",
            type=click.Choice(SIMILARITIES),
            help="How vectors compare.  [the model's own, else cosine]",
        ),
        click.option(
            "--spec",
            metavar="SPEC",
            default=default(EvaluateSettings, "spec"),
            show_default=True,
            help="The nested code, such as 32xcb.",
        ),
        click.option(
            "--sample-queries",
            type=int,
            metavar="N",
            default=default(EvaluateSettings, "sample_queries"),
            show_default=True,
            help="Most queries made where none are given.",
        ),
        click.option(
            "--seed",
            type=int,
            metavar="N",
            default=default(EvaluateSettings, "seed"),
            show_default=True,
            help="Of every random draw.",
        ),
    )(function)


def wish_options(function: F) -> F:
    """--keep and --max-bytes."""
    return together(
        click.option(
            "--keep",
            type=float,
            metavar="SHARE",
            help="Share of full quality to keep.  [0.99 unless --max-bytes is given]",
        ),
        click.option(
            "--max-bytes",
            type=int,
            metavar="N",
            help="Most bytes a vector, the norm's byte among them: 9 for a code of 8.",
        ),
    )(function)
