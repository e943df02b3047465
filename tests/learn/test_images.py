"""Pictures to train on: how they are disturbed, read, and whole trainings of small models."""

import json
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from nestvec.data.image_examples import images_of_dataset, read_image_examples
from nestvec.data.images import of_pixels
from nestvec.data.model_nesting import read_nesting
from nestvec.errors import UserError
from nestvec.jobs.train import train
from nestvec.learn.image_models import NEW, new_image_model
from nestvec.learn.pixels import Pixels, disturbed, encode_pictures, pixels_for
from nestvec.learn.recipe import parse_recipe
from nestvec.learn.recipe_tables import NEW_MODELS, ImagesTable

SIZE = 16


def processor(**changes):
    usual = {"do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": False}
    return SimpleNamespace(**{**usual, **changes})


def drawn(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two classes of noise, one bright above and one below, a folder each."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for label, half in (("sky", slice(0, 8)), ("sea", slice(8, 16))):
        (folder / label).mkdir()
        for i in range(24):
            pixels = rng.integers(0, 100, (SIZE, SIZE, 3), np.uint8)
            pixels[half] += 150
            Image.fromarray(pixels).save(folder / label / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def network():
    return new_image_model("resnet-small", SIZE, 0)


def recipe(photos, **changes):
    made = {
        "model": {"name": "resnet-small"},
        "data": {"train": str(photos), "dev": str(photos)},
        "nesting": {"widths": [2, 16, 256]},
        "loss": {"kind": "cross_entropy"},
        "images": {"size": SIZE, "crop": 1, "flip": True},
        "train": {"batch": 16, "epochs": 4, "learning_rate": 2e-3, "log_every": 3, "warmup": 0},
    }
    for name, table in changes.items():
        made[name] = {**made.get(name, {}), **table}
    return made


def test_pixels_are_scaled_and_normalized_by_hand():
    images = of_pixels(np.full((2, 4, 4, 3), 51, np.uint8), None, (), "made")
    plain = Pixels(images, processor(), 4)([1])["pixel_values"]
    assert plain.shape == (1, 3, 4, 4)
    torch.testing.assert_close(plain, torch.full((1, 3, 4, 4), 0.2))
    normal = processor(do_normalize=True, image_mean=(0.1, 0.2, 0.4), image_std=(0.1, 0.2, 0.4))
    found = Pixels(images, normal, 4)([0])["pixel_values"][0, :, 0, 0]
    torch.testing.assert_close(found, torch.tensor([1.0, 0.0, -0.5]))


def test_pixels_equal_the_models_own_processor(network):
    rng = np.random.default_rng(1)
    made = rng.integers(0, 256, (3, SIZE, SIZE, 3), np.uint8)
    pixels = pixels_for(network, of_pixels(made, None, (), "made"), SIZE)
    own = network.preprocess([Image.fromarray(each) for each in made])["pixel_values"]
    torch.testing.assert_close(pixels([0, 1, 2])["pixel_values"], own, atol=1e-6, rtol=0)
    vectors = encode_pictures(network, pixels, [0, 1, 2], batch=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        usual = network.encode([Image.fromarray(each) for each in made], show_progress_bar=False)
    np.testing.assert_allclose(vectors, usual, atol=1e-5)


def test_large_sets_are_read_for_each_batch_alike(monkeypatch):
    made = np.random.default_rng(2).integers(0, 256, (5, 6, 9, 3), np.uint8)
    images = of_pixels(made, None, (), "made")
    held = Pixels(images, processor(), 6)([4, 0])["pixel_values"]
    monkeypatch.setattr("nestvec.learn.pixels._HELD_BYTES", 10)
    read = Pixels(images, processor(), 6)
    assert read._held is None
    assert torch.equal(read([4, 0])["pixel_values"], held)


def test_nothing_is_disturbed_where_nothing_is_asked():
    values = torch.rand(3, 3, 5, 5)
    assert torch.equal(disturbed(values, ImagesTable(size=5), drawn()), values)


def test_flips_mirror_about_half_of_them_and_nothing_else():
    values = torch.rand(200, 3, 4, 6)
    found = disturbed(values, ImagesTable(size=4, flip=True), drawn())
    mirrored = (found == values.flip(-1)).all(dim=(1, 2, 3))
    assert ((found == values).all(dim=(1, 2, 3)) ^ mirrored).all()
    assert 70 < int(mirrored.sum()) < 130


def test_crops_shift_by_up_to_so_many_pixels_and_fill_with_the_mean():
    values = torch.arange(1.0, 26.0).reshape(1, 1, 5, 5).repeat(400, 1, 1, 1)
    found = disturbed(values, ImagesTable(size=5, crop=1), drawn())
    padded = torch.nn.functional.pad(values[0, 0], (1, 1, 1, 1))
    known = {
        tuple(padded[top : top + 5, left : left + 5].flatten().tolist())
        for top in range(3)
        for left in range(3)
    }
    assert {tuple(each.flatten().tolist()) for each in found} == known


def test_zooms_keep_what_they_show():
    ramp = torch.linspace(0, 1, 32).repeat(32, 1).repeat(60, 1, 1, 1)
    found = disturbed(ramp, ImagesTable(size=32, zoom=0.25), drawn())
    slopes = (found[:, 0, :, 20] - found[:, 0, :, 10]) / (ramp[:, 0, :, 20] - ramp[:, 0, :, 10])
    # a width from sqrt(.25 * 3/4) to 1 of the picture
    assert 0.43 <= float(slopes.min()) < 0.6
    assert float(slopes.max()) <= 1.001
    assert float(found.min()) >= 0
    assert float(found.max()) <= 1
    whole = disturbed(ramp, ImagesTable(size=32, zoom=1.0), drawn())
    assert float((whole[:, 0, :, 20] - whole[:, 0, :, 10]).min()) > 0.27


def test_the_same_draw_disturbs_alike():
    values, table = torch.rand(8, 3, 6, 6), ImagesTable(size=6, crop=2, flip=True, zoom=0.5)
    one, same, other = (disturbed(values, table, drawn(seed)) for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.parametrize("name", ["resnet-small", "resnet-small-mlp", "vit-small"])
def test_new_models_follow_their_seed(name):
    one, same, other = (new_image_model(name, SIZE, seed) for seed in (0, 0, 1))
    weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in (one, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert one.get_embedding_dimension() == (192 if name == "vit-small" else 256)


def test_new_models_are_those_that_recipes_know():
    assert tuple(NEW) == NEW_MODELS
    with pytest.raises(UserError, match="8 x 8 patches"):
        new_image_model("vit-small", 12, 0)
    with pytest.raises(UserError, match="one of resnet-small"):
        new_image_model("resnet-7", 16, 0)


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole") / "out"
    return train(recipe(photos), out), out


def test_what_is_trained_is_an_ordinary_model_that_tells_classes(whole, photos):
    result, out = whole
    assert result.widths == (2, 16, 256)
    assert result.quality["2"]["1-NN"] > 0.9
    nesting = read_nesting(out)
    assert nesting is not None
    assert nesting.widths == (2, 16, 256)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        model = SentenceTransformer(str(out), device="cpu")
        files = sorted(photos.rglob("*.png"))
        vectors = model.encode([Image.open(path) for path in files], show_progress_bar=False)
    heads = load_file(out / "heads.safetensors")
    labels = json.loads((out / "labels.json").read_text())
    logits = vectors[:, :16] @ heads["heads.1.weight"].numpy().T + heads["heads.1.bias"].numpy()
    told = [labels[i] for i in logits.argmax(axis=1)]
    assert np.mean([a == b.parent.name for a, b in zip(told, files, strict=True)]) > 0.9


def test_an_interrupted_training_goes_on_to_the_same_weights(photos, tmp_path, monkeypatch):
    made = recipe(photos, train={"epochs": 2, "save_every": 3}, data={"dev": None})
    del made["data"]["dev"]
    train(made, tmp_path / "once")
    from nestvec.learn import trainer

    usual = trainer._NestedTrainer.training_step

    def stopped(self, *args, **kwargs):
        if self.state.global_step == 4:
            raise KeyboardInterrupt
        return usual(self, *args, **kwargs)

    monkeypatch.setattr(trainer._NestedTrainer, "training_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(made, tmp_path / "twice")
    monkeypatch.undo()
    train(made, tmp_path / "twice")
    one, other = (load_file(tmp_path / x / "model.safetensors") for x in ("once", "twice"))
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], msg=name)


def test_pictures_and_their_texts_are_pairs_for_a_model_of_both(tmp_path):
    pytest.importorskip("pyarrow")
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    blobs = []
    for value in (0, 90, 200):
        file = io.BytesIO()
        Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(file, "png")
        blobs.append(file.getvalue())
    table = {"jpeg": blobs, "text": ["dark", "dusk", "day"], "split": ["train", "train", "test"]}
    place = tmp_path / "pairs.parquet"
    pq.write_table(pa.table(table), place)
    found = read_image_examples(str(place), "pairs")
    assert found.columns == {"image": [0, 1], "text": ["dark", "dusk"]}
    assert read_image_examples(str(place), "pairs", split="test").images.picture(0).getpixel(
        (0, 0)
    ) == (200, 200, 200)
    with pytest.raises(UserError, match="no row of the split 'dev'"):
        read_image_examples(str(place), "pairs", split="dev")
    with pytest.raises(UserError, match="label for each picture"):
        read_image_examples(str(place), "labelled")


def test_a_model_of_both_is_trained_on_pictures_with_captions(image_models, tmp_path):
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    blobs, texts = [], []
    for i in range(12):
        file = io.BytesIO()
        Image.fromarray(np.full((SIZE, SIZE, 3), 20 * i, np.uint8)).save(file, "png")
        blobs.append(file.getvalue())
        texts.append("abcdefghijkl"[i])
    place = tmp_path / "pairs.parquet"
    pq.write_table(pa.table({"jpeg": blobs, "text": texts}), place)
    made = {
        "model": {"name": str(image_models / "clip")},
        "data": {"train": str(place), "dev": str(place)},
        "nesting": {"widths": [4, 12]},
        "loss": {"kind": "info_nce", "both_directions": True},
        "images": {"size": SIZE},
        "train": {"batch": 6, "epochs": 3, "learning_rate": 1e-2, "log_every": 1, "warmup": 0},
    }
    first = train({**made, "train": {**made["train"], "steps": 1}}, tmp_path / "first")
    long = {"epochs": 20, "evaluate_every": 40, "save_every": 40}
    last = train({**made, "train": {**made["train"], **long}}, tmp_path / "last")
    assert last.losses["total"] < first.losses["total"]
    assert last.quality["12"]["nDCG@10"] > first.quality["12"]["nDCG@10"]
    cached = {**made, "train": {**made["train"], "steps": 1, "mini_batch": 3}}
    other = train(cached, tmp_path / "cached")
    assert other.losses["total"] == pytest.approx(first.losses["total"], rel=1e-4)


def test_datasets_of_pictures_name_their_columns():
    datasets = pytest.importorskip("datasets")
    made = {"image": [Image.new("RGB", (4, 4), (i, 0, 0)) for i in (5, 9)], "label": [1, 0]}
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    data = datasets.Dataset.from_dict(made, features=features)
    images = images_of_dataset(data, "datasets:x", (), "label")
    assert images.classes == ("cat", "dog")
    assert images.labels.tolist() == [1, 0]
    assert images.picture(1).getpixel((0, 0)) == (9, 0, 0)
    with pytest.raises(UserError, match="pictures and their texts are not found"):
        images_of_dataset(data, "datasets:x", (), "text")


def test_broken_pictures_are_counted_and_left_out_only_if_asked(photos, tmp_path):
    import shutil

    folder = tmp_path / "photos"
    shutil.copytree(photos, folder)
    (folder / "sky" / "bad.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"1 of 49 are not: sky/bad.png"):
        read_image_examples(str(folder), "labelled")
    assert len(read_image_examples(str(folder), "labelled", skip_broken=True)) == 48


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"images": {"size": None}}, r"\[images\] needs a size"),
        ({"images": {"size": 0}}, "images.size must be above 0"),
        ({"images": {"crop": 16}}, "images.crop is from 0"),
        ({"images": {"zoom": 1.5}}, "images.zoom is a share"),
        ({"loss": {"kind": "cosent"}}, "not by cosent"),
        ({"model": {"rotate": True}}, "excludes layers, model.rotate"),
    ],
)
def test_faults_of_recipes_of_pictures(photos, changes, told):
    with pytest.raises(UserError, match=told):
        parse_recipe(recipe(photos, **changes))


def test_models_without_pictures_and_sets_of_one_class_are_refused(photos, small_model, tmp_path):
    with pytest.raises(UserError, match="has no image processor"):
        train(recipe(photos, model={"name": str(small_model)}), tmp_path / "out")
    (tmp_path / "one" / "sky").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "one" / "sky" / "a.png")
    with pytest.raises(UserError, match="one label only"):
        train(recipe(tmp_path / "one"), tmp_path / "out")
    with pytest.raises(UserError, match="for width 256"):
        train(recipe(photos, nesting={"widths": [2, 512]}), tmp_path / "out")
    assert not (tmp_path / "out").exists()
