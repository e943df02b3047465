"""One contract for every kind of level, and the exact bytes of each."""

import json

import numpy as np
import pytest

from nestvec.codec.files import build_levels, make_level
from nestvec.codec.ladder import (
    Ladder,
    pack,
    pack_words,
    round_codewords,
    unpack,
    unpack_words,
)
from nestvec.codec.levels import Fitting
from nestvec.codec.scalar import Floats, Int8, calibrate_int8, to_int8
from nestvec.codec.signs import SignPlane
from nestvec.codec.spec import parse_spec
from nestvec.errors import UserError
from nestvec.progress import quiet

KINDS = ["4xcb16", "4xcb16@4", "6xcb8@2", "6xcb8", "3xcb64", "sign16", "int8", "float16", "raw"]


def ladder_config(n_bytes, codewords, *, beam, dim):
    return {
        "kind": "cb",
        "bytes": n_bytes,
        "codewords": codewords,
        "precision": 8,
        "dim": dim,
        "beam": beam,
        "weights": [1.0] * n_bytes,
    }


def rows_and_queries(seed=0, n=400, d=24):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, d)).astype(np.float32) * np.linspace(2, 0.1, d, dtype=np.float32)
    rows[:, 3] = 0.25
    return rows, rng.standard_normal((5, d)).astype(np.float32)


def fitted(term, rows, beam=4):
    (spec,) = parse_spec(term)
    level = make_level(spec, rows.shape[1])
    level.fit(rows, Fitting(beam, (1.0,) * level.bytes, 0, quiet()))
    return level


def decoded(level, codes, start=0, stop=None):
    out = np.zeros((len(codes), 24), np.float32)
    level.add_decoded(out, codes, start, level.bytes if stop is None else stop)
    return out


@pytest.mark.parametrize("term", KINDS)
def test_codes_decode_near_and_scores_are_products_with_what_is_decoded(term):
    rows, queries = rows_and_queries()
    level = fitted(term, rows)
    codes = level.encode(rows)
    assert codes.shape == (400, level.bytes)
    assert codes.dtype == np.uint8
    near = decoded(level, codes)
    spread = ((rows - rows.mean(axis=0)) ** 2).sum()
    assert ((rows - near) ** 2).sum() < 0.6 * spread
    sums = np.zeros((5, 400), np.float32)
    level.add_sums(sums, level.table(queries), codes, 0, level.bytes)
    np.testing.assert_allclose(sums, queries @ near.T, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("term", KINDS)
def test_parts_add_up_to_the_whole(term):
    rows, queries = rows_and_queries(1)
    level = fitted(term, rows)
    codes = level.encode(rows)
    table = level.table(queries)
    out, sums = np.zeros_like(rows), np.zeros((5, 400), np.float32)
    start = 0
    for end in level.ends:
        level.add_decoded(out, codes, start, end)
        level.add_sums(sums, table, codes, start, end)
        start = end
    np.testing.assert_allclose(out, decoded(level, codes), atol=1e-5)
    np.testing.assert_allclose(sums, queries @ out.T, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("term", KINDS)
def test_a_level_survives_json_and_arrays(term):
    rows, _ = rows_and_queries(2)
    level = fitted(term, rows)
    arrays = {f"level0.{name}": array for name, array in level.arrays().items()}
    (again,) = build_levels([json.loads(json.dumps(level.to_config()))], arrays)
    np.testing.assert_array_equal(again.encode(rows), level.encode(rows))
    np.testing.assert_array_equal(
        decoded(again, level.encode(rows)), decoded(level, level.encode(rows))
    )
    assert again.to_config() == level.to_config()


def test_golden_bytes_of_codebooks():
    words = np.zeros((2, 4, 2), np.int8)
    words[0] = [[10, 0], [0, 10], [-10, 0], [0, -10]]
    words[1] = [[1, 1], [-1, 1], [1, -1], [-1, -1]]
    config = ladder_config(2, 4, beam=2, dim=2)
    ladder = Ladder.from_config(
        config, {"words": words, "scales": np.full((2, 4), 0.5, np.float32)}
    )
    rows = np.array([[5.4, -0.6], [-0.5, 4.5], [-5.5, 0.5]], np.float32)
    assert ladder.encode(rows).tobytes() == bytes([0, 2, 1, 3, 2, 1])
    np.testing.assert_array_equal(
        decoded_small(ladder, ladder.encode(rows)), [[5.5, -0.5], [-0.5, 4.5], [-5.5, 0.5]]
    )


def test_golden_bytes_of_packed_codebooks():
    words = np.zeros((2, 16, 1), np.int8)
    words[0, :, 0] = np.arange(16) * 8 - 64
    words[1, :, 0] = np.arange(16) - 8
    config = ladder_config(1, 16, beam=1, dim=1)
    ladder = Ladder.from_config(config, {"words": words, "scales": np.ones((2, 16), np.float32)})
    # 19 = 16 + 3: words 10 and 11, the first in the low half; -61 = -64 + 3: words 0 and 11.
    assert ladder.encode(np.array([[19.0], [-61.0]], np.float32)).tolist() == [[0xBA], [0xB0]]


def decoded_small(level, codes):
    out = np.zeros((len(codes), 2), np.float32)
    level.add_decoded(out, codes, 0, level.bytes)
    return out


def test_golden_bytes_of_a_sign_plane():
    config = {"kind": "sign", "bits": 8, "scales": [1.0, 2.0**1.0]}
    plane = SignPlane.from_config(
        config, {"axes": np.eye(8, dtype=np.float16), "mean": np.zeros(8, np.float16)}
    )
    rows = np.array([[1, -1, 1, 1, -1, -1, -1, 1], [-2, 2, 2, 2, 2, 2, 2, 2]], np.float32)
    assert plane.encode(rows).tobytes() == bytes([0b10110001, 0, 0b01111111, 255])
    out = np.zeros((2, 8), np.float32)
    plane.add_decoded(out, plane.encode(rows), 0, 2)
    np.testing.assert_allclose(out, rows)


def test_a_query_in_a_few_bits_by_hand():
    # the largest is 4: with 1 bit a step is 4, levels 2 and -2; with 2 bits 2, levels -3 -1 1 3
    turned = np.array([[4.0, 3.0, 1.0, -0.5, -1.9, -2.1, -4.0, 2.0]], np.float32)
    planes = SignPlane(8).planes((turned, np.zeros(1, np.float32)), 1)
    assert planes.tolist() == [[[0b11100001]]]
    planes = SignPlane(8).planes((turned, np.zeros(1, np.float32)), 2)
    # levels 3 3 1 -1 -1 -3 -3 3: the plane of 1s, then that of 2s, which is their signs
    assert planes.tolist() == [[[0b11011001], [0b11100001]]]
    assert SignPlane(8).planes((0 * turned, np.zeros(1, np.float32)), 4).shape == (1, 4, 1)


def test_golden_bytes_of_int8_with_a_constant_coordinate():
    arrays = {"low": np.array([-1, 3], np.float32), "step": np.array([0.5, 0], np.float32)}
    level = Int8.from_config({"kind": "int8", "dim": 2}, arrays)
    rows = np.array([[-1, 3], [0.3, 7], [999, 3]], np.float32)
    assert level.encode(rows).tobytes() == bytes([0, 0, 3, 0, 255, 0])
    np.testing.assert_allclose(decoded_small(level, level.encode(rows))[:2], [[-1, 3], [0.5, 3]])


def test_golden_bytes_of_floats():
    rows = np.array([[1.0, -2.0]], np.float32)
    assert Floats("float16", 2).encode(rows).tobytes() == bytes([0x00, 0x3C, 0x00, 0xC0])
    assert Floats("raw", 2).encode(rows).tobytes() == np.array([1, -2], "<f4").tobytes()


def test_int8_is_clipped_at_percentiles_and_rounds_to_the_nearest_step():
    rows = np.linspace(0, 1, 10_001, dtype=np.float32)[:, None]
    low, step = calibrate_int8(rows)
    np.testing.assert_allclose(low, 0.0005, atol=1e-5)
    np.testing.assert_allclose(step, 0.999 / 255, rtol=1e-4)
    back = low + to_int8(rows, low, step) * step
    assert np.abs(back - rows)[10:-10].max() <= step[0] / 2 + 1e-6


def test_packing_is_undone():
    words = np.random.default_rng(0).integers(0, 16, (7, 10)).astype(np.uint8)
    np.testing.assert_array_equal(unpack(pack(words)), words)


def test_golden_bytes_of_codewords_in_four_bits():
    words = np.array([[[-7, 0, 7], [1, 2, 3]]], np.int8)
    packed = pack_words(words, 4)
    assert packed.tobytes() == bytes([0x81, 0x0F, 0xA9, 0x0B])
    np.testing.assert_array_equal(unpack_words(packed, 4, 3), words)
    config = ladder_config(1, 2, beam=1, dim=3) | {"precision": 4}
    arrays = {"words": packed, "scales": np.array([[1.0, 0.5]], np.float32)}
    ladder = Ladder.from_config(config, arrays)
    np.testing.assert_array_equal(ladder.codebooks, [[[-7, 0, 7], [0.5, 1, 1.5]]])
    assert ladder.arrays()["words"].tobytes() == packed.tobytes()


def test_golden_bytes_of_codewords_in_two_bits():
    words = np.array([[[-1, 0, 1, 1, -1]]], np.int8)
    packed = pack_words(words, 2)
    # -1, 0, 1 are 01, 10, 11, the earlier in the lower bits
    assert packed.tobytes() == bytes([0b11_11_10_01, 0b01])
    np.testing.assert_array_equal(unpack_words(packed, 2, 5), words)


def test_two_bits_keep_the_larger_coordinates():
    words, scales = round_codewords(np.array([[3.0, -2.8, 0.1, -0.2, 0.0]], np.float32), 2)
    assert words.tolist() == [[1, -1, 0, 0, 0]]
    assert 2.4 <= scales[0] <= 3.0


def test_four_bits_clip_where_that_lowers_the_error():
    rng = np.random.default_rng(0)
    centers = rng.standard_normal((20, 64)).astype(np.float32)
    centers[:, 0] = 6
    words, scales = round_codewords(centers, 4)
    assert np.abs(words).max() == 7
    plain = np.rint(centers / (6 / 7)) * (6 / 7)
    errors = ((words * scales[:, None] - centers) ** 2).sum(axis=1)
    assert (errors <= ((plain - centers) ** 2).sum(axis=1) + 1e-4).all()


def test_codewords_are_rounded_to_a_127th_of_their_largest_coordinate():
    centers = np.array([[1.27, -0.5], [0, 0]], np.float32)
    words, scales = round_codewords(centers, 8)
    assert words.tolist() == [[127, -50], [0, 0]]
    np.testing.assert_allclose(words * scales[:, None], centers, atol=1e-6)


def test_the_ladder_is_cut_in_runs_without_changing_what_a_code_means(monkeypatch):
    rows, queries = rows_and_queries(3)
    monkeypatch.setattr("nestvec.codec.ladder._RUN_BYTES", 8 * 8 * 4 * 3)
    ladder = fitted("6xcb8", rows)
    codes = ladder.encode(rows)
    errors = [((rows - decoded(ladder, codes, 0, end)) ** 2).sum() for end in ladder.ends]
    assert errors == sorted(errors, reverse=True)
    sums = np.zeros((5, 400), np.float32)
    ladder.add_sums(sums, ladder.table(queries), codes, 0, 6)
    np.testing.assert_allclose(sums, queries @ decoded(ladder, codes).T, rtol=1e-3, atol=1e-3)


def test_a_wider_beam_does_not_raise_the_mean_summed_error():
    rows, _ = rows_and_queries(4)
    ladder = fitted("6xcb8", rows, beam=1)
    errors = []
    for beam in (1, 8):
        ladder.beam = beam
        codes = ladder.encode(rows)
        errors.append(
            sum(((rows - decoded(ladder, codes, 0, end)) ** 2).sum() for end in ladder.ends)
        )
    assert errors[1] < errors[0]


def test_more_bits_than_coordinates_are_refused():
    rows, _ = rows_and_queries()
    with pytest.raises(UserError, match="32 bits for 24 coordinates; write sign24"):
        fitted("sign32", rows)
