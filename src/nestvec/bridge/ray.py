"""Work on many machines by Ray: blocks of a build, shares of a search. The one import of Ray.

Nothing here knows what a block or a share holds: a function makes a worker on a machine, and the
worker is given names of tasks. Tasks may be done twice, for a lost machine's are given to others.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.errors import MissingExtra, UserError
from nestvec.index.plan import Plan, Stage
from nestvec.index.scan import Shortlist
from nestvec.index.shares import Dealt, First, Share, deal
from nestvec.index.store import ROWS_FOLDER, RowStore
from nestvec.index.store_versions import number_of

F32 = NDArray[np.float32]
Worker = Callable[[str], int]

_SCHEME = "ray"
_MOST_BLOCKS = 10_000
#: rounds of a stage that did not get any further before it is given up
_IDLE_ROUNDS = 2


def check_address(on: str) -> None:
    """Raise UserError where text is neither "ray" nor ray://host:port."""
    if on != _SCHEME and not on.startswith(f"{_SCHEME}://"):
        raise UserError(
            "many machines are named as ray (the cluster of RAY_ADDRESS or of this machine, else "
            f"one of this machine alone) or ray://HOST:10001; got {on!r}."
        )


@contextmanager
def connected(on: str) -> Iterator[Cluster]:
    """A cluster, for as long as the block lasts; one that is connected already stays so.

    on: "ray" or "ray://host:port". Raises MissingExtra without Ray, UserError where no cluster
    answers.
    """
    check_address(on)
    ray = _library()
    own = not ray.is_initialized()
    if own:
        _connect(ray, on)
    try:
        yield Cluster(ray)
    finally:
        if own:
            ray.shutdown()


class Cluster:
    """The machines that Ray gives, as they are now."""

    def __init__(self, ray: ModuleType) -> None:
        self._ray = ray
        alive = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        self.cores = [int(each["CPU"]) for each in alive if each.get("CPU", 0) >= 1]
        self.gpus = int(sum(each.get("GPU", 0) for each in alive))
        if not self.cores:
            raise UserError("a cluster needs a machine with a core to work on; this one has none.")

    @property
    def machines(self) -> int:
        """How many workers of a machine's size there is room for."""
        return sum(cores // min(self.cores) for cores in self.cores)

    def on_devices(self, make: Callable[[], Worker], tasks: Sequence[str]) -> Iterator[int]:
        """Every task by a worker a device, a GPU or, where there is none, a machine.

        Gives what the worker gives, in no order. Raises UserError of a worker's, or where workers
        are lost again and again.
        """
        if not self.gpus:
            return self.on_machines(make, tasks)
        return self._each(make, tasks, self.gpus, {"num_gpus": 1})

    def on_machines(self, make: Callable[[], Worker], tasks: Sequence[str]) -> Iterator[int]:
        """Every task by a worker a machine, with all its cores; as on_devices."""
        return self._each(make, tasks, self.machines, {"num_cpus": min(self.cores)})

    def _each(
        self, make: Callable[[], Worker], tasks: Sequence[str], most: int, needs: dict[str, int]
    ) -> Iterator[int]:
        data = self._ray.data
        context = data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        left = list(tasks)
        idle = 0
        while left:
            rows = data.from_items(
                [{"task": task} for task in left], override_num_blocks=min(len(left), _MOST_BLOCKS)
            )
            done = rows.map_batches(
                _Mapper,
                fn_constructor_args=(make,),
                batch_size=1,
                # all at once and a task each: the first to come would take what others wait for
                compute=data.ActorPoolStrategy(
                    min_size=1,
                    max_size=most,
                    initial_size=min(most, len(left)),
                    max_tasks_in_flight_per_actor=1,
                ),
                **needs,
            )
            finished = set()
            try:
                for row in done.iter_rows():
                    finished.add(str(row["task"]))
                    yield int(row["given"])
            except Exception as error:
                told = _user_error(error)
                if told is not None:
                    raise told from None
                idle = 0 if finished else idle + 1
                if idle >= _IDLE_ROUNDS:
                    raise UserError(
                        f"workers were lost and none came in their place "
                        f"({str(error).splitlines()[0][:150]}): see to the cluster and run the "
                        "same again, it goes on."
                    ) from error
            left = [task for task in left if task not in finished]


class Searchers:
    """Shares of a collection's version, an actor each; a lost one opens its share anew elsewhere.

    All machines must see path. Ends with close, or with the connection.
    """

    def __init__(self, cluster: Cluster, path: Path, version: int, count: int | None) -> None:
        self._ray = cluster._ray
        fragments = RowStore.open(path / ROWS_FOLDER, version).fragments
        self.numbers = deal(fragments, cluster.machines if count is None else count)
        actor = self._ray.remote(
            num_cpus=0, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD"
        )(_Searcher)
        self._actors = [actor.remote(str(path), version, own) for own in self.numbers]

    def first(self, queries: F32, plan: Plan, where: str | None) -> list[First]:
        """As Shares."""
        asked = self._ray.put(queries)
        return self._get([a.first.remote(asked, plan, where) for a in self._actors])

    def later(
        self, queries: F32, stage: Stage, done: int, own: Sequence[Sequence[Shortlist | None]]
    ) -> list[list[Shortlist | None]]:
        """As Shares."""
        asked = self._ray.put(queries)
        calls = {
            i: self._actors[i].later.remote(asked, stage, done, mine)
            for i, mine in enumerate(own)
            if any(each is not None for each in mine)
        }
        found = dict(zip(calls, self._get(list(calls.values())), strict=True))
        nothing: list[Shortlist | None] = [None] * len(queries)
        return [found.get(i, nothing) for i in range(len(own))]

    def close(self) -> None:
        """End the actors."""
        for actor in self._actors:
            self._ray.kill(actor)

    def _get(self, calls: list[Any]) -> list[Any]:
        try:
            found: list[Any] = self._ray.get(calls)
        except Exception as error:
            told = _user_error(error)
            if told is None:
                raise
            raise told from None
        return found


def open_dealt(
    path: Path, on: str, version: int | str | None = None, searchers: int | None = None
) -> Dealt:
    """A version of the collection at path, whose rows are searched by actors.

    on: as connected takes it; the connection stays until the process ends or close_ray. searchers:
    so many actors, one a machine where None. Raises UserError where there is no collection.
    """
    check_address(on)
    number = None if version is None else number_of(path / ROWS_FOLDER, version)
    store = RowStore.open(path / ROWS_FOLDER, number)
    dealt = Dealt._of(path, store)
    ray = _library()
    if not ray.is_initialized():
        _connect(ray, on)
    dealt.shares = Searchers(Cluster(ray), path.absolute(), store.version, searchers)
    return dealt


def close_ray() -> None:
    """End the connection to the cluster, and with it what runs there for this process."""
    _library().shutdown()


class _Mapper:
    """What Ray Data calls: one task at a time."""

    def __init__(self, make: Callable[[], Worker]) -> None:
        self._work = make()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        tasks = [str(task) for task in batch["task"]]
        return {"task": tasks, "given": [self._work(task) for task in tasks]}


class _Searcher:
    def __init__(self, path: str, version: int, numbers: Sequence[int]) -> None:
        self._share = Share.of(Path(path), version, numbers)

    def first(self, queries: F32, plan: Plan, where: str | None) -> First:
        return self._share.first(queries, plan, where)

    def later(
        self, queries: F32, stage: Stage, done: int, own: Sequence[Shortlist | None]
    ) -> list[Shortlist | None]:
        return self._share.later(queries, stage, done, own)


def _library() -> ModuleType:
    """Ray with Ray Data, imported when it is first needed, which sends nobody statistics."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
            import ray.data
    except ImportError:
        raise MissingExtra("work on many machines", "ray") from None
    return ray  # type: ignore[no-any-return]


def _connect(ray: ModuleType, on: str) -> None:
    address = None if on == _SCHEME else on
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise UserError(
            f"a cluster must answer at {on}, and none does ({str(error).splitlines()[0][:150]}): "
            "start one (ray start --head), or name its address."
        ) from error


def _user_error(error: BaseException) -> UserError | None:
    """The mistake that a worker told, inside what Ray wraps it in."""
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        each = queue.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, UserError) and type(each) in (UserError, MissingExtra):
            return each
        queue += [each.__cause__, each.__context__, getattr(each, "cause", None)]
    return None
