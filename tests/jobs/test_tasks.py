import json

import numpy as np
import pytest

import nestvec as nv
from nestvec.jobs import tasks

WORDS = {
    "rivers": "river water sea bridge boat",
    "bread": "dough oven loaf crust flour",
    "chess": "knight king queen pawn rook",
}


class BagEncoder:
    """Sums of vectors drawn for each word: texts with the same words are near."""

    name, revision, dim, metric, max_tokens = "bag", "1", 12, "cosine", None

    def prepare(self, sample):
        pass

    def encode_block(self, texts, kind):
        from nestvec.data.encoder import EncodedBlock

        return EncodedBlock(np.stack([self._sum(text) for text in texts]).astype(np.float32), 0)

    def describe(self):
        return {"kind": "bag", "name": self.name, "document_prompt": ""}

    def _sum(self, text):
        seeds = [sum(map(ord, word)) for word in text.split()]
        return sum(np.random.default_rng(seed).standard_normal(self.dim) for seed in seeds)


@pytest.fixture(autouse=True)
def bag(monkeypatch):
    monkeypatch.setattr(tasks, "make_encoder", lambda settings: BagEncoder())


def texts(rows, seed=0):
    rng = np.random.default_rng(seed)
    for row in range(rows):
        topic = list(WORDS)[row % len(WORDS)]
        yield f"{' '.join(rng.choice(WORDS[topic].split(), 4))} {row}", topic


def write(path, lines):
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def pairs(tmp_path):
    rows = ["split\tscore\tsentence1\tsentence2", "train\t1\tnever read\tnever read either"]
    some = list(texts(60))
    for i, (left, topic) in enumerate(some):
        right, other = some[(i * 7 + 1) % 60]
        rows.append(f"test\t{5.0 if topic == other else i % 3}\t{left}\t{right}")
    return write(tmp_path / "pairs.tsv", rows)


@pytest.fixture
def labelled(tmp_path):
    rows = [json.dumps({"text": text, "label": topic}) for text, topic in texts(90)]
    return write(tmp_path / "texts.jsonl", rows)


@pytest.fixture
def halves(tmp_path):
    folder = tmp_path / "halves"
    folder.mkdir()
    for name, rows, seed in (("train", 60, 1), ("test", 30, 2)):
        lines = ["text,category", *(f"{text},{topic}" for text, topic in texts(rows, seed))]
        write(folder / f"{name}.csv", lines)
    return folder


def test_graded_pairs_are_measured_by_their_correlation(pairs):
    found = nv.evaluate(pairs, spec="4xcb16")
    assert (found.metric, found.queries, found.kind_of_queries) == ("spearman", 60, "sts")
    whole = next(c for c in found.cells if c.method == "prefix-float" and c.dims == 12)
    assert (whole.value, whole.delta) == pytest.approx((found.full[0], 0), abs=1e-6)
    assert found.full[1] < found.full[0] < found.full[2]
    assert {c.method for c in found.cells} >= {"nested", "sign", "svd-int8"}
    assert any("very texts" in text for text in found.warnings)


def test_labelled_texts_are_clustered(labelled):
    found = nv.evaluate(labelled, spec="4xcb16")
    assert (found.metric, found.queries, found.kind_of_queries) == ("v_measure", 90, "clustering")
    assert found.full[0] > 0.5
    cell = found.cells[-1]
    assert 1 <= cell.intrinsic_dimension <= 48
    assert 0 <= cell.alignment < 4
    assert cell.uniformity < 0
    assert json.loads(json.dumps(found.to_json()))["others"] == []


def test_classes_are_learned_from_train_and_told_of_test(halves):
    found = nv.evaluate(halves, spec="4xcb16")
    assert (found.metric, found.queries) == ("linear-probe", 30)
    assert [other.measure for other in found.others] == ["1-NN"]
    assert found.full[0] > 0.8
    assert found.evidence.fitted_rows == 60
    assert not any("very texts" in text for text in found.warnings)
    assert [t["metric"] for t in found.to_json()["others"]] == ["1-NN"]


def test_a_split_column_makes_classes(tmp_path):
    rows = ["text\tlabel\tsplit"]
    rows += [
        f"{t}\t{label}\t{'train' if i % 4 else 'test'}" for i, (t, label) in enumerate(texts(60))
    ]
    place = write(tmp_path / "split.tsv", rows)
    assert nv.evaluate(place, spec="4xcb16").kind_of_queries == "classification"
    assert nv.evaluate(place, task="clustering", spec="4xcb16").queries == 15


def test_the_seed_decides(labelled, monkeypatch):
    monkeypatch.setattr(tasks, "MOST_ROWS", 30)
    first, again = (nv.evaluate(labelled, spec="4xcb16", seed=3) for _ in range(2))
    assert first.cells == again.cells


def test_rows_beyond_the_bound_are_drawn_and_said(labelled, monkeypatch):
    monkeypatch.setattr(tasks, "MOST_ROWS", 50)
    found = nv.evaluate(labelled, spec="4xcb16")
    assert found.queries == 50
    assert any("50 of 90 test rows were drawn" in text for text in found.warnings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "nDCG@10"}, "own measures"),
        ({"similarity": "dot"}, "compares by cosine"),
        ({"task": "classification"}, "neither train and test files"),
        ({"task": "sts"}, "no column for 'sentence1'"),
        ({"task": "poetry"}, "retrieval, sts, clustering, classification"),
    ],
)
def test_what_does_not_fit_is_refused(labelled, options, message):
    with pytest.raises(nv.UserError, match=message):
        nv.evaluate(labelled, **options)


def test_collections_and_arrays_know_no_other_task(vectors_nv):
    with pytest.raises(nv.UserError, match="retrieval alone"):
        nv.evaluate(vectors_nv[0], task="sts")
    with pytest.raises(nv.UserError, match="retrieval alone"):
        nv.evaluate(np.eye(20, dtype=np.float32), task="clustering")
    with pytest.raises(nv.UserError, match="text_column goes with retrieval alone"):
        nv.evaluate("rows.csv", task="clustering", text_column="body")


def test_equal_grades_are_refused(tmp_path):
    place = write(tmp_path / "p.csv", ["sentence1,sentence2,score", "a,b,1", "c,d,1"])
    with pytest.raises(nv.UserError, match="two different grades"):
        nv.evaluate(place)


def test_methods_whose_codes_compare_with_queries_alone_are_left_out(labelled):
    found = nv.evaluate(labelled, spec="4xcb16")
    assert "pca-float" not in {cell.method for cell in found.cells}
    assert [text.split(":")[0] for text in found.evidence.left_out] == ["pca-float"]


@pytest.mark.parametrize("label", ["same", "{i}"])
def test_labels_that_tell_nothing_are_refused(tmp_path, label):
    rows = [json.dumps({"text": f"word {i}", "label": label.format(i=i)}) for i in range(9)]
    place = write(tmp_path / "rows.jsonl", rows)
    with pytest.raises(nv.UserError, match="tell some texts apart"):
        nv.evaluate(place)


def test_a_wrong_code_is_told_before_anything_is_encoded(labelled, monkeypatch):
    monkeypatch.setattr(tasks, "make_encoder", None)
    with pytest.raises(nv.UserError, match="500xint8 for vectors of 384"):
        nv.evaluate(labelled, spec="500xint8")
