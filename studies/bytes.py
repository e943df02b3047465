"""Quality against bytes: the nested code beside every baseline, on public retrieval sets.

    python studies/bytes.py --data DATA --sets acl_abstracts --spec 32xcb
    python studies/bytes.py --data DATA --sets scifact cranfield wikiqa quora_dup cosqa

DATA holds one folder a set in the BEIR layout (corpus, queries, qrels). The sets are public:
SciFact (allenai/scifact), Cranfield 1400, WikiQA 1.0, Quora duplicate questions, CoSQA (CoCLR),
and abstracts of the ACL Anthology. Vectors are all-MiniLM-L6-v2's; ready-made ones are read from
SET/minilm/ where they are. Every quantizer is fitted once a seed and the values of each query
are averaged over the seeds before intervals are taken. All quantizers see the same rows, which
leave out every relevant document of every split where 10,000 others remain, and all are given the
norm of the reconstruction in one byte. Values are kept in WORK, so that a rerun adds only what
is missing; delete its files to measure anew.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import resource
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nestvec.bridge.faiss import Product, Rabitq, Residual, RotatedProduct
from nestvec.choose.baselines import FullVectors, plain_baselines
from nestvec.choose.grid import size_values
from nestvec.choose.methods import Method, NestedMethod, Size
from nestvec.choose.relevance import QueryTask, fitting_rows, from_qrels
from nestvec.data.encode import encode_texts
from nestvec.data.encoder import load_encoder
from nestvec.data.source import open_source
from nestvec.measure.intervals import (
    Interval,
    better,
    bootstrap_mean,
    non_inferior,
    paired_difference,
)
from nestvec.progress import quiet
from nestvec.report import sheet as report
from nestvec.report.chart import standalone

F64 = NDArray[np.float64]

SEEN = {
    "scifact": "the base model trained on S2ORC title-abstract pairs, so its abstracts may be seen",
    "quora_dup": "the base model trained on Quora duplicates",
    "cosqa": "the base model trained on CodeSearchNet",
    "acl_abstracts": "the base model (2021) trained on S2ORC title-abstract pairs; the test year "
    "2024 is later, earlier abstracts of the corpus may be seen",
}
SEEDED = ("nested", "pq", "opq", "rq", "rabitq", "random-float")
DRAWN = ("nested", "prefix-float", "pca-float", "svd-int8", "sign", "pq", "opq", "rq", "rabitq")
TABLE_BYTES = (4, 8, 12, 16, 24, 32, 48, 64)


def main() -> None:
    """Measure, then write one JSON and one Markdown file a set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--sets", nargs="+", default=["scifact", "cranfield", "wikiqa", "quora_dup", "cosqa"]
    )
    parser.add_argument("--split", default="test")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--spec", default="64xcb")
    parser.add_argument("--power", default="auto", help="spectral power of the nested code")
    parser.add_argument("--beam", type=int, default=8, help="of the nested code and of faiss's rq")
    parser.add_argument("--fit-rows", type=int, default=40_000)
    parser.add_argument("--methods", nargs="+", default=None)
    parser.add_argument("--work", type=Path, default=Path(".study-work"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/bytes"))
    parser.add_argument("--suffix", default="", help="of the names of the files in --out")
    options = parser.parse_args()
    for name in options.sets:
        run_set(name, options)


def run_set(name: str, options: argparse.Namespace) -> None:
    """One set, from texts or vectors to its two files."""
    began = time.perf_counter()
    documents, task, others = load_set(options.data / name, options.split, options.work / name)
    bytes_of_code = int(options.spec.split("xcb")[0])
    power: float | str = options.power if options.power == "auto" else float(options.power)
    methods: list[Method] = [
        NestedMethod(options.spec, options.beam, power),
        *plain_baselines(),
        Residual(options.beam, bytes_of_code, all_entries=True),
        Product(),
        RotatedProduct(),
        Rabitq(),
    ]
    if options.methods:
        methods = [m for m in methods if m.name in options.methods]
    full = FullVectors()
    values: dict[tuple[str, Size], F64] = {}
    full_values = measured(full, 0, documents, task, others, options, name)[1][0]
    for method in methods:
        seeds = options.seeds if method.name in SEEDED else options.seeds[:1]
        runs = [measured(method, s, documents, task, others, options, name) for s in seeds]
        for i, size in enumerate(runs[0][0]):
            values[method.name, size] = np.mean([run[1][i] for run in runs], axis=0)
    sample = fitting_rows(others, len(documents), 0, options.fit_rows)
    result = {
        "set": name,
        "split": options.split,
        "command": f"python studies/bytes.py --data DATA --sets {name} --split {options.split} "
        f"--spec {options.spec} --power {options.power} --beam {options.beam} "
        f"--seeds {' '.join(map(str, options.seeds))} --fit-rows {options.fit_rows}"
        + (f" --methods {' '.join(options.methods)}" if options.methods else "")
        + (f" --suffix={options.suffix}" if options.suffix else ""),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores",
        "measure": task.measure,
        "queries": len(task.ids),
        "documents": len(documents),
        "dim": documents.shape[1],
        "fitted_rows": len(sample.rows),
        "fitted_on_relevant": sample.on_relevant,
        "seeds": options.seeds,
        "base_model": f"all-MiniLM-L6-v2; {SEEN.get(name, 'no training on this set is known')}",
        "full": asdict(bootstrap_mean(full_values)),
        "cells": cells(values, full_values, len(documents)),
        "seconds": round(time.perf_counter() - began, 1),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / f"{name}-{options.split}{options.suffix}"
    stem.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    stem.with_suffix(".md").write_text(as_markdown(result))
    stem.with_suffix(".svg").write_text(picture(result))
    print(as_markdown(result))


def load_set(folder: Path, split: str, work: Path) -> tuple[NDArray[Any], QueryTask, QueryTask]:
    """Vectors (n, d), the task of the split, and a task of all splits' relevant documents."""
    work.mkdir(parents=True, exist_ok=True)
    source = open_source(folder, qrels=split)
    ids = list(source.ids)
    splits = sorted(path.stem for path in (folder / "qrels").glob("*.tsv"))
    judged = {each: open_source(folder, qrels=each).qrels() for each in splits}
    texts = {query.id: query.text for query in source.queries()}
    wanted = list(judged[split])
    ready = folder / "minilm"
    if ready.is_dir():
        documents: NDArray[Any] = np.load(ready / "docs.npy", mmap_mode="r")
        queries: NDArray[Any] = np.load(ready / f"{split}_queries.npy")
    else:
        encoder = load_encoder("minilm")
        rows = (row.text for row in source.rows())
        documents = encode_texts(rows, encoder, work / "documents.npy", total=len(ids)).vectors
        queries = encode_texts(
            (texts[query] for query in wanted), encoder, work / f"{split}.npy", kind="query"
        ).vectors
    task = from_qrels(np.asarray(queries, np.float32), wanted, ids, judged[split])
    every = {f"{each}:{q}": gains for each in splits for q, gains in judged[each].items()}
    blank = np.zeros((len(every), documents.shape[1]), np.float32)
    return documents, task, from_qrels(blank, list(every), ids, every)


def measured(
    method: Method,
    seed: int,
    documents: NDArray[Any],
    task: QueryTask,
    others: QueryTask,
    options: argparse.Namespace,
    name: str,
) -> tuple[list[Size], list[F64]]:
    """Sizes and values of each query, from WORK where they are."""
    settings = re.sub(r" (?:object )?at 0x[0-9a-f]+", "", repr(method))
    key = f"{options.split}-{settings}-{seed}-{options.fit_rows}"
    kept = options.work / name / ("".join(c if c.isalnum() else "_" for c in key) + ".npz")
    if kept.exists():
        stored = np.load(kept)
        return [Size(*row) for row in json.loads(str(stored["sizes"]))], list(stored["values"])
    began = time.perf_counter()
    rows = fitting_rows(others, len(documents), seed, options.fit_rows).rows
    sample = np.asarray(documents[rows], dtype=np.float32)
    fitted = method.fit(sample, "cosine", seed, quiet())
    encoded = fitted.encode(documents, quiet())
    found = size_values(encoded, len(fitted.sizes), task, len(documents), quiet())
    sizes = json.dumps([list(asdict(size).values()) for size in fitted.sizes])
    np.savez(kept, sizes=sizes, values=np.array(found))
    print(f"{name} {method.name} seed {seed}: {time.perf_counter() - began:.0f} s", flush=True)
    return list(fitted.sizes), found


def cells(values: dict[tuple[str, Size], F64], full: F64, rows: int) -> list[dict[str, Any]]:
    """One record a method and size, with the paired differences from full and from nested."""
    nested = {size.code_bytes: v for (name, size), v in values.items() if name == "nested"}
    found = []
    for (name, size), value in values.items():
        record: dict[str, Any] = {
            "method": name,
            "dims": size.dims,
            "bytes": size.code_bytes,
            "fact_bytes": size.fact_bytes,
            "codec_bytes": size.codec_bytes,
            "total_bytes": rows * (size.code_bytes + size.fact_bytes) + size.codec_bytes,
            **interval_of(bootstrap_mean(value), ""),
            **interval_of(paired_difference(value, full), "delta"),
        }
        below = [cut for cut in nested if cut <= size.code_bytes]
        if name != "nested" and below and size.code_bytes <= max(TABLE_BYTES):
            lead = paired_difference(nested[max(below)], value)
            record |= interval_of(lead, "nested_lead")
            record["nested_cut"] = max(below)
            record["verdict"] = (
                "better" if better(lead) else "non-inferior" if non_inferior(lead) else "not proven"
            )
        found.append(record)
    return found


def interval_of(interval: Interval, name: str) -> dict[str, float]:
    """An interval as three rounded fields."""
    keys = (name, f"{name}_low", f"{name}_high") if name else ("value", "low", "high")
    parts = (interval.value, interval.low, interval.high)
    return dict(zip(keys, (round(part, 5) for part in parts), strict=True))


def as_markdown(result: dict[str, Any]) -> str:
    """The table of a set: methods down, code bytes across, and where nested is not ahead."""
    methods = list(dict.fromkeys(cell["method"] for cell in result["cells"]))
    by = {(cell["method"], cell["bytes"]): cell for cell in result["cells"]}
    full = result["full"]
    lines = [
        f"# {result['set']}: {result['measure']} by code bytes",
        "",
        f"{result['documents']:,} documents, {result['queries']:,} {result['split']} queries; full "
        f"vectors ({result['dim'] * 4:,} bytes): **{full['value']:.3f}** "
        f"[{full['low']:.3f}, {full['high']:.3f}]. "
        f"Quantizers fitted on {result['fitted_rows']:,} documents"
        + (", relevant ones among them" if result["fitted_on_relevant"] else ", no relevant one")
        + f"; mean of {len(result['seeds'])} seeds. Base model: {result['base_model']}.",
        "",
        "A method that stores facts beside the code (one byte of norm; rabitq eight) is marked "
        "with their number. `*`: the nested code at the same code bytes is not proven non-inferior "
        "to this cell (paired 95 % interval, margin .01); `+`: it is proven better.",
        "",
        "| method | facts | " + " | ".join(map(str, TABLE_BYTES)) + " |",
        "|---|---|" + "---|" * len(TABLE_BYTES),
    ]
    for method in methods:
        row = [by.get((method, count)) for count in TABLE_BYTES]
        if not any(row):
            continue
        facts = next(str(cell["fact_bytes"]) for cell in row if cell)
        lines.append(f"| {method} | {facts} | " + " | ".join(map(_entry, row)) + " |")
    lines += ["", "Nested, with everything counted:", ""]
    lines += [
        "| code bytes | value | from full | codec bytes | total bytes | smaller than float32 |"
    ]
    lines += ["|---|---|---|---|---|---|"]
    for cell in result["cells"]:
        if cell["method"] == "nested":
            raw = result["documents"] * result["dim"] * 4
            lines.append(
                f"| {cell['bytes']} + {cell['fact_bytes']} | {cell['value']:.3f} "
                f"[{cell['low']:.3f}, {cell['high']:.3f}] | {cell['delta']:+.3f} "
                f"[{cell['delta_low']:+.3f}, {cell['delta_high']:+.3f}] | "
                f"{cell['codec_bytes']:,} | "
                f"{cell['total_bytes']:,} | {raw / cell['total_bytes']:.1f}x |"
            )
    lines += ["", f"`{result['command']}` ({result['machine']})", ""]
    return "\n".join(lines)


def picture(result: dict[str, Any]) -> str:
    """Quality against bytes, facts included, as an SVG of its own."""
    shown = tuple(
        report.Cell(
            method=cell["method"],
            dims=cell["dims"],
            bytes=cell["bytes"] + cell["fact_bytes"],
            fact_bytes=cell["fact_bytes"],
            **{key: cell[key] for key in ("value", "low", "high")},
            **{key: cell[key] for key in ("delta", "delta_low", "delta_high")},
        )
        for cell in result["cells"]
        if cell["method"] in DRAWN
    )
    full = result["full"]
    sheet = report.Sheet(
        name=result["set"],
        summary="",
        measure=result["measure"],
        full=report.Figure(full["value"], full["low"], full["high"]),
        full_bytes=result["dim"] * 4,
        cells=shown,
        chosen=None,
        costs=(),
        questions=(),
        notes=(),
        warnings=(),
        command=result["command"],
        made="",
        version="",
    )
    return standalone(sheet)


def _entry(cell: dict[str, Any] | None) -> str:
    if cell is None:
        return ""
    mark = {"better": "+", "not proven": "*"}.get(cell.get("verdict", ""), "")
    return f"{cell['value']:.3f}{mark}"


if __name__ == "__main__":
    main()
