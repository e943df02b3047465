"""Whose turn it is: a queue in which a flood from one client does not hold up the others.

Every client's items count their cost, and the client that was served least comes next (start-time
fair queueing, Goyal, Vin and Cheng 1996). The requests of one client take turns, an item of each.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

_FEW_TURNS = 64


@dataclass(eq=False)
class Job(Generic[T]):
    """The items of one request. taken: how many of them had their turn."""

    client: str
    items: list[T]
    taken: int = 0

    @property
    def left(self) -> int:
        """Items that still wait."""
        return len(self.items) - self.taken


@dataclass(eq=False)
class _Client(Generic[T]):
    served: float
    jobs: deque[Job[T]] = field(default_factory=deque)
    waiting: int = 0


class FairQueue(Generic[T]):
    """Items of many clients, of which at most `most` wait; cost: of one item, above 0."""

    def __init__(self, most: int, cost: Callable[[T], float]) -> None:
        self._most = most
        self._cost = cost
        self._clients: OrderedDict[str, _Client[T]] = OrderedDict()
        # (served, a tie-break, name); an entry whose client has gone or moved on is passed over
        self._turns: list[tuple[float, int, str]] = []
        self._serial = itertools.count()
        self._floor = 0.0
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def add(self, job: Job[T]) -> list[Job[T]] | None:
        """Let a job wait; returns the jobs that had to leave for it, None where it may not enter.

        Where the room is full, the newest jobs of the client with most waiting items leave, as long
        as that client has more of them than the newcomer's would then have.
        """
        own = self._clients.get(job.client)
        would_have = len(job.items) + (own.waiting if own else 0)
        leaving: list[Job[T]] = []
        freed: dict[str, int] = {}
        while self._waiting - sum(freed.values()) + len(job.items) > self._most:
            name, most = self._fullest(freed)
            if name is None or name == job.client or most <= would_have:
                return None
            jobs = self._clients[name].jobs
            victim = next(each for each in reversed(jobs) if each not in leaving)
            leaving.append(victim)
            freed[name] = freed.get(name, 0) + victim.left
        for each in leaving:
            self.remove(each)
        self._enter(job)
        return leaving

    def remove(self, job: Job[T]) -> None:
        """Take a job out that nobody waits for any more; one that is not in it may be named."""
        client = self._clients.get(job.client)
        if client is None or job not in client.jobs:
            return
        client.jobs.remove(job)
        client.waiting -= job.left
        self._waiting -= job.left
        if not client.jobs:
            self._leave(job.client)

    def take(self, most_items: int, most_cost: float) -> list[tuple[Job[T], int]]:
        """The next items as (job, place in it): at least one, and no more than told."""
        taken: list[tuple[Job[T], int]] = []
        cost = 0.0
        while self._turns and len(taken) < most_items:
            served, _, name = self._turns[0]
            client = self._clients.get(name)
            if client is None or client.served != served:
                heapq.heappop(self._turns)
                continue
            job = client.jobs[0]
            own = self._cost(job.items[job.taken])
            if taken and cost + own > most_cost:
                break
            cost += own
            taken.append((job, job.taken))
            heapq.heappop(self._turns)
            self._floor = served
            client.served += own
            self._advance(client, job)
            if client.jobs:
                heapq.heappush(self._turns, (client.served, next(self._serial), name))
            else:
                self._leave(name)
        return taken

    def _enter(self, job: Job[T]) -> None:
        client = self._clients.get(job.client)
        if client is None:
            self._tidy()
            client = self._clients[job.client] = _Client(self._floor)
            heapq.heappush(self._turns, (client.served, next(self._serial), job.client))
        client.jobs.append(job)
        client.waiting += job.left
        self._waiting += job.left

    def _advance(self, client: _Client[T], job: Job[T]) -> None:
        job.taken += 1
        client.waiting -= 1
        self._waiting -= 1
        client.jobs.rotate(-1)
        if not job.left:
            client.jobs.remove(job)

    def _tidy(self) -> None:
        """Leave out turns of clients that have gone, once most are: none may come up for long."""
        if len(self._turns) <= 2 * len(self._clients) + _FEW_TURNS:
            return
        self._turns = [
            (client.served, serial, name)
            for served, serial, name in self._turns
            if (client := self._clients.get(name)) is not None and client.served == served
        ]
        heapq.heapify(self._turns)

    def _leave(self, name: str) -> None:
        # what it was served in excess is remembered by the floor alone: a client that comes back
        # at once could gain one item's turn by it
        del self._clients[name]

    def _fullest(self, freed: dict[str, int]) -> tuple[str | None, int]:
        best: tuple[str | None, int] = (None, 0)
        for name, client in self._clients.items():
            waiting = client.waiting - freed.get(name, 0)
            if waiting > best[1]:
                best = name, waiting
        return best
