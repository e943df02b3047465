"""Options that several subcommands share; each default is read from the jobs' settings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from nestvec.data.documents import SPLITS
from nestvec.data.rows import KINDS
from nestvec.jobs.settings import (
    SIMILARITIES,
    EmbedSettings,
    EvaluateSettings,
    ReadSettings,
    default,
)

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[F], F]


def _all(*decorators: Callable[[Any], Any]) -> Callable[[F], F]:
    def apply(function: F) -> F:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return apply


def json_option(function: F) -> F:
    """--json, as the argument as_json."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(function)


_KIND: tuple[Decorator[Any], ...] = (
    click.option(
        "--kind",
        type=click.Choice(KINDS),
        help="What of SRC is meant.  [what it holds]",
    ),
    click.option("--skip-broken", is_flag=True, help="Leave out images that cannot be read."),
)


def read_options(function: F) -> F:
    """The options of ReadSettings but --queries and --qrels."""
    return _all(
        click.option("--demo", is_flag=True, help="Use the running Python's own documentation."),
        click.option("--text-column", metavar="NAME", help="The column of texts.  [text]"),
        click.option("--vector-column", metavar="NAME", help="The column of vectors."),
        click.option(
            "--split",
            type=click.Choice(SPLITS),
            default=default(ReadSettings, "split"),
            show_default=True,
            help="Cut long texts into rows.",
        ),
        *_KIND,
    )(function)


def kind_options(function: F) -> F:
    """--kind and --skip-broken."""
    return _all(*_KIND)(function)


def label_options(function: F) -> F:
    """--queries and --qrels."""
    return _all(
        click.option("--queries", metavar="FILE", help="Queries; else those beside SRC."),
        click.option(
            "--qrels", metavar="FILE", help="Judgements, a file or a split; else those beside SRC."
        ),
    )(function)


_TRUST = click.option(
    "--trust-remote-code", is_flag=True, help="Let the model's repository run its code."
)
_DEVICE = click.option(
    "--device",
    metavar="NAME",
    default=default(EmbedSettings, "device"),
    show_default=True,
    help="Where the model runs.",
)


def opening_options(function: F) -> F:
    """What a collection's own model needs in order to be loaded again."""
    return _all(
        _TRUST,
        click.option(
            "--api",
            metavar="URL",
            help="The server the collection was embedded by; texts go there.",
        ),
        _DEVICE,
    )(function)


def model_options(function: F) -> F:
    """The options of EmbedSettings."""
    return _all(
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
        click.option("--api", metavar="URL", help="An OpenAI-compatible server to embed with."),
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
    return _all(
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
    return _all(
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
