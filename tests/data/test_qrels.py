from __future__ import annotations

from pathlib import Path

import pytest

from nestvec.data.qrels import check_known, read_qrels
from nestvec.errors import UserError


@pytest.mark.parametrize(
    "text",
    [
        "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td1\t1\n",
        "q1\td1\t2\nq1\td2\t0\r\nq2\td1\t1",
        "q1 0 d1 2\nq1 0 d2 0\n\nq2 Q0 d1 1\n",
        "q1\t0\td1\t2\nq1\t0\td2\t0\nq2\t0\td1\t1\n",
    ],
)
def test_beir_and_trec_columns_give_the_same(tmp_path: Path, text: str) -> None:
    path = tmp_path / "qrels.tsv"
    path.write_text(text, encoding="utf-8")
    assert read_qrels(path) == {"q1": {"d1": 2.0, "d2": 0.0}, "q2": {"d1": 1.0}}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "holds no judgements"),
        ("query-id\tcorpus-id\tscore\n", "holds no judgements"),
        ("q1\td1\n", "line 1 has 2 fields"),
        ("q1\td1\t1\nq2\td1\n", "line 2 has 2 fields where the first line has 3"),
        ("q1\td1\t1\nq2\td1\thigh\n", "line 2: the score 'high' is not a number"),
        ("q1\td1\t1\nq2\td1\tnan\n", "line 2: the score 'nan' is not a number"),
        ("q1\td1\t1\nq1\td1\t2\n", "line 2 judges the document 'd1' for the query 'q1' a second"),
    ],
)
def test_faults_name_file_and_line(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "qrels.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=told):
        read_qrels(path)


def test_unknown_queries_and_documents_are_counted_and_named() -> None:
    qrels = {"q1": {"d1": 1.0, "d9": 1.0}, "q2": {"d8": 1.0, "d9": 1.0}}
    check_known(qrels, Path("q.tsv"), {"d1", "d8", "d9"}, {"q1", "q2", "q3"})
    with pytest.raises(UserError, match=r"names 1 of 2 queries .* the first 'q2'"):
        check_known(qrels, Path("q.tsv"), {"d1", "d8", "d9"}, {"q1"})
    with pytest.raises(UserError, match=r"names 2 documents .* the first 'd9'"):
        check_known(qrels, Path("q.tsv"), {"d1"}, {"q1", "q2"})
