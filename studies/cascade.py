"""Widening only where it pays, on frozen vectors: make study NAME=cascade DATA=folder.

banking77 (77 intents; PolyAI's task-specific datasets, train.csv.gz and test.csv.gz) by
all-MiniLM-L6-v2 vectors that stay as they are. A matrix and a head a width are trained on a part of
the training texts; the others set the thresholds. Told: accuracy of each width, of cascades by
every policy with the dims that they cost (the last width's, as MRL counts, and the sum of those
read), beside the oracle and beside stopping at random as often at each width; paired differences
from the full width on the test texts, thresholds set once by all held-out texts; and the same over
30 random draws of the held-out and the test texts, as MRL's appendix D.1 has it. --split dev tells
the held-out texts themselves, half of them setting thresholds for the other half.

Tuned on held-out texts of three other draws of the training texts, three quarters of them setting
thresholds for the rest: epochs (10 15 20 30 40 80) and rates (.001 .003 .01) by the full width's
accuracy; then the policy, by what the cascade loses on texts that did not set its thresholds.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from studies.pictures import lines as lines_of
from studies.trained import F32, F64, command_of, encoded, machine, parser_of

from nestvec.choose.cascade import Cascade, oracle
from nestvec.data.training import read_examples
from nestvec.learn.vector_classifier import VectorClassifier
from nestvec.measure.intervals import bootstrap_mean, paired_difference

WIDTHS = (16, 32, 48, 64, 96, 128, 192, 256, 384)
HELD = 2_000
SHARES = (1.0, 0.998, 0.995, 0.99, 0.98, 0.96)
"""Of the widest width's right labels, kept on held-out texts."""
DRAWS = 30
MARGIN = 0.005
POLICIES: dict[str, dict[str, Any]] = {
    "greedy": {"policy": "greedy"},
    "greedy, calibrated": {"policy": "greedy", "calibrate": True},
    "full accuracy at least cost": {"policy": "accuracy"},
    "full accuracy at least sum": {"policy": "accuracy", "counted": "sum"},
    "keep at least cost": {"policy": "keep"},
    "keep at least sum": {"policy": "keep", "counted": "sum"},
    "expected loss .002 at least sum": {"policy": "expected", "target": 0.002, "counted": "sum"},
    "the same by margin": {
        "policy": "expected",
        "target": 0.002,
        "counted": "sum",
        "confidence": "margin",
    },
}
CHOSEN = "keep at least sum"
"""Of the policies, by held-out texts alone."""


def main() -> None:
    """Train, measure, and write cascade.json, cascade.md and cascade.svg."""
    parser = parser_of("cascade", __doc__)
    parser.set_defaults(out=Path("docs/results/cascade"))
    parser.add_argument("--split", default="test", choices=("dev", "test"))
    parser.add_argument("--head", default="separate", choices=("separate", "tied"))
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--decay", type=float, default=0.01)
    options = parser.parse_args()
    begun = time.perf_counter()
    read = {}
    for name in ("train", "test"):
        path = options.data / "banking77" / f"{name}.csv.gz"
        texts, names = read_examples(str(path), "labelled").columns.values()
        read[name] = encoded("minilm", texts, name, options.work, "document"), np.asarray(names)
    vectors, labels = read["train"]
    order = np.random.default_rng(options.seed).permutation(len(labels))
    held, fitted = order[:HELD], order[HELD:]
    classifier = VectorClassifier(
        WIDTHS,
        head=options.head,
        epochs=options.epochs,
        decay=options.decay,
        random_state=options.seed,
    ).fit(vectors[fitted], labels[fitted])
    tune = _Rows(classifier, vectors[held], labels[held])
    if options.split == "dev":
        tune, test = tune.part(np.arange(HELD // 2)), tune.part(np.arange(HELD // 2, HELD))
    else:
        test = _Rows(classifier, *read["test"])
    right = test.right()
    result = {
        "command": command_of(
            "cascade",
            seed=options.seed,
            split=options.split,
            head=options.head,
            epochs=options.epochs,
            decay=options.decay,
        ),
        "machine": machine(),
        "fitted": len(fitted),
        "held": len(tune.labels),
        "test": len(test.labels),
        "widths": WIDTHS,
        "accuracy": [asdict(bootstrap_mean(each)) for each in right],
        "from_full": [asdict(paired_difference(each, right[-1])) for each in right],
        "cascades": {
            name: told(Cascade(**how).fit(tune.logits, tune.numbers), test)
            for name, how in POLICIES.items()
        },
        "shares_kept": {
            str(share): told(
                Cascade("keep", target=share, counted="sum").fit(tune.logits, tune.numbers), test
            )
            for share in SHARES
        },
        "oracle": _oracle(right),
        "draws": {name: drawn(how, tune, test) for name, how in POLICIES.items()},
        "seconds": round(time.perf_counter() - begun, 1),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "cascade.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "cascade.md").write_text(as_markdown(result))
    (options.out / "cascade.svg").write_text(picture(result))
    print(as_markdown(result))


class _Rows:
    """Logits and labels of some rows."""

    def __init__(self, classifier: VectorClassifier, vectors: F32, labels: NDArray[Any]) -> None:
        self.logits: dict[int, F32] = classifier.logits(vectors)
        self.labels = labels
        self.numbers = np.searchsorted(classifier.classes_, labels)

    def part(self, rows: NDArray[np.int64]) -> _Rows:
        """Some of them."""
        found = object.__new__(_Rows)
        found.logits = {width: each[rows] for width, each in self.logits.items()}
        found.labels, found.numbers = self.labels[rows], self.numbers[rows]
        return found

    def right(self) -> F64:
        """(w, n): 1 where a width's label is right."""
        found = [each.argmax(axis=1) == self.numbers for each in self.logits.values()]
        return np.array(found, np.float64)


def told(cascade: Cascade, test: _Rows) -> dict[str, Any]:
    """One cascade on the test rows."""
    stopped = cascade.run(test.logits)
    right = test.right()
    values = (stopped.labels == test.numbers).astype(np.float64)
    steps = np.searchsorted(WIDTHS, stopped.widths)
    shares = np.bincount(steps, minlength=len(WIDTHS)) / len(steps)
    return {
        "accuracy": asdict(bootstrap_mean(values)),
        "from_full": asdict(paired_difference(values, right[-1])),
        "last": asdict(bootstrap_mean(stopped.widths.astype(np.float64))),
        "sum": asdict(bootstrap_mean(cascade.cost(stopped, "sum"))),
        "visited": cascade.visited_,
        "shares": shares.round(4).tolist(),
        "at_random": float(shares @ right.mean(axis=1)),
        "thresholds": cascade.thresholds_.round(4).tolist(),
        "temperatures": cascade.temperatures_.round(4).tolist(),
    }


def _oracle(right: F64) -> dict[str, float]:
    """The first width that is right."""
    steps = oracle(right == 0)
    return {
        "accuracy": float(right.max(axis=0).mean()),
        "last": float(np.asarray(WIDTHS)[steps].mean()),
        "sum": float(np.cumsum(WIDTHS)[steps].mean()),
    }


def drawn(how: dict[str, Any], tune: _Rows, test: _Rows) -> dict[str, Any]:
    """Means over random halves of the held-out and of the test rows; ends of the middle 95 %."""
    rng = np.random.default_rng(1)
    found = []
    for _ in range(DRAWS):
        own, other = (
            each.part(np.sort(rng.permutation(len(each.labels))[: len(each.labels) // 2]))
            for each in (tune, test)
        )
        cascade = Cascade(**how).fit(own.logits, own.numbers)
        stopped = cascade.run(other.logits)
        accuracy = (stopped.labels == other.numbers).mean()
        difference = accuracy - other.right()[-1].mean()
        summed = cascade.cost(stopped, "sum").mean()
        found.append((accuracy, difference, stopped.widths.mean(), summed))
    table = np.array(found)
    low, high = np.quantile(table, [0.025, 0.975], axis=0)
    names = ("accuracy", "from_full", "last", "sum")
    return {
        name: {"value": float(table[:, i].mean()), "low": float(low[i]), "high": float(high[i])}
        for i, name in enumerate(names)
    }


def narrowest(result: dict[str, Any]) -> int:
    """The first width that is no worse than the full one by MARGIN, by its interval."""
    pairs = zip(WIDTHS, result["from_full"], strict=True)
    return next(width for width, cell in pairs if cell["low"] > -MARGIN)


def as_markdown(result: dict[str, Any]) -> str:
    """Everything as one page."""
    single, best = narrowest(result), result["cascades"][CHOSEN]
    kept = best["from_full"]["low"] > -MARGIN
    out = [
        "# Cascades on frozen vectors\n",
        "![accuracy against dims](cascade.svg)\n",
        f"banking77, 77 intents, all-MiniLM-L6-v2 vectors as they are: {result['fitted']:,} texts "
        f"train a matrix and heads, {result['held']:,} set thresholds, {result['test']:,} are "
        "told.\n",
        "| width | " + " | ".join(map(str, WIDTHS)) + " |",
        "|---|" + "---|" * len(WIDTHS),
        "| accuracy | " + " | ".join(f"{c['value']:.3f}" for c in result["accuracy"]) + " |",
        "| from full | " + " | ".join(_signed(c) for c in result["from_full"]) + " |",
        "",
        f"The narrowest width that is no worse than the full one by {MARGIN} (lower end of the "
        f"paired interval): {single}. The cascade that was chosen on held-out texts, *{CHOSEN}*, "
        f"reads {best['sum']['value']:.1f} dims in all, {best['sum']['value'] / single:.2f} of "
        f"that, and is {'no worse' if kept else 'not proven to be no worse'} than the full width "
        "by that margin.\n",
        "| cascade | reads | accuracy | from full | last width | sum of widths | at random |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, each in result["cascades"].items():
        out.append(
            f"| {name} | {' '.join(map(str, each['visited']))} | {each['accuracy']['value']:.3f} | "
            f"{_signed(each['from_full'])} | {each['last']['value']:.1f} | "
            f"{each['sum']['value']:.1f} | {each['at_random']:.3f} |"
        )
    found = result["oracle"]
    out.append(
        f"| oracle | | {found['accuracy']:.3f} | | {found['last']:.1f} | {found['sum']:.1f} | |"
    )
    out += [
        "",
        "By the share of the full width's right labels that is kept on held-out texts, at the "
        "least sum:\n",
        "| kept | reads | accuracy | from full | last width | sum of widths |",
        "|---|---|---|---|---|---|",
    ]
    for share, each in result["shares_kept"].items():
        out.append(
            f"| {share} | {' '.join(map(str, each['visited']))} | {each['accuracy']['value']:.3f} "
            f"| {_signed(each['from_full'])} | {each['last']['value']:.1f} | "
            f"{each['sum']['value']:.1f} |"
        )
    out += [
        "",
        f"Over {DRAWS} draws of half the held-out and half the test texts, means and the middle "
        "95 %:\n",
        "| cascade | accuracy | from full | last width | sum of widths |",
        "|---|---|---|---|---|",
    ]
    for name, each in result["draws"].items():
        last, summed = (
            f"{each[k]['value']:.1f} [{each[k]['low']:.1f}, {each[k]['high']:.1f}]"
            for k in ("last", "sum")
        )
        out.append(
            f"| {name} | {each['accuracy']['value']:.3f} | {_signed(each['from_full'])} | {last} | "
            f"{summed} |"
        )
    out += ["", f"`{result['command']}` ({result['machine']}, {result['seconds']:.0f} s)\n"]
    return "\n".join(out)


def picture(result: dict[str, Any]) -> str:
    """Accuracy against dims: single widths, and cascades by either count."""

    def cell(each: dict[str, Any]) -> tuple[float, float, float]:
        return each["value"], each["low"], each["high"]

    single = zip(WIDTHS[1:], map(cell, result["accuracy"][1:]), strict=True)
    drawn_lines = {"one width": {float(width): ends for width, ends in single}}
    for count in ("sum", "last"):
        drawn_lines[f"keep, {count}"] = {
            each[count]["value"]: cell(each["accuracy"]) for each in result["shares_kept"].values()
        }
    for name, short in (("greedy", "greedy"), ("full accuracy at least sum", "full accuracy")):
        each = result["cascades"][name]
        for count in ("sum", "last"):
            drawn_lines[f"{short}, {count}"] = {each[count]["value"]: cell(each["accuracy"])}
    title = "Intents by dims: the last width's, and the sum of those read"
    return lines_of(title, drawn_lines, x_name="dims", y_name="accuracy", ticks=WIDTHS[1:])


def _signed(cell: dict[str, float]) -> str:
    return f"{cell['value']:+.3f} [{cell['low']:+.3f}, {cell['high']:+.3f}]"


if __name__ == "__main__":
    main()
