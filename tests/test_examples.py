"""The scripts in examples/ run, and end with what they promise."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def printed(name, *arguments):
    """The lines that an example prints."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


@pytest.mark.slow
def test_classes():
    lines = printed("classes.py")
    for width in (8, 16, 32, 64, 128, 256, 384):
        assert sum(line.startswith(f"  nearest at {width}: ") for line in lines) == 2
        assert sum(line.startswith(f"  {width:>3} dimensions: ") for line in lines) == 2


@pytest.fixture
def rag(monkeypatch):
    pytest.importorskip("langchain_core")
    monkeypatch.syspath_prepend(str(EXAMPLES))
    import rag

    yield rag
    del sys.modules["rag"]


def test_a_context_holds_whole_passages_as_long_as_they_fit(rag):
    passages = [
        rag.Document("x" * length, id=str(length), metadata={"source": str(length)})
        for length in (60, 30, 20)
    ]
    assert [p.id for p in rag.context_of(passages, 90)] == ["60", "30"]
    assert [p.id for p in rag.context_of(passages, 200)] == ["60", "30", "20"]
    assert [p.id for p in rag.context_of(passages, 10)] == ["60"]
    recall = rag.context_recall([passages[:2], passages[2:]], [{"30", "7"}, {"20"}])
    assert recall.tolist() == [0.5, 1.0]
    assert rag.numbered(passages[2:]) == f"[1] (20)\n{'x' * 20}"


def test_passages_and_judgements_of_a_folder(rag, tmp_path):
    rows = [{"_id": f"d{i}", "title": "", "text": f"text {i}"} for i in range(3)]
    queries = [{"_id": "q", "text": "which?"}, {"_id": "r", "text": "unjudged?"}]
    for name, lines in (("corpus", rows), ("queries", queries)):
        text = "\n".join(map(json.dumps, lines))
        (tmp_path / f"{name}.jsonl").write_text(f"{text}\n")
    (tmp_path / "qrels").mkdir()
    judged = "query-id\tcorpus-id\tscore\nq\td1\t1\nq\td2\t0\n"
    (tmp_path / "qrels" / "test.tsv").write_text(judged)
    passages, questions = rag.judged_passages(tmp_path)
    assert [(p.id, p.page_content) for p in passages] == [(f"d{i}", f"text {i}") for i in range(3)]
    assert questions == {"which?": {"d1"}}


@pytest.mark.slow
def test_rag():
    pytest.importorskip("langchain_core")
    lines = printed("rag.py")
    recalls = {}
    for line in lines:
        label, bracket, _ = line.partition(" [")
        if bracket and label[-5:-3] in ("0.", "1."):
            recalls[label.split()[0]] = float(label.split()[-1])
    assert list(recalls) == ["4", "8", "16", "32", "vectors"]
    assert recalls["32"] > 0.5
    assert "Answer the question by the passages alone, and name those you used." in lines
    assert lines[-2].startswith("Question: ")
    assert lines[-1] == "Answer:"
