"""Sentences that stand for questions about the texts they come from."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np

FEWEST_SENTENCES = 3
"""A text of fewer is hardly more than the sentence drawn from it: the two tell nothing apart."""
FEWEST_WORDS = 6

_ENDS = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]*[A-Z0-9])")


def sentences(text: str) -> list[str]:
    """The sentences of a text with at least 6 words, in order.

    One ends at a full stop, question or exclamation mark before white space and a capital or a
    digit: good enough for prose, and abbreviations cost a sentence at most.
    """
    pieces = (" ".join(piece.split()) for piece in _ENDS.split(text))
    return [piece for piece in pieces if len(piece.split()) >= FEWEST_WORDS]


def drawn_sentences(texts: Iterable[str], most: int, seed: int) -> tuple[list[str], list[int]]:
    """One sentence of each of at most `most` texts, drawn by seed, and the texts' rows, rising.

    Texts of fewer than 3 sentences are left out. Memory: a sentence a text.
    """
    rng = np.random.default_rng(seed)
    found = []
    for row, text in enumerate(texts):
        parts = sentences(text)
        if len(parts) >= FEWEST_SENTENCES:
            found.append((parts[int(rng.integers(len(parts)))], row))
    picks = np.sort(rng.permutation(len(found))[:most]).tolist()
    return [found[i][0] for i in picks], [found[i][1] for i in picks]
