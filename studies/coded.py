"""Bytes spent on what retrieval needs: make study NAME=coded DATA=folder.

The nested code over untouched vectors, over a linear map of them, and over a map that was trained
on through the code, beside the trial that all this began with (a linear map, then residual
codebooks, neither knowing of the other). Papers' titles find their abstracts (acl_abstracts, from
the ACL Anthology, in the BEIR layout, with all-MiniLM-L6-v2 vectors): trained on titles of 2022 and
earlier, tested on titles of 2024. Codebooks are fitted on 40,000 abstracts without those that
queries ask for. These are thus coded less closely than most of those they are ranked among, which
costs every code some points, so values among abstracts that no codebook was fitted on are told
beside. What was measured is kept in --work, and a rerun adds what is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from studies.bytes import load_set
from studies.coded_report import as_markdown, picture
from studies.smec_examples import drawn_of
from studies.trained import command_of, machine, parser_of

from nestvec.adapters.adapter import Adapter
from nestvec.bridge.faiss import Residual
from nestvec.choose.adapted import AdaptedFloat
from nestvec.choose.decoded import cut_decodes
from nestvec.choose.grid import evaluate_grid, size_values
from nestvec.choose.methods import Rows
from nestvec.choose.relevance import QueryTask, fitting_rows
from nestvec.codec.nested import Codec
from nestvec.learn.adapters.coded import Coding
from nestvec.learn.adapters.examples import Examples
from nestvec.learn.adapters.methods import AdapterSettings, fit_adapter
from nestvec.learn.adapters.training import Training
from nestvec.measure.intervals import Interval, bootstrap_means, paired_difference
from nestvec.progress import quiet
from nestvec.vectors import normalize

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]

SET = "acl_abstracts"
WIDTHS = (16, 32, 64, 96, 128, 192, 256, 384)
BYTES = (4, 8, 12, 14, 16, 20, 24, 32)
FIT_ROWS = 40_000
# The first trial's recipe, in which the map knows nothing of the code.
TRIAL = AdapterSettings(
    widths=WIDTHS[:-1], training=Training(batch=512, rate=1e-3, epochs=8), temperature=0.05
)
OURS = AdapterSettings(
    widths=(16, 32, 64, 128),
    training=Training(batch=4_096, rate=4e-3, epochs=25, patience=5),
    temperature=0.03,
)
ADAPTERS = {
    "trial": ("linear", TRIAL),
    "linear": ("linear", OURS),
    "coded": ("coded", OURS),
}


@dataclass(frozen=True)
class Arm:
    """What is coded, and how.

    adapter: a name in ADAPTERS; None for untouched vectors. width: leading coordinates that are
    coded, all where it is None. titles: whether the codec is fitted on the titles that were trained
    on as well. power: of the codec. beam: of encoding; the nested code's fits have the library's.
    ours: the nested code, else FAISS's codebooks, fitted at the same beam.
    """

    adapter: str | None
    width: int | None = None
    titles: bool = False
    power: float | str = "auto"
    beam: int = Codec().beam
    ours: bool = True


ARMS = {
    "untouched": Arm(None),
    "trial": Arm("trial", beam=5, ours=False),
    "linear": Arm("linear"),
    "coded": Arm("coded", width=Coding().width),
    "coded-wide": Arm("coded", 256, titles=True, power=Coding().power, beam=32),
}


@dataclass(frozen=True, eq=False)
class Decoded:
    """Documents as their codes decode at every cut, at length 1; queries through the same map."""

    decode: Callable[[U8], Iterator[F32]]
    codes: U8
    map: Callable[[F32], F32]

    def map_queries(self, queries: F32) -> list[F32]:
        """The same at every cut."""
        return [self.map(queries)] * len(BYTES)

    def views(self, rows: Rows) -> Iterator[F32]:
        """(m, w) at each cut."""
        return (normalize(found) for found in self.decode(self.codes[rows]))


def main() -> None:
    """Train, code, measure, and write coded.json, coded.md and coded.svg."""
    parser = parser_of("coded", __doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the codebooks")
    parser.add_argument("--split", default="test")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), help="to code; always the trial")
    parser.set_defaults(pairs=None, documents=None)
    options = parser.parse_args()
    if os.environ.get("FULL") == "1":
        options.seeds = [0, 1, 2]
    work = options.work / SET
    documents, task, _ = load_set(options.data / SET, options.split, work)
    drawn = drawn_of(options, SET, documents, task, "labels", options.seed)
    assert drawn is not None
    examples = drawn.examples
    assert examples.pairs is not None
    adapters = {name: trained(name, examples, options) for name in ADAPTERS}
    floats = evaluate_grid(
        documents, task, [AdaptedFloat(name, each, WIDTHS) for name, each in adapters.items()]
    )
    values: dict[str, list[NDArray[np.float64]]] = {}
    fair: dict[str, list[NDArray[np.float64]]] = {}
    for seed in options.seeds:
        for name in dict.fromkeys(("trial", *options.arms)):
            kept = options.work / f"{name}-{options.split}-{seed}.npz"
            if not kept.exists():
                begun = time.perf_counter()
                arm = ARMS[name]
                adapter = None if arm.adapter is None else adapters[arm.adapter]
                found = coded(arm, adapter, documents, task, examples, seed)
                np.savez(kept, values=found[0], fair=found[1])
                print(name, seed, np.round(found[0].mean(axis=1), 4).tolist(), flush=True)
                print(f"{time.perf_counter() - begun:.0f} s", flush=True)
            stored = np.load(kept)
            values.setdefault(name, []).append(stored["values"])
            fair.setdefault(name, []).append(stored["fair"])
    means = {name: np.mean(each, axis=0) for name, each in values.items()}
    result = {
        "command": command_of("coded", seeds=options.seeds, split=options.split, arms=options.arms),
        "machine": machine(),
        "split": options.split,
        "seeds": options.seeds,
        "pairs": len(examples.pairs),
        "documents": len(documents),
        "queries": len(task.ids),
        "fit_rows": FIT_ROWS,
        "full": asdict(floats.full),
        "widths": WIDTHS,
        "bytes": BYTES,
        "floats": {
            name: [asdict(Interval(c.value, c.low, c.high, len(task.ids))) for c in cells]
            for name in adapters
            for cells in [[c for c in floats.cells if c.method == name]]
        },
        "codes": {
            name: [asdict(each) for each in bootstrap_means(table.T)]
            for name, table in means.items()
        },
        "seeds_apart": {
            name: [table.mean(axis=1).round(4).tolist() for table in each]
            for name, each in values.items()
        },
        "fair": {
            name: np.mean(each, axis=0).mean(axis=1).round(4).tolist()
            for name, each in fair.items()
        },
        "over_trial": {
            name: [
                asdict(paired_difference(a, b)) for a, b in zip(table, means["trial"], strict=True)
            ]
            for name, table in means.items()
            if name != "trial"
        },
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "coded.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "coded.md").write_text(as_markdown(result))
    (options.out / "coded.svg").write_text(picture(result))
    print(as_markdown(result))


def trained(name: str, examples: Examples, options: argparse.Namespace) -> Adapter:
    """The adapter of that name, from --work where it is."""
    method, settings = ADAPTERS[name]
    place = options.work / f"{name}-{options.seed}.safetensors"
    if not place.exists():
        begun = time.perf_counter()
        training = replace(settings.training, seed=options.seed)
        adapter = fit_adapter(method, examples, replace(settings, training=training))
        place.parent.mkdir(parents=True, exist_ok=True)
        adapter.save(place)
        print(f"trained {name}: {time.perf_counter() - begun:.0f} s", flush=True)
    return Adapter.load(place)


def coded(
    arm: Arm,
    adapter: Adapter | None,
    documents: NDArray[Any],
    task: QueryTask,
    examples: Examples,
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Values (bytes, q) among all documents, and among those that no codebook was fitted on."""
    rows = fitting_rows(task, len(documents), seed, FIT_ROWS).rows

    def mapped(vectors: NDArray[Any]) -> F32:
        if adapter is None:
            return normalize(np.asarray(vectors, np.float32))
        return adapter.transform(vectors, arm.width)

    sample = mapped(documents[rows])
    if arm.titles:
        assert examples.queries is not None
        sample = np.concatenate([sample, mapped(examples.queries)])
    encode, decode = (of_ours if arm.ours else of_trial)(sample, arm, seed)
    encoded = Decoded(decode, encode(mapped(documents)), mapped)
    others = np.setdiff1d(np.arange(len(documents)), rows)
    place = np.full(len(documents), -1)
    place[others] = np.arange(len(others))
    unfitted = replace(task, relevance=replace(task.relevance, rows=place[task.relevance.rows]))
    apart = replace(encoded, codes=encoded.codes[others])
    return (
        np.array(size_values(encoded, len(BYTES), task, len(documents), quiet())),
        np.array(size_values(apart, len(BYTES), unfitted, len(others), quiet())),
    )


Coder = tuple[Callable[[F32], U8], Callable[[U8], Iterator[F32]]]


def of_ours(sample: F32, arm: Arm, seed: int) -> Coder:
    """The nested code as the library has it, encoded by the arm's beam."""
    spec = f"{max(BYTES)}xcb"
    codec = Codec(spec, power=arm.power, seed=seed, sample_rows=len(sample)).fit(sample)
    for level in codec.levels:
        level.beam = arm.beam  # type: ignore[attr-defined]
    return codec.encode, lambda codes: (x for _, x in codec.reconstructions(codes, BYTES))


def of_trial(sample: F32, arm: Arm, seed: int) -> Coder:
    """FAISS's residual codebooks."""
    quantizer = Residual(beam=arm.beam, bytes=max(BYTES)).fit(sample, "cosine", seed, quiet())
    books = quantizer.codebooks
    return quantizer.quantizer.compute_codes, lambda codes: cut_decodes(books, codes, BYTES)


if __name__ == "__main__":
    main()
