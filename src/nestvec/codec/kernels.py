"""Compiled loops of the codec: beam extension, look-ups, sums by codeword.

The only file of this room that imports numba. Kernels are cached on disk, so a second process
starts at once. Every kernel has a plain twin in the tests.
"""

from __future__ import annotations

import numpy as np
from numba import get_num_threads, prange
from numpy.typing import NDArray

from nestvec.compiled import compiled

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]


@compiled(parallel=True, fastmath={"reassoc", "contract", "nsz"}, boundscheck=False)
def extend_beams(
    level: int,
    dots: F32,
    cross: F32,
    squares: F32,
    alive: I64,
    codes: U8,
    errors: F32,
    sums: F32,
    weight: float,
    ahead: float,
) -> None:
    """Append one codeword to every beam entry of every row, keeping the best by the summed error.

    level: index m of the level appended. dots: (n, K) products of the rows with its codewords.
    cross: (m, K_before, K) products of earlier levels' codewords with this level's.
    squares: (K,) squared norms of the level's codewords.
    alive: (2,) entries in use before (read) and after (read) this level.
    codes: (n, B, L) codes so far, changed in place; errors: (n, B) squared errors |x - x_m|^2;
    sums: (n, B) sums over the cuts so far of weight times error.
    weight: this cut's weight c_m; ahead: the weight that the error at m stands for in later cuts.
    An entry is ranked by sums + (weight + ahead) * error; ties go to the earlier entry, then to
    the smaller codeword.
    """
    n_rows = dots.shape[0]
    width = squares.shape[0]
    before = alive[0]
    after = alive[1]
    rank = weight + ahead
    for i in prange(n_rows):
        shared = np.empty(width, np.float32)
        own = np.empty(width, np.float32)
        keys = np.empty(after, np.float32)
        parents = np.empty(after, np.int64)
        words = np.empty(after, np.int64)
        new_errors = np.empty(after, np.float32)
        # Entries of one row mostly share their first codewords: add those rows of the table once.
        common = level
        for b in range(1, before):
            j = 0
            while j < common and codes[i, b, j] == codes[i, 0, j]:
                j += 1
            common = j
        for k in range(width):
            shared[k] = squares[k] - np.float32(2.0) * dots[i, k]
        j = 0
        while j + 3 < common:
            c0 = codes[i, 0, j]
            c1 = codes[i, 0, j + 1]
            c2 = codes[i, 0, j + 2]
            c3 = codes[i, 0, j + 3]
            for k in range(width):
                shared[k] += np.float32(2.0) * (
                    (cross[j, c0, k] + cross[j + 1, c1, k])
                    + (cross[j + 2, c2, k] + cross[j + 3, c3, k])
                )
            j += 4
        while j < common:
            c0 = codes[i, 0, j]
            for k in range(width):
                shared[k] += np.float32(2.0) * cross[j, c0, k]
            j += 1
        held = 0
        worst = np.float32(np.inf)
        for b in range(before):
            for k in range(width):
                own[k] = shared[k]
            for j in range(common, level):
                c0 = codes[i, b, j]
                for k in range(width):
                    own[k] += np.float32(2.0) * cross[j, c0, k]
            base = sums[i, b] + np.float32(rank) * errors[i, b]
            # Is there anything to find? A vectorised minimum answers for most entries.
            least = np.float32(np.inf)
            for k in range(width):
                least = min(least, own[k])
            if held == after and base + np.float32(rank) * least >= worst:
                continue
            for k in range(width):
                key = base + np.float32(rank) * own[k]
                if held == after and not key < worst:
                    continue
                if held < after:
                    at = held
                    held += 1
                else:
                    at = after - 1
                while at > 0 and key < keys[at - 1]:
                    keys[at] = keys[at - 1]
                    parents[at] = parents[at - 1]
                    words[at] = words[at - 1]
                    new_errors[at] = new_errors[at - 1]
                    at -= 1
                keys[at] = key
                parents[at] = b
                words[at] = k
                new_errors[at] = errors[i, b] + own[k]
                if held == after:
                    worst = keys[after - 1]
        moved = np.empty((after, level + 1), np.uint8)
        moved_sums = np.empty(after, np.float32)
        for s in range(after):
            p = parents[s]
            for j in range(level):
                moved[s, j] = codes[i, p, j]
            moved[s, level] = np.uint8(words[s])
            moved_sums[s] = sums[i, p] + np.float32(weight) * new_errors[s]
        for s in range(after):
            for j in range(level + 1):
                codes[i, s, j] = moved[s, j]
            errors[i, s] = new_errors[s]
            sums[i, s] = moved_sums[s]


@compiled(parallel=True, boundscheck=False)
def add_codewords(out: F32, codebooks: F32, codes: U8, first: int) -> None:
    """Add to out (n, d) the codewords of levels first, first + 1, ... of codes (n, L').

    codebooks: (L, K, d); column j of codes indexes codebooks[first + j]. Changed in place.
    """
    for i in prange(out.shape[0]):
        for j in range(codes.shape[1]):
            word = codebooks[first + j, codes[i, j]]
            for k in range(out.shape[1]):
                out[i, k] += word[k]


@compiled(parallel=True, boundscheck=False)
def look_up(out: F32, tables: F32, codes: U8) -> None:
    """Add to out (q, n) the sum over levels j of tables[q, j, codes[n, j]]; changed in place.

    tables: (q, L', K) float32; codes: (n, L').
    """
    n_queries = tables.shape[0]
    n_rows = codes.shape[0]
    block = 1024
    n_blocks = (n_rows + block - 1) // block
    for piece in prange(n_queries * n_blocks):
        q = piece // n_blocks
        start = (piece % n_blocks) * block
        stop = min(start + block, n_rows)
        for i in range(start, stop):
            total = np.float32(0.0)
            for j in range(codes.shape[1]):
                total += tables[q, j, codes[i, j]]
            out[q, i] += total


@compiled(boundscheck=False)
def look_up_alone(out: F32, tables: F32, codes: U8) -> None:
    """look_up on the calling thread: waking others costs more than a few look-ups take."""
    for q in range(tables.shape[0]):
        for i in range(codes.shape[0]):
            total = np.float32(0.0)
            for j in range(codes.shape[1]):
                total += tables[q, j, codes[i, j]]
            out[q, i] += total


@compiled(parallel=True, fastmath={"reassoc", "contract", "nsz"}, boundscheck=False)
def add_products(out: F32, queries: F32, offsets: F32, codes: U8) -> None:
    """Add to out (q, n) the products of queries (q, w) with bytes (n, w), and offsets (q,).

    Equal rows get equal sums wherever they stand, which matrix products do not promise.
    """
    n_rows = codes.shape[0]
    block = 256
    for piece in prange((n_rows + block - 1) // block):
        for i in range(piece * block, min((piece + 1) * block, n_rows)):
            for q in range(queries.shape[0]):
                total = np.float32(0.0)
                for j in range(codes.shape[1]):
                    total += queries[q, j] * np.float32(codes[i, j])
                out[q, i] += total + offsets[q]


@compiled(boundscheck=False, nogil=True)
def add_to_sums(sums: F32, counts: I64, rows: F32, words: I64) -> None:
    """Add each row (n, d) to sums[words[row]] (K, d) and count it; changed in place.

    Runs on the calling thread and lets others run.
    """
    for i in range(rows.shape[0]):
        word = words[i]
        counts[word] += 1
        for k in range(rows.shape[1]):
            sums[word, k] += rows[i, k]


def thread_count() -> int:
    """Threads that compiled loops use: one a core, or NUMBA_NUM_THREADS."""
    return int(get_num_threads())
