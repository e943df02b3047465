"""Pictures from every kind of place, and what is said of those that cannot be read."""

import gzip
import io
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from nestvec.data.image_places import holds_images
from nestvec.data.images import Images, of_pixels, open_images
from nestvec.errors import UserError


def colours(n=6, size=4):
    """(n, size, size, 3), a colour a picture."""
    rng = np.random.default_rng(0)
    return np.broadcast_to(rng.integers(0, 256, (n, 1, 1, 3), np.uint8), (n, size, size, 3)).copy()


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def idx(array):
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return bytes([0, 0, 8, array.ndim]) + shape + array.astype(np.uint8).tobytes()


def test_a_folder_of_folders_has_a_class_a_folder(tmp_path):
    pixels = colours()
    for i, name in enumerate(["dog", "cat", "dog", "cat", "cat", "eel"]):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.fromarray(pixels[i]).save(tmp_path / name / f"{i}.png")
    (tmp_path / "dog" / "notes.txt").write_text("no image")
    found = open_images(tmp_path)
    assert found.ids == (
        "cat/1.png",
        "cat/3.png",
        "cat/4.png",
        "dog/0.png",
        "dog/2.png",
        "eel/5.png",
    )
    assert found.classes == ("cat", "dog", "eel")
    assert found.labels.tolist() == [0, 0, 0, 1, 1, 2]
    np.testing.assert_array_equal(found.pixels([3, 0]), pixels[[0, 1]])
    assert holds_images(tmp_path)


def test_a_folder_of_files_has_no_labels(tmp_path):
    Image.fromarray(colours()[0]).save(tmp_path / "one.PNG")
    found = open_images(tmp_path)
    assert found.labels is None
    assert len(found) == 1


def test_idx_as_it_is_distributed(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (5, 3, 2)).astype(np.uint8)
    with gzip.open(tmp_path / "train-images-idx3-ubyte.gz", "wb") as file:
        file.write(idx(grey))
    with gzip.open(tmp_path / "train-labels-idx1-ubyte.gz", "wb") as file:
        file.write(idx(np.array([1, 0, 2, 1, 1])))
    found = open_images(tmp_path / "train-images-idx3-ubyte.gz")
    assert found.labels.tolist() == [1, 0, 2, 1, 1]
    assert found.classes == ("0", "1", "2")
    assert found.ids[0] == "train-images-idx3-ubyte 0"
    np.testing.assert_array_equal(found.pixels([2])[0, :, :, 1], grey[2])
    assert holds_images(tmp_path / "train-images-idx3-ubyte.gz")


@pytest.mark.parametrize("nested", [True, False])
def test_a_table_of_bytes_as_datasets_writes_it_or_plain(tmp_path, nested):
    pixels = colours(3)
    blobs = [png(each) for each in pixels]
    images = [{"bytes": blob, "path": None} for blob in blobs] if nested else blobs
    table = pa.table({"image": images, "label": [7, 3, 7], "caption": ["a", "b", "c"]})
    pq.write_table(table, tmp_path / "t.parquet")
    found = open_images(tmp_path / "t.parquet")
    assert found.classes == ("3", "7")
    assert found.labels.tolist() == [1, 0, 1]
    assert found.texts == ("a", "b", "c")
    assert found.ids == ("t.parquet row 0", "t.parquet row 1", "t.parquet row 2")
    np.testing.assert_array_equal(found.pixels(range(3)), pixels)
    assert holds_images(tmp_path / "t.parquet")


def test_arrays(tmp_path):
    pixels = colours(4)
    np.save(tmp_path / "a.npy", pixels)
    np.savez(tmp_path / "b.npz", images=pixels[..., 0], labels=[0, 1, 1, 0])
    assert open_images(tmp_path / "a.npy").labels is None
    found = open_images(tmp_path / "b.npz")
    assert found.labels.tolist() == [0, 1, 1, 0]
    np.testing.assert_array_equal(found.pixels([1])[0, :, :, 2], pixels[1, :, :, 0])


def test_the_middle_of_the_shorter_side_is_taken():
    wide = np.zeros((1, 4, 8, 3), np.uint8)
    wide[0, :, 2:6] = 255
    found = of_pixels(wide, None, (), "w").pixels([0], size=4)
    assert found.shape == (1, 4, 4, 3)
    assert (found == 255).all()
    assert of_pixels(wide, None, (), "w").pixels([0], size=8).shape == (1, 8, 8, 3)


def test_pictures_of_several_sizes_need_a_size():
    made = [Image.new("RGB", (4, 4)), Image.new("L", (5, 4))]
    found = Images(("a", "b"), lambda i: made[i])
    with pytest.raises(UserError, match="of one size"):
        found.pixels([0, 1])
    assert found.pixels([0, 1], size=4).shape == (2, 4, 4, 3)


def test_broken_images_are_counted_named_and_left_out_only_where_asked(tmp_path):
    good = png(colours(1)[0])
    blobs = [good, good[:30], b"no image", good, b""]
    table = pa.table({"name": list("abcde"), "jpeg": blobs, "label": [0, 1, 1, 1, 0]})
    pq.write_table(table, tmp_path / "t.parquet")
    found = open_images(tmp_path / "t.parquet")
    with pytest.raises(UserError, match="3 of 5 are not: b, c, e"):
        found.check()
    left = found.check(skip=True)
    assert left.ids == ("a", "d")
    assert left.labels.tolist() == [0, 1]
    assert left.pixels([1]).shape == (1, 4, 4, 3)
    with pytest.raises(UserError, match="c cannot be read as an image"):
        found.picture(2)
    with pytest.raises(UserError, match="none of 2 images can be read: b, c"):
        found.take([1, 2]).check(skip=True)
    assert found.take([0, 3]).check() is not None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: open_images(folder / "none"), "is not"),
        (lambda folder: open_images(folder), "has none"),
        (lambda folder: write(folder, "a.idx3", b"\0\0\x08"), "begins with 0, 0, 8"),
        (lambda folder: write(folder, "a.idx3", idx(colours(2))[:-1]), "cut short"),
        (lambda folder: write(folder, "x-ubyte.gz", b"no gzip"), "cannot be unzipped"),
        (lambda folder: write(folder, "a.npy", b"no array"), "as arrays"),
        (lambda folder: write(folder, "a.txt", b"text"), "read from folders, IDX"),
        (lambda folder: table(folder, {"a": [1]}), "a column of their bytes"),
        (lambda folder: table(folder, {"image": ["text"]}), "are bytes; column image"),
        (lambda folder: table(folder, {"image": [b""], "label": [None]}), "none in row 0"),
        (lambda folder: table(folder, {"image": [b""]}, label_column="kind"), "got kind"),
        (lambda folder: of_pixels(np.zeros((2, 3), np.uint8), None, (), ""), "uint8"),
        (lambda folder: of_pixels(colours(2), np.zeros(3, np.int64), (), ""), "one an image"),
    ],
)
def test_what_is_no_image_is_said_in_a_sentence(tmp_path, make, words):
    with pytest.raises(UserError, match=words):
        make(tmp_path)


def write(folder, name, content):
    (folder / name).write_bytes(content)
    return open_images(folder / name)


def table(folder, columns, **how):
    pq.write_table(pa.table(columns), folder / "t.parquet")
    return open_images(folder / "t.parquet", **how)


def saved(folder, name, picture, **how):
    folder.mkdir(exist_ok=True)
    picture.save(folder / name, **how)
    return open_images(folder / name).picture(0)


def test_every_mode_becomes_rgb_on_white(tmp_path):
    grey = np.array([[0, 128], [200, 255]], np.uint8)
    found = np.asarray(saved(tmp_path, "grey.png", Image.fromarray(grey)))
    np.testing.assert_array_equal(found, np.repeat(grey[:, :, None], 3, axis=2))
    seen = np.zeros((1, 3, 4), np.uint8)
    seen[0] = [[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 51]]
    found = np.asarray(saved(tmp_path, "rgba.png", Image.fromarray(seen)))
    # an alpha of 51 is a fifth of black and four fifths of white
    assert found.tolist() == [[[255, 0, 0], [255, 255, 255], [204, 204, 204]]]
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    found = np.asarray(saved(tmp_path, "p.png", palette))
    assert found.tolist() == [[[10, 20, 30], [40, 50, 60]]]
    found = np.asarray(saved(tmp_path, "clear.gif", palette, transparency=1))
    assert found.tolist() == [[[10, 20, 30], [255, 255, 255]]]
    deep = Image.fromarray(np.array([[0, 256, 65535]], np.uint16))
    assert np.asarray(saved(tmp_path, "deep.png", deep))[0, :, 0].tolist() == [0, 1, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_as_their_exif_says(tmp_path, orientation):
    upright = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40
    # what a camera stores, so that a viewer that turns it as told shows it upright
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.T,
        6: np.rot90(upright),
        7: upright[::-1, ::-1].T,
        8: np.rot90(upright, -1),
    }[orientation]
    picture = Image.fromarray(np.ascontiguousarray(stored))
    exif = picture.getexif()
    exif[0x0112] = orientation
    found = np.asarray(saved(tmp_path, "turned.png", picture, exif=exif))
    np.testing.assert_array_equal(found[:, :, 0], upright)


def test_broken_exif_leaves_the_picture_as_it_is(tmp_path):
    picture = Image.fromarray(colours(1)[0])
    found = saved(tmp_path, "a.png", picture, exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01")
    np.testing.assert_array_equal(np.asarray(found), colours(1)[0])


def test_pictures_come_in_order_and_break_off_at_a_broken_one(tmp_path):
    pixels = colours(20)
    blobs = [png(each) for each in pixels]
    blobs[15] = b"no image"
    names = [f"{i}" for i in range(20)]
    pq.write_table(pa.table({"name": names, "image": blobs}), tmp_path / "t.parquet")
    found = open_images(tmp_path / "t.parquet")
    some = [np.asarray(each)[0, 0].tolist() for each in found.pictures(range(14, -1, -1))]
    assert some == pixels[14::-1, 0, 0].tolist()
    with pytest.raises(UserError, match="15 cannot be read"):
        list(found.pictures(range(20)))


def test_content_tells_pictures_apart_without_decoding_them(tmp_path):
    Image.fromarray(colours(1)[0]).save(tmp_path / "a.png")
    assert open_images(tmp_path).content(0) == (tmp_path / "a.png").read_bytes()
    one, two = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 3, 2), np.uint8)
    assert of_pixels(one, None, (), "").content(0) != of_pixels(two, None, (), "").content(0)
    made = Images(("a",), lambda i: Image.new("L", (2, 1)))
    assert made.content(0) == b"(2, 1)" + bytes(6)
    (tmp_path / "a.png").unlink()
    gone = Images(("a",), made.read, stored=lambda i: (tmp_path / "a.png").read_bytes())
    with pytest.raises(UserError, match="a cannot be read"):
        gone.content(0)


def test_thumbnails_are_small_jpegs(tmp_path):
    wide = of_pixels(np.zeros((1, 30, 60, 3), np.uint8), None, (), "w")
    found = Image.open(io.BytesIO(wide.thumbnail(0, 20)))
    assert (found.format, found.size) == ("JPEG", (20, 10))


def test_hidden_files_and_folders_named_as_images_are_passed_over(tmp_path):
    for name in (".cache", "b.png"):
        (tmp_path / name).mkdir()
    for name in ("a.jpg", ".cache/c.jpg", ".d.jpg", "b.png/e.jpg"):
        (tmp_path / name).write_bytes(b"x")
    assert open_images(tmp_path).ids == ("a.jpg", "b.png/e.jpg")


def test_captions_of_lists_have_a_line_each(tmp_path):
    table = pa.table({"image": [b"", b"", b""], "caption": [["a b", "c\nd"], [], None]})
    pq.write_table(table, tmp_path / "t.parquet")
    assert open_images(tmp_path / "t.parquet").texts == ("a b\nc d", "", "")
