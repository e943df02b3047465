"""mteb by width and by bytes: any model that nestvec opens, on three tasks or on all of English.

    make study NAME=mteb DATA=folder
    FULL=1 make study NAME=mteb

DATA holds scifact (claims that find abstracts, without their titles, as in our other tables;
mteb's SciFact has the titles), pairs/stsb.tsv.gz (mteb's STSBenchmark) and banking77 (mteb's
Banking77Classification: classes after eight texts of each, drawn ten times). With FULL=1 the
tasks are those of mteb's "MTEB(eng, v2)", from the hub. A code's codec is fitted a task on the
texts that are coded, without labels or queries; queries of retrieval stay vectors, all other
texts are decoded codes. mteb gives no intervals, so there are none. Values are kept in WORK,
and a rerun adds only what is missing; texts are encoded once a task.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from studies.trained import command_of, machine

from nestvec.data.encoder import EncodedBlock, Encoder, TextKind
from nestvec.data.lines import read_lines
from nestvec.data.source import open_source

WIDTHS = (384, 128, 64, 32)
BYTES = (32, 16, 8)


class Remembered:
    """An encoder that encodes a text once a task."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._found: dict[tuple[TextKind, str], NDArray[np.float32]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode(self, texts: list[str], kind: TextKind) -> NDArray[np.float32]:
        """As the encoder's own."""
        fresh = [text for text in dict.fromkeys(texts) if (kind, text) not in self._found]
        if fresh:
            vectors = self._encoder.encode(fresh, kind)
            self._found |= {(kind, t): v for t, v in zip(fresh, vectors, strict=True)}
        return np.stack([self._found[kind, text] for text in texts])

    def encode_block(self, texts: list[str], kind: TextKind) -> EncodedBlock:
        """As encode."""
        return EncodedBlock(self.encode(texts, kind), None)

    def forget(self) -> None:
        """Drop what was encoded."""
        self._found.clear()


def main() -> None:
    """Run the cells, write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="the folder of the three sets")
    parser.add_argument("--model", default="minilm")
    parser.add_argument("--layers", type=int, help="the first layers alone")
    parser.add_argument("--widths", type=int, nargs="*", default=WIDTHS)
    parser.add_argument("--bytes", type=int, nargs="*", default=BYTES)
    parser.add_argument("--spec", default="32xcb")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--work", type=Path, default=Path(".study-work/mteb"))
    parser.add_argument("--out", type=Path, default=Path("docs/results/mteb"))
    options = parser.parse_args()
    whole = os.environ.get("FULL") == "1"
    if not whole and options.data is None:
        parser.error("--data names the folder of the three sets; with FULL=1 none is needed.")

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, as they are imported
        import datasets
        import mteb

        from nestvec.bridge.mteb import NestvecEncoder

    datasets.disable_progress_bars()
    base = NestvecEncoder(
        options.model,
        device=options.device,
        layers=options.layers,
        spec=options.spec,
        seed=options.seed,
    )
    remembered = Remembered(base.model)
    base.model = remembered
    cells = [(f"{width} dims", base.at(dims=width)) for width in options.widths]
    cells += [(f"{n} bytes", base.at(n_bytes=n)) for n in options.bytes]
    cache = mteb.ResultCache(cache_path=options.work)
    found: dict[str, dict[str, float]] = {}
    measures: dict[str, str] = {}
    began = time.perf_counter()
    for task in mteb.get_benchmark("MTEB(eng, v2)").tasks if whole else local_tasks(options.data):
        name = task.metadata.name
        measures[name] = task.metadata.main_score
        for label, encoder in cells:
            started = time.perf_counter()
            result = mteb.evaluate(encoder, task, cache=cache, show_progress_bar=False)
            found.setdefault(label, {})[name] = float(result.task_results[0].get_score())
            seconds = time.perf_counter() - started
            print(f"{name} at {label}: {found[label][name]:.4f} ({seconds:.0f} s)", flush=True)
        remembered.forget()
    facts = {
        "command": command_of(
            "mteb",
            model=options.model,
            widths=options.widths,
            bytes=options.bytes,
            spec=options.spec,
            seed=options.seed,
        ),
        "machine": machine(),
        "mteb": mteb.__version__,
        "model": base.model.describe(),
        "layers": options.layers,
        "measures": measures,
        "seconds": round(time.perf_counter() - began),
        "values": found,
    }
    name = f"{Path(options.model).name}{'-full' if whole else ''}"
    options.out.mkdir(parents=True, exist_ok=True)
    text = json.dumps(facts, indent=1, ensure_ascii=False)
    (options.out / f"{name}.json").write_text(text + "\n", encoding="utf-8")
    table = "\n".join(table_lines(found, measures, base.model.dim))
    (options.out / f"{name}-table.md").write_text(f"{table}\n", encoding="utf-8")
    print(table)


def local_tasks(data: Path) -> Iterator[Any]:
    """Retrieval, pairs and classes from the folder of data."""
    from studies import mteb_tasks as tasks

    source = open_source(data / "scifact", qrels="test")
    judged = {query: {d: int(s) for d, s in row.items()} for query, row in source.qrels().items()}
    yield tasks.retrieval(
        "SciFactAbstracts",
        [{"id": row.id, "title": "", "text": row.text} for row in source.rows()],
        [{"id": query.id, "text": query.text} for query in source.queries() if query.id in judged],
        judged,
    )
    pairs = []
    for number, line in read_lines(data / "pairs" / "stsb.tsv.gz"):
        split, _, score, one, other = line.rstrip("\r\n").split("\t")
        if number > 1 and split == "test":
            pairs.append((one, other, float(score)))
    yield tasks.similarity("STSBenchmark", pairs)
    train, test = (labelled(data / "banking77" / f"{split}.csv.gz") for split in ("train", "test"))
    classes = {name: i for i, name in enumerate(sorted({label for _, label in train}))}
    yield tasks.classification(
        "Banking77Classification",
        [(text, classes[label]) for text, label in train],
        [(text, classes[label]) for text, label in test],
    )


def labelled(path: Path) -> list[tuple[str, str]]:
    """Texts and their labels."""
    import gzip

    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


def table_lines(
    found: dict[str, dict[str, float]], measures: dict[str, str], dim: int
) -> Iterator[str]:
    """A Markdown table, a row a cell; bytes of a width are those of float32."""
    yield "| cell | bytes a vector | " + " | ".join(measures) + " |"
    yield "|---" * (len(measures) + 2) + "|"
    for label, values in found.items():
        amount, unit = label.split()
        size = f"{4 * int(amount):,}" if unit == "dims" else f"{amount} + 1"
        shown = " | ".join(f"{values[name]:.4f}".removeprefix("0") for name in measures)
        yield f"| {label}{' (whole)' if label == f'{dim} dims' else ''} | {size} | {shown} |"


if __name__ == "__main__":
    main()
