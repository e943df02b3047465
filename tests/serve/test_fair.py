"""Turns: all items come once, a flood waits longer than a single question, the room has an end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nestvec.serve.fair import FairQueue, Job


def queue(most=1000):
    return FairQueue(most, len)


def drained(found, items=3, cost=100):
    order = []
    while len(found):
        batch = found.take(items, cost)
        assert batch
        order += [(job, place) for job, place in batch]
    return order


def test_one_client_is_served_in_order():
    found = queue()
    job = Job("a", ["x", "y", "z"])
    assert found.add(job) == []
    assert [place for _, place in drained(found, items=2)] == [0, 1, 2]
    assert found.take(3, 100) == []


def test_a_flood_does_not_hold_up_one_question():
    found = queue()
    flood = Job("flood", ["xxxx"] * 100)
    found.add(flood)
    found.take(10, 1e9)
    question = Job("one", ["xxxx"])
    found.add(question)
    turns = [job for job, _ in drained(found)]
    assert turns.index(question) <= 1


def test_clients_are_served_by_cost_not_by_number():
    found = queue()
    found.add(Job("long", ["x" * 30] * 10))
    found.add(Job("short", ["x" * 10] * 30))
    turns = [job.client for job, _ in drained(found)][:20]
    assert 4 <= turns.count("long") <= 6


def test_requests_of_one_client_take_turns():
    found = queue()
    large, small = Job("a", ["x"] * 50), Job("a", ["x"])
    found.add(large)
    found.add(small)
    turns = [job for job, _ in drained(found)]
    assert turns.index(small) <= 1


def test_who_comes_back_has_no_more_than_its_turn():
    found = queue()
    found.add(Job("busy", ["x"] * 40))
    served = []
    for _ in range(20):
        found.add(Job("again", ["x"]))
        served += [job.client for job, _ in found.take(1, 100)]
    assert served.count("busy") >= 8


def test_a_batch_keeps_to_its_cost_but_holds_one():
    found = queue()
    found.add(Job("a", ["x" * 60, "x" * 60, "x" * 500, "x"]))
    assert [len(found.take(10, 100)) for _ in range(4)] == [1, 1, 1, 1]


def test_a_full_room_sends_the_fullest_clients_newest_away():
    found = queue(most=10)
    first, second = Job("flood", ["x"] * 5), Job("flood", ["x"] * 5)
    assert found.add(first) == []
    assert found.add(second) == []
    assert found.add(Job("flood", ["x"])) is None
    assert found.add(Job("other", ["x"])) == [second]
    assert len(found) == 6
    assert found.add(Job("third", ["x"] * 9)) is None  # it would be the fullest itself
    assert len(found) == 6


def test_a_job_that_left_is_not_served():
    found = queue()
    gone, stays = Job("a", ["x"] * 5), Job("a", ["x"])
    found.add(gone)
    found.add(stays)
    found.take(1, 100)
    found.remove(gone)
    found.remove(gone)
    assert len(found) == 1
    assert drained(found) == [(stays, 0)]


def test_clients_that_have_left_are_not_kept():
    found = queue()
    stays = Job("stays", ["x" * 1000] * 3)
    found.add(stays)
    for number in range(2000):
        gone = Job(f"client {number}", ["x" * 1000, "x"])
        found.add(gone)
        found.take(1, 1e9)  # its other item would come after a thousand turns
        found.remove(gone)
    assert len(found._turns) < 100
    assert len(found._clients) <= 1
    assert drained(found)[-1][0] is stays


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 5)), min_size=1, max_size=12),
    st.integers(1, 6),
    st.integers(1, 20),
    st.data(),
)
def test_every_item_comes_once_in_its_jobs_order(requests, items, cost, data):
    found = queue(most=20)
    inside, taken = [], {}
    for client, count in requests:
        job = Job(client, ["x" * (1 + i) for i in range(count)])
        leaving = found.add(job)
        if leaving is not None:
            inside = [each for each in inside if each not in leaving] + [job]
        if data.draw(st.booleans()):
            for each, place in found.take(items, cost):
                taken.setdefault(each, []).append(place)
        assert len(found) == sum(each.left for each in inside) <= 20
    for each, place in drained(found, items, cost):
        taken.setdefault(each, []).append(place)
    for job in inside:
        assert taken[job] == list(range(len(job.items)))


def test_costs_decide_within_a_batch():
    found = queue()
    found.add(Job("a", ["xx", "xx"]))
    assert len(found.take(5, 4)) == 2
    with pytest.raises(IndexError):
        found.take(5, 4)[0]
