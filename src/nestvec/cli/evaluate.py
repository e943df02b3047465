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
    parsed_widths,
    read_options,
    together,
)
from nestvec.cli.output import interval, print_json, print_table, warn
from nestvec.data.tasks import KINDS
from nestvec.jobs.settings import EvaluateSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nestvec.choose.evidence import Evidence, Part
    from nestvec.jobs.evaluation import Evaluation


CLASSES = "classes"
_OF_CLASSES = (
    "labels", "label_column", "test", "coarse", "shifted", "class_map", "corrupt", "long_tail",
    "widths",
)  # fmt: skip


def class_options(function: Any) -> Any:
    """The options of ClassesSettings."""
    return together(
        click.option("--labels", metavar="FILE", help="Classes: labels of vectors."),
        click.option("--label-column", metavar="NAME", help="Classes: the column of labels."),
        click.option("--test", metavar="SRC", help="Classes: the rows to tell of."),
        click.option("--widths", metavar="LIST", help="Classes: dimensions, such as 8,32."),
        click.option("--coarse", metavar="FILE", help="Classes: a map of classes to groups."),
        click.option(
            "--shifted", metavar="SRC", multiple=True, help="Classes: asked of the same rows."
        ),
        click.option("--class-map", metavar="FILE", help="Classes: of --shifted to SRC's."),
        click.option(
            "--corrupt",
            metavar="KIND[:N]",
            multiple=True,
            help="Classes: noise, blur, contrast, jpeg, occlusion or all, severity 1 to 5.",
        ),
        click.option(
            "--long-tail",
            type=float,
            metavar="SHARE",
            help="Classes: cut train rows, the last class to this share.",
        ),
    )(function)


@click.command("evaluate", short_help="Measure every method at every byte count.")
@click.argument("src", metavar="SRC_OR_DIR", required=False)
@label_options
@read_options
@model_options
@measure_options
@click.option(
    "--task",
    type=click.Choice((*KINDS, CLASSES)),
    help="What SRC is measured by.  [what its columns say]",
)
@class_options
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

    --task classes, or one of its options, measures labelled images, texts or vectors at every
    width: linear probe, 1-NN, mAP@10, P@10, few shots, and agreement with the full width.
    """
    named = {name: options.pop(name) for name in _OF_CLASSES}
    if task == CLASSES or any(named.values()):
        _classes(src, task, into_report, as_json, named, EvaluateSettings(**options))
        return
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


def _classes(
    src: str | None,
    task: str | None,
    into_report: bool,
    as_json: bool,
    named: dict[str, Any],
    settings: EvaluateSettings,
) -> None:
    """Labelled rows at every width."""
    if task not in (None, CLASSES) or into_report:
        raise click.UsageError("the options of classes go with --task classes, without --report.")
    if src is None:
        raise click.UsageError("--task classes needs a SRC.")
    from nestvec.jobs.classes import ClassesSettings, evaluate_classes

    widths = parsed_widths(named.pop("widths"))
    result = evaluate_classes(src, settings, ClassesSettings(widths=widths, **named), bars())
    if as_json:
        print_json(result.to_json())
    else:
        show_classes(result)


def show_classes(result: Evaluation) -> None:
    """Tables of a few measures each: of all test rows, then of parts and other sets."""
    found = (result.evidence, *result.others)
    for some in (found[i : i + 4] for i in range(0, len(found), 4)):
        _show_measures(result.about_queries, [each.measure for each in some], some)
    main = found[:4]
    for part in result.evidence.parts:
        told = [one for each in main if (one := each.part(part.name)) is not None]
        _show_measures(f"{part.name}: {part.queries:,} rows", [x.measure for x in main], told)
    warn(result.warnings)


def _show_measures(
    title: str, measures: Sequence[str], found: Sequence[Evidence] | Sequence[Part]
) -> None:
    rows = [["full", "", *(interval(x.full.value, x.full.low, x.full.high) for x in found)]]
    rows += [
        [
            cell.method,
            "" if cell.dims is None else str(cell.dims),
            *(interval(x.cells[i].value, x.cells[i].low, x.cells[i].high) for x in found),
        ]
        for i, cell in enumerate(found[0].cells)
    ]
    heads = [(f"{measure} [95 %]", True) for measure in measures]
    print_table(title, [("method", False), ("dims", True), *heads], rows)


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
