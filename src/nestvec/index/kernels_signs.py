"""Compiled scans of sign planes, by counting bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numba.extending import intrinsic
from numpy.typing import NDArray

from nestvec.codec.kernels import compiled
from nestvec.index.kernels import BLOCK_ROWS, Held, enter, may_enter

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]


@intrinsic
def _set_bits(typing: Any, word: Any) -> Any:
    """The number of set bits: the processor's own instruction, or shifts where it has none."""

    def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.ctpop(values[0])

    return word(word), emit


@compiled(boundscheck=False)
def _agreeing(scores: F32, words: U64, n: int, query: U64) -> None:
    """Of n rows of a block, bits that agree with the query's less those that do not."""
    width = words.shape[0]
    bits = 64 * width
    done = 0
    while done < width:
        if width - done >= 4:
            for i in range(n):
                differing = np.int32(_set_bits(words[done, i] ^ query[done]))
                differing += np.int32(_set_bits(words[done + 1, i] ^ query[done + 1]))
                differing += np.int32(_set_bits(words[done + 2, i] ^ query[done + 2]))
                differing += np.int32(_set_bits(words[done + 3, i] ^ query[done + 3]))
                before = scores[i] if done else np.float32(bits)
                scores[i] = before - np.float32(2 * differing)
            done += 4
        else:
            for i in range(n):
                differing = np.int32(_set_bits(words[done, i] ^ query[done]))
                before = scores[i] if done else np.float32(bits)
                scores[i] = before - np.float32(2 * differing)
            done += 1


@compiled(parallel=True, boundscheck=False)
def scan_signs(words: U64, seqs: I64, queries: U64, held: Held) -> None:
    """Score rows of signs by queries of signs, and keep the best of every query, a lane a thread.

    words: (blocks, w, 1024) uint64, word-plane major; seqs: (n,); queries: (q, w). A score, and a
    sum, is the number of agreeing bits less that of the others.
    """
    n_lanes = held.counts.shape[0]
    n_blocks = words.shape[0]
    for lane in prange(n_lanes):
        scores = np.empty(BLOCK_ROWS, np.float32)
        places = np.empty(BLOCK_ROWS, np.int64)
        for block in range(lane * n_blocks // n_lanes, (lane + 1) * n_blocks // n_lanes):
            first = block * BLOCK_ROWS
            n = min(BLOCK_ROWS, len(seqs) - first)
            for q in range(queries.shape[0]):
                _agreeing(scores, words[block], n, queries[q])
                for k in range(may_enter(places, scores, n, held.floors[lane, q])):
                    i = places[k]
                    enter(held, lane, q, scores[i], scores[i], seqs[first + i], first + i)
