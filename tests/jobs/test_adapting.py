"""What an adapter of a collection learns from, and what of it later evaluations are told."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

import nestvec as nv
from nestvec.bridge import faiss
from nestvec.choose.relevance import QueryTask, agreement
from nestvec.cli.main import main
from nestvec.data.rows import Row
from nestvec.data.source import Source, open_source
from nestvec.errors import UserError
from nestvec.jobs.adapting import FEWEST_PAIRS, asked_rows, supervise, train_adapter
from nestvec.jobs.material import Material
from nestvec.jobs.questions import Questions
from nestvec.jobs.report import add_to_report
from nestvec.jobs.settings import BuildSettings
from nestvec.measure.metrics import Relevance
from nestvec.progress import quiet

DOCUMENTS, PASSAGES, DIM = 20, 5, 8
IDS = [f"{document}.md#{part}" for document in range(DOCUMENTS) for part in range(1, PASSAGES + 1)]
SETTINGS = BuildSettings(adapt="auto", split="paragraphs")


def vectors(rows):
    return np.random.default_rng(0).standard_normal((rows, DIM)).astype(np.float16)


def asking(*rows):
    """Questions, each of which one of these rows answers."""
    task = QueryTask(
        np.zeros((len(rows), DIM), np.float32),
        Relevance.from_gains([{row: 1.0} for row in rows]),
        "nDCG@10",
        "labels",
        tuple(map(str, rows)),
    )
    return Questions(task, ("",) * len(rows), "", {})


def material(ids=IDS, questions=None):
    return Material("m", "texts", (), ids, vectors(len(ids)), "cosine", questions)


def learned_from(tmp_path, ids=IDS, questions=None, split="paragraphs"):
    source = Source(tmp_path, "texts", tmp_path, split=split)
    return supervise(material(ids, questions), source, SETTINGS, quiet())


def test_passages_are_queries_for_the_next_of_their_document(tmp_path):
    found = learned_from(tmp_path)
    assert found.about == "80 passages, each with the next of its document"
    asked = [row for row in range(len(IDS)) if row % PASSAGES != PASSAGES - 1]
    np.testing.assert_array_equal(found.queries, vectors(len(IDS))[asked].astype(np.float32))
    assert found.queries.dtype == np.float32
    assert found.pairs.tolist() == [[query, row + 1] for query, row in enumerate(asked)]
    assert found.grades is None
    assert found.rows.tolist() == list(range(len(IDS)))


def test_documents_that_are_asked_for_are_left_out_whole(tmp_path):
    found = learned_from(tmp_path, questions=asking(2, 4, 37))
    assert found.about == (
        "72 passages, each with the next of its document "
        "(2 documents left out, which the evaluation asks for)"
    )
    left = {*range(5), *range(35, 40)}
    assert found.rows.tolist() == [row for row in range(len(IDS)) if row not in left]


PROSE = (
    "Number {0} is a text of its own. It has three sentences in all of it. The last of {0} ends it."
)


class Words:
    """An encoder that says what it was asked."""

    name = "words"

    def __init__(self):
        self.asked = []

    def encode(self, texts, kind):
        assert kind == "query"
        self.asked += texts
        return np.ones((len(texts), DIM), np.float32)


def told(count, questions):
    rows = [Row(str(i), PROSE.format(i)) for i in range(count)]
    return Material(
        "m", "texts", rows, [row.id for row in rows], vectors(count), "cosine", questions, Words()
    )


def test_sentences_are_queries_for_their_texts(tmp_path):
    taken = told(60, asking(3, 7))
    found = supervise(taken, Source(tmp_path, "texts", tmp_path), SETTINGS, quiet())
    rows = [row for row in range(60) if row not in (3, 7)]
    assert found.about == "58 sentences, each with the text it was taken from"
    assert found.pairs.tolist() == [[query, row] for query, row in enumerate(rows)]
    assert found.rows.tolist() == rows
    for row, sentence in zip(rows, taken.encoder.asked, strict=True):
        assert sentence in PROSE.format(row)


def test_sentences_teach_nothing_that_agreement_could_like(tmp_path):
    documents = vectors(60)
    questions = Questions(agreement(documents, at_most=5), ("",) * 5, "", {})
    found = supervise(told(60, questions), Source(tmp_path, "texts", tmp_path), SETTINGS, quiet())
    assert found.pairs is None


def test_few_sentences_are_none(tmp_path):
    source = Source(tmp_path, "texts", tmp_path)
    found = supervise(told(FEWEST_PAIRS, asking(3)), source, SETTINGS, quiet())
    assert found.pairs is None


def test_few_passages_leave_the_vectors_alone(tmp_path):
    ids = IDS[: FEWEST_PAIRS + 10]
    found = learned_from(tmp_path, ids)
    assert found.pairs is None
    assert found.about == "the vectors alone: only 48 passages, each with the next of its document"


def test_ids_that_look_like_passages_are_no_passages_unless_texts_were_split(tmp_path):
    found = learned_from(tmp_path, split="none")
    assert found.pairs is None
    assert found.about == "the vectors alone, without labels"


def test_neighbours_are_of_one_document_and_one_after_the_other(tmp_path):
    stray = ["a", "a#x", "b#1", "c#2", "c#4", "#1"]
    found = learned_from(tmp_path, [*IDS, *stray])
    assert len(found.pairs) == 80


def test_many_passages_are_drawn_from(tmp_path, monkeypatch):
    monkeypatch.setattr("nestvec.jobs.adapting.MOST_QUERIES", 60)
    found = learned_from(tmp_path)
    assert len(found.pairs) == len(set(found.pairs[:, 1].tolist())) == 60
    assert found.about.startswith("60 passages")
    named = {row for _, row in found.pairs.tolist()}
    assert found.rows.tolist() == sorted(named | {row - 1 for row in named})


def test_rows_that_are_questions_themselves_are_never_trained_on(tmp_path):
    task = agreement(vectors(len(IDS)), k=2)
    questions = Questions(task, ("",) * len(task.ids), "", {})
    own = set(task.own_rows.tolist())
    assert own <= set(np.flatnonzero(asked_rows(material(questions=questions))).tolist())
    for split in ("none", "paragraphs"):
        found = learned_from(tmp_path, questions=questions, split=split)
        assert not own & set(found.rows.tolist())


@pytest.mark.parametrize("method", ["linear", "spectemp"])
def test_the_adapter_keeps_the_rows_its_pairs_name(tmp_path, method):
    source = Source(tmp_path, "texts", tmp_path, split="paragraphs")
    settings = BuildSettings(adapt=method, split="paragraphs")
    adapter, about = train_adapter(
        material(questions=asking(2)), source, settings, tmp_path / "work", quiet()
    )
    if method == "linear":
        assert adapter.trained_rows.tolist() == list(range(5, len(IDS)))
        assert adapter.trained_rows.dtype == np.uint32
        assert "76 passages" in about
    else:  # which takes no labels
        assert adapter.trained_rows is None
        assert about.endswith("the vectors alone, without labels")


@pytest.mark.parametrize(("split", "pairs"), [("paragraphs", 80), ("none", 0)])
def test_auto_keeps_score_lists_where_nobody_judged(tmp_path, split, pairs):
    source = Source(tmp_path, "texts", tmp_path, split=split)
    settings = BuildSettings(adapt="auto", split=split)
    adapter, about = train_adapter(material(), source, settings, tmp_path / "work", quiet())
    assert (adapter.method, adapter.facts["pairs"]) == ("distilled", pairs)
    assert adapter.facts["settings"]["temperature"] == 0.05
    assert about.startswith("adapter distilled, trained on ")


def text_of(document, part):
    """A paragraph that stands alone."""
    return f"Document {document} says in its part {part} " + "that words follow words " * 9


@pytest.fixture(scope="module")
def split_source(tmp_path_factory):
    """Thirty texts of five paragraphs; questions of the evaluation are about the last ten."""
    folder = tmp_path_factory.mktemp("split")
    texts = ["\n\n".join(text_of(d, p) for p in range(PASSAGES)) for d in range(30)]
    rows = [json.dumps({"_id": f"d{d}", "text": text}) for d, text in enumerate(texts)]
    asked = [json.dumps({"_id": f"q{d}", "text": text_of(d, 1)}) for d in range(30)]
    (folder / "corpus.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "queries.jsonl").write_text("\n".join(asked) + "\n")
    (folder / "qrels").mkdir()
    for name, questions in (("test", range(20, 30)), ("dev", (0, 3, 25)), ("seen", range(10))):
        lines = ["query-id\tcorpus-id\tscore", *(f"q{d}\td{d}#2\t1" for d in questions)]
        (folder / "qrels" / f"{name}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def test_a_split_source_says_so(split_source):
    assert open_source(split_source, split="paragraphs").split == "paragraphs"
    assert open_source(split_source).split == "none"


def run(*arguments):
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    assert done.exit_code == 0, done.stderr
    return done.stdout


def test_an_adapted_collection_says_so_and_tells_seen_questions_apart(
    split_source, tmp_path, hashed, monkeypatch
):
    monkeypatch.setattr(faiss, "available", lambda: False)
    out = tmp_path / "made.nv"
    options = ("--split", "paragraphs", "--spec", "4xcb4", "--adapt", "auto", "--force")
    said = run("build", split_source, "--out", out, *options)
    assert "adapted nested code" in said
    assert "of adapted nested code keep" in said
    assert "80 passages, each with the next of its document" in (out / "report.html").read_text()
    assert "adapted code" in run("info", out)
    adapter = nv.open(out).collection.adapter
    assert adapter.trained_rows.tolist() == list(range(100))

    queries, qrels = split_source / "queries.jsonl", split_source / "qrels"

    def again(name):
        return nv.evaluate(out, spec="4xcb4", queries=str(queries), qrels=str(qrels / name))

    assert again("test.tsv").evidence.parts == ()
    dev = again("dev.tsv")
    assert [(part.name, part.queries) for part in dev.evidence.parts] == [
        ("seen", 2),
        ("unseen", 1),
    ]
    assert any("2 of 3 queries ask for documents that the adapter" in text for text in dev.warnings)
    seen = again("seen.tsv")
    assert any("every query asks" in text for text in seen.warnings)
    with pytest.raises(UserError, match="10 of this grid ask for documents that the adapter"):
        add_to_report(out, seen.evidence)
    options = ("--spec", "4xcb4", "--queries", queries, "--qrels", qrels / "dev.tsv")
    table = run("evaluate", out, *options)
    assert "on 2 seen queries" in table
    assert "on 1 unseen queries" in table
