from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nestvec.data.tokens import Tokens, batches_of, pad


@given(st.lists(st.integers(1, 50), min_size=1), st.integers(1, 200))
def test_batches_cover_all_rows_within_the_budget(lengths: list[int], budget: int) -> None:
    sizes = np.array(lengths)
    order = np.argsort(-sizes, kind="stable")
    batches = list(batches_of(order, sizes, budget))
    assert np.concatenate(batches).tolist() == order.tolist()
    for batch in batches:
        assert len(batch) == 1 or len(batch) * sizes[batch].max() <= budget


@pytest.mark.parametrize(("side", "ids"), [("right", [7, 8, 0]), ("left", [0, 7, 8])])
def test_padding_goes_to_the_tokenizers_side(side: str, ids: list[int]) -> None:
    tokenizer = SimpleNamespace(
        pad_token_id=0, pad_token_type_id=0, padding_side=side, model_input_names=["input_ids"]
    )
    short, long = np.array([7, 8], np.int32), np.array([1, 2, 3], np.int32)
    rows = [Tokens(short, short * 0, False), Tokens(long, long * 0, True)]
    found = pad(tokenizer, rows)
    assert sorted(found) == ["attention_mask", "input_ids"]
    assert found["input_ids"].tolist() == [ids, [1, 2, 3]]
    assert found["attention_mask"].tolist() == [[int(i > 0) for i in ids], [1, 1, 1]]
