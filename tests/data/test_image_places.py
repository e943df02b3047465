"""What holds images is known by names and first bytes."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nestvec.data.image_places import holds_images, image_column, is_array, is_idx, is_image


def test_names_tell_images_and_idx(tmp_path):
    assert is_image(tmp_path / "a.PNG")
    assert not is_image(tmp_path / "index.html")
    assert is_idx(tmp_path / "train-labels-idx1-ubyte.gz")
    assert not is_idx(tmp_path / "a-idx-b.txt")


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros((2, 3, 3), np.uint8), True),
        (np.zeros((2, 3, 3, 3), np.uint8), True),
        (np.zeros((2, 3, 3, 4), np.uint8), False),
        (np.zeros((2, 3), np.uint8), False),
        (np.zeros((2, 3, 3), np.float32), False),
    ],
)
def test_arrays_of_bytes_with_enough_axes_are_images(tmp_path, array, expected):
    np.save(tmp_path / "a.npy", array)
    np.savez(tmp_path / "a.npz", images=array, labels=[0, 1])
    np.savez_compressed(tmp_path / "c.npz", images=array)
    for name in ("a.npy", "a.npz", "c.npz"):
        assert is_array(tmp_path / name) == holds_images(tmp_path / name) == expected


def test_what_cannot_be_read_is_left_to_its_own_reader(tmp_path):
    np.savez(tmp_path / "v.npz", vectors=np.zeros((2, 3)))
    for name in ("a.npy", "a.npz"):
        (tmp_path / name).write_bytes(b"no array")
        assert not is_array(tmp_path / name)
    assert not is_array(tmp_path / "v.npz")
    assert not is_array(tmp_path / "missing.npy")


def test_a_column_of_bytes_named_as_images_are(tmp_path):
    assert image_column({"text": "text", "jpeg": "other"}) == "jpeg"
    assert image_column({"image": "text", "png": "other"}) == "png"
    assert image_column({"image": "text", "blob": "other"}) is None
    pq.write_table(pa.table({"img": [b""]}), tmp_path / "t.parquet")
    assert holds_images(tmp_path / "t.parquet")
