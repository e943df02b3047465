"""The queue: first in, first out, and frozen."""

from collections import deque

import torch
from hypothesis import given
from hypothesis import strategies as st

from nestvec.learn.adapters.memory import Queue


def rows(names):
    """Vectors (n, 2) that say their names."""
    names = torch.as_tensor(names, dtype=torch.int64)
    return torch.stack([names.float(), -names.float()], 1), names


def held(queue):
    vectors, names = queue.vectors(), queue.names()
    assert torch.equal(vectors, rows(names)[0])  # each with its own name
    return sorted(names.tolist())


def test_the_oldest_make_room_by_hand():
    queue = Queue(4, 2)
    assert len(queue) == 0
    assert queue.vectors().shape == (0, 2)
    queue.push(*rows([1, 2, 3]))
    assert held(queue) == [1, 2, 3]
    queue.push(*rows([4, 5, 6]))  # wraps: 4 at the end, 5 and 6 over 1 and 2
    assert held(queue) == [3, 4, 5, 6]
    queue.push(*rows([7]))
    assert held(queue) == [4, 5, 6, 7]
    queue.push(*rows([10, 11, 12, 13, 14, 15]))  # more than it holds
    assert held(queue) == [12, 13, 14, 15]
    queue.push(*rows([16]))
    assert held(queue) == [13, 14, 15, 16]


@given(
    size=st.integers(1, 7),
    pushes=st.lists(st.integers(0, 9), max_size=8),
)
def test_it_is_a_deque_with_an_end(size, pushes):
    queue, wanted, next_name = Queue(size, 2), deque(maxlen=size), 0
    for count in pushes:
        names = list(range(next_name, next_name + count))
        next_name += count
        queue.push(*rows(names))
        wanted.extend(names)
        assert len(queue) == len(wanted)
        assert held(queue) == sorted(wanted)


def test_what_is_held_does_not_drift():
    module = torch.nn.Linear(2, 2)
    vectors, names = module(torch.ones(3, 2)), torch.arange(3)
    queue = Queue(4, 2)
    queue.push(vectors, names)
    before = vectors.detach().clone()
    assert not queue.vectors().requires_grad
    with torch.no_grad():
        vectors.zero_()
        names.fill_(7)
        module.weight.zero_()
    torch.testing.assert_close(queue.vectors(), before)
    assert queue.names().tolist() == [0, 1, 2]


def test_it_is_kept_with_what_it_holds():
    queue, again = Queue(4, 2), Queue(4, 2)
    queue.push(*rows([1, 2, 3, 4, 5]))
    again.load_state_dict(queue.state_dict())
    assert held(again) == [2, 3, 4, 5]
    for each in (queue, again):
        each.push(*rows([6, 7]))
        assert held(each) == [4, 5, 6, 7]
    assert not list(queue.parameters())
