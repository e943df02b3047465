"""Relevance judgements: TSV of query, document and score, with or without a header."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from nestvec.data.lines import read_lines
from nestvec.errors import UserError

Qrels = dict[str, dict[str, float]]


def read_qrels(path: Path) -> Qrels:
    """{query id: {document id: score}}, in the order of the file.

    Columns: query, document, score (as BEIR has them), or query, iteration, document, score (as
    TREC has them), separated by tabs, or by white space where a line has no tab. A first line whose
    last field is not a number is a header. Raises UserError with file and line for another number
    of fields, a score that is not a number and a repeated pair; with the file where it is empty.
    """
    qrels: Qrels = {}
    width = 0
    for number, line in read_lines(path):
        if not line.strip():
            continue
        fields = _fields(line)
        if width == 0:
            width = len(fields)
            if width not in (3, 4):
                raise UserError(
                    f"{path} line {number} has {width} fields: a judgement is query, document and "
                    "score (or the four columns of TREC), separated by tabs."
                )
            if _number(fields[-1]) is None:
                continue
        if len(fields) != width:
            raise UserError(
                f"{path} line {number} has {len(fields)} fields where the first line has {width}: "
                "give every judgement the same columns."
            )
        score = _number(fields[-1])
        if score is None:
            raise UserError(
                f"{path} line {number}: the score {fields[-1]!r} is not a number: "
                "a score is 0 (not relevant) or more."
            )
        judged = qrels.setdefault(fields[0], {})
        if fields[-2] in judged:
            raise UserError(
                f"{path} line {number} judges the document {fields[-2]!r} for the query "
                f"{fields[0]!r} a second time: keep one of the lines."
            )
        judged[fields[-2]] = score
    if not qrels:
        raise UserError(f"{path} holds no judgements: give a file with at least one.")
    return qrels


def check_known(
    qrels: Qrels, path: Path, documents: Collection[str], queries: Collection[str]
) -> None:
    """Raises UserError where the judgements name an unknown query or document.

    The sentence says how many are unknown and names the first.
    """
    lost = [query for query in qrels if query not in queries]
    if lost:
        raise UserError(
            f"{path} names {len(lost):,} of {len(qrels):,} queries that are not among the queries, "
            f"the first {lost[0]!r}: give the queries file that belongs to it."
        )
    named = dict.fromkeys(document for judged in qrels.values() for document in judged)
    unknown = [document for document in named if document not in documents]
    if unknown:
        raise UserError(
            f"{path} names {len(unknown):,} documents that are not in the collection (a row "
            f"without text counts as absent), the first {unknown[0]!r}: "
            "give the judgements that belong to these documents."
        )


def _fields(line: str) -> list[str]:
    parts = line.rstrip("\r\n").split("\t") if "\t" in line else line.split()
    return [part.strip() for part in parts]


def _number(field: str) -> float | None:
    try:
        value = float(field)
    except ValueError:
        return None
    return value if value == value and abs(value) != float("inf") else None
