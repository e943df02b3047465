"""Classifiers that were kept label new rows, and say where they cannot."""

import csv
import json

import numpy as np
import pytest

from nestvec.choose.labeller import CONFIG_FILE, Labeller
from nestvec.jobs.classify_predict import classify_predict


def test_what_is_written_labels_new_rows(fitted, labelled, planted):
    found = classify_predict(
        labelled / "c", labelled / "test.npy", labels=str(labelled / "test.txt")
    )
    X, _, names = planted(1)
    right = found.found.labels == names
    assert found.accuracy.value == pytest.approx(right.mean())
    assert found.accuracy.value > 0.8
    assert found.ids == [str(row) for row in range(600)]
    assert {w for w, share in found.shares.items() if share} <= set(fitted.visited)
    assert found.last == pytest.approx(found.found.widths.mean())
    labeller = Labeller.load(labelled / "c")
    assert labeller.label(X).labels.tolist() == found.found.labels.tolist()
    assert tuple(labeller.thresholds.tolist()) == fitted.thresholds
    assert labeller.facts["cascade"]["accuracy"]["value"] == fitted.cascade.accuracy.value
    summed = [sum(w for w in fitted.visited if w <= last) for last in found.found.widths]
    assert found.sum == pytest.approx(np.mean(summed))
    one = classify_predict(labelled / "c", labelled / "test.npy", width=4)
    assert one.shares == {2: 0.0, 4: 1.0, 16: 0.0}
    assert (one.last, one.sum, one.accuracy) == (4, 4, None)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv"])
def test_labels_are_written_as_rows(name, fitted, labelled, tmp_path):
    found = classify_predict(labelled / "c", labelled / "test.npy", out=tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with (tmp_path / name).open(newline="") as lines:
        if name.endswith("jsonl"):
            rows = [json.loads(line) for line in lines]
        else:
            rows = list(csv.DictReader(lines, delimiter="," if name.endswith("csv") else "\t"))
    assert len(rows) == 600
    assert rows[7]["id"] == "7"
    assert rows[7]["label"] == found.found.labels[7]
    assert int(rows[7]["width"]) == found.found.widths[7]
    assert float(rows[7]["confidence"]) == pytest.approx(found.found.confidence[7], abs=1e-6)


def test_labels_that_were_never_learned_are_told(fitted, labelled, faulty):
    found = classify_predict(labelled / "c", faulty / "x.npy", labels=str(faulty / "rare.txt"))
    assert "'moss' was not among the classes learned: those rows count wrong." in found.notes
    assert json.loads((labelled / "c" / CONFIG_FILE).read_text())["format_version"] == 1


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("has a head, 2, 4, 16; got 8", "x.npy --width 8"),
        ("vectors are (n, 16)", "narrow.npy"),
        ("nan.npy: row 0 has NaN", "nan.npy"),
        ("written as .jsonl, .csv, .tsv; got p.parquet", "x.npy --out p.parquet"),
        ("y.txt exists already", "x.npy --out y.tsv"),
        ("few.txt has 59 for the 60 vectors", "x.npy --labels few.txt"),
    ],
)
def test_what_cannot_be_predicted_is_said(
    words, arguments, asked, fitted, labelled, faulty, monkeypatch
):
    monkeypatch.chdir(faulty)
    (faulty / "y.tsv").write_text("")
    done = asked("predict", labelled / "c", *arguments.split())
    assert done.exit_code == 2, done.output
    assert words.replace("y.txt", "y.tsv") in done.stderr or words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert asked("predict", faulty, "x.npy").exit_code == 2
