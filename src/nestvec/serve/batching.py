"""Requests of many clients joined to batches for one worker thread."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from nestvec.serve.fair import FairQueue, Job
from nestvec.serve.faults import Fault

T = TypeVar("T")
R = TypeVar("R")

_LONGEST_RETRY_S = 60
# How much the newest batch tells of what an item takes.
_NEWEST_SHARE = 0.2


@dataclass(eq=False)
class _Answer(Generic[R]):
    """What is known of a job: the results so far, and how many are missing."""

    done: asyncio.Future[None]
    found: list[R | Exception | None]
    missing: int


class Batcher(Generic[T, R]):
    """Lets items wait for their turn, and hands them in batches to `work`, in a thread of its own.

    work: results in the order of the items, an exception where an item has none; it is called by
    one thread, always the same. cost: of an item; a batch holds `most_items` items, and more than
    one only within `most_cost`. most_waiting: items that may wait. wait_s: how long the first item
    of a batch waits for others, when the worker has nothing to do. seen: told the size of every
    batch. Used within one event loop, between start and stop.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[list[T]], Sequence[R | Exception]],
        *,
        cost: Callable[[T], float],
        most_items: int,
        most_cost: float,
        most_waiting: int,
        wait_s: float = 0.0,
        seen: Callable[[int], None] = lambda size: None,
    ) -> None:
        self._name = name
        self._work = work
        self._queue: FairQueue[T] = FairQueue(most_waiting, cost)
        self._most_items = most_items
        self._most_cost = most_cost
        self._most_waiting = most_waiting
        self._wait_s = wait_s
        self._seen = seen
        self._item_s = 0.0
        self._answers: dict[Job[T], _Answer[R]] = {}

    async def start(self) -> None:
        """Begin to work."""
        self._some = asyncio.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=self._name)
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End: the batch that runs is finished, what waits is refused."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        for job in list(self._answers):
            self._refuse(job, Fault(503, "the server is stopping: ask again later.", close=True))
        await asyncio.to_thread(self._thread.shutdown)

    @property
    def waiting(self) -> int:
        """Items that wait for their turn."""
        return len(self._queue)

    async def run(self, client: str, items: Sequence[T]) -> list[R]:
        """The results of a client's items, in their order.

        Raises Fault (503) where too many items wait, and the exception of an item that has none.
        """
        job = Job(client, list(items))
        future = asyncio.get_running_loop().create_future()
        leaving = None if len(job.items) > self._most_waiting else self._queue.add(job)
        if leaving is None:
            raise self._full()
        count = len(job.items)
        answer = self._answers[job] = _Answer[R](future, [None] * count, count)
        for each in leaving:
            self._refuse(each, self._full())
        self._some.set()
        try:
            await future
        finally:
            self._queue.remove(job)
            del self._answers[job]
        out: list[R] = []
        for result in answer.found:
            assert result is not None
            if isinstance(result, Exception):
                raise result
            out.append(result)
        return out

    def _full(self) -> Fault:
        expected = math.ceil(len(self._queue) * self._item_s)
        return Fault(
            503,
            f"the server has {self._most_waiting:,} items waiting at most, and no room for this "
            "request: ask again after a while.",
            code="overloaded",
            retry_after_s=min(max(1, expected), _LONGEST_RETRY_S),
        )

    def _refuse(self, job: Job[T], error: Exception) -> None:
        done = self._answers[job].done
        if not done.done():
            done.set_exception(error)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not len(self._queue):
                self._some.clear()
                await self._some.wait()
                if self._wait_s and len(self._queue) < self._most_items:
                    await asyncio.sleep(self._wait_s)
            batch = self._queue.take(self._most_items, self._most_cost)
            if not batch:
                continue
            begun = time.monotonic()
            items = [job.items[place] for job, place in batch]
            results = await loop.run_in_executor(self._thread, self._worked, items)
            taken_s = (time.monotonic() - begun) / len(batch)
            self._item_s += _NEWEST_SHARE * (taken_s - self._item_s)
            self._seen(len(batch))
            for (job, place), result in zip(batch, results, strict=True):
                self._deliver(job, place, result)

    def _worked(self, items: list[T]) -> Sequence[R | Exception]:
        try:
            return self._work(items)
        except Exception as error:
            return [error] * len(items)

    def _deliver(self, job: Job[T], place: int, result: R | Exception) -> None:
        answer = self._answers.get(job)
        if answer is None:  # its client has gone
            return
        answer.found[place] = result
        answer.missing -= 1
        if not answer.missing and not answer.done.done():
            answer.done.set_result(None)
