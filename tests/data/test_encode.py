from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nestvec.data import encode
from nestvec.data.encode import encode_texts
from nestvec.data.encoder import EncodedBlock, Metric, TextKind
from nestvec.errors import UserError


class Lengths:
    """An encoder whose vectors say which text they are of; it may break off or change."""

    name, revision, dim = "lengths", "1", 3
    metric: Metric = "cosine"
    max_tokens: int | None = 5

    def __init__(self, breaks_after: int | None = None, version: int = 1) -> None:
        self.encoded: list[str] = []
        self.samples: list[int] = []
        self._breaks_after = breaks_after
        self._version = version

    def prepare(self, sample: list[str]) -> None:
        self.samples.append(len(sample))

    def encode(self, texts: list[str], kind: TextKind) -> NDArray[np.float32]:
        return self.encode_block(texts, kind).vectors

    def encode_block(self, texts: list[str], kind: TextKind) -> EncodedBlock:
        if self._breaks_after is not None and len(self.encoded) >= self._breaks_after:
            raise KeyboardInterrupt
        self.encoded += texts
        rows = [[len(text), ord(text[-1]), kind == "query"] for text in texts]
        return EncodedBlock(np.array(rows, np.float32), sum(len(text) > 5 for text in texts))

    def describe(self) -> dict[str, object]:
        return {"name": self.name, "version": self._version, "pair": (1, 2)}


TEXTS = [f"text number {n}" if n % 3 else f"t{n}" for n in range(10)]
EXPECTED = np.array([[len(text), ord(text[-1]), 0] for text in TEXTS], np.float32)


def test_vectors_come_in_order_with_their_counts(tmp_path: Path, listener: Any) -> None:
    done = encode_texts(
        iter(TEXTS),
        Lengths(),
        tmp_path / "new" / "v.npy",
        total=10,
        progress=listener,
        block_rows=4,
    )
    np.testing.assert_array_equal(done.vectors, EXPECTED)
    np.testing.assert_array_equal(np.load(tmp_path / "new" / "v.npy"), EXPECTED)
    assert isinstance(done.vectors, np.memmap)
    assert (done.truncated, done.resumed) == (6, 0)
    assert listener.told == [("encoding with lengths", 10), 4, 4, 2, "end"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["v.npy", "v.npy.journal"]


def test_an_interrupted_run_goes_on_after_its_last_block(tmp_path: Path) -> None:
    out = tmp_path / "v.npy"
    with pytest.raises(KeyboardInterrupt):
        encode_texts(TEXTS, Lengths(breaks_after=8), out, block_rows=4)
    assert not out.exists()
    second = Lengths()
    done = encode_texts(TEXTS, second, out, block_rows=4)
    assert second.encoded == TEXTS[8:]
    assert (done.resumed, done.truncated) == (8, 6)
    np.testing.assert_array_equal(done.vectors, EXPECTED)


def test_a_whole_run_is_taken_over_and_a_changed_text_encoded_anew(tmp_path: Path) -> None:
    out = tmp_path / "v.npy"
    encode_texts(TEXTS, Lengths(), out, block_rows=4)
    again = Lengths()
    assert encode_texts(TEXTS, again, out, block_rows=4).resumed == 10
    assert again.encoded == []
    changed = [*TEXTS[:5], "changed", *TEXTS[6:]]
    done = encode_texts(changed, again, out, block_rows=4)
    assert again.encoded == changed[4:]
    assert done.vectors[5, 0] == len("changed")
    assert done.vectors.shape == (10, 3)


def test_fewer_and_more_texts_than_before(tmp_path: Path) -> None:
    out = tmp_path / "v.npy"
    encode_texts(TEXTS, Lengths(), out, block_rows=4)
    fewer = encode_texts(TEXTS[:8], Lengths(), out, block_rows=4)
    np.testing.assert_array_equal(fewer.vectors, EXPECTED[:8])
    assert fewer.resumed == 8
    more = encode_texts(TEXTS, Lengths(), out, block_rows=4)
    np.testing.assert_array_equal(more.vectors, EXPECTED)
    assert more.resumed == 8


def test_another_encoder_dtype_or_kind_starts_anew(tmp_path: Path) -> None:
    out = tmp_path / "v.npy"
    encode_texts(TEXTS, Lengths(), out, block_rows=4)
    assert encode_texts(TEXTS, Lengths(version=2), out, block_rows=4).resumed == 0
    half = encode_texts(TEXTS, Lengths(version=2), out, block_rows=4, dtype="float16")
    assert half.resumed == 0
    assert half.vectors.dtype == np.float16
    query = encode_texts(
        TEXTS, Lengths(version=2), out, block_rows=4, dtype="float16", kind="query"
    )
    assert query.resumed == 0
    assert (query.vectors[:, 2] == 1).all()


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(0, 600), note=st.integers(0, 600))
def test_whatever_a_crash_leaves_the_result_is_right(
    tmp_path_factory: pytest.TempPathFactory, cut: int, note: int
) -> None:
    out = tmp_path_factory.mktemp("crash") / "v.npy"
    encode_texts(TEXTS, Lengths(), out, block_rows=2)
    journal = out.with_name("v.npy.journal")
    os.truncate(journal, min(note, journal.stat().st_size))
    data = out.with_name("v.npy.partial")
    out.replace(data)
    if cut >= data.stat().st_size:
        cut = data.stat().st_size
    lines = len(journal.read_text().splitlines())
    # rows are written before they are noted, so a crash never leaves fewer rows than notes
    os.truncate(data, max(cut, 128 + 24 * 5 if lines > 1 else 0))
    np.testing.assert_array_equal(
        encode_texts(TEXTS, Lengths(), out, block_rows=2).vectors, EXPECTED
    )


def test_the_sample_is_a_hundredth_within_bounds(tmp_path: Path) -> None:
    encoder = Lengths()
    many = [f"t{n}" for n in range(400)]
    for at, total in enumerate((400, 10_000, 1_000_000)):
        encode_texts(many, encoder, tmp_path / f"{at}.npy", total=total)
    encode_texts(TEXTS, encoder, tmp_path / "few.npy")
    assert encoder.samples == [32, 100, 200, 10]


def test_the_journal_names_the_encoder_and_each_block(tmp_path: Path) -> None:
    encode_texts(TEXTS, Lengths(), tmp_path / "v.npy", block_rows=4)
    lines = [json.loads(line) for line in (tmp_path / "v.npy.journal").read_text().splitlines()]
    assert lines[0]["encoder"]["name"] == "lengths"
    assert [line["rows"] for line in lines[1:]] == [4, 4, 2]
    assert [line["truncated"] for line in lines[1:]] == [2, 3, 1]


def test_no_texts_and_numbers_too_large_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no texts to encode"):
        encode_texts([], Lengths(), tmp_path / "v.npy")
    with pytest.raises(UserError, match="too large for float16"):
        encode_texts(["x" * 70_000], Lengths(), tmp_path / "v.npy", dtype="float16")


def test_a_full_disk_is_told_and_a_rerun_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "v.npy"
    synced = 0

    def fill_up(handle: object) -> None:
        nonlocal synced
        synced += 1
        if synced > 6:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(encode, "_sync", fill_up)
        with pytest.raises(UserError, match="is full: free some space and run the same again"):
            encode_texts(TEXTS, Lengths(), out, block_rows=2)
    done = encode_texts(TEXTS, Lengths(), out, block_rows=2)
    assert 0 < done.resumed < 10
    np.testing.assert_array_equal(done.vectors, EXPECTED)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="cannot be written"):
        encode_texts(TEXTS, Lengths(), tmp_path / "file" / "v.npy")
