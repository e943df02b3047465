import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nestvec.data.tasks import read_task, task_kind
from nestvec.errors import UserError


@pytest.mark.parametrize(
    ("columns", "kind"),
    [
        ("sentence1,sentence2,score", "sts"),
        ("text1,text2,similarity", "sts"),
        ("text,label", "clustering"),
        ("question,intent", "clustering"),
        ("text,category,split", "classification"),
        ("id,text,label", "retrieval"),
        ("title,text,label", "retrieval"),
        ("text", "retrieval"),
        ("sentence1,sentence2", "retrieval"),
    ],
)
def test_columns_tell_the_task(tmp_path, columns, kind):
    place = tmp_path / "rows.csv"
    place.write_text(f"{columns}\n{','.join('x' for _ in columns.split(','))}\n")
    assert task_kind(place, None) == kind
    assert task_kind(place, "sts") == "sts"


def test_a_corpus_or_a_folder_of_documents_is_retrieval(tmp_path):
    (tmp_path / "train.csv").write_text("text,label\na,b\n")
    assert task_kind(tmp_path, None) == "retrieval"
    (tmp_path / "test.csv").write_text("text,label\na,b\n")
    assert task_kind(tmp_path, None) == "classification"
    (tmp_path / "corpus.jsonl").write_text('{"_id": "1", "text": "a"}\n')
    assert task_kind(tmp_path, None) == "retrieval"


def test_splits_are_read_apart(tmp_path):
    place = tmp_path / "rows.tsv"
    place.write_text("text\tlabel\tsplit\na\tx\ttrain\nb\ty\ttest\nc\ty\tdev\n")
    rows = read_task(place, "classification")
    assert (rows.train.columns["text"], rows.test.columns["text"]) == (["a"], ["b"])
    assert read_task(place, "clustering").test.columns["text"] == ["b"]
    with pytest.raises(UserError, match="takes a table of rows"):
        read_task(tmp_path, "sts")


def test_a_table_of_images_is_measured_as_images(tmp_path):
    pq.write_table(pa.table({"jpeg": [b""], "text": ["x"], "label": [1]}), tmp_path / "t.parquet")
    assert task_kind(tmp_path / "t.parquet", None) == "retrieval"
