"""Groups of queries: by hand, and against a library's connected components."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from nestvec.measure.groups import connected


def test_documents_tie_queries_by_hand():
    # 0 and 1 share row 5, 1 and 2 share row 6; 3 stands alone, and 9 with its two rows
    queries = np.array([0, 1, 1, 2, 3, 9, 9])
    rows = np.array([5, 5, 6, 6, 7, 8, 1])
    found = connected(queries, rows)
    assert len(set(found[:4])) == 1
    assert found[5] == found[6]
    assert len({found[0], found[4], found[5]}) == 3


def test_a_row_number_is_no_query_number():
    assert len(set(connected(np.array([0, 1]), np.array([1, 0])))) == 2


def test_no_pairs_make_no_groups():
    assert connected(np.array([], np.int64), np.array([], np.int64)).shape == (0,)


def test_a_long_chain_is_one_group():
    n = 5_000
    queries = np.repeat(np.arange(n), 2)
    rows = np.stack([np.arange(n), np.arange(n) + 1], 1).ravel()
    assert len(np.unique(connected(queries, rows))) == 1
    assert len(np.unique(connected(queries[::-1], rows[::-1]))) == 1


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=30))
def test_groups_are_the_components_of_the_graph(pairs):
    queries, rows = np.array(pairs).T
    graph = coo_array((np.ones(len(pairs)), (queries, rows + 13)), shape=(26, 26))
    wanted = connected_components(graph, directed=False)[1][queries]
    found = connected(queries, rows)
    same = found[:, None] == found[None, :]
    np.testing.assert_array_equal(same, wanted[:, None] == wanted[None, :])
