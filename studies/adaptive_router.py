"""Routers of adaptive_retrieval.py: narrow plans whose doubtful queries are asked again."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from studies.adaptive_plans import Ways, widths_of

from nestvec.choose.router import Costs, Router, agreement
from nestvec.measure.classes import ap_at_k, relevant_hits
from nestvec.measure.intervals import bootstrap_means

HITS = 10
MARGIN = 0.005
"""Half a point of mAP@10."""
PAIRS = {
    "one pass at 8, or at full width": ("8d:20", "raw:20", "4d:10"),
    "4 to full, or 16 to full": ("4d:200,raw:20", "16d:200,raw:20", None),
    "8 to full with 20 kept, or 16 to full": ("8d:20,raw:20", "16d:200,raw:20", None),
    "2 to full, or 8 to full": ("2d:200,raw:20", "8d:200,raw:20", None),
}
"""{name: narrow plan, wide plan, a narrower one whose agreement with the first is a feature}."""


def routers(ways: Ways, data: Any, seed: int) -> list[dict[str, Any]]:
    """Each pair of plans: fitted on half of the queries, told of the others."""
    order = np.random.default_rng(seed + 1).permutation(len(data.queries))
    half = len(order) // 2
    fitted, told = order[:half], order[half:]
    found = []
    for name, (narrow, wide, other) in PAIRS.items():
        low, high = _ranked(ways, data, narrow), _ranked(ways, data, wide)
        more, extra = None, 0.0
        if other is not None:
            again = _ranked(ways, data, other)
            more, extra = agreement(low["hits"][:, :HITS], again["hits"]), again["cost"]
        costs = Costs(low["cost"] + extra, high["cost"])
        router = Router(HITS, MARGIN)
        own = None if more is None else more[fitted]
        router.fit(low["scores"][fitted], low["map"][fitted], high["map"][fitted], own)
        others = None if more is None else more[told]
        verdict = router.report(
            low["scores"][told], low["map"][told], high["map"][told], costs, others
        )
        found.append(
            {
                "name": name,
                "narrow_plan": narrow,
                "wide_plan": wide,
                "fitted": len(fitted),
                "narrow_cost": costs.narrow,
                "wide_cost": costs.wide,
                "shares": _by_share(router, low, high, told, others, costs),
            }
            | asdict(verdict)
        )
    return [*found, {"name": "fixed", "widths": _fixed(ways, data, told)}]


def _ranked(ways: Ways, data: Any, plan: str) -> dict[str, Any]:
    """Hits, scores, quality and multiply-adds of all queries by a plan."""
    rankings = ways.of("").rank(data.queries, plan)
    hits = np.stack([each.rows for each in rankings])
    relevant, totals = relevant_hits(hits, data.row_labels, data.labels)
    return {
        "hits": hits,
        "scores": np.stack([each.scores for each in rankings]),
        "map": ap_at_k(relevant, HITS, totals),
        "cost": ways.ask(data.queries[:2], plan).multiply_adds,
    }


def _by_share(
    router: Router, low: Any, high: Any, told: Any, more: Any, costs: Costs
) -> list[dict[str, float]]:
    """What the router's order of queries gives for every share widened, and random ones."""
    doubt = router.likelihood(low["scores"][told], more)
    order = np.argsort(-doubt, kind="stable")
    narrow, wide = low["map"][told], high["map"][told]
    found = []
    for share in (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0):
        widened = np.zeros(len(told), bool)
        widened[order[: round(share * len(told))]] = True
        drawn = min(1.0, costs.wide_share(share)) if costs.wide > costs.narrow else 1.0
        found.append(
            {
                "share": share,
                "cost": costs.routed(share),
                "routed": float(np.where(widened, wide, narrow).mean()),
                "at_random": float(drawn * wide.mean() + (1 - drawn) * narrow.mean()),
            }
        )
    return found


def _fixed(ways: Ways, data: Any, told: Any) -> list[dict[str, Any]]:
    """One pass, and 200 rows ranked in full, at every width, of the queries told."""
    plans = []
    for width in widths_of(ways.dim)[:-1]:
        plans += [f"{width}d:20"] + [f"{width}d:200,raw:20"] * (width <= 32)
    plans.append("raw:20")
    ranked = [_ranked(ways, data, plan) for plan in plans]
    values = np.stack([each["map"][told] for each in ranked], axis=1)
    means = bootstrap_means(np.concatenate([values, values - values[:, -1:]], axis=1))
    return [
        {
            "plan": plan,
            "map": asdict(means[i]),
            "from_full": asdict(means[i + len(plans)]),
            "cost": each["cost"],
        }
        for i, (plan, each) in enumerate(zip(plans, ranked, strict=True))
    ]
