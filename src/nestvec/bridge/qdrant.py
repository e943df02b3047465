"""Export to Qdrant: named vectors a width, and the plan as one query of nested prefetches.

Into a folder (the client's own local mode, which reads all into memory and scans exactly), or to a
server. A server is told to keep whole vectors on disk and to scan binary codes of the first
stage's, rescored; local mode knows no such settings and takes them without a word.
https://qdrant.tech/documentation/concepts/hybrid-queries/#multi-stage-queries
"""

from __future__ import annotations

import os
import secrets
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.bridge.export_folder import (
    check_folder,
    records,
    said_of,
    search_of,
    whole_folder,
    write_mark,
)
from nestvec.bridge.exported import Exported, Place, Rows, Source, Target, check_kinds
from nestvec.bridge.sql import table_name
from nestvec.bridge.staged import ADAPTED, CUT_OF_QUERY, asked_cut, cut_of, widths_of
from nestvec.errors import MissingExtra, UserError
from nestvec.index.plan import Plan, Stage
from nestvec.progress import Progress, quiet

try:
    from qdrant_client import QdrantClient, models
    from qdrant_client.http.exceptions import ApiException
except ImportError as error:
    raise MissingExtra("an export to Qdrant", "qdrant") from error

F32 = NDArray[np.float32]

KEY_VARIABLE = "QDRANT_API_KEY"
MOST_LOCAL = 20_000
"""Rows up to which the client's authors recommend its local mode."""

_WHOLE = "vector"
_OWN = ("id", "title", "text")
_BATCH_POINTS = 256
_PATIENCE_S = 60
_OVERSAMPLING = 3.0


def plan_of(source: Source) -> Plan:
    """A cut of all rows, whole vectors of 200; ten hits."""
    count = source.count
    width = source.width()
    raw = Stage("raw", 0, min(10, count))
    return Plan((Stage("dims", width, min(200, count)), raw) if width < source.dim else (raw,))


def check(source: Source, place: Place, plan: Plan | None) -> None:
    """Raise UserError where the plan or a column's name does not fit, or the place is not ours."""
    plan = plan or plan_of(source)
    check_kinds(plan, ("dims", "raw"), "qdrant", source.dim)
    table_name(source, place)
    for column in source.kinds:
        if column in _OWN:
            raise UserError(
                f"a field of the payload may not be called {column!r}, which the export keeps for "
                "itself: rename or drop it."
            )
    if (place.out is None) == (place.dsn is None):
        raise UserError(
            "an export to qdrant goes to a folder (--out) or to a server (--dsn "
            f"http://localhost:6333), one of them; got {'neither' if not place.dsn else 'both'}."
        )
    if place.out is not None:
        check_folder(place.out)


def write(
    source: Source, place: Place, plan: Plan | None, progress: Progress | None = None
) -> Exported:
    """Write a collection into a folder, or to a server, whole or not at all.

    One that nestvec wrote is replaced. On a server the name is an alias, given to a collection of
    a name of its own once all its points are there; an older one of ours goes then.
    Memory: a run of rows; local mode, on reading, all vectors. Raises UserError as check does, and
    where the server refuses or does not answer.
    """
    listener = progress or quiet()
    plan = plan or plan_of(source)
    check(source, place, plan)
    name = table_name(source, place)
    if place.out is not None:
        with whole_folder(place.out) as folder:
            with closing(_local(folder)) as client:
                _fill(client, source, plan, name, listener)
            write_mark(folder, said_of(source, plan, "qdrant", collection=name))
        client = _local(place.out)
        where = f"collection {name} in {place.out}"
        if source.count > MOST_LOCAL:
            listener.note(
                f"Qdrant's client recommends local mode for at most {MOST_LOCAL:,} rows: run a "
                "server, and export to it by --dsn."
            )
    else:
        assert place.dsn is not None
        if place.dsn.startswith("http://") and os.environ.get(KEY_VARIABLE):
            listener.note("The key goes over a connection that others may read: https:// hides it.")
        client = _remote(place.dsn)
        with _told(place.dsn):
            _fill_aliased(client, source, plan, name, listener)
        where = f"collection {name} at {place.dsn}"
    query = query_text(source, plan, place, name)
    one = search_of(_without_client(query), Path(f"{name}.py"), client=client)
    return Exported(
        where,
        source.count,
        plan,
        query,
        (("named vectors", ", ".join(_sizes(source, plan))),),
        (str(place.out),) if place.out is not None else (),
        _patient(one, place.dsn),
        client.close,
    )


def query_text(source: Source, plan: Plan, place: Place, name: str) -> str:
    """The plan in Python: search(query, k), one request of nested prefetches."""
    metric = source.metric
    told = [f'"""nestvec\'s plan {plan} over the collection {name}; takes qdrant-client and numpy.']
    if source.opened.adapter is not None:
        told.append(f"\n{ADAPTED}")
    where = f"path={str(place.out)!r}"
    if place.dsn is not None:
        where = f'url={place.dsn!r}, api_key=os.environ.get("{KEY_VARIABLE}")'
    lines = [*told, '"""', ""]
    lines += ["import os", ""] if place.dsn is not None else []
    lines += ["import numpy as np", "from qdrant_client import QdrantClient, models", ""]
    lines.append(f"client = QdrantClient({where})")
    if plan.stages[0].kind == "dims" and len(plan.stages) > 1:
        lines += [
            "# for a server, which scans binary codes of the first stage's vectors",
            "rescored = models.QuantizationSearchParams(",
            f"    rescore=True, oversampling={_OVERSAMPLING}",
            ")",
            "binary = models.SearchParams(quantization=rescored)",
        ]
    if metric != "cosine" and widths_of(plan):
        lines += ["", "", *CUT_OF_QUERY.splitlines()]
    lines += [
        "",
        "",
        f"def search(query, k={plan.k}):",
        '    """The ids of the best points of a query (d,) float32, best first, and scores."""',
        "    query = np.asarray(query, np.float32)",
    ]
    before = ""
    for i, stage in enumerate(plan.stages[:-1]):
        fields = f"query={_asked(stage, metric)}, using={_name(stage)!r}, limit={stage.keep}"
        fields += before + (", params=binary" if i == 0 and stage.kind == "dims" else "")
        lines.append(f"    stage = models.Prefetch({fields})")
        before = ", prefetch=stage"
    last = plan.stages[-1]
    lines += [
        "    found = client.query_points(",
        f'        "{name}", query={_asked(last, metric)}, using={_name(last)!r}, limit=k{before}',
        "    ).points",
        "    return [point.id for point in found], [point.score for point in found]",
        "",
    ]
    return "\n".join(lines)


def _asked(stage: Stage, metric: str) -> str:
    asked = "query" if stage.kind == "raw" else asked_cut(stage.amount, metric)
    return f"{asked}.tolist()"


def _name(stage: Stage) -> str:
    return _WHOLE if stage.kind == "raw" else f"cut_{stage.amount}"


def _sizes(source: Source, plan: Plan) -> dict[str, int]:
    """Names and widths of the vectors that a plan reads, whole ones always."""
    return {f"cut_{width}": width for width in widths_of(plan)} | {_WHOLE: source.dim}


def _fill_aliased(client: Any, source: Source, plan: Plan, name: str, progress: Progress) -> None:
    """Fill a collection of another name, and give it the name in the place of ours before."""
    fresh = f"{name}-{os.getpid()}-{secrets.token_hex(3)}"
    older = {each.alias_name: each.collection_name for each in client.get_aliases().aliases}
    if client.collection_exists(name) and name not in older:
        raise UserError(
            f"an export replaces only what nestvec exported, and the collection {name} is "
            "something else: give another name by --name."
        )
    if name in older and not older[name].startswith(f"{name}-"):
        raise UserError(
            f"an export replaces only what nestvec exported, and the alias {name} stands for the "
            f"collection {older[name]}: give another name by --name."
        )
    try:
        _fill(client, source, plan, fresh, progress)
        changes = [models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=name))]
        given = models.CreateAlias(collection_name=fresh, alias_name=name)
        client.update_collection_aliases(
            [*(changes if name in older else []), models.CreateAliasOperation(create_alias=given)]
        )
    except BaseException:
        client.delete_collection(fresh)
        raise
    if name in older:
        client.delete_collection(older[name])


def _fill(client: Any, source: Source, plan: Plan, name: str, progress: Progress) -> None:
    distance = {
        "cosine": models.Distance.COSINE,
        "dot": models.Distance.DOT,
        "l2": models.Distance.EUCLID,
    }[source.metric]
    first = _name(plan.stages[0])
    binary = models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    vectors = {
        each: models.VectorParams(
            size=width,
            distance=distance,
            on_disk=True,
            quantization_config=binary if each == first else None,
        )
        for each, width in _sizes(source, plan).items()
    }
    client.create_collection(name, vectors_config=vectors)
    progress.start("loading", source.count)
    for rows in source.rows(_BATCH_POINTS):
        client.upsert(name, points=_points(rows, source, plan), wait=True)
        progress.advance(len(rows.ids))
    progress.finish()


def _points(rows: Rows, source: Source, plan: Plan) -> Any:
    vectors = {_WHOLE: rows.vectors.tolist()}
    for width in widths_of(plan):
        vectors[f"cut_{width}"] = cut_of(rows.vectors, width, source.metric).tolist()
    payloads = [{k: v for k, v in each.items() if k != "seq"} for each in records(rows)]
    return models.Batch(ids=rows.seqs.tolist(), vectors=vectors, payloads=payloads)


def _local(folder: Path) -> Any:
    with warnings.catch_warnings():
        # our own note says it
        warnings.filterwarnings("ignore", message="Local mode is not recommended")
        return QdrantClient(path=str(folder))


def _remote(url: str) -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Api key is used with an insecure")  # our note
        # the check of versions asks the server from a thread of its own, and only warns
        return QdrantClient(
            url=url,
            api_key=os.environ.get(KEY_VARIABLE),
            timeout=_PATIENCE_S,
            check_compatibility=False,
        )


@contextmanager
def _told(url: str) -> Iterator[None]:
    """What a server refuses, or that it does not answer, as a UserError."""
    try:
        yield
    except (ApiException, OSError) as error:
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"the Qdrant server at {url} refused or did not answer ({said}): check the address "
            f"and, where it wants one, the key in {KEY_VARIABLE}."
        ) from None


def _without_client(query: str) -> str:
    """The same text for a client that is open: a folder opens once."""
    return "\n".join(line for line in query.split("\n") if not line.startswith("client = "))


def _patient(search: Callable[..., Any], url: str | None) -> Callable[..., Any]:
    def told(queries: F32, k: int) -> NDArray[np.int64]:
        with _told(url or "the folder"):
            found: NDArray[np.int64] = search(queries, k)
        return found

    return told


TARGET = Target("qdrant", "qdrant", "out or dsn", plan_of, check, write)
