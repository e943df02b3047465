"""Labelled rows at every width: pictures, vectors, halves, shifts, corruptions, faults."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from nestvec.cli.main import main
from nestvec.errors import UserError
from nestvec.jobs import classes
from nestvec.jobs.classes import ClassesSettings, evaluate_classes
from nestvec.jobs.settings import EvaluateSettings

NAMES = ("blue", "green", "red")


class Corners:
    """A picture is the colours of its quarters."""

    name, revision, dim, metric, max_tokens = "corners", "1", 12, "cosine", None
    reads_images, reads_texts = True, False

    def prepare(self, sample):
        pass

    def encode_images(self, pictures):
        small = [np.asarray(each.resize((2, 2))).ravel() for each in pictures]
        return np.array(small, np.float32) - 100

    def describe(self):
        return {"kind": "corners", "name": self.name}


@pytest.fixture
def cornered(monkeypatch):
    monkeypatch.setattr(classes, "make_encoder", lambda settings: Corners())
    for name in ("check_encoder", "check_image_encoder"):
        monkeypatch.setattr(classes, name, lambda settings: None)
    monkeypatch.setattr(classes, "trained_widths", lambda settings: (3, 6, 12))


def painted(place, rows, names, seed):
    rng = np.random.default_rng(seed)
    for i in range(rows):
        colour = rng.integers(60, 130, 3)
        colour[i % 3] += 60
        folder = place / names[i % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), tuple(map(int, colour))).save(folder / f"{i}.png")
    return place


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return painted(tmp_path_factory.mktemp("photos") / "photos", 90, NAMES, 0)


def told(result):
    return {each.measure: each for each in (result.evidence, *result.others)}


def test_pictures_by_class_with_corruptions_and_a_shifted_set(photos, tmp_path, cornered):
    other = painted(tmp_path / "sketch", 30, ("0", "1", "2"), 1)
    (tmp_path / "map.json").write_text(json.dumps(dict(zip("012", NAMES, strict=True))))
    (tmp_path / "groups.csv").write_text("class,group\nblue,cold\ngreen,cold\nred,warm\n")
    wanted = ClassesSettings(
        coarse=str(tmp_path / "groups.csv"),
        shifted=(str(other),),
        class_map=str(tmp_path / "map.json"),
        corrupt=("noise:5", "contrast"),
    )
    result = evaluate_classes(photos, EvaluateSettings(model="corners"), wanted)
    found = told(result)
    assert (result.kind_of_queries, result.queries, result.metric) == (
        "classes",
        18,
        "linear-probe",
    )
    assert {cell.dims for cell in result.cells} == {3, 6}
    assert {cell.method for cell in result.cells} == {"prefix-float", "svd-float", "random-float"}
    assert found["1-NN"].full.value > 0.8
    assert found["1-NN, coarse"].full.value >= found["1-NN"].full.value
    parts = {part.name: part.queries for part in result.evidence.parts}
    assert parts == {"sketch": 30, "noise 5": 18, "contrast 3": 18}
    assert found["1-NN"].part("sketch").full.value > 0.8
    json.dumps(result.to_json())


def test_halves_in_folders_and_long_tails(photos, tmp_path, cornered):
    painted(tmp_path / "halves" / "train", 120, NAMES, 2)
    painted(tmp_path / "halves" / "val", 30, NAMES, 3)
    settings = EvaluateSettings(model="corners")
    result = evaluate_classes(tmp_path / "halves", settings, ClassesSettings(long_tail=0.1))
    assert result.queries == 30
    assert [part.name for part in result.evidence.parts] == ["head classes", "tail classes"]
    assert any("train rows are left" in each for each in result.warnings)
    same = evaluate_classes(
        photos, settings, ClassesSettings(test=str(tmp_path / "halves" / "val"))
    )
    assert (same.queries, same.evidence.parts) == (30, ())


def test_vectors_with_labels_by_the_command(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(100) % 4
    centers = rng.standard_normal((4, 16))
    np.save(tmp_path / "x.npy", (centers[y] + 0.5 * rng.standard_normal((100, 16))).astype("f4"))
    np.save(tmp_path / "y.npy", y)
    ask = ["evaluate", str(tmp_path / "x.npy"), "--labels", str(tmp_path / "y.npy")]
    done = CliRunner().invoke(main, [*ask, "--widths", "2,8"])
    assert done.exit_code == 0, done.output
    assert "20 test rows by 80 train rows" in done.stdout
    for words in ("linear-probe [95 %]", "mAP@10 [95 %]", "9-shot", "as full"):
        assert words in done.stdout
    found = json.loads(CliRunner().invoke(main, [*ask, "--json"]).stdout)
    assert found["kind_of_queries"] == "classes"
    assert [cell["dims"] for cell in found["cells"]] == [8, 8, 8]
    for more, words in [
        (["--corrupt", "noise"], "corruptions change images"),
        (["--widths", "2,x"], "whole numbers with commas"),
        (["--widths", "99"], "widths are from 1 to the vectors' 16"),
        (["--test", str(tmp_path / "x.npy")], "--labels are of one source"),
        (["--task", "sts"], "go with --task classes"),
    ]:
        done = CliRunner().invoke(main, [*ask, *more])
        assert done.exit_code == 2
        assert words in done.output


def test_faults_are_named(photos, tmp_path, cornered):
    settings = EvaluateSettings(model="corners")
    other = painted(tmp_path / "other", 9, ("0", "1", "2"), 1)
    with pytest.raises(UserError, match=r"other has '0', '1', '2', too\. Map them"):
        evaluate_classes(photos, settings, ClassesSettings(shifted=(str(other),)))
    for corrupt, words in (("noise:x", "such as noise:3"), ("fog", "a corruption is one of")):
        with pytest.raises(UserError, match=words):
            evaluate_classes(photos, settings, ClassesSettings(corrupt=(corrupt,)))
    with pytest.raises(UserError, match="a severity is 1 to 5; got 9"):
        evaluate_classes(photos, settings, ClassesSettings(corrupt=("blur:9",)))
    one = painted(tmp_path / "one", 9, ("a", "a", "a"), 1)
    with pytest.raises(UserError, match="classes are told apart"):
        evaluate_classes(one, settings, ClassesSettings())
    np.save(tmp_path / "x.npy", np.eye(8, dtype=np.float32))
    with pytest.raises(UserError, match=r"has none\. Give a folder a class"):
        evaluate_classes(tmp_path / "x.npy", settings, ClassesSettings())
