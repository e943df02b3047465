"""Images become rows in their order; a rerun goes on, and takes up what has changed."""

import json

import numpy as np
import pytest
from PIL import Image

from nestvec.data import encode
from nestvec.data.encode import encode_images
from nestvec.data.images import of_pixels, open_images
from nestvec.errors import UserError


class Colours:
    """An encoder whose vectors are the first pixel's colour; it may break off."""

    name, revision, dim, metric, max_tokens = "colours", "1", 3, "cosine", None
    reads_images, reads_texts = True, False

    def __init__(self, breaks_after=None):
        self.batches = []
        self._breaks_after = breaks_after

    def encode_images(self, pictures):
        if self._breaks_after is not None and sum(self.batches) >= self._breaks_after:
            raise KeyboardInterrupt
        self.batches.append(len(pictures))
        return np.array([np.asarray(picture)[0, 0] for picture in pictures], np.float32)

    def describe(self):
        return {"name": self.name}


@pytest.fixture
def colours():
    return np.random.default_rng(0).integers(0, 256, (11, 3, 4, 3), np.uint8)


def test_rows_are_in_the_order_of_the_images(tmp_path, colours, listener):
    images = of_pixels(colours, None, (), "made")
    found = encode_images(images, Colours(), tmp_path / "v.npy", progress=listener, block_images=4)
    np.testing.assert_array_equal(found.vectors, colours[:, 0, 0])
    assert listener.told == [("encoding with colours", 11), 4, 4, 3, "end"]
    assert (found.truncated, found.resumed) == (0, 0)
    half = encode_images(images, Colours(), tmp_path / "h.npy", dtype="float16")
    assert half.vectors.dtype == np.float16


def test_few_pixels_are_held_at_a_time(tmp_path, colours, monkeypatch):
    monkeypatch.setattr(encode, "_BATCH_PIXELS", 36)  # three pictures of 12
    encoder = Colours()
    images = of_pixels(colours, None, (), "made")
    found = encode_images(images, encoder, tmp_path / "v.npy", block_images=8)
    assert encoder.batches == [3, 3, 2, 3]
    np.testing.assert_array_equal(found.vectors, colours[:, 0, 0])


def test_a_rerun_goes_on_behind_the_blocks_that_are_there(tmp_path, colours):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i, pixels in enumerate(colours):
        Image.fromarray(pixels).save(folder / f"{i:02}.png")
    images = open_images(folder)
    out = tmp_path / "v.npy"
    with pytest.raises(KeyboardInterrupt):
        encode_images(images, Colours(breaks_after=8), out, block_images=4)
    assert not out.exists()
    encoder = Colours()
    found = encode_images(images, encoder, out, block_images=4)
    assert (found.resumed, encoder.batches) == (8, [3])
    np.testing.assert_array_equal(found.vectors, colours[:, 0, 0])
    # one image of the second block changes: that block and those after it are encoded anew
    Image.fromarray(255 - colours[5]).save(folder / "05.png")
    encoder = Colours()
    found = encode_images(open_images(folder), encoder, out, block_images=4)
    assert (found.resumed, encoder.batches) == (4, [4, 3])
    np.testing.assert_array_equal(found.vectors[5], 255 - colours[5, 0, 0])
    journal = out.with_name("v.npy.journal").read_text().splitlines()
    assert json.loads(journal[0])["kind"] == "image"


def test_a_broken_image_stops_and_names_itself(tmp_path, colours):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(colours[0]).save(folder / "a.png")
    (folder / "b.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"b\.png cannot be read as an image"):
        encode_images(open_images(folder), Colours(), tmp_path / "v.npy")
    assert not (tmp_path / "v.npy").exists()
    none = of_pixels(colours[:0], None, (), "none")
    with pytest.raises(UserError, match="no images to encode"):
        encode_images(none, Colours(), tmp_path / "v.npy")
