"""Examples: what does not fit, the split by document, and batches."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nestvec.errors import UserError
from nestvec.learn.adapters.examples import Examples, batches, steps_an_epoch

CPU = torch.device("cpu")


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


DOCUMENTS, QUERIES = numbers(20, 4), numbers(9, 4, seed=1)
# query 0 has documents 0 and 1, 1 shares document 1, 2 has 2 .. 5, the others one each
PAIRS = np.array(
    [
        [0, 0],
        [0, 1],
        [1, 1],
        [2, 2],
        [2, 3],
        [2, 4],
        [2, 5],
        [3, 6],
        [4, 7],
        [5, 8],
        [6, 9],
        [7, 10],
    ]
)
GRADES = np.arange(1, 13).astype(np.float32)
EXAMPLES = Examples(DOCUMENTS, QUERIES, PAIRS, GRADES)


def drawn(examples, size, count, seed=0):
    return list(islice(batches(examples, size, seed, CPU), count))


def nearest(queries):
    """Which of QUERIES unit rows are."""
    unit = torch.nn.functional.normalize(torch.from_numpy(QUERIES), dim=1)
    return (queries @ unit.T).argmax(dim=1).tolist()


def test_what_examples_are():
    assert EXAMPLES.dim == 4
    assert EXAMPLES.labelled
    assert not Examples(DOCUMENTS, QUERIES).labelled


@pytest.mark.parametrize(
    ("queries", "pairs", "grades", "said"),
    [
        (QUERIES, [[0, 0], [1, 20]], None, r"9 queries and 20 documents; pair 1 names \(1, 20\)"),
        (QUERIES, [[9, 0]], None, r"pair 0 names \(9, 0\)"),
        (QUERIES, [[0, -1]], None, r"pair 0 names \(0, -1\)"),
        (None, [[0, 0]], None, "of no queries. Give both"),
        (QUERIES, np.zeros((0, 2), np.int64), None, r"at least one; got \(0, 2\)"),
        (QUERIES, [0, 0], None, r"at least one; got \(2,\)"),
        (QUERIES, [[0, 0, 0]], None, r"at least one; got \(1, 3\)"),
        (QUERIES[:, :3], [[0, 0]], None, r"as wide as documents; got \(9, 3\) and \(20, 4\)"),
        (QUERIES, [[0, 0]], [0.0], "one grade above 0"),
        (QUERIES, [[0, 0]], [-1.0], "one grade above 0"),
        (QUERIES, [[0, 0]], [1.0, 1.0], "got 2 grades for 1 pairs"),
        (QUERIES, [[0, 0]], [np.nan], "one grade above 0; pair 0 has nan"),
        (QUERIES, [[0, 0]], [np.inf], "one grade above 0; pair 0 has inf"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(queries, pairs, grades, said):
    given_grades = None if grades is None else np.array(grades, np.float32)
    with pytest.raises(UserError, match=said):
        Examples(DOCUMENTS, queries, np.array(pairs), given_grades)


def test_documents_are_a_table():
    with pytest.raises(UserError, match=r"rows by coordinates; got the shape \(20,\). Stack"):
        Examples(DOCUMENTS[:, 0], QUERIES, PAIRS)


def changed(rows, at, value):
    rows = rows.copy()
    rows[at] = value
    return rows


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        (Examples(changed(DOCUMENTS, (3, 1), np.nan)), "documents: row 3 has NaN"),
        (Examples(changed(DOCUMENTS, (3, 1), np.inf)), "documents: row 3 has infinity"),
        (Examples(changed(DOCUMENTS, 5, 0)), "documents: row 5 is all zero"),
        (Examples(DOCUMENTS, changed(QUERIES, (2, 0), np.nan)), "queries: row 2 has NaN"),
        (Examples(np.ones((30, 4), np.float32)), "vectors that differ; got equal ones"),
        (Examples(DOCUMENTS[:1]), "vectors that differ"),
        (Examples(np.ones((30, 4), np.int64)), "must be float16, float32"),
    ],
)
def test_vectors_that_teach_nothing(examples, said):
    with pytest.raises(UserError, match=said):
        examples.check()


def test_good_ones_pass():
    EXAMPLES.check()
    Examples(DOCUMENTS.astype(np.float16)).check()


def test_of_more_rows_than_are_compared_some_differ():
    rows = np.ones((25_000, 2), np.float32)
    rows[12_500:, 0] = 2
    Examples(rows).check()


@given(
    pairs=st.lists(
        st.tuples(st.integers(0, 8), st.integers(0, 19)), min_size=4, max_size=25, unique=True
    ),
    share=st.floats(0.05, 0.6),
    seed=st.integers(0, 1_000),
)
def test_no_document_and_no_query_is_on_both_sides(pairs, share, seed):
    grades = np.arange(1, len(pairs) + 1).astype(np.float32)
    examples = Examples(DOCUMENTS, QUERIES, np.array(pairs), grades)
    try:
        fitted, held = examples.split(share, seed)
    except UserError:
        # all pairs hang together: test_pairs_that_all_hang_together
        return
    assert not set(fitted.pairs[:, 0]) & set(held.pairs[:, 0])
    assert not set(fitted.pairs[:, 1]) & set(held.pairs[:, 1])
    # together all of them, each with its own grade
    again = np.concatenate([fitted.pairs, held.pairs])
    theirs = np.concatenate([fitted.grades, held.grades])
    assert len(again) == len(pairs)
    for pair, grade in zip(again.tolist(), theirs.tolist(), strict=True):
        assert pairs[int(grade) - 1] == tuple(pair)
    assert fitted.documents is examples.documents
    assert held.queries is examples.queries


def test_a_split_holds_out_about_its_share_and_comes_again_by_seed(planted):
    examples = planted(n=200)
    fitted, held = examples.split(0.1, seed=3)
    assert len(held.pairs) == 20
    assert len(fitted.pairs) == 180
    np.testing.assert_array_equal(examples.split(0.1, seed=3)[1].pairs, held.pairs)
    assert not np.array_equal(examples.split(0.1, seed=4)[1].pairs, held.pairs)


def test_at_least_one_group_is_held_out():
    pairs = np.stack([np.arange(4), np.arange(4)], 1)
    fitted, held = Examples(DOCUMENTS, QUERIES, pairs).split(0.1, seed=0)
    assert (len(fitted.pairs), len(held.pairs)) == (3, 1)


def test_a_large_group_drawn_first_does_not_empty_the_held_out_side():
    # eight queries hang on one document, of every other document one: 8 of 48 pairs
    n = 40
    pairs = np.array([[i, 0] for i in range(8)] + [[8 + i, 1 + i] for i in range(n)])
    examples = Examples(numbers(n + 1, 4), numbers(n + 8, 4), pairs)
    sizes = [len(examples.split(0.1, seed)[1].pairs) for seed in range(60)]
    assert max(sizes) <= 4
    # where the group comes among the first, little is left; the others have all 4
    assert np.median(sizes) == 4


def test_the_share_is_filled_whatever_is_drawn_first():
    n = 40
    pairs = np.array([[i, 0] for i in range(8)] + [[8 + i, 1 + i] for i in range(n)])
    examples = Examples(numbers(n + 1, 4), numbers(n + 8, 4), pairs)
    assert {len(examples.split(0.1, seed)[1].pairs) for seed in range(60)} == {4}


def test_pairs_that_all_hang_together_are_said_so():
    pairs = np.stack([np.arange(9), np.zeros(9, np.int64)], 1)
    with pytest.raises(UserError, match=r"document") as raised:
        Examples(DOCUMENTS, QUERIES, pairs).split(0.1, seed=0)
    assert "(0, 2)" not in str(raised.value)


def test_whole_queries_are_held_out_where_documents_tie_all_together():
    # 30 queries, each of its own document and of document 0
    pairs = np.array([[i, row] for i in range(30) for row in (0, i + 1)])
    grades = np.arange(1, 61).astype(np.float32)
    examples = Examples(numbers(31, 4), numbers(30, 4), pairs, grades)
    assert examples.tied == 1
    assert EXAMPLES.tied == 4 / 12  # query 2's; of 0 and 1 there are three
    fitted, held = examples.split_queries(0.1, seed=0)
    assert len(np.unique(held.pairs[:, 0])) == 3
    assert not set(fitted.pairs[:, 0]) & set(held.pairs[:, 0])
    assert sorted(np.concatenate([fitted.grades, held.grades])) == grades.tolist()
    assert not np.array_equal(examples.split_queries(0.1, seed=1)[1].pairs, held.pairs)
    alone = Examples(DOCUMENTS, QUERIES, np.array([[3, row] for row in range(12)]))
    with pytest.raises(UserError, match=r"all 12 pairs are of one. Give pairs of other queries"):
        alone.split_queries(0.1, seed=0)


def test_documents_are_held_out_by_row():
    fitted, held = EXAMPLES.split_documents(0.1, seed=0)
    assert (len(fitted.rows), len(held.rows)) == (18, 2)
    assert sorted([*fitted.rows, *held.rows]) == list(range(20))
    for side in (fitted, held):
        assert side.documents is DOCUMENTS
        assert not side.labelled
    assert steps_an_epoch(fitted, 6) == 3
    shown = drawn(fitted, 6, 3)
    assert sorted(torch.cat([batch.rows for batch in shown]).tolist()) == fitted.rows.tolist()
    for batch in shown:
        wanted = torch.nn.functional.normalize(torch.from_numpy(DOCUMENTS[batch.rows]), dim=1)
        torch.testing.assert_close(batch.documents, wanted)
    assert len(Examples(DOCUMENTS[:2]).split_documents(0.1, seed=0)[0].rows) == 1


def test_of_chosen_rows_no_others_are_held_out():
    chosen = np.array([1, 4, 5, 9, 16])
    fitted, held = Examples(DOCUMENTS, rows=chosen).split_documents(0.4, seed=0)
    assert (len(fitted.rows), len(held.rows)) == (3, 2)
    assert sorted([*fitted.rows, *held.rows]) == chosen.tolist()


def test_a_digest_is_of_what_is_in_them():
    same = replace(EXAMPLES, documents=DOCUMENTS.copy(), pairs=PAIRS.copy())
    others = [
        replace(EXAMPLES, documents=numbers(20, 4, seed=7)),
        replace(EXAMPLES, queries=numbers(9, 4, seed=7)),
        replace(EXAMPLES, pairs=PAIRS[::-1].copy()),
        replace(EXAMPLES, grades=None),
        Examples(DOCUMENTS),
        *Examples(DOCUMENTS).split_documents(0.5, seed=0),
    ]
    assert same.digest() == EXAMPLES.digest()
    assert len({each.digest() for each in (EXAMPLES, *others)}) == 8


def test_a_batch_by_hand(monkeypatch):
    class Drawn:
        def permutation(self, count):
            return np.array([11, 2, 1, 0, 4, 3, 5, 6, 7, 8, 9, 10])

    monkeypatch.setattr(np.random, "default_rng", lambda seed: Drawn())
    (batch,) = drawn(EXAMPLES, 12, 1)
    # query 1 came first with document 1, so query 0 has document 0; of 2's, 3 was drawn first
    assert batch.rows.tolist() == [0, 1, 3, 6, 7, 8, 9, 10]
    wanted = np.diag([1.0, 3, 5, 8, 9, 10, 11, 12])
    wanted[0, 1] = 2  # query 0 is answered by document 1 as well
    others = np.zeros((8, 8), bool)
    others[0, 1] = True
    assert batch.other_answers.tolist() == others.tolist()
    assert batch.grades.tolist() == wanted.tolist()
    for mine, rows in ((batch.documents, DOCUMENTS), (batch.queries, QUERIES)):
        picked = rows[batch.rows.tolist()] if rows is DOCUMENTS else rows[:8]
        unit = picked / np.linalg.norm(picked, axis=1, keepdims=True)
        np.testing.assert_allclose(mine.numpy(), unit, atol=1e-6)


def test_batches_have_distinct_queries_and_documents_and_right_grades():
    graded = {tuple(pair): grade for pair, grade in zip(PAIRS.tolist(), GRADES, strict=True)}
    for batch in drawn(EXAMPLES, 5, 40):
        rows, queries = batch.rows.tolist(), nearest(batch.queries)
        assert len(set(rows)) == len(rows)
        assert len(set(queries)) == len(queries)
        for i, query in enumerate(queries):
            assert batch.grades[i, i] > 0
            for j, row in enumerate(rows):
                assert batch.grades[i, j] == graded.get((query, row), 0)


@given(
    pairs=st.lists(
        st.tuples(st.integers(0, 8), st.integers(0, 19)), min_size=2, max_size=40, unique=True
    ),
    seed=st.integers(0, 1_000),
)
def test_other_answers_of_a_batch_are_all_known_as_such(pairs, seed):
    examples = Examples(DOCUMENTS, QUERIES, np.array(pairs))
    for batch in drawn(examples, 9, 6, seed):
        queries, rows = nearest(batch.queries), batch.rows.tolist()
        wanted = [
            [i != j and (query, row) in pairs for j, row in enumerate(rows)]
            for i, query in enumerate(queries)
        ]
        if not np.any(wanted):
            assert batch.other_answers is None
        else:
            assert batch.other_answers.tolist() == wanted
        assert len(rows) >= 1
        # no pair of the batch could have been added: each has its query or its document there
        assert len(pairs) > 9 or all(q in queries or row in rows for q, row in pairs)


def test_pairs_that_share_nothing_are_all_drawn():
    n = 20
    examples = Examples(DOCUMENTS, numbers(n, 4), np.stack([np.arange(n)] * 2, 1))
    for batch in drawn(examples, 7, 4, 3):
        assert len(batch.rows) == 7
        assert batch.other_answers is None
    (batch,) = drawn(Examples(DOCUMENTS), 7, 1)
    assert batch.other_answers is None


@pytest.mark.parametrize("size", [6, 12])  # of 12 pairs: half, and all in one batch
def test_every_pair_is_shown_sometimes(size):
    shown = {
        (i, int(row))
        for batch in drawn(EXAMPLES, size, 60)
        for i, row in zip(nearest(batch.queries), batch.rows, strict=True)
    }
    assert shown == {tuple(pair) for pair in PAIRS.tolist()}


def test_pairs_without_grades_have_grade_one():
    (batch,) = drawn(replace(EXAMPLES, grades=None), 12, 1)
    assert set(batch.grades.unique().tolist()) == {0.0, 1.0}
    assert batch.grades.sum() == 9


def test_an_epoch_shows_every_document_once():
    examples = Examples(DOCUMENTS)
    assert steps_an_epoch(examples, 6) == 3
    shown = drawn(examples, 5, 8)
    for epoch in (shown[:4], shown[4:]):
        assert sorted(torch.cat([batch.rows for batch in epoch]).tolist()) == list(range(20))
    for batch in shown:
        assert batch.queries is None
        assert batch.grades is None
        wanted = torch.nn.functional.normalize(torch.from_numpy(DOCUMENTS[batch.rows]), dim=1)
        torch.testing.assert_close(batch.documents, wanted)
    assert [b.rows.tolist() for b in shown[:4]] != [b.rows.tolist() for b in shown[4:]]


def test_the_rest_of_an_epoch_is_left_out():
    shown = drawn(Examples(DOCUMENTS), 6, 6)
    assert all(len(batch.rows) == 6 for batch in shown)
    assert len(set(torch.cat([batch.rows for batch in shown[:3]]).tolist())) == 18


def test_a_batch_larger_than_all_there_is():
    assert steps_an_epoch(EXAMPLES, 1_000) == 1
    (batch,) = drawn(Examples(DOCUMENTS), 1_000, 1)
    assert batch.rows.tolist() == list(range(20))


def test_batches_come_again_by_seed():
    def rows(seed):
        return [batch.rows.tolist() for batch in drawn(EXAMPLES, 4, 7, seed)]

    assert rows(1) == rows(1)
    assert rows(1) != rows(2)


def test_rows_are_read_from_a_memory_map_of_half_floats(tmp_path):
    np.save(tmp_path / "rows.npy", DOCUMENTS.astype(np.float16))
    examples = Examples(np.load(tmp_path / "rows.npy", mmap_mode="r"))
    (batch,) = drawn(examples, 5, 1)
    assert batch.documents.dtype == torch.float32
    torch.testing.assert_close(batch.documents.norm(dim=1), torch.ones(5))
