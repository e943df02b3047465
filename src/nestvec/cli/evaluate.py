"""nestvec evaluate: every method at every byte count, on your own data."""

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
)
from nestvec.cli.output import interval, print_json, print_table, warn
from nestvec.data.tasks import KINDS
from nestvec.jobs.settings import EvaluateSettings

if TYPE_CHECKING:
    from nestvec.choose.evidence import Evidence, Part
    from nestvec.jobs.evaluation import Evaluation


@click.command("evaluate", short_help="Measure every method at every byte count.")
@click.argument("src", metavar="SRC_OR_DIR", required=False)
@label_options
@read_options
@model_options
@measure_options
@click.option(
    "--task",
    type=click.Choice(KINDS),
    help="What SRC is measured by.  [what its columns say]",
)
@click.option(
    "--report", "into_report", is_flag=True, help="Put the grid into the collection's report."
)
@json_option
def command(
    src: str | None, task: str | None, into_report: bool, as_json: bool, **options: Any
) -> None:
    """Measure the nested code and its rivals on SRC, or on a collection's own rows.

    Without queries and judgements, titles must find their texts; without titles, each method
    must agree with exact search by the full vectors. A collection's own code is measured as its
    build fitted it, where that saw what a new fit would see and no --spec is given.

    A table of graded pairs (sentence1, sentence2, score) is measured by Spearman's correlation;
    labelled texts (text, label) by the V-measure of their clusters, or, where there are train and
    test rows, by the accuracy of a linear probe and of the nearest neighbour.
    """
    from nestvec.jobs.checks import check_collection, check_measured

    settings = EvaluateSettings(**options)
    if into_report:
        if src is None:
            raise click.UsageError("--report needs a collection.")
        check_collection(src)
    check_measured(src, settings, task)
    from nestvec.jobs.evaluate import evaluate_with

    result = evaluate_with(src, settings, bars(), task)
    if into_report and src is not None:
        from nestvec.jobs.report import add_to_report

        add_to_report(src, result.evidence)
    if as_json:
        print_json(result.to_json())
    else:
        show(result)


def show(result: Evaluation) -> None:
    """The grid as a table for each measure."""
    for evidence in (result.evidence, *result.others):
        items = _ITEMS.get(evidence.kind, "queries")
        _show(evidence, evidence, items, result.full_bytes)
        for part in evidence.parts:
            _show(evidence, part, f"{part.name} {items}", result.full_bytes)
    warn(result.warnings)


def _show(evidence: Evidence, found: Evidence | Part, items: str, full_bytes: int) -> None:
    """The cells of all queries of the evidence, or of a part of them."""
    full = found.full
    print_table(
        f"{evidence.measure} on {found.queries:,} {items} ({evidence.kind}); full vectors "
        f"{interval(full.value, full.low, full.high)}, {full_bytes:,} bytes",
        [
            ("method", False),
            ("dims", True),
            ("bytes", True),
            ("value [95 %]", True),
            ("difference [95 %]", True),
            ("intrinsic", True),
            ("alignment", True),
            ("uniformity", True),
        ],
        [
            [
                f"[bold]{cell.method}[/]" if _is_nested(cell.method) else cell.method,
                "" if cell.dims is None else str(cell.dims),
                f"{cell.bytes:g}",
                interval(cell.value, cell.low, cell.high),
                interval(cell.delta, cell.delta_low, cell.delta_high),
                "" if cell.intrinsic_dimension is None else str(cell.intrinsic_dimension),
                "" if cell.alignment is None else f"{cell.alignment:.2f}",
                "" if cell.uniformity is None else f"{cell.uniformity:.2f}",
            ]
            for cell in found.cells
        ],
    )


def _is_nested(method: str) -> bool:
    from nestvec.choose.evidence import unadapted

    return (unadapted(method) or method) == "nested"


_ITEMS = {"sts": "pairs", "clustering": "texts", "classification": "test texts"}
