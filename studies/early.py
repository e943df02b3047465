"""Layers are skipped where labels are sure: make study NAME=early DATA=folder.

all-MiniLM-L6-v2 is fine-tuned on 77 intents (banking77: train.csv.gz, test.csv.gz; PolyAI's
task-specific datasets) with class heads at layers 1, 2, 3, 4 and 6, each at two widths, on all
training texts but 2,000, which are held out and set the cascade's thresholds. FULL=1 trains plain
beside it: the same with heads at the last layer alone. The policy is chosen on held-out texts too:
the cheapest that is no worse than the whole model by .005 (lower end of the paired interval),
thresholds of each half judged on the other, by ten halvings; the interval is widened for the number
of policies that are chosen among (Bonferroni). Told, of the test texts: accuracy of every layer and
width; the cascade's beside the whole model's, paired; and the time that it takes to label them, of
the whole model and of the cascade, rounds in turn. Models are kept in --work.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from studies.pictures import lines as lines_of
from studies.trained import F32, F64, command_of, machine, parser_of, trained

import nestvec as nv
from nestvec.data.training import Examples, read_examples
from nestvec.learn.layers import Layers, encode_layers
from nestvec.learn.models import load_heads
from nestvec.learn.sentence_model import load_model, quiet_libraries
from nestvec.measure.intervals import bootstrap_mean, non_inferior, paired_difference

AT = (1, 2, 3, 4)
WIDTHS = (64, 384)
HELD_OUT, HALVINGS = 2_000, 10
SETTINGS = {"batch": 32, "epochs": 3, "learning_rate": 1e-4}
# trained on the first tokens alone, since a batch is as long as its longest text
TRAIN_TOKENS, TOKENS = 24, 64
MARGIN = 0.005
POLICIES: dict[str, dict[str, Any]] = {
    "keep 1": {"policy": "keep"},
    **{f"keep {t}": {"policy": "keep", "target": t} for t in (0.999, 0.998, 0.995, 0.99)},
    "greedy": {"policy": "greedy"},
}

Logits = Mapping[int, F32]
Labels = NDArray[Any]


def main() -> None:
    """Train, measure and write early.json, early.md and early.svg."""
    parser = parser_of("early", __doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    whole = os.environ.get("FULL") == "1"
    began = time.perf_counter()
    folder = options.data / "banking77"
    train, test = (
        read_examples(str(folder / f"{name}.csv.gz"), "labelled") for name in ("train", "test")
    )
    place, (held, truth) = parts(train, options.seed, options.work)
    made = trained(f"early-{options.seed}", recipe(place, AT, options.seed), options.work)

    early = nv.EarlyClassifier.load(made, max_tokens=TOKENS)
    texts, names = test.columns.values()
    labels = np.asarray(names)
    classes = early.classes_
    found = logits_of(early, held, made / "held-out.npz")[WIDTHS[-1]]
    policies = {name: judged(found, truth, classes, one) for name, one in POLICIES.items()}
    safe = {k: x for k, x in policies.items() if x["held_out"]["low"] > -MARGIN}
    chosen = min(safe or {"keep 1": policies["keep 1"]}, key=lambda k: policies[k]["layers"])

    asked = logits_of(early, texts, made / "test.npz")
    by_cell = {
        (layer, width): right(logits, labels, classes)
        for width, by_layer in asked.items()
        for layer, logits in by_layer.items()
    }
    full = by_cell[early.layers_[-1], WIDTHS[-1]]
    cascades = {}
    for name, one in POLICIES.items():
        cascade = nv.Cascade(**one).fit(found, truth, classes)
        stopped = cascade.run(asked[WIDTHS[-1]])
        correct = (stopped.labels == labels).astype(np.float64)
        cascades[name] = facts(correct, full, float(stopped.widths.mean()), cascade)
    # the chosen one runs as it would in use, layer by layer
    cascade = nv.Cascade(**POLICIES[chosen]).fit(found, truth, classes)
    run_labels, layers = early.run(cascade, texts)
    best = (run_labels == labels).astype(np.float64)
    beside: dict[str, Any] = {}
    if whole:
        plain = trained(f"plain-{options.seed}", recipe(place, (), options.seed), options.work)
        lone = plain_right(plain, texts, labels)
        beside = {
            "accuracy": asdict(bootstrap_mean(lone)),
            "full_over_plain": difference(full, lone),
            "chosen_over_plain": difference(best, lone),
        }
    result = {
        "command": command_of("early", seed=options.seed, rounds=options.rounds),
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "seed": options.seed,
        "settings": {**SETTINGS, "at": AT, "train_tokens": TRAIN_TOKENS, "tokens": TOKENS},
        "train": len(train) - len(held),
        "held_out": len(held),
        "test": len(texts),
        "margin": MARGIN,
        "accuracy": {f"{a},{w}": asdict(bootstrap_mean(x)) for (a, w), x in by_cell.items()},
        "plain": beside,
        "policies_on_held_out": policies,
        "chosen": chosen,
        "cascades": cascades,
        "run_accuracy": float(best.mean()),
        "stopped": {int(layer): int((layers == layer).sum()) for layer in early.layers_},
        "times": times(early, cascade, texts, options.rounds),
        "seconds": round(time.perf_counter() - began, 1),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "early.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "early.md").write_text(as_markdown(result))
    (options.out / "early.svg").write_text(picture(result))
    print(as_markdown(result))


def parts(examples: Examples, seed: int, work: Path) -> tuple[Path, tuple[list[str], Labels]]:
    """A file of the texts that are trained on, and those held out with their labels."""
    texts, labels = examples.columns.values()
    drawn = np.random.default_rng(seed).permutation(len(texts))
    place = work / f"train-{seed}-all.jsonl"
    if not place.exists():
        work.mkdir(parents=True, exist_ok=True)
        rows = [{"text": texts[i], "label": labels[i]} for i in np.sort(drawn[HELD_OUT:])]
        place.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    held = np.sort(drawn[:HELD_OUT])
    return place, ([texts[i] for i in held], np.asarray(labels)[held])


def recipe(place: Path, at: tuple[int, ...], seed: int) -> dict[str, Any]:
    """Class heads at these layers and the last."""
    return {
        "model": {"name": "minilm", "dropout": 0.0, "max_tokens": TRAIN_TOKENS},
        "data": {"train": str(place)},
        "nesting": {"widths": list(WIDTHS)},
        "loss": {"kind": "cross_entropy"},
        "train": {**SETTINGS, "seed": seed, "save_every": 50},
        **({"layers": {"kind": "heads", "at": list(at)}} if at else {}),
    }


def logits_of(early: nv.EarlyClassifier, texts: list[str], place: Path) -> dict[int, Logits]:
    """{width: {layer: logits (n, classes)}} of whole passes, kept in a file."""
    if not place.exists():
        layers = Layers(early.model_)
        vectors = encode_layers(early.model_, layers, texts, early.layers_, batch=early.batch)
        layers.close()
        arrays = {}
        with torch.inference_mode():
            for layer, x in vectors.items():
                heads = early.early_heads_.get(layer, early.heads_)
                assert heads is not None
                for width, logits in heads(torch.as_tensor(x)).items():
                    arrays[f"{layer},{width}"] = logits.numpy()
        np.savez(place, **arrays)
    found: dict[int, dict[int, F32]] = {width: {} for width in WIDTHS}
    with np.load(place) as kept:
        for key in kept.files:
            layer, width = map(int, key.split(","))
            found[width][layer] = kept[key]
    return dict(found)


def right(logits: F32, labels: Labels, classes: Labels) -> F64:
    """1 where the label (n,) of the largest logit is the true one, else 0."""
    found: F64 = (classes[logits.argmax(axis=1)] == labels).astype(np.float64)
    return found


def judged(
    logits: Logits, truth: Labels, classes: Labels, policy: dict[str, Any]
) -> dict[str, Any]:
    """A policy's loss and layers on held-out texts, thresholds of each half on the other."""
    rng = np.random.default_rng(0)
    correct, layers = np.zeros(len(truth)), np.zeros(len(truth))
    for _ in range(HALVINGS):
        halves = rng.permutation(len(truth)) % 2
        for half in (0, 1):
            mine, other = np.flatnonzero(halves == half), np.flatnonzero(halves != half)
            cascade = nv.Cascade(**policy).fit(
                {layer: x[mine] for layer, x in logits.items()}, truth[mine], classes
            )
            stopped = cascade.run(logits, other)
            correct[other] += (stopped.labels == truth[other]) / HALVINGS
            layers[other] += stopped.widths / HALVINGS
    full = right(logits[max(logits)], truth, classes)
    level = 1 - 0.05 / len(POLICIES)
    return {"held_out": difference(correct, full, level), "layers": float(layers.mean())}


def difference(values: F64, rival: F64, level: float = 0.95) -> dict[str, Any]:
    """The paired difference, and whether it proves no loss of the margin."""
    found = paired_difference(values, rival, level=level)
    return {**asdict(found), "non_inferior": non_inferior(found, MARGIN)}


def facts(correct: F64, full: F64, layers: float, cascade: nv.Cascade) -> dict[str, Any]:
    """Of a cascade on the test texts."""
    return {
        "accuracy": asdict(bootstrap_mean(correct)),
        "over_full": difference(correct, full),
        "layers": layers,
        "thresholds": cascade.thresholds_.tolist(),
    }


def plain_right(folder: Path, texts: list[str], labels: Labels) -> F64:
    """1 where the model without early heads is right."""
    heads, widths, names = load_heads(folder)
    with quiet_libraries():
        model = load_model(str(folder), str(folder), max_tokens=TOKENS, remote_code=False)
    vectors = torch.as_tensor(model.encode(texts, batch_size=32, show_progress_bar=False))
    with torch.inference_mode():
        logits = heads[None](vectors)[widths[-1]].numpy()
    return right(logits, labels, np.asarray(names))


def times(
    early: nv.EarlyClassifier, cascade: nv.Cascade, texts: list[str], rounds: int
) -> dict[str, Any]:
    """Seconds on the clock and of the processor to label all texts, rounds of each way in turn."""

    heads = early.heads_
    assert heads is not None

    def encode() -> None:
        vectors = early.model_.encode(
            texts, batch_size=early.batch, show_progress_bar=False, convert_to_tensor=True
        )
        with torch.inference_mode():
            heads(vectors)[WIDTHS[-1]].argmax(dim=1)

    ways: dict[str, Callable[[], Any]] = {
        "whole model": encode,
        "cascade": lambda: early.run(cascade, texts),
    }
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            clock, used = time.perf_counter(), time.process_time()
            way()
            taken[name].append((time.perf_counter() - clock, time.process_time() - used))
    found: dict[str, Any] = {"rounds": rounds, "batch": early.batch}
    for i, kind in enumerate(("clock_s", "processor_s")):
        found[kind] = {
            name: {"median": median(x[i] for x in seen), "each": [round(x[i], 2) for x in seen]}
            for name, seen in taken.items()
        }
        found[kind]["ratios"] = {
            name: median(c[i] / w[i] for c, w in zip(taken["cascade"], seen, strict=True))
            for name, seen in taken.items()
            if name != "cascade"
        }
    return found


def picture(result: dict[str, Any]) -> str:
    """Accuracy against layers: of heads at each width, and of cascades."""
    series: dict[str, dict[float, tuple[float, float, float]]] = {}
    for key, x in result["accuracy"].items():
        layer, width = key.split(",")
        series.setdefault(f"all stop there, {width} dims", {})[float(layer)] = _ends(x)
    ranked = sorted(result["cascades"].values(), key=lambda x: x["layers"])
    series["cascades"] = {x["layers"]: _ends(x["accuracy"]) for x in ranked}
    return lines_of(
        "banking77: accuracy by layers run",
        series,
        x_name="layers run, mean over texts",
        y_name="share right",
        log_x=False,
        ticks=range(1, 7),
    )


def as_markdown(result: dict[str, Any]) -> str:
    """Tables of layers, of cascades and of times."""
    best = result["cascades"][result["chosen"]]
    layers = list(dict.fromkeys(key.split(",")[0] for key in result["accuracy"]))
    lines = ["# Layers skipped where labels are sure", "", "![accuracy by layers](early.svg)", ""]
    lines += [
        f"banking77: {result['train']:,} texts trained on, {result['held_out']:,} held out for "
        f"thresholds, {result['test']:,} test texts, 77 intents; one seed.",
        "",
        "## Every layer and width",
        "",
        "| width | " + " | ".join(f"layer {layer}" for layer in layers) + " |",
        "|---:|" + "---:|" * len(layers),
    ]
    for width in WIDTHS:
        cells = [_figure(result["accuracy"][f"{layer},{width}"]) for layer in layers]
        lines.append(f"| {width} | " + " | ".join(cells) + " |")
    if plain := result["plain"]:
        lines += [
            "",
            f"Plain, trained alike with heads at the last layer alone: {_figure(plain['accuracy'])}"
            f". The whole model less plain: {_figure(plain['full_over_plain'], signed=True)}; the "
            f"chosen cascade less plain: {_figure(plain['chosen_over_plain'], signed=True)}.",
        ]
    lines += [
        "",
        "## Cascades",
        "",
        "Over full: less the whole model's accuracy, paired, 95 %. Held out: the same there, "
        f"thresholds of each half judged on the other, {100 * (1 - 0.05 / len(POLICIES)):.1f} % "
        f"for a choice among {len(POLICIES)}; by it **{result['chosen']}** was chosen, the "
        f"cheapest whose lower end is above -{result['margin']:g}.",
        "",
        "| policy | held out | layers | test accuracy | over full | layers |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, x in result["cascades"].items():
        held = result["policies_on_held_out"][name]
        lines.append(
            f"| {f'**{name}**' if name == result['chosen'] else name} "
            f"| {_figure(held['held_out'], signed=True)} | {held['layers']:.2f} "
            f"| {_figure(x['accuracy'])} | {_figure(x['over_full'], signed=True)} "
            f"| {x['layers']:.2f} |"
        )
    listed = ", ".join(f"{n:,} at layer {layer}" for layer, n in result["stopped"].items())
    held_to = "holds" if best["over_full"]["non_inferior"] else "does not hold"
    lines += [
        "",
        f"Of the chosen one's texts stop {listed}. That it is no worse than the whole model by "
        f"{result['margin']:g} {held_to} on the test texts.",
        "",
        "## Time",
        "",
        f"Seconds to label all {result['test']:,} test texts, tokens and heads included: medians "
        f"of {result['times']['rounds']} rounds, the ways in turn; batches of "
        f"{result['times']['batch']} sorted by length, {result['threads']} thread(s), float32. "
        "Others used the machine meanwhile, which the clock shows and the processor's time does "
        "not.",
        "",
        "| way | clock | processor | cascade's share, clock | processor |",
        "|---|---:|---:|---:|---:|",
    ]
    clock, used = result["times"]["clock_s"], result["times"]["processor_s"]
    for name in (key for key in clock if key != "ratios"):
        shares = [f"{x['ratios'][name]:.2f}" if name in x["ratios"] else "" for x in (clock, used)]
        lines.append(
            f"| {name} | {clock[name]['median']:.1f} | {used[name]['median']:.1f} | "
            f"{shares[0]} | {shares[1]} |"
        )
    lines += ["", f"`{result['command']}` ({result['machine']}, {result['seconds']:.0f} s)", ""]
    return "\n".join(lines)


def _ends(x: dict[str, float]) -> tuple[float, float, float]:
    return x["value"], x["low"], x["high"]


def _figure(x: dict[str, float], *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{x['value']:{sign}.3f} [{x['low']:{sign}.3f}, {x['high']:{sign}.3f}]"


if __name__ == "__main__":
    main()
