from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nestvec.index.selection import Selection, best, ranked

few_scores = st.lists(st.sampled_from([-1.0, 0.0, 0.25, 0.5, 2.0]), min_size=1, max_size=60)


@given(few_scores, st.integers(1, 70), st.randoms())
def test_best_is_the_head_of_the_full_order(scores: list[float], keep: int, rng: object) -> None:
    array = np.array(scores, np.float32)
    seqs = np.random.default_rng(rng.getrandbits(32)).permutation(len(scores)).astype(np.int64)  # type: ignore[attr-defined]
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], seqs[i]))
    assert ranked(array, seqs).tolist() == order
    assert set(best(array, seqs, keep).tolist()) == set(order[:keep])


@given(few_scores, st.integers(1, 70), st.integers(1, 9), st.randoms())
def test_a_running_choice_equals_one_choice(
    scores: list[float], keep: int, run: int, rng: object
) -> None:
    array = np.array(scores, np.float32)
    seqs = np.random.default_rng(rng.getrandbits(32)).permutation(len(scores)).astype(np.int64)  # type: ignore[attr-defined]
    selection = Selection(keep)
    for start in range(0, len(array), run):
        part = slice(start, start + run)
        selection.offer(np.arange(len(array))[part], seqs[part], array[part] * 2, array[part])
    expected = sorted(range(len(scores)), key=lambda i: (-scores[i], seqs[i]))[:keep]
    found = ranked(selection.scores, selection.seqs)
    assert selection.rows[found].tolist() == expected
    assert selection.seqs[found].tolist() == seqs[expected].tolist()
    assert selection.sums[found].tolist() == (array[expected] * 2).tolist()
