"""The temperature of InfoNCE, and its aggregates: make study NAME=temperature DATA=folder.

all-MiniLM-L6-v2 is fine-tuned on titles and abstracts of ACL papers up to 2022 at six temperatures,
each at full width and as MRL (96, 192, 384 dimensions), and by TempAgg, TempAggMRL, TempSpecMRL and
one schedule (Dinu et al., ICLR 2025, openreview szRmEM8Kx5). Told: retrieval of 2024's abstracts by
titles (nDCG@10) and clustering of questions (V-measure), by full vectors, a quarter of the
dimensions (leading, random), signs (Hamming), signs of the leading quarter, and for retrieval the
signs' best 100 ranked again by the float query against the same signs, and by the vectors; what
each keeps of full; and the geometry of the vectors. DATA has acl_abstracts (ACL Anthology) and
clustering_short (titles of Stack Overflow questions, 20 labels). By default 4,000 pairs, 8,000
abstracts, 5,000 questions, texts cut at 64 tokens, one seed; FULL=1 takes all pairs and abstracts
and 128 tokens. Models and vectors are kept in --work; a rerun goes on.
"""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.manifold import TSNE
from studies.pictures import lines, scatters
from studies.trained import (
    F32,
    F64,
    Retrieval,
    acl_facts,
    acl_of,
    acl_parser_of,
    encoded,
    trained,
)

from nestvec.data.training import Examples, read_examples
from nestvec.learn.losses.contrastive import negative_weights
from nestvec.measure.clusters import v_measure
from nestvec.measure.geometry import alignment, intrinsic_dimension, uniformity
from nestvec.measure.intervals import bootstrap_mean, paired_difference, paired_ratio
from nestvec.measure.metrics import Measure, Relevance, ranks_of_relevant
from nestvec.measure.probes import cluster
from nestvec.measure.resamples import draw_counts, paired_intervals, v_measure_of_draws
from nestvec.vectors import prefix

TEMPERATURES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.4)
WIDTHS = (96, 192, 384)
AGGREGATED = (0.03, 0.06, 0.1)
SHOWN = (0.02, 0.1, 0.4)
SETTINGS = {"batch": 64, "learning_rate": 5e-5, "bfloat16": True}
KINDS = ("full", "leading", "random", "signs", "signs of leading", "signs, float", "signs, vectors")
CLUSTERED = KINDS[:5]
_SMALLER = {"full": 1, "leading": 4, "random": 4, "signs": 32, "signs of leading": 128}


def main() -> None:
    """Train, measure and write temperature.json, temperature.md and pictures."""
    options = acl_parser_of("temperature", __doc__).parse_args()
    whole = os.environ.get("FULL") == "1"
    began = time.perf_counter()
    pairs, task = acl_of(options, whole)
    place = options.data / "clustering_short" / "stackoverflow.tsv.gz"
    questions = read_examples(str(place), "labelled").drawn(None if whole else 5_000, 0)
    found: dict[str, Any] = {}
    vectors: dict[str, F32] = {}
    for arm, (loss, widths) in arms().items():
        one = recipe(pairs, loss, widths, options.seed, 128 if whole else 64)
        model = trained(arm.replace(" ", "-"), one, options.work)
        found[arm], vectors[arm] = measured(model, task, questions, options.work)
        print(
            arm, json.dumps({k: round(v["value"], 4) for k, v in found[arm]["retrieval"].items()})
        )
    result = {
        **acl_facts("temperature", options, pairs, task),
        "questions": len(questions),
        "settings": SETTINGS,
        "seconds": round(time.perf_counter() - began, 1),
        "arms": found,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / "temperature"
    stem.with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n")
    stem.with_suffix(".md").write_text(as_markdown(result))
    for name, svg in pictures(result, vectors, questions).items():
        (options.out / f"temperature-{name}.svg").write_text(svg)
    print(as_markdown(result))


def arms() -> dict[str, tuple[dict[str, Any], tuple[int, ...]]]:
    """{name: (loss, widths)}."""
    found: dict[str, tuple[dict[str, Any], tuple[int, ...]]] = {}
    for tau in TEMPERATURES:
        loss = {"kind": "info_nce", "temperature": tau}
        found[f"{tau:g}"] = (loss, ())
        found[f"{tau:g} MRL"] = (loss, WIDTHS)
    moving = {"kind": "info_nce", "temperature": 0.2, "last_temperature": 0.02}
    found["0.2 to 0.02, cosine"] = ({**moving, "schedule": "cosine"}, ())
    several = {"temperatures": list(AGGREGATED)}
    found["TempAgg"] = ({"kind": "temp_agg", **several}, ())
    found["TempAggMRL"] = ({"kind": "temp_agg_mrl", **several}, WIDTHS)
    found["TempSpecMRL"] = ({"kind": "temp_spec_mrl", **several}, WIDTHS)
    return found


def recipe(
    pairs: Path, loss: dict[str, Any], widths: tuple[int, ...], seed: int, tokens: int
) -> dict[str, Any]:
    """A loss at these widths, at full width where there are none, of so many tokens of a text."""
    return {
        "model": {"name": "minilm", "dropout": 0.0, "max_tokens": tokens},
        "data": {"train": str(pairs)},
        "nesting": {"widths": list(widths)},
        "loss": loss,
        "train": {**SETTINGS, "seed": seed},
    }


def measured(
    model: Path, task: Retrieval, questions: Examples, work: Path
) -> tuple[dict[str, Any], F32]:
    """Retrieval, clustering and geometry of a model; and the questions' vectors."""
    queries = encoded(model, task.queries, f"{task.name}-queries", work, "query")
    documents = encoded(model, task.documents, f"{task.name}-documents", work, "document")
    texts, labels = questions.columns.values()
    asked = encoded(model, texts, f"questions-{len(texts)}", work, "document")
    values = retrieval(queries, documents, task.relevance)
    full = values["full"]
    of_full, truth = asdict(bootstrap_mean(full)), np.asarray(labels)
    clusters = {kind: cluster(view, len(set(labels)), 0) for kind, view in views(asked).items()}
    counts = draw_counts(len(truth), 0)
    judged = paired_intervals(
        np.array([v_measure(truth, found) for found in clusters.values()]),
        lambda i: v_measure_of_draws(truth, list(clusters.values())[i], counts),
        len(truth),
    )
    relevant = task.relevance.rows[task.relevance.indptr[:-1]]
    geometry = {
        str(width): {
            "intrinsic_dimension": intrinsic_dimension(prefix(documents[:2_000], width)),
            "alignment": alignment(prefix(queries, width), prefix(documents[relevant], width)),
            "uniformity": uniformity(prefix(documents[:2_000], width)),
        }
        for width in WIDTHS
    }
    return {
        "retrieval": {kind: asdict(bootstrap_mean(v)) for kind, v in values.items()},
        "kept": {kind: asdict(paired_ratio(v, full)) for kind, v in values.items()},
        "from_full": {kind: asdict(paired_difference(v, full)) for kind, v in values.items()},
        "clustering": {k: asdict(x) for k, (x, _) in zip(clusters, judged, strict=True)},
        "clustering_from_full": {k: asdict(d) for k, (_, d) in zip(clusters, judged, strict=True)},
        "geometry": geometry,
        "full": of_full,
    }, asked


def views(vectors: F32) -> dict[str, F32]:
    """The vectors (n, d) as each of CLUSTERED keeps them; signs as -1 and 1 at unit length."""
    some = np.random.default_rng(0).permutation(vectors.shape[1])[: vectors.shape[1] // 4]
    leading = vectors[:, : vectors.shape[1] // 4]
    unit = [vectors, leading, vectors[:, np.sort(some)], signs(vectors), signs(leading)]
    return {
        kind: view / np.maximum(np.linalg.norm(view, axis=1, keepdims=True), 1e-12)
        for kind, view in zip(CLUSTERED, unit, strict=True)
    }


def signs(vectors: F32) -> F32:
    """1 where a coordinate is above 0, -1 elsewhere."""
    return np.where(vectors > 0, np.float32(1), np.float32(-1))


def retrieval(queries: F32, documents: F32, relevance: Relevance) -> dict[str, F64]:
    """{kind: nDCG@10 of each query}."""
    asked, kept = views(queries), views(documents)
    found: dict[str, list[F64]] = {kind: [] for kind in KINDS}
    measure = Measure.parse("nDCG@10")
    for start in range(0, len(queries), 256):
        part = relevance.take(slice(start, start + 256))
        rows = slice(start, start + 256)
        scores = {kind: asked[kind][rows] @ kept[kind].T for kind in CLUSTERED}
        again = {
            "signs, float": queries[rows] @ kept["signs"].T,
            "signs, vectors": queries[rows] @ documents.T,
        }
        worst_kept = -np.sort(-scores["signs"], axis=1)[:, 99:100]
        for kind, better in again.items():
            scores[kind] = np.where(scores["signs"] >= worst_kept, better, np.float32(-9))
        for kind, found_scores in scores.items():
            found[kind].append(measure.values(ranks_of_relevant(found_scores, part), part))
    return {kind: np.concatenate(parts) for kind, parts in found.items()}


def pictures(
    result: dict[str, Any], vectors: dict[str, F32], questions: Examples
) -> dict[str, str]:
    """Quality, what is kept, geometry, t-SNE and weights of negatives."""
    single = {mrl: [f"{tau:g}{mrl}" for tau in TEMPERATURES] for mrl in ("", " MRL")}
    found = {}
    for what, title in (("retrieval", "nDCG@10"), ("kept", "share of full vectors' nDCG@10")):
        series = {
            f"{kind}{mrl}": {
                tau: _point(result["arms"][arm][what][kind])
                for tau, arm in zip(TEMPERATURES, names, strict=True)
            }
            for kind in ("full", "leading", "signs", "signs of leading")
            for mrl, names in single.items()
            if not (what == "kept" and kind == "full")
        }
        found[what] = lines(
            f"Retrieval by temperature: {title}", series, x_name="temperature", y_name=title
        )
    series = {
        f"{kind}{mrl}": {
            tau: _point(result["arms"][arm]["clustering"][kind])
            for tau, arm in zip(TEMPERATURES, names, strict=True)
        }
        for kind in ("full", "leading", "signs")
        for mrl, names in single.items()
    }
    found["clustering"] = lines(
        "Clustering by temperature: V-measure", series, x_name="temperature", y_name="V-measure"
    )
    for what in ("alignment", "uniformity"):
        series = {
            f"{width} dims{mrl}": {
                tau: (result["arms"][arm]["geometry"][str(width)][what],) * 3
                for tau, arm in zip(TEMPERATURES, names, strict=True)
            }
            for width in (96, 384)
            for mrl, names in single.items()
        }
        title = f"{what.capitalize()} by temperature (less is better)"
        found[what] = lines(title, series, x_name="temperature", y_name=what)
    found["negatives"] = _negatives()
    labels = list(questions.columns.values())[1]
    names = sorted(set(labels))
    few = np.flatnonzero(np.isin(labels, names[:8]))[:800]
    panels = {}
    for tau in SHOWN:
        for width in (96, 384):
            cut = prefix(vectors[f"{tau:g} MRL"][few], width)
            placed = TSNE(2, random_state=0, init="pca", perplexity=30).fit_transform(cut)
            panels[f"temperature {tau:g}, {width} dims"] = (
                placed,
                [names.index(labels[i]) for i in few],
            )
    found["tsne"] = scatters(
        "t-SNE of questions of eight labels, MRL at three temperatures", panels
    )
    return found


def _negatives() -> str:
    """Shares of the gradient that negatives of rising cosine get."""
    cosines = torch.linspace(-0.2, 0.8, 11)[None]
    series = {}
    for tau in TEMPERATURES:
        weights = negative_weights(cosines, tau)[0].tolist()
        series[f"temperature {tau:g}"] = {
            float(c): (w, w, w) for c, w in zip(cosines[0].tolist(), weights, strict=True)
        }
    return lines(
        "Weight of each of eleven negatives, by temperature",
        series,
        x_name="cosine of the negative with the query",
        y_name="share of the gradient",
        log_x=False,
    )


def _point(x: dict[str, float]) -> tuple[float, float, float]:
    return x["value"], x["low"], x["high"]


def as_markdown(result: dict[str, Any]) -> str:
    """Three tables: quality, what is kept, geometry."""
    out = ["# Temperatures", ""]
    out.append(
        f"{result['pairs']:,} pairs; {result['queries']:,} titles of 2024 against "
        f"{result['documents']:,} abstracts; {result['questions']:,} questions. How many times "
        "smaller than float32 a kind is: "
        + ", ".join(f"{kind} {times}" for kind, times in _SMALLER.items())
        + ". `signs, float` and `signs, vectors`: the signs' best 100 ranked again."
    )
    for what, title, kinds in (
        ("retrieval", "Retrieval, nDCG@10", KINDS),
        ("kept", "Share of full vectors' nDCG@10", KINDS[1:]),
        ("clustering", "Clustering, V-measure", CLUSTERED),
    ):
        out += ["", f"## {title}", ""]
        if what != "kept":
            out += [f"![{title}](temperature-{what}.svg)", ""]
        out += ["| arm | " + " | ".join(kinds) + " |", "|---|" + "---:|" * len(kinds)]
        for arm, found in result["arms"].items():
            cells = [
                f"{x['value']:.3f} [{x['low']:.3f}, {x['high']:.3f}]"
                for x in (found[what][kind] for kind in kinds)
            ]
            out.append(f"| {arm} | " + " | ".join(cells) + " |")
    out += ["", "![share kept](temperature-kept.svg)", "", "## Geometry", ""]
    for what in ("alignment", "uniformity"):
        out += [f"![{what}](temperature-{what}.svg)", ""]
    out += ["![t-SNE](temperature-tsne.svg)", ""]
    out += ["![weights of negatives](temperature-negatives.svg)", ""]
    heads = [f"{w} {what}" for w in WIDTHS for what in ("intrinsic", "alignment", "uniformity")]
    out += ["| arm | " + " | ".join(heads) + " |", "|---|" + "---:|" * len(heads)]
    for arm, found in result["arms"].items():
        row = []
        for shape in found["geometry"].values():
            row.append(str(shape["intrinsic_dimension"]))
            row += [f"{shape['alignment']:.3f}", f"{shape['uniformity']:.3f}"]
        out.append(f"| {arm} | " + " | ".join(row) + " |")
    out += ["", f"`{result['command']}` ({result['machine']}, {result['seconds']:.0f} s)", ""]
    return "\n".join(out)


if __name__ == "__main__":
    main()
