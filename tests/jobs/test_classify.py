"""Classifiers as jobs: fitted from files, told on rows that set nothing, and kept."""

import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner

import nestvec as nv
from nestvec.choose.labeller import Labeller
from nestvec.cli.main import main
from nestvec.errors import UserError
from nestvec.jobs import classify, encoders
from nestvec.jobs.classify import classify_fit, drawn
from nestvec.jobs.classify_predict import classify_predict
from nestvec.jobs.report import report
from nestvec.learn.losses.heads import SeparateHeads
from nestvec.learn.models import save_heads
from nestvec.nesting import Nesting
from nestvec.vectors import normalize

WIDTHS = (2, 4, 16)


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


def test_thresholds_that_are_written_come_from_all_held_out_rows(fitted, labelled):
    labels = np.array((labelled / "train.txt").read_text().split())
    _, tuned, told = drawn(labels, 0.2, 0)
    held = np.concatenate([tuned, told])
    X = np.load(labelled / "train.npy")[held]
    logits = {width: fitted.labeller.logits(X, width) for width in WIDTHS}
    cascade = nv.Cascade("keep", counted="sum").fit(logits, labels[held], fitted.labeller.classes)
    assert tuple(cascade.thresholds_.tolist()) == fitted.thresholds
    right = np.array(fitted.labeller.classes)[logits[16].argmax(axis=1)] == labels[held]
    assert (fitted.labeller.label(X).labels == labels[held])[right].all()


def test_a_report_is_written_and_written_again(fitted, labelled, tmp_path):
    assert fitted.report == str(labelled / "c" / "report.html")
    html = (labelled / "c" / "report.html").read_text()
    assert "Which classes need width" in html
    assert "Stopped first" not in html  # vectors alone show nothing
    command = "nestvec classify fit "
    assert f"{command}{labelled / 'train.npy'} --labels" in html
    assert "--widths 2,4,16" in html
    again = CliRunner().invoke(main, ["report", str(labelled / "c"), "--json"])
    assert json.loads(again.stdout) == {"report": str(labelled / "c" / "report.html")}
    assert (labelled / "c" / "report.html").read_text() == html
    picture = report(labelled / "c", tmp_path / "r.svg")
    assert picture.read_text().startswith("<svg")
    bare = tmp_path / "bare"
    Labeller.load(labelled / "c").save(bare)
    with pytest.raises(UserError, match=r"has no report\.json: fit it again"):
        report(bare)
    (bare / "report.json").write_text("{}")
    with pytest.raises(UserError, match="cannot be read"):
        report(bare)


def test_texts_are_encoded_by_the_model_of_the_fit(worded, fitted, labelled, tmp_path):
    found = classify_fit(labelled / "train.jsonl", tmp_path / "t", widths=WIDTHS, epochs=100)
    assert not (tmp_path / "t.work").exists()
    assert "1 of 600 texts are longer than the None tokens that words reads, and were cut." in (
        found.notes
    )
    # the same vectors and labels as from the file of vectors
    assert found.thresholds == fitted.thresholds
    assert Labeller.load(tmp_path / "t").encoder["model"] == "minilm"
    asked = classify_predict(tmp_path / "t", labelled / "train.jsonl")
    assert asked.ids[:2] == ["r0", "r1"]
    assert asked.accuracy.value > 0.8
    by_vectors = classify_predict(labelled / "c", labelled / "train.npy")
    assert asked.found.labels.tolist() == by_vectors.found.labels.tolist()
    with pytest.raises(UserError, match="was fitted on vectors"):
        classify_predict(labelled / "c", labelled / "train.jsonl")


def test_only_rows_of_train_are_learned_from(worded, planted, tmp_path):
    with (tmp_path / "t.jsonl").open("w") as out:
        for row, label in enumerate(planted(0).names):
            split = "train" if row < 500 else "test"
            record = {"text": f"row {row}", "label": label, "split": split}
            out.write(json.dumps(record) + "\n")
    found = classify_fit(tmp_path / "t.jsonl", tmp_path / "c", widths=WIDTHS, epochs=2)
    assert found.trained + found.tuned + found.told == 500
    assert "500 of 600 rows, those of the split 'train', are used." in found.notes
    assert len(classify_predict(tmp_path / "c", tmp_path / "t.jsonl").ids) == 600


@pytest.fixture
def painted(tmp_path):
    """Ninety pictures in a folder a class, each of its class's colour and a row's own shade."""
    from PIL import Image

    place = tmp_path / "photos"
    for row in range(90):
        label = ("reds", "greens", "blues")[row % 3]
        (place / label).mkdir(parents=True, exist_ok=True)
        colour = [40, 40, 40]
        colour[row % 3] = 120 + row
        Image.new("RGB", (6, 6), tuple(colour)).save(place / label / f"{row}.png")
    return place


class ColourEncoder:
    """A picture's vector is its middle's colour."""

    name, revision, dim, metric, max_tokens = "colours", "1", 3, "cosine", None
    reads_images, reads_texts = True, False

    def prepare(self, sample):
        pass

    def encode_images(self, pictures):
        return np.array([np.asarray(each)[3, 3] for each in pictures], np.float32) - 90

    def describe(self):
        return {"kind": "colours", "name": self.name}


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


def test_pictures_of_vectors_are_as_many(labelled, painted, tmp_path):
    ask = {"labels": str(labelled / "train.txt"), "widths": WIDTHS, "images": str(painted)}
    with pytest.raises(UserError, match="has 90 for the 600 vectors"):
        classify_fit(labelled / "train.npy", tmp_path / "c", **ask)
    with pytest.raises(UserError, match="images are named for vectors alone"):
        classify_fit(labelled / "train.jsonl", tmp_path / "c", images=str(painted))


@pytest.fixture
def model(planted, tmp_path):
    """Heads of two widths that the class means make, in a folder like a trained model's."""
    place = tmp_path / "model"
    X, _, names = planted(0)
    classes = np.unique(names).tolist()
    means = np.stack([normalize(X)[names == each].mean(axis=0) for each in classes])
    heads = SeparateHeads(Nesting((4, 16)), len(classes))
    with torch.no_grad():
        for head, width in zip(heads.heads, (4, 16), strict=True):
            head.weight.copy_(torch.from_numpy(20 * means[:, :width]))
            head.bias.zero_()
    (place / "1_Pooling").mkdir(parents=True)
    (place / "modules.json").write_text("[]")
    (place / "config.json").write_text(json.dumps({"hidden_size": 16}))
    (place / "model.safetensors").write_bytes(b"")
    save_heads(heads, classes, place)
    return place


def test_heads_of_a_trained_model_are_used_as_they_are(model, planted, labelled, tmp_path):
    np.save(tmp_path / "x.npy", normalize(planted(1).vectors))
    ask = {"labels": str(labelled / "test.txt"), "model": str(model)}
    found = classify_fit(tmp_path / "x.npy", tmp_path / "c", **ask)
    assert (found.trained, found.tuned, found.told) == (0, 300, 300)
    assert [each.width for each in found.widths] == [4, 16]
    labeller = Labeller.load(tmp_path / "c")
    assert labeller.matrix is None
    assert labeller.classes == ("bread", "chess", "rivers", "stars", "train")
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


def test_settings_know_what_cascades_know():
    from nestvec.choose import thresholds
    from nestvec.jobs import settings

    assert set(settings.CASCADE_POLICIES) == set(thresholds.POLICIES)
    assert settings.CONFIDENCES == thresholds.CONFIDENCES
    assert set(settings.COUNTED) == set(thresholds.COUNTED)


def test_the_commands(asked, labelled, tmp_path):
    known = ("--labels", labelled / "train.txt")
    made = ("fit", labelled / "train.npy", *known, "--widths", "2,4,16", "--epochs", "30")
    done = asked(*made, "--out", tmp_path / "c", "--head", "tied", "--policy", "greedy")
    assert done.exit_code == 0, done.output
    assert "accuracy of 5 classes on 60 held-out rows" in done.stdout
    assert "by thresholds from 60 others" in done.stdout
    assert "thresholds from all 120 held-out rows; reads 2" in done.stdout
    told = json.loads(asked(*made, "--out", tmp_path / "d", "--json").stdout)
    assert [each["width"] for each in told["widths"]] == [2, 4, 16]
    assert told["policy"] == "keep"
    by_margin = ("--policy", "expected", "--target", ".01", "--confidence", "margin")
    done = asked(*made, "--out", tmp_path / "e", *by_margin)
    assert "cascade (expected, sum)" in done.stdout, done.output
    assert json.loads((tmp_path / "e" / "labeller.json").read_text())["sure_by"] == "margin"
    ask = ("predict", tmp_path / "c", labelled / "test.npy")
    done = asked(*ask, "--labels", labelled / "test.txt")
    lines = done.stdout.splitlines()
    assert lines[0] == "id\tlabel\twidth\tconfidence"
    assert len(lines) == 601
    assert "accuracy ." in done.stderr
    assert "dimensions last" in done.stderr
    found = json.loads(asked(*ask, "--width", "4", "--json").stdout)
    assert found["shares"] == {"2": 0.0, "4": 1.0, "16": 0.0}
    assert set(found["labels"][0]) == {"id", "label", "width", "confidence"}
    done = asked(*ask, "--out", tmp_path / "p.csv")
    assert done.stdout.startswith(f"{tmp_path / 'p.csv'}: 600 rows, ")
    assert "labels" not in json.loads(asked(*ask, "--out", tmp_path / "q.csv", "--json").stdout)


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
        (
            "the target of expected is at least 0 and below 1; got 1",
            "x.npy --labels y.txt --policy expected --target 1",
        ),
        ("'other' is not one of", "x.npy --labels y.txt --policy other"),
        ("'luck' is not one of", "x.npy --labels y.txt --confidence luck"),
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
def test_what_does_not_fit_is_said_in_a_sentence(words, arguments, asked, faulty, monkeypatch):
    monkeypatch.chdir(faulty)
    done = asked("fit", *arguments.split(), "--out", "out")
    assert done.exit_code == 2, done.output
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (faulty / "out").exists()
