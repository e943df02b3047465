"""Classifiers as jobs: fitted from files, told on rows that set nothing, kept, and asked again."""

import csv
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import nestvec as nv
from nestvec.choose.labeller import CONFIG_FILE, Labeller
from nestvec.cli.main import main
from nestvec.data.encoder import EncodedBlock
from nestvec.errors import UserError
from nestvec.jobs import classify, encoders
from nestvec.jobs.classify import classify_fit, drawn
from nestvec.jobs.classify_predict import classify_predict
from nestvec.jobs.labelled_rows import read_labels, read_rows
from nestvec.jobs.report import report
from nestvec.learn.losses.heads import SeparateHeads
from nestvec.learn.models import save_heads
from nestvec.nesting import Nesting
from nestvec.vectors import normalize

ROWS, DIM = 600, 16
WIDTHS = (2, 4, 16)
EPOCHS = 100
NAMES = np.array(["bread", "chess", "rivers", "stars", "train"])


def planted(seed, rows=ROWS):
    """Vectors about a center a class."""
    centers = np.random.default_rng(3).standard_normal((len(NAMES), DIM))
    rng = np.random.default_rng(seed)
    y = rng.integers(0, len(NAMES), rows)
    return (centers[y] + 0.8 * rng.standard_normal((rows, DIM))).astype(np.float32), y


class WordEncoder:
    """A text's vector is that of its number, as planted: "row 17"."""

    name, revision, dim, metric, max_tokens = "words", "1", DIM, "cosine", None
    vectors = planted(0)[0]

    def prepare(self, sample):
        pass

    def encode_block(self, texts, kind):
        assert kind == "document"
        rows = [int(text.split()[1]) for text in texts]
        return EncodedBlock(self.vectors[rows], 1)

    def describe(self):
        return {"kind": "words", "name": self.name}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def worded(monkeypatch):
    for module in (classify, encoders):
        monkeypatch.setattr(module, "make_encoder", lambda settings: WordEncoder())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("classify")
    for name, seed in (("train", 0), ("test", 1)):
        X, y = planted(seed)
        np.save(place / f"{name}.npy", X)
        (place / f"{name}.txt").write_text("\n".join(NAMES[y]) + "\n")
        with (place / f"{name}.jsonl").open("w") as out:
            for row, label in enumerate(NAMES[y]):
                out.write(json.dumps({"id": f"r{row}", "text": f"row {row}", "intent": label}))
                out.write("\n")
    return place


@pytest.fixture(scope="module")
def fitted(folder, one_thread):
    return classify_fit(
        folder / "train.npy",
        folder / "c",
        labels=str(folder / "train.txt"),
        widths=WIDTHS,
        epochs=EPOCHS,
    )


def test_rows_are_drawn_class_by_class():
    labels = np.repeat(["a", "b", "c", "d"], [3, 10, 41, 100])
    trained, tuned, told = drawn(labels, 0.2, seed=5)
    assert sorted(np.concatenate([trained, tuned, told]).tolist()) == list(range(154))
    for name, held in (("a", 2), ("b", 2), ("c", 8), ("d", 20)):
        own = [(labels[part] == name).sum() for part in (trained, tuned, told)]
        assert own[1] + own[2] == held
        assert abs(own[1] - own[2]) <= 1
        assert min(own) >= 1
    odd = drawn(np.repeat(np.arange(9), 5), 0.6, seed=0)
    assert abs(len(odd[1]) - len(odd[2])) <= 1
    for one, other in zip(drawn(labels, 0.2, seed=5), (trained, tuned, told), strict=True):
        assert one.tolist() == other.tolist()
    nothing, *both = drawn(np.array(["a", "b", "b", "c"]), 0.0, seed=0)
    assert len(nothing) == 0
    assert sorted(np.concatenate(both).tolist()) == [0, 1, 2, 3]
    assert [len(each) for each in both] == [2, 2]
    with pytest.raises(UserError, match=r"'b' has 2, 'c' has 1\. Give"):
        drawn(np.repeat(["a", "b", "c"], [9, 2, 1]), 0.2, seed=0)


def test_figures_are_of_rows_that_set_nothing(fitted):
    assert (fitted.trained, fitted.tuned, fitted.told) == (480, 60, 60)
    assert [each.width for each in fitted.widths] == list(WIDTHS)
    assert sum(each.stopped for each in fitted.widths) == pytest.approx(1)
    widest = fitted.widths[-1]
    assert widest.from_full.value == 0
    assert widest.accuracy.n == 60
    assert widest.accuracy.value > 0.8
    told = fitted.cascade
    assert told.from_full.value == pytest.approx(told.accuracy.value - widest.accuracy.value)
    assert told.oracle_accuracy >= max(each.accuracy.value for each in fitted.widths)
    last = sum(each.width * each.stopped for each in fitted.widths)
    assert told.last == pytest.approx(last)
    assert told.last <= told.sum <= sum(WIDTHS)
    assert told.microseconds > 0
    assert told.full_microseconds > 0
    assert set(fitted.visited) <= set(WIDTHS)
    assert "60 rows prove little: read the intervals." in fitted.notes


def test_what_is_written_labels_new_rows(fitted, folder):
    found = classify_predict(folder / "c", folder / "test.npy", labels=str(folder / "test.txt"))
    X, y = planted(1)
    right = found.found.labels == NAMES[y]
    assert found.accuracy.value == pytest.approx(right.mean())
    assert found.accuracy.value > 0.8
    assert found.ids == [str(row) for row in range(ROWS)]
    assert {w for w, share in found.shares.items() if share} <= set(fitted.visited)
    assert found.last == pytest.approx(found.found.widths.mean())
    labeller = Labeller.load(folder / "c")
    assert labeller.label(X).labels.tolist() == found.found.labels.tolist()
    assert tuple(labeller.thresholds.tolist()) == fitted.thresholds
    assert labeller.facts["cascade"]["accuracy"]["value"] == fitted.cascade.accuracy.value
    summed = [sum(w for w in fitted.visited if w <= last) for last in found.found.widths]
    assert found.sum == pytest.approx(np.mean(summed))
    one = classify_predict(folder / "c", folder / "test.npy", width=4)
    assert one.shares == {2: 0.0, 4: 1.0, 16: 0.0}
    assert (one.last, one.sum, one.accuracy) == (4, 4, None)


def test_thresholds_that_are_written_come_from_all_held_out_rows(fitted, folder):
    labels = np.array((folder / "train.txt").read_text().split())
    _, tuned, told = drawn(labels, 0.2, 0)
    held = np.concatenate([tuned, told])
    X = np.load(folder / "train.npy")[held]
    logits = {width: fitted.labeller.logits(X, width) for width in WIDTHS}
    cascade = nv.Cascade("keep", counted="sum").fit(logits, labels[held], fitted.labeller.classes)
    assert tuple(cascade.thresholds_.tolist()) == fitted.thresholds
    right = np.array(fitted.labeller.classes)[logits[16].argmax(axis=1)] == labels[held]
    assert (fitted.labeller.label(X).labels == labels[held])[right].all()


def test_a_report_is_written_and_written_again(fitted, folder, tmp_path):
    assert fitted.report == str(folder / "c" / "report.html")
    html = (folder / "c" / "report.html").read_text()
    assert "Which classes need width" in html
    assert "Stopped first" not in html  # vectors alone show nothing
    command = "nestvec classify fit "
    assert f"{command}{folder / 'train.npy'} --labels" in html
    assert "--widths 2,4,16" in html
    again = CliRunner().invoke(main, ["report", str(folder / "c"), "--json"])
    assert json.loads(again.stdout) == {"report": str(folder / "c" / "report.html")}
    assert (folder / "c" / "report.html").read_text() == html
    picture = report(folder / "c", tmp_path / "r.svg")
    assert picture.read_text().startswith("<svg")
    bare = tmp_path / "bare"
    Labeller.load(folder / "c").save(bare)
    with pytest.raises(UserError, match=r"has no report\.json: fit it again"):
        report(bare)
    (bare / "report.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be read"):
        report(bare)


@pytest.fixture
def painted(tmp_path):
    """Pictures in a folder a class, each of its class's colour, and their number."""
    from PIL import Image

    place = tmp_path / "photos"
    y = planted(0)[1][:90] % 3
    for row, label in enumerate(y):
        (place / NAMES[label]).mkdir(parents=True, exist_ok=True)
        colour = [40, 40, 40]
        colour[label] = 120 + row
        Image.new("RGB", (6, 6), tuple(colour)).save(place / NAMES[label] / f"{row}.png")
    return place


class ColourEncoder(WordEncoder):
    """A picture's vector is its middle's colour."""

    reads_images, reads_texts, dim = True, False, 3

    def encode_images(self, pictures):
        return np.array([np.asarray(each)[3, 3] for each in pictures], np.float32) - 90


def test_pictures_by_class_are_labelled_and_shown(painted, tmp_path, monkeypatch):
    for module in (classify, encoders):
        monkeypatch.setattr(module, "make_encoder", lambda settings: ColourEncoder())
    for name in ("check_encoder", "check_image_encoder", "width_of", "_model_with_heads"):
        monkeypatch.setattr(classify, name, lambda settings: None)
    found = classify_fit(painted, tmp_path / "p", widths=(1, 3), model="colours")
    assert (found.kind, found.classes) == ("images", 3)
    html = (tmp_path / "p" / "report.html").read_text()
    assert "Stopped first" in html
    assert 1 <= html.count('<img src="data:image/jpeg;base64,') <= 16
    assert len(html) < 400_000
    asked = classify_predict(tmp_path / "p", painted)
    assert asked.accuracy.value > 0.8
    assert sorted(asked.ids) == sorted(
        p.relative_to(painted).as_posix() for p in painted.rglob("*.png")
    )


def test_pictures_of_vectors_are_as_many(folder, painted, tmp_path):
    ask = {"labels": str(folder / "train.txt"), "widths": WIDTHS, "images": str(painted)}
    with pytest.raises(UserError, match="has 90 for the 600 vectors"):
        classify_fit(folder / "train.npy", tmp_path / "c", **ask)
    with pytest.raises(UserError, match="images are named for vectors alone"):
        classify_fit(folder / "train.jsonl", tmp_path / "c", images=str(painted))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv"])
def test_labels_are_written_as_rows(name, fitted, folder, tmp_path):
    found = classify_predict(folder / "c", folder / "test.npy", out=tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    with (tmp_path / name).open(newline="") as lines:
        if name.endswith("jsonl"):
            rows = [json.loads(line) for line in lines]
        else:
            rows = list(csv.DictReader(lines, delimiter="," if name.endswith("csv") else "\t"))
    assert len(rows) == ROWS
    assert rows[7]["id"] == "7"
    assert rows[7]["label"] == found.found.labels[7]
    assert int(rows[7]["width"]) == found.found.widths[7]
    assert float(rows[7]["confidence"]) == pytest.approx(found.found.confidence[7], abs=1e-6)


def test_texts_are_encoded_by_the_model_of_the_fit(worded, fitted, folder, tmp_path):
    found = classify_fit(folder / "train.jsonl", tmp_path / "t", widths=WIDTHS, epochs=EPOCHS)
    assert not (tmp_path / "t.work").exists()
    assert "1 of 600 texts are longer than the None tokens that words reads, and were cut." in (
        found.notes
    )
    # the same vectors and labels as from the file of vectors
    assert found.thresholds == fitted.thresholds
    assert Labeller.load(tmp_path / "t").encoder["model"] == "minilm"
    asked = classify_predict(tmp_path / "t", folder / "train.jsonl")
    assert asked.ids[:2] == ["r0", "r1"]
    assert asked.accuracy.value > 0.8
    by_vectors = classify_predict(folder / "c", folder / "train.npy")
    assert asked.found.labels.tolist() == by_vectors.found.labels.tolist()
    with pytest.raises(UserError, match="was fitted on vectors"):
        classify_predict(folder / "c", folder / "train.jsonl")


def model_folder(place):
    """Heads of two widths that the class means make, in a folder like a trained model's."""
    X, y = planted(0)
    means = np.stack([normalize(X)[y == i].mean(axis=0) for i in range(len(NAMES))])
    heads = SeparateHeads(Nesting((4, 16)), len(NAMES))
    with torch.no_grad():
        for head, width in zip(heads.heads, (4, 16), strict=True):
            head.weight.copy_(torch.from_numpy(20 * means[:, :width]))
            head.bias.zero_()
    (place / "1_Pooling").mkdir(parents=True)
    (place / "modules.json").write_text("[]")
    (place / "config.json").write_text(json.dumps({"hidden_size": DIM}))
    (place / "model.safetensors").write_bytes(b"")
    save_heads(heads, NAMES.tolist(), place)
    return place


def test_heads_of_a_trained_model_are_used_as_they_are(folder, tmp_path):
    model = model_folder(tmp_path / "model")
    np.save(tmp_path / "x.npy", normalize(planted(1)[0]))
    ask = {"labels": str(folder / "test.txt"), "model": str(model)}
    found = classify_fit(tmp_path / "x.npy", tmp_path / "c", **ask)
    assert (found.trained, found.tuned, found.told) == (0, 300, 300)
    assert [each.width for each in found.widths] == [4, 16]
    labeller = Labeller.load(tmp_path / "c")
    assert labeller.matrix is None
    assert labeller.classes == tuple(NAMES)
    assert labeller.encoder["model"] == str(model)
    for changes, words in [
        ({"widths": (4, 8)}, "of 4, 16 dimensions; got 8"),
        ({"head": "tied"}, "heads that are used as they are; head is for"),
        ({"epochs": 3}, "heads that are used as they are; epochs is for"),
    ]:
        with pytest.raises(UserError, match=words):
            classify_fit(tmp_path / "x.npy", tmp_path / "d", **ask, **changes)
    (tmp_path / "more.txt").write_text("\n".join(["bread"] * 590 + ["moss"] * 10) + "\n")
    with pytest.raises(UserError, match="among the 5 classes; got moss"):
        classify_fit(tmp_path / "x.npy", tmp_path / "d", **{**ask, "labels": tmp_path / "more.txt"})


def test_labels_of_an_array_and_of_a_column(folder, tmp_path):
    y = planted(0)[1]
    np.save(tmp_path / "y.npy", y)
    assert read_labels(tmp_path / "y.npy") == [str(each) for each in y]
    np.save(tmp_path / "names.npy", NAMES[y])
    assert read_labels(tmp_path / "names.npy") == NAMES[y].tolist()
    import pyarrow as pa
    import pyarrow.parquet as pq

    vectors = pa.FixedSizeListArray.from_arrays(planted(0)[0].ravel(), DIM)
    table = pa.table({"vector": vectors, "topic": NAMES[y], "other": y})
    pq.write_table(table, tmp_path / "v.parquet")
    rows = read_rows(tmp_path / "v.parquet")
    assert rows.labels == NAMES[y].tolist()
    assert read_rows(tmp_path / "v.parquet", label_column="other").labels == [str(i) for i in y]
    with pytest.raises(UserError, match="no label column 'kind'"):
        read_rows(tmp_path / "v.parquet", label_column="kind")


def test_only_rows_of_train_are_learned_from(worded, tmp_path):
    y = planted(0)[1]
    with (tmp_path / "t.jsonl").open("w") as out:
        for row, label in enumerate(NAMES[y]):
            split = "train" if row < 500 else "test"
            record = {"text": f"row {row}", "label": label, "split": split}
            out.write(json.dumps(record) + "\n")
    found = classify_fit(tmp_path / "t.jsonl", tmp_path / "c", widths=WIDTHS, epochs=2)
    assert found.trained + found.tuned + found.told == 500
    assert "500 of 600 rows, those of the split 'train', are used." in found.notes
    assert len(classify_predict(tmp_path / "c", tmp_path / "t.jsonl").ids) == 600


def asked(*arguments):
    return CliRunner().invoke(main, ["classify", *map(str, arguments)])


def test_the_commands(folder, tmp_path):
    known = ("--labels", folder / "train.txt")
    made = ("fit", folder / "train.npy", *known, "--widths", "2,4,16", "--epochs", "30")
    done = asked(*made, "--out", tmp_path / "c", "--head", "tied", "--policy", "greedy")
    assert done.exit_code == 0, done.output
    assert "accuracy of 5 classes on 60 held-out rows" in done.stdout
    assert "by thresholds from 60 others" in done.stdout
    assert "thresholds from all 120 held-out rows; reads 2" in done.stdout
    told = json.loads(asked(*made, "--out", tmp_path / "d", "--json").stdout)
    assert [each["width"] for each in told["widths"]] == [2, 4, 16]
    assert told["policy"] == "keep"
    ask = ("predict", tmp_path / "c", folder / "test.npy")
    done = asked(*ask, "--labels", folder / "test.txt")
    lines = done.stdout.splitlines()
    assert lines[0] == "id\tlabel\twidth\tconfidence"
    assert len(lines) == ROWS + 1
    assert "accuracy ." in done.stderr
    assert "dimensions last" in done.stderr
    found = json.loads(asked(*ask, "--width", "4", "--json").stdout)
    assert found["shares"] == {"2": 0.0, "4": 1.0, "16": 0.0}
    assert set(found["labels"][0]) == {"id", "label", "width", "confidence"}
    done = asked(*ask, "--out", tmp_path / "p.csv")
    assert done.stdout.startswith(f"{tmp_path / 'p.csv'}: 600 rows, ")
    assert "labels" not in json.loads(asked(*ask, "--out", tmp_path / "q.csv", "--json").stdout)


@pytest.fixture
def faulty(folder, tmp_path):
    """Files with one fault each."""
    X, y = planted(0, 60)
    names = NAMES[y].tolist()
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "nan.npy", np.where(np.arange(DIM) == 3, np.nan, X).astype(np.float32))
    np.save(tmp_path / "narrow.npy", X[:, :5])
    np.save(tmp_path / "floats.npy", y + 0.5)
    texts = {
        "y": names,
        "few": names[:-1],
        "one": ["bread"] * 60,
        "rare": ["moss", *names[1:]],
        "gap": ["", *names[1:]],
    }
    for name, lines in texts.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(lines) + "\n")
    rows = [{"text": f"row {i}", "mood": label} for i, label in enumerate(names)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows[3]["mood"] = None
    (tmp_path / "u.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("few.txt has 59 for the 60 vectors", "x.npy --labels few.txt"),
        ("got 1 class, 'bread'", "x.npy --labels one.txt"),
        ("'moss' has 1. Give more rows", "x.npy --labels rare.txt"),
        ("gap.txt line 1 is empty", "x.npy --labels gap.txt"),
        ("none.txt do not exist", "x.npy --labels none.txt"),
        ("names or whole numbers, one a row", "x.npy --labels floats.npy"),
        ("x.npy has none. Give --labels FILE", "x.npy"),
        ("has no columns; got --label-column", "x.npy --label-column y"),
        ("nan.npy: row 0 has NaN", "nan.npy --labels y.txt"),
        ("widths go up to the vectors' own, 16; got 32", "x.npy --labels y.txt --widths 4,32"),
        ("takes two widths or more, of at least 1; got [4]", "x.npy --labels y.txt --widths 4"),
        ("a cascade takes two widths or more; got [5]", "narrow.npy --labels y.txt --epochs 1"),
        ("widths are whole numbers with commas", "x.npy --labels y.txt --widths 4,b"),
        ("a share held out is between 0 and 1; got 1", "x.npy --labels y.txt --held 1"),
        ("seed is a whole number", "x.npy --labels y.txt --seed -1"),
        ("epochs must be at least 1", "x.npy --labels y.txt --epochs 0"),
        (
            "a target accuracy is one that held-out rows reach; got 1",
            "x.npy --labels y.txt --policy accuracy --target 1 --widths 1,2 --epochs 1",
        ),
        (
            "target of accuracy is above 0 and at most 1",
            "x.npy --labels y.txt --policy accuracy --target 90",
        ),
        ("cost needs a target", "x.npy --labels y.txt --policy cost"),
        (
            "target cost is at least the narrowest width's, 4; got 1",
            "x.npy --labels y.txt --policy cost --target 1 --widths 4,16 --epochs 1",
        ),
        ("greedy thresholds have no target", "x.npy --labels y.txt --policy greedy --target 1"),
        ("'other' is not one of", "x.npy --labels y.txt --policy other"),
        ("stand in a column of theirs", "t.jsonl --labels y.txt"),
        ("has none. Give a column label", "t.jsonl"),
        ("no label column 'topic' (it has 'mood')", "t.jsonl --label-column topic"),
        ("no text column 'body'", "t.jsonl --label-column mood --text-column body"),
        ("row 3: the label in 'mood' must be a name", "u.jsonl --label-column mood"),
        ("widths go up to the vectors' own, 384", "t.jsonl --label-column mood --widths 4,500"),
        ("does not exist", "z.npy --labels y.txt"),
        ("--model is what made the vectors", "x.npy --labels y.txt --model minilm"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(words, arguments, faulty, monkeypatch):
    monkeypatch.chdir(faulty)
    done = asked("fit", *arguments.split(), "--out", "out")
    assert done.exit_code == 2, done.output
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (faulty / "out").exists()


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
def test_what_cannot_be_predicted_is_said(words, arguments, fitted, folder, faulty, monkeypatch):
    monkeypatch.chdir(faulty)
    (faulty / "y.tsv").write_text("")
    done = asked("predict", folder / "c", *arguments.split())
    assert done.exit_code == 2, done.output
    assert words.replace("y.txt", "y.tsv") in done.stderr or words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert asked("predict", faulty, "x.npy").exit_code == 2


def test_labels_that_were_never_learned_are_told(fitted, folder, faulty):
    found = classify_predict(folder / "c", faulty / "x.npy", labels=str(faulty / "rare.txt"))
    assert "'moss' was not among the classes learned: those rows count wrong." in found.notes
    assert json.loads((folder / "c" / CONFIG_FILE).read_text())["format_version"] == 1
