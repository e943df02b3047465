"""Examples to train on, from every place they may come from."""

import gzip

import pytest

from nestvec.data.training import read_examples
from nestvec.errors import UserError


def test_columns_are_found_by_their_usual_names(tmp_path, write_jsonl):
    place = write_jsonl(
        tmp_path / "p.jsonl.gz",
        [{"title": "a", "abstract": "b", "negative_1": "c", "year": 3}] * 2,
    )
    found = read_examples(str(place), "pairs")
    assert list(found.columns) == ["title", "abstract", "negative_1"]
    assert len(found) == 2


def test_columns_that_are_named_are_taken_in_their_order(tmp_path, write_jsonl):
    place = write_jsonl(tmp_path / "p.jsonl", [{"q": "a", "d": "b", "n": "c"}])
    found = read_examples(str(place), "pairs", columns=["d", "q", "n"])
    assert found.columns == {"d": ["b"], "q": ["a"], "n": ["c"]}


def test_rows_of_a_split(tmp_path):
    place = tmp_path / "s.tsv.gz"
    lines = ["split\tscore\tsentence1\tsentence2", "train\t1.5\ta\tb", "dev\t0\tc\td"]
    place.write_bytes(gzip.compress("\n".join(lines).encode()))
    assert read_examples(str(place), "scored").columns["score"] == [1.5]
    assert read_examples(str(place), "scored", split="dev").columns["sentence1"] == ["c"]
    with pytest.raises(UserError, match=r"no row of the split 'test' \(it has train, dev\)"):
        read_examples(str(place), "scored", split="test")


def test_labels_are_names(tmp_path):
    place = tmp_path / "l.csv"
    place.write_text('text,category\n"a, b",7\nc,x y\n')
    assert read_examples(str(place), "labelled").columns["category"] == ["7", "x y"]


def test_a_folder_in_the_beir_layout(tmp_path, write_jsonl):
    write_jsonl(tmp_path / "corpus.jsonl", [{"_id": i, "text": f"d{i}"} for i in "abc"])
    write_jsonl(
        tmp_path / "queries.jsonl", [{"_id": "1", "text": "q1"}, {"_id": "2", "text": "q2"}]
    )
    (tmp_path / "qrels").mkdir()
    header = "query-id\tcorpus-id\tscore\n"
    (tmp_path / "qrels" / "train.tsv").write_text(f"{header}1\ta\t2\n1\tb\t0\n2\tc\t1\n")
    (tmp_path / "qrels" / "dev.tsv").write_text(f"{header}2\tb\t1\n")
    found = read_examples(str(tmp_path), "pairs")
    assert found.columns == {"anchor": ["q1", "q2"], "positive": ["da", "dc"]}
    assert read_examples(str(tmp_path), "pairs", split="dev").columns["positive"] == ["db"]
    with pytest.raises(UserError, match="is a folder, which holds pairs"):
        read_examples(str(tmp_path), "labelled")


def test_a_dataset_on_disk_with_named_classes(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
    )
    made = datasets.Dataset.from_dict({"text": ["a", "b"], "label": [1, 0]}, features=features)
    made.save_to_disk(str(tmp_path / "set"))
    found = read_examples(f"datasets:{tmp_path / 'set'}", "labelled")
    assert found.columns == {"text": ["a", "b"], "label": ["yes", "no"]}


def test_rows_are_drawn_by_seed_and_in_order(tmp_path, write_jsonl):
    place = write_jsonl(tmp_path / "t.jsonl", [{"text": str(i)} for i in range(100)])
    found = read_examples(str(place), "texts")
    few = found.drawn(10, seed=1)
    assert few.columns == found.drawn(10, seed=1).columns
    assert few.columns != found.drawn(10, seed=2).columns
    assert [int(t) for t in few.columns["text"]] == sorted(int(t) for t in few.columns["text"])
    assert found.drawn(None, 0) is found


@pytest.mark.parametrize(
    ("record", "shape", "said"),
    [
        ({"anchor": "a"}, "pairs", "no column for 'positive'"),
        (
            {"anchor": "a", "positive": ""},
            "pairs",
            "line 1: the column 'positive' must",
        ),
        ({"anchor": "a", "positive": 3}, "pairs", "must hold a text; got '3'"),
        ({"sentence1": "a", "sentence2": "b", "score": "high"}, "scored", "must be a number"),
        ({"sentence1": "a", "sentence2": "b", "score": True}, "scored", "must be a number"),
        ({"text": "a", "label": None}, "labelled", "must be a name or a whole number"),
        ({"text": "a", "label": 0.5}, "labelled", "must be a name or a whole number"),
    ],
)
def test_a_value_that_does_not_fit_is_named_with_its_place(
    record, shape, said, tmp_path, write_jsonl
):
    place = write_jsonl(tmp_path / "p.jsonl", [record])
    with pytest.raises(UserError, match=said):
        read_examples(str(place), shape)


def test_what_is_no_table_is_told(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="is no table of rows"):
        read_examples(str(tmp_path / "notes.txt"), "texts")
    with pytest.raises(UserError, match="does not exist"):
        read_examples(str(tmp_path / "absent.csv"), "texts")
    (tmp_path / "l.csv").write_text("a,b,c\n1,2,3\n")
    with pytest.raises(UserError, match="take 2 columns; got 3"):
        read_examples(str(tmp_path / "l.csv"), "labelled", columns=["a", "b", "c"])


def test_a_dataset_s_configuration_goes_along_and_its_errors_are_told(monkeypatch):
    datasets = pytest.importorskip("datasets")
    asked = []

    def load(name, configuration, split):
        asked.append((name, configuration, split))
        raise datasets.exceptions.DatasetGenerationError("row 3 is broken")

    monkeypatch.setattr(datasets, "load_dataset", load)
    for place in ("datasets:glue:mrpc", "datasets:glue"):
        with pytest.raises(UserError, match=r"'glue' \(train\) cannot be had: row 3 is broken"):
            read_examples(place, "scored", split="train")
    assert asked == [("glue", "mrpc", "train"), ("glue", None, "train")]
