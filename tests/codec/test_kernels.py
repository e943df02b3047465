import numpy as np
import pytest

from nestvec.codec import kernels


def plain_beam(x, codebooks, beam, weights):
    """Beam encoding of one vector, residuals kept as such: (codes of the entries, best first)."""
    entries = [((), x.astype(np.float64), 0.0)]
    for level, book in enumerate(codebooks):
        grown = []
        ahead = sum(weights[level + 1 :])
        for codes, rest, total in entries:
            for word, codeword in enumerate(book):
                left = rest - codeword
                error = float(left @ left)
                key = total + (weights[level] + ahead) * error
                grown.append((key, (*codes, word), left, total + weights[level] * error))
        grown.sort(key=lambda entry: entry[0])
        entries = [(codes, left, total) for _, codes, left, total in grown[:beam]]
    return entries


def compiled_beam(rows, codebooks, beam, weights):
    depth, k, d = codebooks.shape
    n = len(rows)
    codes = np.zeros((n, beam, depth), np.uint8)
    errors = np.zeros((n, beam), np.float32)
    errors[:, 0] = (rows**2).sum(axis=1)
    sums = np.zeros((n, beam), np.float32)
    alive = 1
    flat = codebooks.reshape(depth * k, d)
    for m in range(depth):
        after = min(beam, alive * k)
        kernels.extend_beams(
            m,
            rows @ codebooks[m].T,
            (flat[: m * k] @ codebooks[m].T).reshape(m, k, k),
            (codebooks[m] ** 2).sum(axis=1),
            np.array([alive, after]),
            codes,
            errors,
            sums,
            weights[m],
            sum(weights[m + 1 :]),
        )
        alive = after
    return codes, errors, sums


def test_beams_equal_the_plain_search():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((40, 12)).astype(np.float32)
    codebooks = rng.standard_normal((7, 8, 12)).astype(np.float32) * 0.7
    for beam, weights in [(1, [0, 0, 0, 0, 0, 0, 1.0]), (5, [0, 1.0, 0, 1.0, 0, 0, 1.0])]:
        codes, errors, sums = compiled_beam(rows, codebooks, beam, weights)
        for i, row in enumerate(rows):
            for b, (want, left, total) in enumerate(plain_beam(row, codebooks, beam, weights)):
                assert tuple(codes[i, b]) == want
                np.testing.assert_allclose(errors[i, b], left @ left, rtol=1e-3, atol=1e-4)
                np.testing.assert_allclose(sums[i, b], total, rtol=1e-3, atol=1e-4)


def test_a_beam_wider_than_the_choices_keeps_them_all():
    rows = np.array([[1.0, 0.0]], np.float32)
    codebooks = np.array([[[1, 0], [0, 1]], [[0, 0], [0.5, 0]]], np.float32)
    codes, errors, _ = compiled_beam(rows, codebooks, 4, [0, 1.0])
    assert codes[0].tolist() == [[0, 0], [0, 1], [1, 1], [1, 0]]
    np.testing.assert_allclose(errors[0], [0, 0.25, 1.25, 2.0])


def test_ties_go_to_the_smaller_codeword():
    rows = np.zeros((1, 2), np.float32)
    codebooks = np.array([[[1, 0], [0, 1], [-1, 0]]], np.float32)
    codes, _, _ = compiled_beam(rows, codebooks, 2, [1.0])
    assert codes[0, :, 0].tolist() == [0, 1]


def test_sums_look_ups_and_codewords_by_hand():
    codebooks = np.array([[[1, 2], [3, 4]], [[10, 20], [30, 40]]], np.float32)
    codes = np.array([[0, 1], [1, 0]], np.uint8)
    out = np.zeros((2, 2), np.float32)
    kernels.add_codewords(out, codebooks, codes, 0)
    assert out.tolist() == [[31, 42], [13, 24]]
    out[:] = 0
    kernels.add_codewords(out, codebooks, codes[:, 1:], 1)
    assert out.tolist() == [[30, 40], [10, 20]]
    scores = np.ones((1, 2), np.float32)
    kernels.look_up(scores, np.array([[[1, 2], [4, 8]]], np.float32), codes)
    assert scores.tolist() == [[1 + 1 + 8, 1 + 2 + 4]]
    sums, counts = np.zeros((2, 2), np.float32), np.zeros(2, np.int64)
    kernels.add_to_sums(sums, counts, out, np.array([1, 1]))
    assert sums.tolist() == [[0, 0], [40, 60]]
    assert counts.tolist() == [0, 2]


def test_look_ups_over_many_blocks_equal_fancy_indexing():
    rng = np.random.default_rng(1)
    tables = rng.standard_normal((3, 5, 16)).astype(np.float32)
    codes = rng.integers(0, 16, (2500, 5)).astype(np.uint8)
    out = np.zeros((3, 2500), np.float32)
    kernels.look_up(out, tables, codes)
    want = tables[:, np.arange(5), codes].sum(axis=2)
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-5)
    alone = np.zeros_like(out)
    kernels.look_up_alone(alone, tables, codes)
    np.testing.assert_array_equal(alone, out)


@pytest.mark.parametrize("width", [1, 7, 96, 384])
def test_products_with_bytes(width):
    rng = np.random.default_rng(width)
    codes = rng.integers(0, 256, (700, width)).astype(np.uint8)
    codes[500] = codes[3]
    queries = rng.standard_normal((3, width)).astype(np.float32)
    offsets = rng.standard_normal(3).astype(np.float32)
    before = rng.standard_normal((3, 1)).astype(np.float32) * np.ones((1, 700), np.float32)
    out = before.copy()
    kernels.add_products(out, queries, offsets, codes)
    want = before + queries.astype(float) @ codes.T.astype(float) + offsets[:, None]
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-3)
    np.testing.assert_array_equal(out[:, 500], out[:, 3])
