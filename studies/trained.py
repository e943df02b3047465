"""What the studies of training share: models trained once, texts encoded once, values by width."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec import tables
from nestvec.choose.axes import Axes
from nestvec.cli.bars import bars
from nestvec.codec.directions import directions
from nestvec.data.encode import encode_texts
from nestvec.data.encoder import load_encoder
from nestvec.data.lines import read_lines
from nestvec.data.qrels import read_qrels
from nestvec.data.source import open_source
from nestvec.jobs.train import train
from nestvec.measure.metrics import Measure, Relevance, ranks_of_relevant

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
_BLOCK = 256


@dataclass(frozen=True)
class Retrieval:
    """Texts of documents and queries, and which belong together."""

    name: str
    documents: list[str]
    queries: list[str]
    relevance: Relevance


def parser_of(name: str, about: str | None) -> argparse.ArgumentParser:
    """The options that every study has; about: the docstring of its file."""
    parser = argparse.ArgumentParser(description=(about or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path(".study-work") / name)
    parser.add_argument("--out", type=Path, default=Path("docs/results/training"))
    return parser


def acl_parser_of(name: str, about: str | None) -> argparse.ArgumentParser:
    """parser_of, and how much of the ACL abstracts is taken where FULL is not 1."""
    parser = parser_of(name, about)
    parser.add_argument("--pairs", type=int, default=4_000)
    parser.add_argument("--documents", type=int, default=8_000)
    return parser


def acl_of(options: argparse.Namespace, whole: bool) -> tuple[Path, Retrieval]:
    """Pairs to train on, and titles of 2024 against abstracts."""
    pairs = acl_training(
        options.data, 10**9 if whole else options.pairs, options.seed, options.work
    )
    return pairs, acl_task(options.data, "test", None if whole else options.documents)


def acl_facts(
    name: str, options: argparse.Namespace, pairs: Path, task: Retrieval
) -> dict[str, Any]:
    """What a result says of its command, machine, seed and data."""
    return {
        "command": command_of(
            name, seed=options.seed, pairs=options.pairs, documents=options.documents
        ),
        "machine": machine(),
        "seed": options.seed,
        "pairs": len(pairs.read_text().splitlines()),
        "documents": len(task.documents),
        "queries": len(task.queries),
    }


def command_of(name: str, **settings: Any) -> str:
    """What runs a study by these settings of its own."""
    listed = [
        f"--{key} {' '.join(map(str, value)) if isinstance(value, (list, tuple)) else value}"
        for key, value in settings.items()
    ]
    full = "FULL=1 " if os.environ.get("FULL") == "1" else ""
    return f'{full}make study NAME={name} DATA=folder ARGS="{" ".join(listed)}"'


def machine() -> str:
    """What it ran on."""
    return f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"


def trained(name: str, recipe: dict[str, Any], work: Path) -> Path:
    """The folder of the model that a recipe gives, trained where it is not there yet."""
    text = json.dumps(recipe, sort_keys=True)
    out = work / f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:10]}"
    if not out.is_dir():
        work.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        train(recipe, out, progress=bars())
        print(f"trained {out.name}: {time.perf_counter() - began:.0f} s", flush=True)
    return out


def encoded(model: str | Path, texts: Sequence[str], label: str, work: Path, kind: str) -> F32:
    """Vectors of texts by a model, kept in work under the model's name and the label."""
    place = work / "vectors" / Path(model).name / f"{label}.npy"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        began = time.perf_counter()
        encoder = load_encoder(str(model))
        encode_texts(iter(texts), encoder, place, total=len(texts), kind=kind)  # type: ignore[arg-type]
        print(
            f"encoded {place.parent.name} {label}: {time.perf_counter() - began:.0f} s", flush=True
        )
    return np.asarray(np.load(place), np.float32)


def vectors_of(model: str | Path, task: Retrieval, work: Path) -> tuple[F32, F32]:
    """Queries and documents of a task by a model."""
    return (
        encoded(model, task.queries, f"{task.name}-queries", work, "query"),
        encoded(model, task.documents, f"{task.name}-documents", work, "document"),
    )


def values_at(
    queries: F32, documents: F32, relevance: Relevance, widths: Sequence[int], axes: Axes
) -> dict[int, F64]:
    """{width: nDCG@10 of each query} along leading axes; PCA by its reconstruction."""
    measure = Measure.parse("nDCG@10")
    turned_q, turned_d = axes.turn(queries), axes.turn(documents)
    found = {}
    for width in widths:
        q, d = turned_q[:, :width], directions(turned_d[:, :width])
        if axes.centre is not None and axes.rotation is not None:
            kept = axes.rotation[:, :width]
            rebuilt = axes.centre + (documents - axes.centre) @ kept @ kept.T
            q, d = queries, directions(rebuilt)
        parts = []
        for start in range(0, len(q), _BLOCK):
            part = relevance.take(slice(start, start + _BLOCK))
            ranks = ranks_of_relevant(q[start : start + _BLOCK] @ d.T, part)
            parts.append(measure.values(ranks, part))
        found[width] = np.concatenate(parts)
    return found


def acl_training(data: Path, rows: int, seed: int, work: Path) -> Path:
    """Title and abstract of papers of 2022 and earlier, drawn by seed, as a file of pairs."""
    place = work / f"acl-train-{rows}-{seed}.jsonl"
    if not place.exists():
        work.mkdir(parents=True, exist_ok=True)
        papers = _papers(data)
        ids = [line for _, line in read_lines(data / "acl_abstracts" / "train_ids.txt.gz") if line]
        picks = np.random.default_rng(seed).permutation(len(ids))[:rows]
        lines = []
        for i in np.sort(picks):
            title, text, _ = papers[ids[i].strip()]
            lines.append(json.dumps({"anchor": title, "positive": text}, ensure_ascii=False))
        place.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return place


def acl_task(data: Path, split: str, rows: int | None) -> Retrieval:
    """Titles of a split against abstracts: all of them, or so many, none of a year trained on.

    Every relevant abstract is among them; the others are drawn by a fixed seed.
    """
    papers = _papers(data)
    wanted = list(read_qrels(data / "acl_abstracts" / "qrels" / f"{split}.tsv"))
    if rows is None:
        ids = list(papers)
    else:
        judged = set(wanted)
        later = [key for key, (_, _, year) in papers.items() if year >= 2023 and key not in judged]
        drawn = np.random.default_rng(0).permutation(len(later))[: rows - len(judged)]
        ids = sorted([*judged, *(later[i] for i in drawn)])
    row_of = {key: row for row, key in enumerate(ids)}
    relevance = Relevance.from_gains([{row_of[key]: 1.0} for key in wanted])
    texts = [papers[key][1] for key in ids]
    return Retrieval(
        f"acl-{split}-{rows or 'all'}", texts, [papers[k][0] for k in wanted], relevance
    )


def beir_task(data: Path, name: str, split: str) -> Retrieval:
    """A set of the data folder in the BEIR layout."""
    source = open_source(data / name, qrels=split)
    rows = list(source.rows())
    row_of = {row.id: number for number, row in enumerate(rows)}
    texts = {query.id: query.text for query in source.queries()}
    judged = source.qrels()
    gains = [{row_of[d]: s for d, s in found.items()} for found in judged.values()]
    queries = [texts[query] for query in judged]
    return Retrieval(name, [row.text for row in rows], queries, Relevance.from_gains(gains))


def _papers(data: Path) -> dict[str, tuple[str, str, int]]:
    """{id: (title, abstract, year)}."""
    found: dict[str, tuple[str, str, int]] = {}
    for batch in tables.read_batches(data / "acl_abstracts" / "corpus.parquet"):
        columns = (batch["_id"], batch["title"], batch["text"], batch["year"])
        for key, title, text, year in zip(*columns, strict=True):
            found[str(key)] = (str(title), str(text), int(year))
    return found
