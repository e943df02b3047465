"""The ladder beside faiss's residual quantizer, an independent implementation."""

import numpy as np
import pytest

from nestvec.codec.ladder import Ladder
from nestvec.codec.levels import Fitting
from nestvec.progress import quiet

faiss = pytest.importorskip("faiss")


def clustered(n, d, seed):
    rng = np.random.default_rng(seed)
    middles = rng.standard_normal((60, d)).astype(np.float32)
    rows = middles[rng.integers(0, 60, n)] + rng.standard_normal((n, d)).astype(np.float32)
    return np.ascontiguousarray(rows * np.linspace(2, 0.2, d, dtype=np.float32))


def trained_peer(rows, levels, beam):
    peer = faiss.ResidualQuantizer(rows.shape[1], levels, 8)
    peer.max_beam_size = beam
    peer.cp.min_points_per_centroid = 1
    peer.train(rows)
    books = faiss.vector_to_array(peer.codebooks).reshape(levels, 256, rows.shape[1])
    return peer, books


def squared_error(ladder, rows, codes, cut):
    out = np.zeros_like(rows)
    ladder.add_decoded(out, codes, 0, cut)
    return float(((rows - out) ** 2).sum(axis=1).mean())


@pytest.mark.parametrize("beam", [1, pytest.param(5, marks=pytest.mark.slow)])
def test_the_same_codebooks_give_the_same_codes(beam):
    rows = clustered(3000, 24, 0)
    peer, books = trained_peer(rows, 6, beam)
    ladder = Ladder(6, 256)
    ladder.beam, ladder.weights = beam, (0, 0, 0, 0, 0, 1.0)
    ladder.codebooks = np.ascontiguousarray(books)
    ladder.words = np.zeros(books.shape, np.int8)
    same = (ladder.encode(rows) == peer.compute_codes(rows)).all(axis=1)
    assert same.mean() > 0.995  # ties and rounding


@pytest.mark.slow
def test_the_error_is_at_most_the_peers_at_every_cut():
    rows, fresh = clustered(12_000, 64, 1), clustered(4000, 64, 2)
    peer, books = trained_peer(rows, 16, 5)
    theirs = peer.compute_codes(fresh)
    ladder = Ladder(16, 256)
    cuts = (4, 8, 12, 16)
    ladder.fit(rows, Fitting(5, tuple(float(b in cuts) for b in range(1, 17)), 0, quiet()))
    ours = ladder.encode(fresh)
    other = Ladder(16, 256)
    other.codebooks = np.ascontiguousarray(books)
    other.words = np.zeros(books.shape, np.int8)
    for cut in cuts:
        assert squared_error(ladder, fresh, ours, cut) <= 1.02 * squared_error(
            other, fresh, theirs, cut
        )
