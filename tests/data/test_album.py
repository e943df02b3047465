"""Pictures as rows: each once, with captions, labels and the table's other columns."""

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from nestvec.data.album import open_album
from nestvec.errors import UserError
from nestvec.progress import quiet


def png(shade):
    buffer = io.BytesIO()
    Image.new("L", (2, 2), shade).save(buffer, "PNG")
    return buffer.getvalue()


def write(folder, **columns):
    pq.write_table(pa.table(columns), folder / "t.parquet")
    return folder / "t.parquet"


def test_a_picture_of_several_pairs_is_one_row_with_all_captions(tmp_path):
    place = write(
        tmp_path,
        name=["a", "b", "a", "a"],
        jpeg=[png(1), png(2), png(1), png(1)],
        text=["one a", "one b ", "two a", "one a"],
        split=["x", "y", "x", "x"],
        year=[1, 2, 1, 1],
        title=["A", None, "A", "A"],
    )
    album = open_album(place)
    assert album.images.ids == ("a", "b")
    assert [tuple(each) for each in album.captions] == [("one a", "two a"), ("one b",)]
    rows = list(album.rows())
    assert [(row.id, row.text, row.title) for row in rows] == [
        ("a", "one a\ntwo a", "A"),
        ("b", "one b", ""),
    ]
    assert [dict(row.columns) for row in rows] == [
        {"split": "x", "year": 1},
        {"split": "y", "year": 2},
    ]


def test_an_id_of_two_pictures_is_refused(tmp_path):
    place = write(tmp_path, name=["a", "b", "a"], jpeg=[png(1), png(2), png(3)])
    with pytest.raises(UserError, match=r"'a' for two images \(rows 1 and 3\)"):
        open_album(place)


def test_named_captions_and_labels(tmp_path):
    place = write(tmp_path, jpeg=[png(1), png(2)], words=["x", None], category=["dog", "cat"])
    rows = list(open_album(place, "words").rows())
    assert [(row.text, dict(row.columns)) for row in rows] == [
        ("x", {"label": "dog"}),
        ("t.parquet row 1", {"label": "cat"}),
    ]


def test_broken_ones_are_left_out_with_all_that_is_theirs(tmp_path):
    place = write(
        tmp_path,
        name=list("abcdef"),
        jpeg=[b"x", png(2), b"", b"y", png(5), png(4)[:40]],
        text=list("stuvwx"),
        year=[1, 2, 3, 4, 5, 6],
    )
    album = open_album(place)
    with pytest.raises(UserError, match=r"4 of 6 are not: a, c, d and 1 more.*--skip-broken"):
        album.checked(False, quiet())
    left = album.checked(True, quiet())
    assert [(row.id, row.text, row.columns["year"]) for row in left.rows()] == [
        ("b", "t", 2),
        ("e", "w", 5),
    ]
    assert left.notes == ("4 of 6 images cannot be read and were left out: a, c, d and 1 more.",)
    assert left.checked(True, quiet()) is left
    np.testing.assert_array_equal(left.images.pixels([1])[0, 0, 0], [5, 5, 5])
