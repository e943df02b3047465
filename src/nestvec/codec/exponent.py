"""The exponent of the spectral power, fitted without labels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nestvec.codec.ladder import Ladder
from nestvec.codec.levels import F32, Fitting
from nestvec.codec.power import SpectralMap
from nestvec.progress import quiet

EXPONENTS = (0.0, -0.0625, -0.125, -0.1875, -0.25)
CUTS = (4, 8, 16)

_ROWS = 8_000
# Fewer codewords than a real codebook has, so that 7,200 rows train them as well as 40,000 do 256.
_CODEWORDS = 64
_BEAM = 4
_TARGETS = 800
_DRAWS = 2
_DISTURBANCES = (0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8)
# Exact search should find most disturbed rows but not all, or nothing is left to tell apart.
_FOUND = 0.85


def fit_exponent(rows: F32, moment: NDArray[np.float64], seed: int) -> float:
    """The exponent of EXPONENTS whose codes of 4, 8 and 16 codebooks find disturbed rows best.

    rows: (n, d) unit vectors, of which at most 8,000 are used; moment: their second moment (d, d).
    A tenth of them, which no codebook is fitted on, are disturbed by the difference of two other
    rows and serve as queries; each should find the row it came from among all 8,000. The
    measure is nDCG@10 averaged over the cuts. On title -> abstract search this orders the
    exponents as the labels do; agreement with the exact neighbours of undisturbed rows does not.
    Fewer than ten rows have no tenth to ask with: their exponent is 0.
    """
    if len(rows) < 10:
        return 0.0
    rng = np.random.default_rng(seed)
    few = rows[np.sort(rng.permutation(len(rows))[:_ROWS])]
    order = rng.permutation(len(few))
    targets, fitted = order[: min(_TARGETS, len(few) // 10)], np.sort(order[len(few) // 10 :])
    wanted = np.tile(targets, _DRAWS)
    queries = _disturbed(few, wanted, rng)
    found = []
    for exponent in EXPONENTS:
        spectral = SpectralMap.fitted(moment, exponent)
        mapped = np.ascontiguousarray(spectral.forward(few))
        ladder = Ladder(max(CUTS), _CODEWORDS)
        weights = tuple(float(b in CUTS) for b in range(1, max(CUTS) + 1))
        ladder.fit(mapped[fitted], Fitting(_BEAM, weights, seed, quiet()))
        codes = ladder.encode(mapped)
        decoded = np.zeros_like(few)
        gains, done = [], 0
        for cut in CUTS:
            ladder.add_decoded(decoded, codes, done, cut)
            done = cut
            here = spectral.backward(decoded)
            norms = np.linalg.norm(here, axis=1)
            gains.append(_found(queries @ (here / np.maximum(norms, 1e-9)[:, None]).T, wanted))
        found.append(float(np.mean(gains)))
    return EXPONENTS[int(np.argmax(found))]


def _disturbed(rows: F32, wanted: NDArray[np.int64], rng: np.random.Generator) -> F32:
    """Rows wanted plus a difference of two others, scaled so that exact search finds .85."""
    noise = rows[rng.integers(0, len(rows), len(wanted))]
    noise = noise - rows[rng.integers(0, len(rows), len(wanted))]
    noise /= np.maximum(np.linalg.norm(noise, axis=1, keepdims=True), np.float32(1e-9))
    tried = [rows[wanted] + np.float32(g) * noise for g in _DISTURBANCES]
    gaps = [abs(_found(queries @ rows.T, wanted) - _FOUND) for queries in tried]
    return tried[int(np.argmin(gaps))]


def _found(scores: F32, wanted: NDArray[np.int64]) -> float:
    """Mean of 1 / log2(1 + rank) of the wanted column (q,) of scores (q, n), 0 past rank 10."""
    own = scores[np.arange(len(wanted)), wanted]
    ranks = 1 + (scores > own[:, None]).sum(axis=1)
    return float(np.where(ranks <= 10, 1 / np.log2(1 + ranks), 0.0).mean())
