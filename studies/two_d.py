"""Layers and widths of an encoder on judged similarity: make study NAME=two_d DATA=folder.

all-MiniLM-L6-v2 is fine-tuned on the training pairs of STS-B by CoSENT: at the last layer and full
width (plain), at six widths (mrl), as 2DMSE (two_d), at all layers uniformly (uniform), as ESE, and
at Starbucks' fixed pairs of layers and widths; small are models that were cut to the size of one
pair first and fine-tuned for it alone. Told: Spearman's correlation on the test pairs of STS-B and
of SICK (never trained on) at every layer and width, and sentences a second by number of layers.
The learning rate of each arm is chosen on STS-B's dev pairs, that of small is plain's. DATA has
pairs/stsb.tsv.gz and pairs/sick.tsv.gz (STS benchmark 2017; SICK 2014). Models are kept in --work;
a rerun goes on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from studies.pictures import heat_maps
from studies.trained import F64, command_of, machine, parser_of, trained

from nestvec.data.training import Examples, read_examples
from nestvec.jobs.truncate import truncate
from nestvec.learn.layers import Layers, encode_layers
from nestvec.learn.sentence_model import load_model, quiet_libraries
from nestvec.measure.resamples import draw_counts, paired_intervals, spearman_of_draws
from nestvec.measure.similarity import spearman
from nestvec.vectors import prefix

WIDTHS = (32, 64, 96, 128, 256, 384)
PAIRS = ((1, 32), (2, 64), (3, 96), (4, 128), (5, 256), (6, 384))
RATES = (2e-5, 5e-5)
SETTINGS = {"batch": 32, "epochs": 1, "bfloat16": True}
ARMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "mrl": {"nesting": {"widths": list(WIDTHS)}},
    "two_d": {"nesting": {"widths": list(WIDTHS)}, "layers": {"kind": "two_d"}},
    "uniform": {"nesting": {"widths": list(WIDTHS)}, "layers": {"kind": "uniform"}},
    "ese": {"layers": {"kind": "ese", "width": 128}},
    "pairs": {"layers": {"kind": "pairs", "pairs": [list(pair) for pair in PAIRS]}},
}


def main() -> None:
    """Train, measure and write two_d.json, two_d.md and two_d.svg."""
    parser = parser_of("two_d", __doc__)
    parser.add_argument("--rates", nargs="+", type=float, default=list(RATES))
    options = parser.parse_args()
    began = time.perf_counter()
    place = options.data / "pairs" / "stsb.tsv.gz"
    dev = read_examples(str(place), "scored", split="dev")
    tests = {
        name: read_examples(str(options.data / "pairs" / f"{name}.tsv.gz"), "scored", split="test")
        for name in ("stsb", "sick")
    }
    found: dict[str, dict[str, dict[tuple[int, int], F64]]] = {name: {} for name in tests}
    rates: dict[str, float] = {}
    for arm, changes in ARMS.items():
        model, rates[arm] = chosen(arm, changes, place, dev, options)
        for name, cells in cosines(model, tests).items():
            found[name][arm] = cells
    for name in tests:
        found[name]["small"] = {}
    for layer, width in PAIRS:
        start = "minilm"
        if layer < PAIRS[-1][0]:
            cut = options.work / f"cut-{layer}-{width}"
            if not cut.is_dir():
                truncate("minilm", cut, layers=layer, dims=width, force=True)
            start = str(cut)
        model = fitted(f"small{layer}", start, {}, place, rates["plain"], options)
        for name, cells in cosines(model, tests, ((layer, width),)).items():
            found[name]["small"] |= cells
    result = {
        "command": command_of("two_d", seed=options.seed, rates=options.rates),
        "rates_tried": options.rates,
        "machine": machine(),
        "seed": options.seed,
        "settings": SETTINGS,
        "learning_rates": rates,
        "sentences_a_second": speeds(tests["stsb"]),
        "seconds": round(time.perf_counter() - began, 1),
        "sets": {name: summary(tests[name], arms) for name, arms in found.items()},
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "two_d.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "two_d.md").write_text(as_markdown(result))
    (options.out / "two_d.svg").write_text(picture(result))
    print(as_markdown(result))


def chosen(
    arm: str, changes: dict[str, Any], train: Path, dev: Examples, options: Any
) -> tuple[Path, float]:
    """The model of the learning rate that is best on dev: plain by its full size, the others by the
    mean over the six pairs.
    """
    best: tuple[float, Path, float] | None = None
    for rate in options.rates:
        model = fitted(arm, "minilm", changes, train, rate, options)
        cells = cosines(model, {"dev": dev}, PAIRS[-1:] if arm == "plain" else PAIRS)["dev"]
        score = float(np.mean([spearman(v, grades(dev)) for v in cells.values()]))
        if best is None or score > best[0]:
            best = (score, model, rate)
    assert best is not None
    return best[1], best[2]


def fitted(
    arm: str, start: str, changes: dict[str, Any], train: Path, rate: float, options: Any
) -> Path:
    """The model of one arm at one learning rate."""
    recipe = {
        "model": {"name": start, "dropout": 0.0, "max_tokens": 64},
        "data": {"train": str(train)},
        "loss": {"kind": "cosent"},
        "train": {**SETTINGS, "learning_rate": rate, "seed": options.seed},
        **changes,
    }
    return trained(f"{arm}-{options.seed}-{rate:g}", recipe, options.work)


def cosines(
    model: Path, sets: dict[str, Examples], cuts: Sequence[tuple[int, int]] | None = None
) -> dict[str, dict[tuple[int, int], F64]]:
    """{set: {(layer, width): cosine of each pair}} from one encoding at every layer."""
    with quiet_libraries():
        loaded = load_model(str(model), str(model), max_tokens=64, remote_code=False)
    loaded.eval()
    layers = Layers(loaded)
    wanted = cuts or [(layer, width) for layer in range(1, layers.depth + 1) for width in WIDTHS]
    found = {}
    for name, examples in sets.items():
        left, right = list(examples.columns.values())[:2]
        texts = list(dict.fromkeys([*left, *right]))
        row_of = {text: row for row, text in enumerate(texts)}
        by_layer = encode_layers(loaded, layers, texts, sorted({layer for layer, _ in wanted}))
        rows = [[row_of[text] for text in side] for side in (left, right)]
        found[name] = {
            (layer, width): np.einsum(
                "pd,pd->p",
                *(prefix(by_layer[layer], width)[some] for some in rows),
                dtype=np.float64,
            )
            for layer, width in wanted
        }
    layers.close()
    return found


def grades(examples: Examples) -> F64:
    """The scores of graded pairs."""
    return np.asarray(list(examples.columns.values())[2], np.float64)


def speeds(examples: Examples) -> dict[int, float]:
    """Sentences a second of all-MiniLM cut to so many layers, best of three, float32, batch 64."""
    texts = next(iter(examples.columns.values()))
    found = {}
    for layers in range(1, 7):
        from nestvec.learn.layers import keep_layers

        with quiet_libraries():
            model = load_model("minilm", str(_minilm()), max_tokens=64, remote_code=False)
        keep_layers(model, layers)
        times = []
        for _ in range(3):
            began = time.perf_counter()
            model.encode(texts, batch_size=64, show_progress_bar=False)
            times.append(time.perf_counter() - began)
        found[layers] = round(len(texts) / min(times), 1)
    return found


def _minilm() -> str:
    from nestvec.data.model_files import find_model

    return find_model("minilm").location


def summary(examples: Examples, arms: dict[str, dict[tuple[int, int], F64]]) -> dict[str, Any]:
    """Correlations with intervals at every cut; at every pair, leads of `pairs` over the others."""
    truth = grades(examples)
    counts = draw_counts(len(truth), 0)
    found: dict[str, Any] = {"pairs": len(truth), "values": {}, "leads": {}}
    for arm, cells in arms.items():
        found["values"][arm] = {
            f"{layer},{width}": spearman(v, truth) for (layer, width), v in cells.items()
        }
    for cut in PAIRS:
        names = [arm for arm in arms if cut in arms[arm] and arm != "pairs"]
        columns = [arms["pairs"][cut], *(arms[arm][cut] for arm in names)]
        draws = [spearman_of_draws(column, truth, counts) for column in columns]
        values = np.array([spearman(column, truth) for column in columns])
        judged = paired_intervals(values, draws.__getitem__, len(truth))
        key = f"{cut[0]},{cut[1]}"
        found["leads"][key] = {"pairs": asdict(judged[0][0])}
        for name, (_, delta) in zip(names, judged[1:], strict=True):
            found["leads"][key][f"over {name}"] = {
                "value": -delta.value, "low": -delta.high, "high": -delta.low, "n": delta.n
            }  # fmt: skip
    return found


def picture(result: dict[str, Any]) -> str:
    """Layers by widths of every arm on STS-B's test pairs."""
    values = result["sets"]["stsb"]["values"]
    maps = {
        arm: {tuple(map(int, key.split(","))): value for key, value in cells.items()}
        for arm, cells in values.items()
    }
    return heat_maps(
        "STS-B test: Spearman's correlation by layer and width",
        maps,  # type: ignore[arg-type]
        [6, 5, 4, 3, 2, 1],
        WIDTHS,
        row_name="layers",
        column_name="dimensions",
        marked=PAIRS,
    )


def as_markdown(result: dict[str, Any]) -> str:
    """For each set, arms at the six pairs, and the leads of Starbucks' pairs."""
    keys = [f"{layer},{width}" for layer, width in PAIRS]
    lines = ["# Layers and widths", "", "![heat maps](two_d.svg)", ""]
    lines.append("Spearman's correlation at six pairs of layers and dimensions; all in the JSON.")
    for name, found in result["sets"].items():
        lines += ["", f"## {name}: {found['pairs']:,} test pairs", ""]
        lines += ["| arm | " + " | ".join(keys) + " |", "|---|" + "---:|" * len(keys)]
        for arm, cells in found["values"].items():
            shown = [f"{cells[key]:.3f}" if key in cells else "" for key in keys]
            lines.append(f"| {arm} | " + " | ".join(shown) + " |")
        lines += ["", "Lead of `pairs` (paired, 95 %):", ""]
        lines += ["| over | " + " | ".join(keys) + " |", "|---|" + "---|" * len(keys)]
        rivals = dict.fromkeys(k for leads in found["leads"].values() for k in leads)
        for rival in rivals:
            if rival == "pairs":
                continue
            cells = [found["leads"][key].get(rival) for key in keys]
            shown = [
                "" if c is None else f"{c['value']:+.3f} [{c['low']:+.3f}, {c['high']:+.3f}]"
                for c in cells
            ]
            lines.append(f"| {rival.removeprefix('over ')} | " + " | ".join(shown) + " |")
    speeds = ", ".join(f"{k}: {v:.0f}" for k, v in result["sentences_a_second"].items())
    lines += ["", f"Sentences a second by number of layers (STS-B, float32): {speeds}.", ""]
    rates = ", ".join(f"{arm} {rate:g}" for arm, rate in result["learning_rates"].items())
    tried = " ".join(f"{rate:g}" for rate in result["rates_tried"])
    lines += [f"Learning rates, chosen on STS-B's dev pairs of {tried}: {rates}.", ""]
    lines += [f"`{result['command']}` ({result['machine']}, {result['seconds']:.0f} s)", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
