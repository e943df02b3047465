"""The report of a collection, from the evidence that it keeps."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from nestvec.choose.evidence import SEEN, Evidence
from nestvec.errors import UserError
from nestvec.index.collection import Collection
from nestvec.jobs.checks import is_classifier
from nestvec.jobs.classify_sheet import page_of_classifier
from nestvec.jobs.sheets import report_cells
from nestvec.report.chart import standalone
from nestvec.report.page import page
from nestvec.report.sheet import Sheet

REPORT_NAME = "report.html"


def report(collection: str | os.PathLike[str], out: str | os.PathLike[str] | None = None) -> Path:
    """Write the report's page (.html) or its picture alone (.svg), and say where.

    collection: its folder, or one of nestvec classify fit. out: DIR/report.html where None.
    Raises UserError where it keeps no evidence.
    """
    classifier = is_classifier(collection)
    opened = None if classifier else Collection.open(Path(collection))
    place = Path(collection) / REPORT_NAME if out is None else Path(out)
    if place.suffix not in (".html", ".svg"):
        raise UserError(f"a report is an .html page or an .svg picture; got {place.name}.")
    if not place.absolute().parent.is_dir():
        raise UserError(f"the folder of {place} does not exist: create it first.")
    if opened is None:
        write_text(place, page_of_classifier(Path(collection), place.suffix == ".svg"))
        return place
    sheet = sheet_of(opened)
    write_text(place, standalone(sheet) if place.suffix == ".svg" else page(sheet))
    return place


def add_to_report(collection: str | os.PathLike[str], evidence: Evidence) -> Path:
    """Put the methods of a new grid into a collection's report, and say where it stands.

    The collection's own codes keep the cells of their build. Raises UserError where the grid was
    measured by other queries than the build, such as those that its adapter was trained for.
    """
    opened = Collection.open(Path(collection))
    sheet = sheet_of(opened)
    kept = dict(opened.evidence() or {})
    built_queries = (kept.get("result") or {}).get("queries")
    if (sheet.measure, built_queries) != (evidence.measure, evidence.queries):
        raise UserError(
            f"a report holds one measurement; it was built by {sheet.measure} on {built_queries} "
            f"queries, and this grid is {evidence.measure} on {evidence.queries}: build again, "
            "or evaluate without --report."
        )
    seen = evidence.part(SEEN)
    if seen is not None:
        raise UserError(
            f"a report holds queries that no training touched, and {seen.queries:,} of this grid "
            "ask for documents that the adapter was trained on: evaluate without --report."
        )
    own = {"nested", *((sheet.chosen.method,) if sheet.chosen else ())}
    found = tuple(cell for cell in report_cells(evidence) if cell.method not in own)
    new = {cell.method for cell in found}
    cells = (*(cell for cell in sheet.cells if cell.method not in new), *found)
    notes = tuple(note for note in sheet.notes if note.term != "left out")
    kept["sheet"] = replace(sheet, cells=cells, notes=notes).to_json()
    opened.store_plan(opened.plan, kept)
    return report(collection)


def sheet_of(collection: Collection) -> Sheet:
    """What the collection's report shows; raises UserError where it keeps no evidence."""
    evidence = collection.evidence()
    if evidence is None or "sheet" not in evidence:
        raise UserError(
            f"a report needs evidence, and {collection.path} was built without any: "
            "build it again with this nestvec."
        )
    try:
        return Sheet.from_json(evidence["sheet"])
    except (ValueError, TypeError) as error:
        raise UserError(f"the evidence of {collection.path} cannot be read ({error}).") from None


def write_text(place: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    partial = place.with_name(f".{place.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)
