from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from nestvec.data.rows import Query
from nestvec.data.source import open_demo, open_source, read_queries
from nestvec.errors import UserError

Write = Callable[[Path, Iterable[object]], Path]

DOCUMENTS = [{"_id": f"d{n}", "title": f"T{n}", "text": f"text {n}", "year": n} for n in range(3)]
QUERIES = [{"_id": "q1", "text": "one"}, {"_id": "q2", "text": "two"}]


def write_beir(folder: Path, write: Write, suffix: str = ".jsonl.gz") -> Path:
    write(folder / f"corpus{suffix}", DOCUMENTS)
    write(folder / f"queries{suffix}", QUERIES)
    (folder / "qrels").mkdir()
    for split, query in (("test", "q1"), ("train", "q2")):
        text = f"query-id\tcorpus-id\tscore\n{query}\td1\t1\n"
        (folder / "qrels" / f"{split}.tsv").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_beir_folder_gives_rows_queries_and_the_test_split(
    tmp_path: Path, write_jsonl: Write, suffix: str
) -> None:
    source = open_source(write_beir(tmp_path, write_jsonl, suffix))
    tally = source.survey()
    assert (source.kind, tally.rows, tally.titled, tally.empty) == ("texts", 3, 3, 0)
    assert [row.id for row in source.rows()] == source.ids == ["d0", "d1", "d2"]
    assert next(source.rows()).columns == {"year": 0}
    assert source.queries() == [Query("q1", "one"), Query("q2", "two")]
    assert source.qrels() == {"q1": {"d1": 1.0}}


def test_a_split_or_a_file_of_judgements_may_be_named(tmp_path: Path, write_jsonl: Write) -> None:
    folder = write_beir(tmp_path, write_jsonl)
    assert open_source(folder, qrels="train").qrels() == {"q2": {"d1": 1.0}}
    assert open_source(folder, qrels=folder / "qrels" / "train.tsv").qrels() == {"q2": {"d1": 1.0}}
    with pytest.raises(UserError, match=r"'dev' is neither a file nor a split .*test, train"):
        open_source(folder, qrels="dev")


def test_several_splits_without_test_leave_a_choice(tmp_path: Path, write_jsonl: Write) -> None:
    folder = write_beir(tmp_path, write_jsonl)
    (folder / "qrels" / "test.tsv").rename(folder / "qrels" / "dev.tsv")
    with pytest.raises(UserError, match="judgements for dev, train and none for test"):
        open_source(folder)
    (folder / "qrels" / "dev.tsv").unlink()
    assert open_source(folder).qrels() == {"q2": {"d1": 1.0}}


def test_judgements_of_unknown_documents_and_queries_are_told(
    tmp_path: Path, write_jsonl: Write
) -> None:
    folder = write_beir(tmp_path, write_jsonl)
    test = folder / "qrels" / "test.tsv"
    test.write_text("q1\tnone\t1\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"test\.tsv names 1 documents .* the first 'none'"):
        open_source(folder).survey()
    test.write_text("q9\td1\t1\n", encoding="utf-8")
    with pytest.raises(UserError, match="the first 'q9'"):
        open_source(folder).survey()
    (folder / "queries.jsonl.gz").unlink()
    with pytest.raises(UserError, match="judges queries, but none were given"):
        open_source(folder).survey()


def write_table(path: Path, records: list[dict[str, object]]) -> Path:
    if path.suffix == ".arrow":
        pyarrow.feather.write_feather(
            pa.Table.from_pylist(records), str(path), compression="uncompressed"
        )
    else:
        pq.write_table(pa.Table.from_pylist(records), path)
    return path


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv", "a.parquet", "a.arrow"])
@pytest.mark.parametrize("zipped", [False, True])
def test_every_table_gives_the_same_rows(tmp_path: Path, name: str, zipped: bool) -> None:
    records: list[dict[str, object]] = [
        {"id": "a", "text": "first, text", "label": "x"},
        {"id": "b", "text": "second", "label": "y"},
    ]
    path = tmp_path / name
    mark = {".csv": ",", ".tsv": "\t"}.get(path.suffix)
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    elif mark == ",":
        path.write_text('id,text,label\na,"first, text",x\nb,second,y\n')
    elif mark == "\t":
        path.write_text("id\ttext\tlabel\na\tfirst, text\tx\nb\tsecond\ty\n")
    else:
        write_table(path, records)
    if zipped:
        whole = path.with_name(name + ".gz")
        whole.write_bytes(gzip.compress(path.read_bytes()))
        path = whole
    source = open_source(path)
    found = [{"id": row.id, "text": row.text, **row.columns} for row in source.rows()]
    assert found == records
    assert not source.has_queries
    assert source.qrels() == {}


def test_a_table_of_texts_takes_queries_and_judgements_beside_it(
    tmp_path: Path, write_jsonl: Write
) -> None:
    source = open_source(
        write_jsonl(tmp_path / "notes.jsonl", DOCUMENTS),
        queries=write_jsonl(tmp_path / "q.jsonl", QUERIES),
        qrels=(tmp_path / "q.tsv") if (tmp_path / "q.tsv").write_text("q1\td2\t1\n") else None,
    )
    assert source.survey().rows == 3
    assert source.qrels() == {"q1": {"d2": 1.0}}


def test_a_record_is_split_into_paragraphs(tmp_path: Path, write_jsonl: Write) -> None:
    text = "x" * 250 + "\n\n" + "y" * 250
    path = write_jsonl(tmp_path / "a.jsonl", [{"id": "k", "text": text, "title": "T"}])
    rows = list(open_source(path, split="paragraphs").rows())
    assert [(row.id, row.text[0], row.title) for row in rows] == [
        ("k#1", "x", "T"),
        ("k#2", "y", "T"),
    ]


def test_a_folder_of_documents_and_a_single_one(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Head\n\nwords", encoding="utf-8")
    for source in (open_source(tmp_path), open_source(tmp_path / "a.md")):
        assert [(row.id, row.title) for row in source.rows()] == [("a.md", "Head")]


def test_vectors_with_ids_queries_and_judgements_beside_them(tmp_path: Path) -> None:
    vectors = np.arange(1, 13, dtype=np.float32).reshape(4, 3)
    np.save(tmp_path / "docs.npy", vectors)
    np.save(tmp_path / "queries.npy", vectors[:2])
    (tmp_path / "ids.txt").write_text("a\nb\nc\nd\n")
    (tmp_path / "qrels.tsv").write_text("qx\tb\t1\nqy\td\t1\n")
    source = open_source(tmp_path)
    assert (source.kind, source.survey().rows) == ("vectors", 4)
    np.testing.assert_array_equal(source.vectors, vectors)
    np.testing.assert_array_equal(np.asarray(source.query_vectors), vectors[:2])
    assert source.ids == ["a", "b", "c", "d"]
    assert [query.id for query in source.queries()] == ["qx", "qy"]
    assert source.qrels() == {"qx": {"b": 1.0}, "qy": {"d": 1.0}}
    assert next((row.id, row.text) for row in source.rows()) == ("a", "")


def test_query_vectors_with_ids_of_their_own_keep_them(tmp_path: Path) -> None:
    np.save(tmp_path / "docs.npy", np.eye(3, dtype=np.float32))
    np.save(tmp_path / "q.npy", np.eye(3, dtype=np.float32)[:2])
    (tmp_path / "q.ids").write_text("one\ntwo\n")
    (tmp_path / "j.tsv").write_text("two\t0\t1\n")
    source = open_source(
        tmp_path / "docs.npy", queries=tmp_path / "q.npy", qrels=tmp_path / "j.tsv"
    )
    assert [query.id for query in source.queries()] == ["one", "two"]
    assert source.qrels() == {"two": {"0": 1.0}}


def test_a_table_with_vectors_is_taken_as_vectors_unless_texts_are_asked_for(
    tmp_path: Path,
) -> None:
    records: list[dict[str, object]] = [
        {"id": "a", "text": "x", "title": "T", "label": 1, "vector": [1.0, 2.0]},
        {"id": "b", "text": "y", "title": "", "label": 2, "vector": [3.0, 4.0]},
    ]
    path = write_table(tmp_path / "a.parquet", records)
    source = open_source(path)
    assert source.kind == "vectors"
    assert source.ids == ["a", "b"]
    rows = list(source.rows())
    assert (rows[0].text, rows[0].title, rows[0].columns) == ("x", "T", {"label": 1})
    assert open_source(path, text_column="text").kind == "texts"
    with pytest.raises(UserError, match="holds texts, not vectors"):
        _ = open_source(path, text_column="text").vectors


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([[1.0, np.nan]], "must be finite"),
        ([[1.0, 2.0], [0.0, 0.0]], "row 1 is all zero"),
    ],
)
def test_bad_vectors_are_told_by_the_survey(
    tmp_path: Path, rows: list[list[float]], told: str
) -> None:
    np.save(tmp_path / "v.npy", np.array(rows, dtype=np.float32))
    with pytest.raises(UserError, match=told):
        open_source(tmp_path / "v.npy").survey()


def test_what_does_not_fit_the_vectors_is_told(tmp_path: Path, write_jsonl: Write) -> None:
    docs = tmp_path / "docs.npy"
    np.save(docs, np.eye(3, dtype=np.float32))
    np.save(tmp_path / "narrow.npy", np.eye(2, dtype=np.float32))
    with pytest.raises(UserError, match=r"queries must be as wide as the documents: .* 2 dims"):
        open_source(docs, queries=tmp_path / "narrow.npy").survey()
    with pytest.raises(UserError, match="its queries must be vectors too"):
        open_source(docs, queries=write_jsonl(tmp_path / "q.jsonl", QUERIES))
    (tmp_path / "few.txt").write_text("a\nb\n")
    with pytest.raises(UserError, match="holds 2 ids for the 3 vectors"):
        open_source(docs, ids=tmp_path / "few.txt")


def test_queries_one_a_line(tmp_path: Path) -> None:
    (tmp_path / "q.txt").write_text("one\n\ntwo\n")
    assert read_queries(tmp_path / "q.txt") == [Query("0", "one"), Query("1", "two")]
    with pytest.raises(UserError, match="queries must be a file of texts"):
        read_queries(tmp_path / "q.npy")


def test_everything_that_is_no_source_is_told_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "cat.jpg").write_bytes(b"x")
    (tmp_path / "idx").mkdir()
    (tmp_path / "idx" / "train-images-idx3-ubyte.gz").write_bytes(b"x")
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "a.py").write_text("x")
    files = {
        "nothing.jsonl": b"",
        "blank.jsonl": b"\n\n",
        "train-images-idx3-ubyte.gz": b"x",
        "a.docx": b"x",
        "empty.csv": b"id,text\n",
        "dup.jsonl": b'{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n',
        "hollow.jsonl": b'{"text": ""}\n',
        "broken.jsonl": b'{"text": "x"}\n{"text": \n',
    }
    for name, raw in files.items():
        (tmp_path / name).write_bytes(raw)
    write_table(tmp_path / "pictures.parquet", [{"label": 1, "jpeg": b"x"}])
    told = {
        "missing": "does not exist",
        "empty": "is an empty folder",
        "images": "every image must be readable; 1 of 1 are not: cat.jpg",
        "idx": "holds files in IDX: name the one of images",
        "code": "neither a corpus file",
        "nothing.jsonl": "is empty",
        "blank.jsonl": "holds no rows",
        "train-images-idx3-ubyte.gz": "cannot be unzipped",
        "pictures.parquet": "every image must be readable; 1 of 1 are not: pictures.parquet row 0",
        "a.docx": "of no kind that can be read",
        "empty.csv": "holds no rows",
        "dup.jsonl": "has the id 'a' twice",
        "hollow.jsonl": "holds no row with a text",
        "broken.jsonl": "broken.jsonl line 2 is not valid JSON",
    }
    for name, words in told.items():
        with pytest.raises(UserError, match=words) as caught:
            open_source(tmp_path / name).survey()
        assert "\n" not in str(caught.value)
        assert str(caught.value).endswith(".")


def test_images_and_others_in_one_folder_want_a_word(tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    for name in ("a.jpg", "b.png", "c.txt"):
        (folder / name).write_bytes(b"words")
    with pytest.raises(UserError, match=r"1 documents and 2 images: .*--kind texts or --kind im"):
        open_source(folder)
    assert open_source(folder, kind="texts").kind == "texts"
    images = open_source(folder, kind="images", skip_broken=True)
    assert images.ids == ["a.jpg", "b.png"]
    with pytest.raises(UserError, match="none of 2 images can be read"):
        images.survey()
    (folder / "c.txt").rename(folder / "own.npy")
    with pytest.raises(UserError, match=r"holds own\.npy and 2 images"):
        open_source(folder)
    (folder / "own.npy").unlink()
    with pytest.raises(UserError, match="holds images, not texts: leave --kind out"):
        open_source(folder, kind="texts")
    with pytest.raises(UserError, match="a source holds texts, images, vectors; got 'sounds'"):
        open_source(folder, kind="sounds")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="holds no image"):
        open_source(tmp_path / "none", kind="images")


def test_a_table_of_images_may_hold_texts_and_vectors_too(tmp_path: Path) -> None:
    row = {"id": "a", "text": "words", "jpeg": b"x"}
    write_table(tmp_path / "t.parquet", [row])
    assert open_source(tmp_path / "t.parquet").kind == "images"
    texts = open_source(tmp_path / "t.parquet", kind="texts")
    assert [row.text for row in texts.rows()] == ["words"]
    write_table(tmp_path / "v.parquet", [{**row, "vector": [1.0, 2.0]}])
    assert open_source(tmp_path / "v.parquet").kind == "vectors"
    assert open_source(tmp_path / "v.parquet", kind="images").kind == "images"
    write_table(tmp_path / "paths.parquet", [{"id": "a", "text": "words", "image": "a.jpg"}])
    assert open_source(tmp_path / "paths.parquet").kind == "texts"


def test_a_wrong_column_is_told_when_the_source_is_opened(
    tmp_path: Path, write_jsonl: Write
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", DOCUMENTS)
    with pytest.raises(UserError, match=r"line 1 has no text column 'body'.*--text-column"):
        open_source(path, text_column="body")


def test_the_demonstration_is_a_source_of_titled_texts() -> None:
    source = open_demo()
    assert source.kind == "texts"
    row = next(source.rows())
    assert row.title
    assert row.text
