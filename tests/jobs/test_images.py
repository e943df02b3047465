"""Images from folder or table to a measured collection that pictures and texts search."""

import io
import json
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

import nestvec as nv
from nestvec.cli.main import main
from nestvec.data import encode
from nestvec.jobs import build as building
from nestvec.jobs import embed, encoders, forecast, material
from nestvec.vectors import load_vectors

CLASSES = ("blue", "green", "red")


class Colours:
    """A picture is the colours of its quarters; a text the colour whose three numbers it tells."""

    name, revision, dim, metric, max_tokens = "colours", "1", 12, "cosine", None
    reads_images = True

    def __init__(self, reads_texts=True):
        self.reads_texts = reads_texts

    def prepare(self, sample):
        pass

    def encode(self, texts, kind):
        told = [[int(number) for number in re.findall(r"\d+", text)] for text in texts]
        return np.tile(np.array(told, np.float32) - 100, 4)

    def encode_images(self, pictures):
        small = [np.asarray(each.resize((2, 2))).ravel() for each in pictures]
        return np.array(small, np.float32) - 100

    def describe(self):
        return {"kind": "colours", "name": self.name, "query_prompt": "", "document_prompt": ""}


@pytest.fixture
def coloured(monkeypatch):
    """Every command of the test reads images by Colours; called, by one without texts."""

    def patch(reads_texts=True):
        for module in (material, embed, encoders, forecast):
            monkeypatch.setattr(module, "make_encoder", lambda settings: Colours(reads_texts))
        for module in ("checks", "encoders"):
            for name in ("check_encoder", "check_image_encoder"):
                monkeypatch.setattr(f"nestvec.jobs.{module}.{name}", lambda settings: None)
        for name in ("width_notes", "trained_widths"):
            monkeypatch.setattr(material, name, lambda settings: ())
        monkeypatch.setattr(embed, "width_notes", lambda settings: ())

    patch()
    return patch


def colours(rows=60):
    """(rows, 3): of each class in turn, its own channel the strongest."""
    rng = np.random.default_rng(0)
    found = rng.integers(0, 120, (rows, 3))
    found[np.arange(rows), 2 - np.arange(rows) % 3] += 130
    return found.astype(np.uint8)


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Sixty pictures in folders by their class."""
    folder = tmp_path_factory.mktemp("pictures") / "photos"
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for i, colour in enumerate(colours()):
        Image.new("RGB", (9, 7), tuple(map(int, colour))).save(folder / CLASSES[i % 3] / f"{i}.png")
    return folder


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """The same as pairs of picture and caption, two captions each."""
    rows = {"name": [], "jpeg": [], "text": [], "year": []}
    for i, colour in enumerate(colours()):
        buffer = io.BytesIO()
        Image.new("RGB", (8, 8), tuple(map(int, colour))).save(buffer, "PNG")
        told = " ".join(map(str, colour))
        for words in ("all is {}", "painted with {}"):
            rows["name"].append(f"{i}.png")
            rows["jpeg"].append(buffer.getvalue())
            rows["text"].append(words.format(told))
            rows["year"].append(2000 + i)
    path = tmp_path_factory.mktemp("pairs") / "pairs.parquet"
    pq.write_table(pa.table(rows), path)
    return path


def test_pictures_by_class_must_find_their_class(photos, tmp_path, coloured):
    coloured(reads_texts=False)
    result = nv.build(photos, out=tmp_path / "p.nv", spec="int8")
    assert (result.kind, result.items, result.dim) == ("images", 60, 12)
    assert (result.kind_of_queries, result.metric, result.queries) == ("same class", "nDCG@10", 12)
    assert result.full[0] > 0.9
    opened = nv.open(tmp_path / "p.nv")
    answer = opened.search_image(photos / "red" / "5.png", k=5, where="label = 'red'")
    assert (answer.hits[0].id, answer.hits[0].text) == ("red/5.png", "red/5.png")
    assert answer.hits[0].score == pytest.approx(1, abs=1e-3)
    assert answer.question.endswith("5.png")
    again = nv.evaluate(tmp_path / "p.nv", metric="P@10")
    assert (again.evidence.kind, again.queries, again.metric) == ("same class", 12, "P@10")
    html = (tmp_path / "p.nv" / "report.html").read_text()
    assert "60 images of photos, 12 dimensions" in html
    assert 12 <= html.count('<img src="data:image/jpeg;base64,') <= 64
    assert "every other image of the query&#x27;s class" in html
    with pytest.raises(nv.UserError, match=r"reads images alone, so .* cannot be asked by a text"):
        opened.search("a red picture")


def test_captions_must_find_their_picture(pairs, tmp_path, coloured):
    result = nv.build(pairs, out=tmp_path / "p.nv", spec="int8")
    assert (result.items, result.queries) == (60, 120)
    assert (result.kind_of_queries, result.metric) == ("caption->image", "nDCG@10")
    assert result.full[0] == pytest.approx(1, abs=0.02)
    opened = nv.open(tmp_path / "p.nv")
    told = " ".join(map(str, colours()[7]))
    hit = opened.search(f"something {told}", k=1, where="year = 2007").hits[0]
    assert (hit.id, hit.text) == ("7.png", f"all is {told}\npainted with {told}")
    # measured again by the captions that are kept, without the model
    again = nv.evaluate(tmp_path / "p.nv")
    assert (again.evidence.kind, again.queries) == ("caption->image", 120)
    assert again.full[0] == pytest.approx(result.full[0], abs=0.02)


def test_captions_teach_adapters_too(pairs, tmp_path, coloured, monkeypatch):
    monkeypatch.setattr("nestvec.jobs.adapting.FEWEST_PAIRS", 10)
    result = nv.build(pairs, out=tmp_path / "p.nv", spec="8xcb4", adapt="linear", sample_queries=40)
    assert any("captions, each with its own image" in text for text in result.warnings)


def test_captions_are_left_to_models_that_read_them(pairs, tmp_path, coloured):
    coloured(reads_texts=False)
    result = nv.build(pairs, out=tmp_path / "p.nv", spec="int8")
    assert (result.kind_of_queries, result.metric) == ("agreement", "R@10")


def test_given_queries_come_first(photos, tmp_path, coloured):
    rows = [json.dumps({"_id": name, "text": f"only {c}"}) for name, c in ASKED.items()]
    (tmp_path / "q.jsonl").write_text("\n".join(rows))
    lines = ["query-id\tcorpus-id\tscore", "q1\tred/2.png\t1", "q2\tblue/0.png\t1"]
    (tmp_path / "q.tsv").write_text("\n".join(lines))
    given = {"queries": str(tmp_path / "q.jsonl"), "qrels": str(tmp_path / "q.tsv")}
    result = nv.build(photos, out=tmp_path / "p.nv", spec="int8", metric="R@60", **given)
    assert (result.kind_of_queries, result.queries) == ("labels", 2)


ASKED = {"q1": "250 0 0", "q2": "0 0 250"}


def test_broken_pictures_stop_a_build_before_it_begins(photos, tmp_path, coloured):
    broken = shutil.copytree(photos, tmp_path / "broken")
    for name in ("red/2.png", "green/1.png"):
        (broken / name).write_bytes((broken / name).read_bytes()[:50])
    with pytest.raises(
        nv.UserError, match=r"2 of 60 are not: green/1\.png, red/2\.png\. .*--skip-"
    ):
        nv.build(broken, out=tmp_path / "p.nv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken"]
    result = nv.build(broken, out=tmp_path / "p.nv", spec="int8", skip_broken=True)
    assert result.items == 58
    assert any("2 of 60 images cannot be read and were left out" in w for w in result.warnings)
    ids = [
        i for batch in nv.open(tmp_path / "p.nv").collection.batches(("id",)) for i in batch["id"]
    ]
    assert len(ids) == 58
    assert "red/2.png" not in ids


def test_an_interrupted_build_goes_on(photos, tmp_path, coloured, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(building, "choose_code", interrupt)
        with pytest.raises(KeyboardInterrupt):
            nv.build(photos, out=tmp_path / "p.nv", spec="int8")
    assert [path.name for path in tmp_path.iterdir()] == ["p.nv.work"]
    resumed = []
    whole = encode.encode_images

    def noting(*arguments, **options):
        found = whole(*arguments, **options)
        resumed.append(found.resumed)
        return found

    monkeypatch.setattr(encode, "encode_images", noting)
    nv.build(photos, out=tmp_path / "p.nv", spec="int8")
    assert resumed == [60]
    assert [path.name for path in tmp_path.iterdir()] == ["p.nv"]


def test_pictures_are_added_by_the_collections_own_model(photos, pairs, tmp_path, coloured):
    nv.build(photos, out=tmp_path / "p.nv", spec="int8")
    more = tmp_path / "more"
    (more / "red").mkdir(parents=True)
    Image.new("RGB", (5, 5), (255, 200, 200)).save(more / "red" / "pink.png")
    with pytest.raises(nv.UserError, match=r"was built from images, and .* holds texts"):
        nv.add(tmp_path / "p.nv", write_text(tmp_path))
    assert nv.add(tmp_path / "p.nv", more).rows == 61
    opened = nv.open(tmp_path / "p.nv")
    assert opened.search_image(more / "red" / "pink.png", k=1).hits[0].id == "red/pink.png"
    assert nv.evaluate(tmp_path / "p.nv").evidence.kind == "same class"


def write_text(folder):
    (folder / "t.jsonl").write_text('{"id": "a", "text": "words"}\n')
    return folder / "t.jsonl"


def test_pictures_become_vectors_with_their_ids(photos, pairs, tmp_path, coloured):
    result = nv.embed(photos, tmp_path / "v.npz")
    found = load_vectors(tmp_path / "v.npz")
    assert (result.items, result.dim, result.model) == (60, 12, "colours")
    assert found.ids[0] == "blue/0.png"
    np.testing.assert_allclose(found.vectors[0], np.tile(colours()[0] - 100.0, 4))
    assert nv.embed(pairs, tmp_path / "w.npz").items == 60
    one = nv.embed(photos / "red" / "2.png", tmp_path / "one.npy")
    assert one.items == 1


def test_arrays_and_idx_are_images_too(tmp_path, coloured):
    pixels = np.repeat(np.repeat(colours()[:, None, None], 3, axis=1), 3, axis=2)
    np.savez(tmp_path / "a.npz", images=pixels, labels=np.arange(60) % 3)
    result = nv.build(tmp_path / "a.npz", out=tmp_path / "a.nv", spec="int8", sample_queries=6)
    assert (result.kind_of_queries, result.queries) == ("same class", 6)
    idx = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 2]) + bytes(range(8))
    (tmp_path / "x-images-idx3-ubyte").write_bytes(idx)
    result = nv.build(tmp_path / "x-images-idx3-ubyte", out=tmp_path / "x.nv")
    assert (result.items, result.full) == (2, None)
    ids = next(iter(nv.open(tmp_path / "x.nv").collection.batches(("id",))))["id"]
    assert ids == ["x-images-idx3-ubyte 0", "x-images-idx3-ubyte 1"]


def test_a_forecast_times_a_few_pictures(photos, tmp_path, coloured):
    found = forecast.forecast(photos, tmp_path / "p.nv", building.BuildSettings())
    assert (found.items, found.kind, found.dim) == (60, "images", 12)
    assert "60 of the images" in found.time_note


def told(*arguments):
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 2, done.output
    return done.stderr


def test_models_that_do_not_suit_are_named(photos, pairs, vectors_nv, tmp_path):
    place = ("--out", tmp_path / "p.nv")
    for asked in ((), ("--model", "minilm")):
        said = told("build", photos, *place, *asked)
        assert "minilm reads texts alone: name one with --model, such as clip-ViT-B-32" in said
        assert len(said.splitlines()) == 1
    assert "minilm reads texts alone" in told("embed", pairs, "--out", tmp_path / "v.npy")
    assert "a server embeds texts alone" in told("build", photos, *place, "--api", "http://x")
    picture = photos / "red" / "2.png"
    said = told("search", vectors_nv[0], "--image", picture)
    assert "an image needs a model" in said
    assert "only one of them" in told("search", vectors_nv[0], "words", "--image", picture)
    assert "is not. Name one" in told("search", vectors_nv[0], "--image", "no.png")
    assert "cannot be read as an image" in told("search", vectors_nv[0], "--image", __file__)


def test_commands_with_a_model_of_two_towers(image_models, photos, tmp_path):
    out, model = tmp_path / "p.nv", image_models / "clip"
    arguments = ["build", photos, "--model", model, "--out", out, "--spec", "int8"]
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    assert done.exit_code == 0, done.output
    assert "--image FILE" in done.stdout
    arguments = ["search", out, "--image", photos / "red" / "2.png", "-k", "1", "--json"]
    done = CliRunner().invoke(main, [str(each) for each in arguments])
    assert json.loads(done.stdout)["hits"][0]["id"] == "red/2.png"
    done = CliRunner().invoke(main, ["search", str(out), "a red picture", "-k", "2", "--json"])
    assert len(json.loads(done.stdout)["hits"]) == 2
