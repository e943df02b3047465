"""A ladder of residual codebooks, encoded by a beam whose objective is summed over the cuts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.codec.kernels import add_codewords, extend_beams, look_up, look_up_alone
from nestvec.codec.kmeans import Pool, progressive_kmeans, threads
from nestvec.codec.levels import F32, U8, Arrays, Fitting

_BLOCK = 8192
# Inner products of codewords are held for one run of levels; 32 levels of 256 make 134 MB.
_RUN_BYTES = 140_000_000
# Under load a parallel kernel waits some 10 ms for its threads; so many look-ups take 4 ms alone.
_FEW_LOOK_UPS = 4_000_000
# On ACL abstracts 1.1 gave .369 .500 at 4 and 8 bytes, 1.25 .357 .492, the best entry alone
# .330 .476 (nDCG@10, dev queries, mean of two and of three seeds).
_ENTRIES_A_ROW = 4
_NEAR = 1.1
_RESIDUALS_A_CODEWORD = 256
# With fewer rows a codeword than this, k-means is short, in the first codebooks and in later ones;
# docs/architecture.md says what that gains and where it loses.
_FEW_ROWS, _FEW_ROWS_LATER, _EARLY = 32, 100, 16


class Ladder:
    """Residual codebooks of K codewords each, one byte a codebook (two where K is 16).

    Codewords are stored in 8, 4 or 2 bits a coordinate with a float32 scale each, and rounded
    before the next codebook is fitted, so that later codebooks make up for the rounding. Residual
    quantization: Chen et al. 2010, "Approximate nearest neighbor search by residual vector
    quantization"; the beam: Babenko & Lempitsky 2014, "Additive quantization"; the sum over the
    cuts of a code is ours, after Kusupati et al. 2022 (arXiv:2205.13147, eq. 1), who sum a loss
    over widths.
    """

    kind = "cb"

    def __init__(self, n_bytes: int, codewords: int, precision: int = 8) -> None:
        self.bytes = n_bytes
        self.codewords = codewords
        self.packed = codewords == 16
        self.precision = precision
        self.ends = tuple(range(1, n_bytes + 1))
        self.beam = 1
        self.weights: tuple[float, ...] = (1.0,) * n_bytes
        self.words = np.zeros((0, codewords, 0), np.int8)
        self.scales = np.zeros((0, codewords), np.float32)
        self.codebooks: F32 = np.zeros((0, codewords, 0), np.float32)
        self._runs: list[_Run] | None = None

    @property
    def depth(self) -> int:
        """Number of codebooks."""
        return self.bytes * 2 if self.packed else self.bytes

    def fit(self, residuals: F32, fitting: Fitting) -> None:
        """Fit codebook after codebook on what the beam's entries leave, not on the best alone.

        The best entry of every row counts. Of the others whose squared error is within a tenth of
        its, so many are drawn that there are at most four a row and 256 a codeword. Far entries
        would teach codewords to jump between clusters, and cuts in between would be worse than
        the cut before them.
        """
        d = residuals.shape[1]
        self.beam = fitting.beam
        self.weights = fitting.weights
        self.words = np.zeros((self.depth, self.codewords, d), np.int8)
        self.scales = np.zeros((self.depth, self.codewords), np.float32)
        self.codebooks = np.zeros((self.depth, self.codewords, d), np.float32)
        self._runs = None
        with threads() as pool:
            self._fit_codebooks(residuals, fitting, pool)

    def _fit_codebooks(self, residuals: F32, fitting: Fitting, pool: Pool) -> None:
        here = residuals
        for first, last in self._run_bounds():
            beams = _Beams(here, self.beam, last - first)
            for level in range(last - first):
                seed = fitting.seed * 1009 + first + level
                few = self._few(len(here), first + level)
                rest = beams.residuals(here, self.codebooks[first : first + level], seed)
                centers = progressive_kmeans(rest, self.codewords, pool, seed=seed, short=few)
                words, scales = round_codewords(centers, self.precision)
                self.words[first + level], self.scales[first + level] = words, scales
                self.codebooks[first + level] = words * scales[:, None]
                run = _Run(self.codebooks[first : first + level + 1], only_last=True)
                beams.extend(run, level, here, *self._ranking(first + level))
                fitting.progress.advance(1)
            rest = here.copy()
            add_codewords(rest, -self.codebooks[first:last], beams.codes[:, 0], 0)
            here = rest

    def _few(self, rows: int, level: int) -> bool:
        """Whether rows are too few for long k-means; so far for codewords of 2 bits alone."""
        least = _FEW_ROWS if level < _EARLY else _FEW_ROWS_LATER
        return self.precision == 2 and rows < least * self.codewords

    def encode(self, residuals: F32) -> U8:
        """Codes (n, bytes); by blocks of 8,192 rows, so memory is bounded by the block."""
        runs = self._all_runs()
        out = np.empty((len(residuals), self.depth), np.uint8)
        for start in range(0, len(residuals), _BLOCK):
            here = np.ascontiguousarray(residuals[start : start + _BLOCK], dtype=np.float32)
            first = 0
            for run in runs:
                beams = _Beams(here, self.beam, run.depth)
                for level in range(run.depth):
                    beams.extend(run, level, here, *self._ranking(first + level))
                best = np.ascontiguousarray(beams.codes[:, 0])
                out[start : start + _BLOCK, first : first + run.depth] = best
                first += run.depth
                if first < self.depth:
                    here = here.copy()
                    add_codewords(here, -run.codebooks, best, 0)
        return pack(out) if self.packed else out

    def add_decoded(self, out: F32, codes: U8, start: int, stop: int) -> None:
        """Add the codewords named by bytes start to stop to out (n, d), in place."""
        words = self._words_of(codes, start, stop)
        add_codewords(out, self.codebooks, words, start * 2 if self.packed else start)

    def table(self, queries: F32) -> F32:
        """What each byte of a code adds to a score: (q, bytes, K), or 256 for two words a byte."""
        depth, k, d = self.codebooks.shape
        products: F32 = queries @ self.codebooks.reshape(depth * k, d).T
        products = products.reshape(len(queries), depth, k)
        if not self.packed:
            return products
        low, high = products[:, 0::2, None, :], products[:, 1::2, :, None]
        return (low + high).reshape(len(queries), self.bytes, k * k)

    def add_sums(self, out: F32, table: F32, codes: U8, start: int, stop: int) -> None:
        """Add the looked-up inner products of bytes start to stop to out (q, n), in place."""
        cut = np.ascontiguousarray(codes[:, start:stop])
        part = np.ascontiguousarray(table[:, start:stop])
        (look_up_alone if len(out) * cut.size < _FEW_LOOK_UPS else look_up)(out, part, cut)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """words (depth, K, d) int8, or packed (depth, K, bytes) uint8, and scales (depth, K)."""
        words: NDArray[Any] = self.words
        if self.precision < 8:
            words = pack_words(words, self.precision)
        return {"words": words, "scales": self.scales}

    def to_config(self) -> dict[str, Any]:
        """Everything but the arrays."""
        return {
            "kind": self.kind,
            "bytes": self.bytes,
            "codewords": self.codewords,
            "precision": self.precision,
            "dim": self.codebooks.shape[2],
            "beam": self.beam,
            "weights": list(self.weights),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], arrays: Arrays) -> Ladder:
        """The ladder that to_config and arrays describe."""
        ladder = cls(int(config["bytes"]), int(config["codewords"]), int(config["precision"]))
        ladder.beam = int(config["beam"])
        ladder.weights = tuple(float(w) for w in config["weights"])
        words = np.asarray(arrays["words"])
        if ladder.precision < 8:
            words = unpack_words(words, ladder.precision, int(config["dim"]))
        ladder._hold(words, np.asarray(arrays["scales"], np.float32))
        return ladder

    def cut(self, n_bytes: int) -> Ladder:
        """The first n_bytes of the ladder."""
        depth = n_bytes * 2 if self.packed else n_bytes
        short = Ladder(n_bytes, self.codewords, self.precision)
        short.beam, short.weights = self.beam, self.weights[:n_bytes]
        short._hold(self.words[:depth], self.scales[:depth])
        return short

    def _hold(self, words: NDArray[np.int8], scales: F32) -> None:
        self.words, self.scales = words, scales
        self.codebooks = words * scales[:, :, None]

    def _words_of(self, codes: U8, start: int, stop: int) -> U8:
        cut = np.ascontiguousarray(codes[:, start:stop])
        return unpack(cut) if self.packed else cut

    def _ranking(self, level: int) -> tuple[float, float]:
        """Weight of the error after this codebook, and of all the errors that come later."""
        weights = np.zeros(self.depth)
        step = 2 if self.packed else 1
        weights[step - 1 :: step] = self.weights
        if not weights[-1]:
            weights[-1] = 1.0
        return float(weights[level]), float(weights[level + 1 :].sum())

    def _run_bounds(self) -> list[tuple[int, int]]:
        pairs_bytes = self.codewords * self.codewords * 4
        longest = 2
        while longest < self.depth and longest * (longest + 1) // 2 * pairs_bytes <= _RUN_BYTES:
            longest += 1
        return [(s, min(s + longest, self.depth)) for s in range(0, self.depth, longest)]

    def _all_runs(self) -> list[_Run]:
        if self._runs is None:
            self._runs = [_Run(self.codebooks[a:b]) for a, b in self._run_bounds()]
        return self._runs


class _Run:
    """Codebooks encoded by one beam, with the inner products between their codewords."""

    def __init__(self, codebooks: F32, *, only_last: bool = False) -> None:
        self.codebooks = codebooks
        self.depth, k, d = codebooks.shape
        flat = codebooks.reshape(self.depth * k, d)
        wanted = [self.depth - 1] if only_last else range(self.depth)
        self.cross = {m: (flat[: m * k] @ codebooks[m].T).reshape(m, k, k) for m in wanted}
        self.squares = np.einsum("mkd,mkd->mk", codebooks, codebooks)


class _Beams:
    """The entries kept for each row while a run of codebooks is walked."""

    def __init__(self, rows: F32, beam: int, depth: int) -> None:
        n = len(rows)
        self.beam = beam
        self.alive = 1
        self.codes = np.zeros((n, beam, depth), np.uint8)
        self.errors = np.zeros((n, beam), np.float32)
        self.errors[:, 0] = np.einsum("nd,nd->n", rows, rows)
        self.sums = np.zeros((n, beam), np.float32)

    def residuals(self, rows: F32, codebooks: F32, seed: int) -> F32:
        """What codebooks (level, K, d) leave: by every row's best entry, and by near ones."""
        level = len(codebooks)
        errors = self.errors[:, : self.alive]
        every, best = np.arange(len(rows)), errors.argmin(axis=1)
        least = np.maximum(errors[every, best], 0)
        near = errors <= _NEAR * least[:, None] + np.float32(1e-12)
        near[every, best] = False
        row, entry = np.nonzero(near)
        most = min(len(rows) * _ENTRIES_A_ROW, codebooks.shape[1] * _RESIDUALS_A_CODEWORD)
        room = max(most - len(rows), 0)
        if len(row) > room:
            picks = np.sort(np.random.default_rng(seed).permutation(len(row))[:room])
            row, entry = row[picks], entry[picks]
        row, entry = np.concatenate([every, row]), np.concatenate([best, entry])
        rest = rows[row]
        add_codewords(rest, -codebooks, self.codes[row, entry, :level], 0)
        return rest

    def extend(self, run: _Run, level: int, rows: F32, weight: float, ahead: float) -> None:
        after = min(self.beam, self.alive * run.codebooks.shape[1])
        book = run.codebooks[level]
        dots = rows @ book.T
        counts = np.array([self.alive, after], np.int64)
        extend_beams(
            level, dots, run.cross[level], run.squares[level], counts,
            self.codes, self.errors, self.sums, weight, ahead,
        )  # fmt: skip
        self.alive = after


def round_codewords(centers: F32, precision: int) -> tuple[NDArray[np.int8], F32]:
    """Codewords (K, d) as integers (K, d) and a scale (K,), so that words * scale is near them.

    precision: bits of an integer, 8, 4 or 2, for -127 to 127, -7 to 7 or -1 to 1. With 8 the
    largest coordinate is at its end; with fewer the scale is the one of least squared error among
    some that clip up to four fifths of the largest coordinate.
    """
    top = np.float32(2 ** (precision - 1) - 1)
    largest = np.abs(centers).max(axis=1)
    largest[largest == 0] = 1
    scales = np.zeros(len(centers), np.float32)
    words = np.zeros(centers.shape, np.int8)
    least = np.full(len(centers), np.inf)
    for share in (1.0,) if precision == 8 else np.linspace(0.2, 1.0, 17):
        tried = (largest * share / top).astype(np.float32)
        rounded = np.clip(np.rint(centers / tried[:, None]), -top, top)
        errors = ((rounded * tried[:, None] - centers) ** 2).sum(axis=1)
        better = errors < least
        least[better], scales[better] = errors[better], tried[better]
        words[better] = rounded[better]
    return words, scales


def pack_words(words: NDArray[np.int8], bits: int) -> U8:
    """Signed words (..., d) in 4 or 2 bits each, the earlier in the lower ones: (..., bytes)."""
    share = 8 // bits
    empty = -words.shape[-1] % share
    shifted = np.pad(words + 2 ** (bits - 1), [(0, 0)] * (words.ndim - 1) + [(0, empty)])
    packed = np.zeros((*words.shape[:-1], shifted.shape[-1] // share), np.uint8)
    for i in range(share):
        packed |= shifted[..., i::share].astype(np.uint8) << (bits * i)
    return packed


def unpack_words(packed: U8, bits: int, dim: int) -> NDArray[np.int8]:
    """The inverse of pack_words: (..., bytes) to (..., dim)."""
    share = 8 // bits
    words = np.empty((*packed.shape[:-1], packed.shape[-1] * share), np.int8)
    for i in range(share):
        words[..., i::share] = (packed >> (bits * i)) & (2**bits - 1)
    return words[..., :dim] - np.int8(2 ** (bits - 1))


def pack(words: U8) -> U8:
    """Two 4-bit words a byte, the earlier one in the low half: (n, 2b) to (n, b)."""
    packed: U8 = (words[:, 0::2] | (words[:, 1::2] << 4)).astype(np.uint8)
    return packed


def unpack(codes: U8) -> U8:
    """The inverse of pack: (n, b) to (n, 2b)."""
    words = np.empty((codes.shape[0], codes.shape[1] * 2), np.uint8)
    words[:, 0::2] = codes & 15
    words[:, 1::2] = codes >> 4
    return words
