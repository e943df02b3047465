"""Requests in batches: all are answered, in order, whatever the others do."""

import asyncio
import threading

import pytest

from nestvec.serve.batching import Batcher
from nestvec.serve.faults import Fault


def test_requests_that_wait_are_joined_and_answered_in_order():
    sizes = []

    async def main(batcher):
        return await asyncio.gather(
            *(batcher.run(f"c{i % 4}", [10 * i, 10 * i + 1]) for i in range(20))
        )

    found = run(main, lambda items: [2 * item for item in items], seen=sizes.append)
    assert found == [[20 * i, 20 * i + 2] for i in range(20)]
    assert sum(sizes) == 40
    assert max(sizes) == 8


def test_a_fault_is_its_own_requests_alone():
    def work(items):
        return [ValueError("odd") if item % 2 else item for item in items]

    async def main(batcher):
        return await asyncio.gather(
            *(batcher.run("a", [i]) for i in range(4)), return_exceptions=True
        )

    found = run(main, work)
    assert found[0] == [0]
    assert found[2] == [2]
    assert isinstance(found[1], ValueError)


def test_work_that_breaks_is_told_and_the_next_goes_on():
    def work(items):
        if -1 in items:
            raise RuntimeError("broken")
        return items

    async def main(batcher):
        with pytest.raises(RuntimeError, match="broken"):
            await batcher.run("a", [-1])
        return await batcher.run("a", [1])

    assert run(main, work) == [1]


def test_who_leaves_is_not_worked_for():
    worked = []
    go = threading.Event()

    def work(items):
        worked.extend(items)
        assert go.wait(20)
        return items

    async def main(batcher):
        first = asyncio.create_task(batcher.run("a", [1]))
        while not worked:
            await asyncio.sleep(0.001)
        second = asyncio.create_task(batcher.run("b", [2]))
        third = asyncio.create_task(batcher.run("c", [3]))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        go.set()
        return await asyncio.gather(first, third)

    assert run(main, work, most_items=1) == [[1], [3]]
    assert worked == [1, 3]


def test_a_full_room_is_refused_and_a_flood_makes_way():
    go, begun = threading.Event(), threading.Event()

    def work(items):
        begun.set()
        assert go.wait(20)
        return items

    async def main(batcher):
        working = asyncio.create_task(batcher.run("x", [0]))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        flood = [asyncio.create_task(batcher.run("flood", [1, 2, 3, 4])) for _ in range(2)]
        await asyncio.sleep(0.001)
        with pytest.raises(Fault) as refused:
            await batcher.run("flood", [5])
        assert (refused.value.status, refused.value.code) == (503, "overloaded")
        assert refused.value.retry_after_s >= 1
        with pytest.raises(Fault):
            await batcher.run("a", list(range(9)))
        one = asyncio.create_task(batcher.run("one", [6]))
        await asyncio.sleep(0.001)
        go.set()
        return await asyncio.gather(working, one, *flood, return_exceptions=True)

    _, one, first, second = run(main, work, most_waiting=8, most_items=1)
    assert one == [6]
    assert first == [1, 2, 3, 4]
    assert isinstance(second, Fault)
    assert second.status == 503


def test_stopping_refuses_who_waits():
    async def main():
        go = threading.Event()
        batcher = made(lambda items: [go.wait(0.05) for _ in items], most_items=1)
        await batcher.start()
        asked = [asyncio.create_task(batcher.run("a", [i])) for i in range(3)]
        await asyncio.sleep(0.01)
        await batcher.stop()
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(each, Fault) and each.status == 503 for each in found)

    asyncio.run(main())


def made(work, **options):
    given = {"cost": lambda item: 1.0, "most_items": 8, "most_cost": 100.0, "most_waiting": 100}
    return Batcher("test", work, **given | {"wait_s": 0.01} | options)


def run(main, work, **options):
    async def within():
        batcher = made(work, **options)
        await batcher.start()
        try:
            return await main(batcher)
        finally:
            await batcher.stop()

    return asyncio.run(asyncio.wait_for(within(), 30))
