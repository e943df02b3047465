"""nestvec classify: labels from the narrowest width that is sure."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from nestvec.cli.bars import bars
from nestvec.cli.options import (
    column_options,
    encoder_options,
    json_option,
    parsed_widths,
    together,
)
from nestvec.cli.output import interval, print_json, print_table, say, signed_interval, warn
from nestvec.jobs.settings import (
    CASCADE_POLICIES,
    CONFIDENCES,
    COUNTED,
    HEADS,
    ClassifySettings,
    default,
)
from nestvec.report.style import number

if TYPE_CHECKING:
    from nestvec.jobs.classify import ClassifyResult
    from nestvec.jobs.classify_predict import Predicted


@click.group("classify", short_help="Label rows by the narrowest width that is sure.")
def command() -> None:
    """Class heads at every width of vectors, and a cascade that widens only where it is unsure."""


def _row_options(function: Any) -> Any:
    """What predict and fit are given of rows and their model."""
    return together(
        click.option("--labels", metavar="FILE", help="Labels of vectors: one a line, or .npy."),
        click.option("--label-column", metavar="NAME", help="The column of labels.  [label]"),
        column_options,
        encoder_options,
    )(function)


@command.command("fit", short_help="Fit heads and a cascade on labelled rows.")
@click.argument("src")
@click.option("--out", metavar="DIR", required=True, help="A folder for the classifier.")
@_row_options
@click.option(
    "--model",
    metavar="NAME",
    help="What makes vectors of texts or images; one with class heads is used with them.  [minilm]",
)
@click.option("--doc-prompt", metavar="TEXT", help="Goes before each text.")
@click.option("--widths", metavar="LIST", help="Dimensions to have heads for, such as 16,64,256.")
@click.option("--head", type=click.Choice(HEADS), help="One a width, or one for all.  [separate]")
@click.option("--epochs", type=int, help="Passes over the rows.  [15, more where rows are few]")
@click.option(
    "--held",
    type=float,
    metavar="SHARE",
    default=default(ClassifySettings, "held"),
    show_default=True,
    help="Of each class, held out for thresholds and figures.",
)
@click.option(
    "--policy",
    type=click.Choice(CASCADE_POLICIES),
    default=default(ClassifySettings, "policy"),
    show_default=True,
    help="How thresholds are set.",
)
@click.option(
    "--target",
    type=float,
    help="Of keep, a share [1]; of expected, what may be lost [.005]; of accuracy, one [the "
    "widest's]; of cost, dimensions.",
)
@click.option(
    "--counted",
    type=click.Choice(COUNTED),
    default=default(ClassifySettings, "counted"),
    show_default=True,
    help="A row costs all widths that it reads, or the last.",
)
@click.option("--calibrate", is_flag=True, help="Fit a temperature a width first.")
@click.option(
    "--confidence",
    type=click.Choice(CONFIDENCES),
    default=default(ClassifySettings, "confidence"),
    show_default=True,
    help="A row is sure by its largest probability, or by what that is above the second.",
)
@click.option("--skip-broken", is_flag=True, help="Leave out images that cannot be read.")
@click.option("--images", metavar="SRC", help="Of vectors, their pictures, for the report.")
@click.option("--seed", type=int, default=default(ClassifySettings, "seed"), show_default=True)
@json_option
def fit(src: str, out: str, widths: str | None, as_json: bool, **options: Any) -> None:
    """Fit a classifier of every width, and its cascade, on the labelled rows SRC.

    SRC: vectors (.npy, .npz, .safetensors, .parquet, .arrow) with --labels or a column of labels,
    a table of texts with one, or images by class with --model. A fifth of each class is held
    out: half of that sets the thresholds that the figures of the other half are of, and all of it
    those that are written. A report is written into DIR.
    """
    settings = ClassifySettings(widths=parsed_widths(widths), **options)
    from nestvec.jobs.classify import classify_fit_with

    result = classify_fit_with(src, out, settings, bars())
    if as_json:
        print_json(result.to_json())
    else:
        _print_fit(result)


@command.command("predict", short_help="Label rows by a classifier that was fitted.")
@click.argument("folder", metavar="DIR")
@click.argument("src")
@click.option("--width", type=int, metavar="N", help="This width for all rows, no cascade.")
@click.option("--out", metavar="FILE", help="A .jsonl, .csv or .tsv file of labels.")
@_row_options
@json_option
def predict(folder: str, src: str, as_json: bool, **options: Any) -> None:
    """Label the rows of SRC, vectors, texts or images, by the classifier in DIR.

    Without --out, a line a row: its id, label, the width it was read at, and confidence.
    """
    from nestvec.jobs.classify_predict import COLUMNS, classify_predict

    result = classify_predict(folder, src, progress=bars(), **options)
    if as_json:
        print_json(result.to_json())
        return
    if result.out is None:
        say("\t".join(COLUMNS))
        for identity, label, width, sure in result.rows():
            say(f"{identity}\t{label}\t{width}\t{sure:.4f}")
    for sentence in _summary(result):
        click.echo(sentence, file=sys.stdout if result.out is not None else sys.stderr)
    warn(result.notes)


def _print_fit(result: ClassifyResult) -> None:
    cascade = result.cascade
    print_table(
        f"accuracy of {result.classes:,} classes on {result.told:,} held-out rows",
        [
            ("width", True),
            ("accuracy [95 %]", True),
            ("from widest [95 %]", True),
            ("cascade stops", True),
        ],
        [
            [
                str(each.width),
                interval(each.accuracy.value, each.accuracy.low, each.accuracy.high),
                signed_interval(each.from_full.value, each.from_full.low, each.from_full.high),
                f"{each.stopped:.1%}",
            ]
            for each in result.widths
        ],
    )
    right, lost = cascade.accuracy, cascade.from_full
    say(
        f"cascade ({result.policy}, {result.counted}): accuracy "
        f"{interval(right.value, right.low, right.high)}, from the widest "
        f"{signed_interval(lost.value, lost.low, lost.high)}"
    )
    say(
        f"a row reads {cascade.last:.1f} dimensions last and {cascade.sum:.1f} in all, of "
        f"{result.widths[-1].width}; the oracle, which stops at the first width that is right, "
        f"{cascade.oracle_last:.1f} and {cascade.oracle_sum:.1f} for accuracy "
        f"{number(cascade.oracle_accuracy)}"
    )
    say(
        f"a row takes {cascade.microseconds:.1f} µs, by the widest alone "
        f"{cascade.full_microseconds:.1f} µs, its vector being there"
    )
    say(
        f"{result.trained:,} rows trained the heads; these figures are of {result.told:,} rows, "
        f"by thresholds from {result.tuned:,} others"
    )
    say(
        f"{result.out}: thresholds from all {result.tuned + result.told:,} held-out rows; reads "
        f"{', then '.join(map(str, result.visited))}"
    )
    say(f"Report: {result.report}")
    warn(result.notes)


def _summary(result: Predicted) -> list[str]:
    found = []
    if result.accuracy is not None:
        told = result.accuracy
        found.append(f"accuracy {interval(told.value, told.low, told.high)} of {told.n:,} rows")
    shares = result.shares.items()
    stopped = ", ".join(f"{share:.1%} at {width}" for width, share in shares if share)
    where = "" if result.out is None else f"{result.out}: "
    found.append(
        f"{where}{len(result.ids):,} rows, {stopped}; {result.last:.1f} dimensions last, "
        f"{result.sum:.1f} in all"
    )
    return found
