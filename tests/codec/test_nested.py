import itertools
import json
import pickle

import numpy as np
import pytest

from nestvec.codec.nested import Codec
from nestvec.errors import UserError

SPECS = [
    "8xcb",
    "6xcb@4",
    "8xcb16",
    "sign32+4xcb",
    "4xcb+int8",
    "4xcb64+float16",
    "int8",
    "float16",
    "raw",
]


def clustered(n=900, d=32, seed=0):
    rng = np.random.default_rng(seed)
    middles = rng.standard_normal((40, d)) * 2
    rows = middles[rng.integers(0, 40, n)] + rng.standard_normal((n, d))
    rows *= np.linspace(2, 0.05, d)
    rows[:, 5] = 0.0  # a zero eigenvalue
    rows[:, 9] = 0.3  # a constant coordinate
    return rows.astype(np.float32)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def rows():
    return clustered()


@pytest.fixture(scope="module", params=SPECS)
def codec(request, rows):
    return Codec(request.param, power=-0.125 if request.param == "8xcb" else "auto").fit(rows)


def plain_decode(config, arrays, code):
    """One row's reconstruction at every legal cut, from the stored arrays alone."""
    position, total, found = 0, np.zeros(config["dim"]), {}
    for i, level in enumerate(config["levels"]):
        own = {
            k.split(".")[1]: v.astype(np.float64)
            for k, v in arrays.items()
            if k.startswith(f"level{i}.")
        }
        if level["kind"] == "cb":
            if level["precision"] == 4:
                packed = arrays[f"level{i}.words"]
                pairs = np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:2], -1)
                own["words"] = pairs[:, :, : level["dim"]].astype(np.float64) - 8
            for b in range(level["bytes"]):
                byte = int(code[position + b])
                words = [byte & 15, byte >> 4] if level["codewords"] == 16 else [byte]
                for w, word in enumerate(words):
                    m = b * len(words) + w
                    total = total + own["words"][m, word] * own["scales"][m, word]
                found[position + b + 1] = total
            position += level["bytes"]
            continue
        if level["kind"] == "sign":
            bits = level["bits"]
            signs = [1 if code[position + j // 8] >> (7 - j % 8) & 1 else -1 for j in range(bits)]
            low, high = level["scales"]
            scale = low * (high / low) ** (code[position + bits // 8] / 255)
            total = total + own["mean"] + scale * (np.array(signs) @ own["axes"])
            position += bits // 8 + 1
        elif level["kind"] == "int8":
            total = total + own["low"] + own["step"] * code[position : position + level["dim"]]
            position += level["dim"]
        else:
            kind = "<f2" if level["kind"] == "float16" else "<f4"
            size = level["dim"] * np.dtype(kind).itemsize
            total = total + np.frombuffer(code[position : position + size].tobytes(), kind)
            position += size
        found[position] = total
    back = (
        np.linalg.inv(arrays["map.matrix"].astype(np.float64)) if "map.matrix" in arrays else None
    )
    return {cut: x if back is None else x @ back for cut, x in found.items()}


def test_every_cut_equals_an_independent_decoder(codec, rows):
    codes = codec.encode(rows[:20])
    config = json.loads(json.dumps(codec.to_config()))
    for i in range(20):
        plain = plain_decode(config, codec.arrays(), codes[i])
        assert tuple(plain) == codec.level_ends
        for cut, x in plain.items():
            np.testing.assert_allclose(codec.decode(codes[i : i + 1], cut)[0], x, atol=2e-5)


def test_codes_of_n_bytes_are_the_first_n_bytes(codec, rows):
    codes = codec.encode(rows[:50])
    for cut in codec.level_ends:
        short = codec.truncated(cut)
        assert short.bytes == cut
        assert short.size_bytes() == codec.size_bytes(cut) <= codec.size_bytes()
        np.testing.assert_array_equal(short.decode(codes[:, :cut]), codec.decode(codes, cut))


def test_the_mean_error_on_fitted_rows_does_not_rise_with_n(codec, rows):
    codes = codec.encode(rows)
    errors = [
        float(((codec.decode(codes, cut) - unit(rows)) ** 2).sum(axis=1).mean())
        for cut in codec.level_ends
    ]
    assert all(later <= sooner + 1e-6 for sooner, later in itertools.pairwise(errors))


def test_saved_and_loaded_is_equal(codec, rows, tmp_path):
    codec.save(tmp_path / "c.safetensors")
    again = Codec.load(tmp_path / "c.safetensors")
    codes = codec.encode(rows)
    np.testing.assert_array_equal(again.encode(rows), codes)
    np.testing.assert_array_equal(again.decode(codes), codec.decode(codes))
    assert again.to_config() == codec.to_config()
    assert again.get_params() == codec.get_params()
    assert [p.name for p in tmp_path.iterdir()] == ["c.safetensors"]
    facts, same = codec.facts(codes, rows), again.facts(codes, rows)
    assert facts.keys() == same.keys()
    for name, values in facts.items():
        np.testing.assert_array_equal(values, same[name])


def test_sums_add_up_over_levels(codec, rows):
    codes = codec.encode(rows)
    prepared = codec.prepare(rows[:4])
    whole = codec.raw_sums(prepared, codes, 0, codec.bytes)
    start, parts = 0, np.zeros_like(whole)
    for cut in codec.level_ends:
        parts += codec.raw_sums(prepared, codes, start, cut)
        start = cut
    np.testing.assert_allclose(parts, whole, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(whole, rows[:4] @ codec.decode(codes).T, rtol=1e-3, atol=2e-2)
    one = codec.prepare(rows[2:3])
    np.testing.assert_allclose(
        codec.raw_sums_gathered(one, codes[:7], 0, codec.bytes), whole[2, :7], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_scores_of_a_fine_code_are_near_the_exact_ones(metric, rows):
    scaled = rows * np.linspace(0.5, 3, len(rows), dtype=np.float32)[:, None]
    queries = rows[:6] * 2
    codec = Codec("4xcb+float16", metric=metric).fit(scaled)
    codes = codec.encode(scaled)
    scores = codec.score(queries, codes, facts=codec.facts(codes, scaled))
    exact = {
        "cosine": unit(queries) @ unit(scaled).T,
        "dot": queries @ scaled.T,
        "l2": -((queries[:, None] - scaled[None]) ** 2).sum(axis=2),
    }[metric]
    np.testing.assert_allclose(scores, exact, rtol=0.02, atol=0.02 * np.abs(exact).max())


def test_the_metrics_dot_and_l2_need_lengths(rows):
    codec = Codec("4xcb", metric="dot").fit(rows)
    with pytest.raises(UserError, match="needs the lengths"):
        codec.score(rows[:1], codec.encode(rows))


def test_facts_are_the_norms_at_the_declared_cuts(rows):
    codec = Codec("8xcb").fit(rows)
    assert codec.cuts == (4, 8)
    codes = codec.encode(rows)
    facts = codec.facts(codes, rows)
    assert set(facts) == {"norm_4", "norm_8"}
    for cut in codec.cuts:
        x = codec.decode(codes, cut).astype(np.float64)
        norms = np.linalg.norm(x, axis=1)
        got = codec.unpack_norms(facts[f"norm_{cut}"], cut)
        np.testing.assert_allclose(got, norms, rtol=0.01)
        np.testing.assert_allclose(codec.norms(codes, cut), norms, rtol=1e-4)
    with pytest.raises(UserError, match=r"declared cuts \[4, 8\]; got 5"):
        codec.unpack_norms(facts["norm_4"], 5)


def test_the_sample_is_bounded_and_drawn_by_seed(rows):
    first, again, other = (Codec("2xcb8", seed=s, sample_rows=300).fit(rows) for s in (0, 0, 1))
    assert first.fitted_rows <= 300
    np.testing.assert_array_equal(first.encode(rows), again.encode(rows))
    assert (first.encode(rows) != other.encode(rows)).any()


def test_shuffled_rows_give_shuffled_codes(rows):
    codec = Codec("6xcb").fit(rows)
    order = np.random.default_rng(0).permutation(len(rows))
    np.testing.assert_array_equal(codec.encode(rows[order]), codec.encode(rows)[order])


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_few_rows_shrink_the_codebooks_and_still_work(n):
    few = clustered(n)
    codec = Codec("4xcb").fit(few)
    assert codec.spec != "4xcb"
    codes = codec.encode(few)
    assert codes.shape == (n, 4)
    assert np.isfinite(codec.score(few, codes, facts=codec.facts(codes, few))).all()


def test_half_precision_and_mapped_files_are_taken(rows, tmp_path):
    np.save(tmp_path / "v.npy", rows.astype(np.float16))
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    codec = Codec("4xcb").fit(mapped)
    assert codec.encode(mapped).shape == (900, 4)


def test_a_row_of_zeros_is_coded_and_scored_finitely(rows):
    codec = Codec("4xcb").fit(rows)
    blank = np.zeros((1, 32), np.float32)
    codes = codec.encode(blank)
    assert np.isfinite(codec.score(rows[:2], codes, facts=codec.facts(codes, blank))).all()


def test_it_is_an_estimator(rows):
    codec = Codec("4xcb", beam=3)
    assert codec.get_params() == {
        "spec": "4xcb",
        "metric": "cosine",
        "beam": 3,
        "power": "auto",
        "seed": 0,
        "sample_rows": 50_000,
    }
    assert codec.set_params(seed=5) is codec
    np.testing.assert_array_equal(codec.fit_transform(rows), codec.transform(rows))
    with pytest.raises(UserError, match="got 'seeds'"):
        codec.set_params(seeds=1)
    clone = pytest.importorskip("sklearn.base").clone
    assert clone(codec).get_params() == codec.get_params()
    few = Codec("4xcb").fit(rows[:100])
    assert few.spec != "4xcb"
    assert few.fit(rows).spec == Codec("4xcb").fit(rows).spec
    assert pickle.loads(pickle.dumps(codec)).spec == codec.spec


def test_faults_are_one_sentence(rows, tmp_path):
    codec = Codec("4xcb+int8").fit(rows)
    cases = [
        (lambda: Codec("4xcb").encode(rows), "must be fitted"),
        (lambda: codec.encode(rows[:, :8]), r"shape \(n, 32\)"),
        (lambda: codec.decode(codec.encode(rows[:1]), 5), "got 5 bytes of 36; try 4 or"),
        (lambda: Codec("4xcb", metric="angle"), "got 'angle'"),
        (lambda: Codec("4xcb", beam=0), "got 0"),
        (lambda: Codec("4xcb", power="some"), "got 'some'"),
        (lambda: Codec("4xcb", beam=10_000), "at most 256 entries; got 10000"),
        (lambda: Codec("4xcb", seed=-1), "got -1"),
        (lambda: Codec("9999xcb"), "at most 512 bytes of codebooks; got 9999"),
        (lambda: codec.encode(rows * np.nan), "got NaN or infinity in row 0"),
        (lambda: codec.score(rows, codec.encode(rows)[:, :3], 4), r"got uint8 of \(900, 3\)"),
        (lambda: codec.score(rows, codec.encode(rows)[:, :4]), "cut at 36 bytes"),
        (lambda: codec.decode(codec.encode(rows).astype(float)), "got float64"),
        (lambda: Codec("4xcb", sample_rows=0), "got 0"),
        (lambda: Codec("4xcb").fit(rows[0]), r"got shape \(32,\)"),
        (lambda: Codec("4xcb").fit(rows[:0]), "n and d at least 1"),
        (lambda: Codec("4xcb").fit(rows * np.nan), "NaN or infinity in 900 of 900"),
        (lambda: Codec("4xcb").fit(rows * 0), "only zeros"),
        (lambda: Codec.load(tmp_path / "none"), "which is none"),
    ]
    for call, says in cases:
        with pytest.raises(UserError, match=says) as fault:
            call()
        assert "\n" not in str(fault.value)


def test_a_damaged_file_is_told(rows, tmp_path):
    path = tmp_path / "c.safetensors"
    Codec("4xcb").fit(rows).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(UserError, match="whole safetensors file"):
        Codec.load(path)
    path.write_bytes(whole.replace(b'\\"format\\": 1', b'\\"format\\": 9'))
    with pytest.raises(UserError, match="has format 9"):
        Codec.load(path)


def test_int8_of_leading_coordinates_is_int8_of_the_cut_vectors(tmp_path):
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((300, 12)).astype(np.float32)
    queries = rng.standard_normal((4, 12)).astype(np.float32)
    cut = rows[:, :5] / np.linalg.norm(rows[:, :5], axis=1, keepdims=True)
    narrow, plain = Codec("5xint8").fit(rows), Codec("int8").fit(cut)
    codes = narrow.encode(rows)
    assert (codes.shape, narrow.bytes, narrow.cuts) == ((300, 5), 5, (5,))
    decoded = narrow.decode(codes)
    assert not decoded[:, 5:].any()
    directions = decoded[:, :5] / np.linalg.norm(decoded[:, :5], axis=1, keepdims=True)
    theirs = plain.decode(plain.encode(cut))
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    np.testing.assert_allclose(directions, theirs, atol=0.02)
    facts = narrow.facts(codes, rows)
    unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    expected = unit @ decoded.T / narrow.unpack_norms(facts["norm_5"], 5)
    np.testing.assert_allclose(narrow.score(queries, codes, facts=facts), expected, atol=1e-4)
    narrow.save(tmp_path / "c.safetensors")
    again = Codec.load(tmp_path / "c.safetensors")
    np.testing.assert_array_equal(again.decode(codes), decoded)
    with pytest.raises(UserError, match="13xint8 for vectors of 12"):
        Codec("13xint8").fit(rows)
