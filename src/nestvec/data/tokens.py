"""Tokens of texts, and batches of them that cost the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_TOKENIZED_AT_ONCE = 256
# Characters that a token may have on average; where it has more, the whole text is looked at.
_MOST_CHARACTERS = 50


@dataclass(frozen=True, slots=True)
class Tokens:
    """ids and types: (m,) of the m tokens of a text, specials among them; cut: it was longer."""

    ids: NDArray[np.int32]
    types: NDArray[np.int32]
    cut: bool


def tokenize(tokenizer: Any, texts: list[str], longest: int | None) -> list[Tokens]:
    """The tokens of each text, cut at longest; a few texts at a time, since the tokenizer's own
    records hold some 100 bytes a token, those beyond the cut among them.
    """
    found: list[Tokens] = []
    for start in range(0, len(texts), _TOKENIZED_AT_ONCE):
        part = texts[start : start + _TOKENIZED_AT_ONCE]
        if longest is None:
            found += _tokens_of(tokenizer, part, None)
            continue
        # a book need not be read to its end to know its first 256 tokens
        heads = [text[: longest * _MOST_CHARACTERS] for text in part]
        for text, head, tokens in zip(
            part, heads, _tokens_of(tokenizer, heads, longest), strict=True
        ):
            whole = tokens.cut or len(head) == len(text)
            found += [tokens] if whole else _tokens_of(tokenizer, [text], longest)
    return found


def _tokens_of(tokenizer: Any, texts: list[str], longest: int | None) -> list[Tokens]:
    encoded = tokenizer(
        texts,
        truncation=longest is not None,
        max_length=longest,
        padding=False,
        return_attention_mask=False,
        verbose=False,
    )
    return [
        Tokens(
            np.array(encoding.ids, np.int32),
            np.array(encoding.type_ids, np.int32),
            bool(encoding.overflowing),
        )
        for encoding in encoded.encodings
    ]


def batches_of(
    order: NDArray[np.int64], lengths: NDArray[np.int64], tokens: int
) -> Iterator[NDArray[np.int64]]:
    """Runs of rows in this order (longest first) of at most tokens tokens with their padding."""
    start = 0
    while start < len(order):
        rows = max(1, tokens // max(1, int(lengths[order[start]])))
        yield order[start : start + rows]
        start += rows


def pad(tokenizer: Any, tokenized: list[Tokens]) -> dict[str, NDArray[np.int64]]:
    """What a transformer takes: (rows, longest) arrays, filled up on the tokenizer's side."""
    longest = max(len(tokens.ids) for tokens in tokenized)
    shape = (len(tokenized), longest)
    ids = np.full(shape, tokenizer.pad_token_id, np.int64)
    mask = np.zeros(shape, np.int64)
    types = np.full(shape, tokenizer.pad_token_type_id, np.int64)
    left = tokenizer.padding_side == "left"
    for row, tokens in enumerate(tokenized):
        length = len(tokens.ids)
        place = slice(longest - length, None) if left else slice(0, length)
        ids[row, place] = tokens.ids
        mask[row, place] = 1
        types[row, place] = tokens.types
    features = {"input_ids": ids, "attention_mask": mask}
    if "token_type_ids" in tokenizer.model_input_names:
        features["token_type_ids"] = types
    return features
