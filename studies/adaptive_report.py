"""Tables and pictures of adaptive_retrieval.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from studies.pictures import heat_maps
from studies.pictures import lines as lines_of

from nestvec.index.plan import Plan

KEPT = 0.001
"""A tenth of a point: what the claim allows."""
EXACT = ("one pass, full width", "one pass, numpy", "one pass, FAISS flat")
CLAIM = "16 to full"


def as_markdown(result: dict[str, Any]) -> str:
    """Everything as one page."""
    out = [
        "# Adaptive retrieval\n",
        "![share of full mAP@10, shortlist width by ranking width](adaptive.svg)\n",
        "![share of full mAP@10 by the first width](adaptive-widths.svg)\n",
        "Vectors of a nested image model: training images are the database, test images ask, a hit "
        "is right if it bears the query's class. mAP@10 divides by min(R, 10); every class here "
        "has more than 10 rows, so that MRL's own form, divided by 10, is the same number, and "
        "stands in the JSON. Differences are paired, from one pass at full width, with 95 % "
        "intervals over queries. Multiply-adds and bytes of a query are counted by formula, "
        "milliseconds are medians of queries asked alone, all rows of a table in turn in one "
        "run.\n",
    ]
    for name, each in result["sets"].items():
        out.append(
            f"## {name}: {each['rows']:,} rows, {each['dim']} dims, {each['classes']} classes, "
            f"{each['queries']:,} queries\n"
        )
        if "timed" in each:
            out += _timed(each)
        if "scaled" in each:
            out += _scaled(each["scaled"], each["rows"])
        if "tables" in each:
            out += _tables(each, result["shortlist"])
        if "routers" in each:
            out += _routers(each["routers"])
    out.append(f"`{result['command']}` ({result['machine']})\n")
    return "\n".join(out)


def claim_of(each: dict[str, Any]) -> dict[str, Any]:
    """What the timed run says of the claim: the difference, and how many times as fast.

    With one thread: on a machine whose cores others use as well, two threads wait for each other.
    """
    by_name = {engine["name"]: engine for engine in each["timed"]}
    mine = by_name[CLAIM]
    # of HNSWs, the fastest that keeps as much of full quality; else the best
    walks = [engine for name, engine in by_name.items() if name.startswith("FAISS HNSW32, ef")]
    enough = [walk for walk in walks if walk["from_full"]["value"] > -KEPT]
    best = max(walks, key=lambda walk: walk["from_full"]["value"])
    walk = min(enough, key=lambda walk: walk["ms_1"]) if enough else best
    exact = min((by_name[name] for name in EXACT), key=lambda engine: engine["ms_1"])
    return {
        "from_full": mine["from_full"],
        "exact": exact["name"],
        "walk": walk["name"],
        "over_own": by_name[EXACT[0]]["ms_1"] / mine["ms_1"],
        "over_exact": exact["ms_1"] / mine["ms_1"],
        "over_walk": walk["ms_1"] / mine["ms_1"],
        "fewer": by_name[EXACT[0]]["multiply_adds"] / mine["multiply_adds"],
    }


def _timed(each: dict[str, Any]) -> list[str]:
    claim = claim_of(each)
    rows = [
        f"16 to full: {_signed(claim['from_full'])} mAP@10 from one pass at full width, by "
        f"{claim['fewer']:.1f} times fewer multiply-adds. In one run, with one thread, it was "
        f"{claim['over_own']:.1f} times as fast as the collection's own pass over all vectors, "
        f"{claim['over_exact']:.1f} times as fast as the fastest one-pass scan ({claim['exact']}), "
        f"and {claim['over_walk']:.2f} times as fast as {claim['walk']} on the same vectors.\n",
        "| | plan | mAP@10 | from full | P@10 | 1-NN | multiply-adds | KB | ms, 1 thread | "
        "ms, 2 threads |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {one['name']} | {one['plan']} | {_points(one['map'])} | "
        f"{_signed(one['from_full'])} | {_points(one['p'])} | {_points(one['first'])} | "
        f"{one['multiply_adds']:,} | {one['bytes'] / 1e3:,.0f} | {one['ms_1']:.3f} | "
        f"{one['ms_2']:.3f} |"
        for one in each["timed"]
    ]
    return [*rows, ""]


def _scaled(found: dict[str, Any], rows: int) -> list[str]:
    out = [
        f"Times over {found['rows']:,} rows, of which {rows:,} are images' and the others mixes of "
        "two rows of a class; found: of the ten nearest by whole vectors, the share; "
        f"{found['queries']} queries:\n",
        "| | plan | found | multiply-adds | ms, 1 thread | ms, 2 threads |",
        "|---|---|---|---|---|---|",
    ]
    out += [
        f"| {one['name']} | {one['plan']} | {one['recall']:.3f} | {one['multiply_adds']:,} | "
        f"{one['ms_1']:.3f} | {one['ms_2']:.3f} |"
        for one in found["timed"]
    ]
    return [*out, ""]


def _tables(each: dict[str, Any], shortlist: int) -> list[str]:
    tables, dim = each["tables"], each["dim"]
    rows = [
        f"{each['drawn']:,} queries, drawn. One pass at each width:\n",
        "| plan | mAP@10 | from full | P@10 | 1-NN | multiply-adds |",
        "|---|---|---|---|---|---|",
    ]
    rows += [
        f"| {one['plan']} | {_points(one['map'])} | {_signed(one['from_full'])} | "
        f"{_points(one['p'])} | {_points(one['first'])} | {one['multiply_adds']:,} |"
        for one in tables["one pass"]
    ]
    cells = grid_of(each)
    shorts = sorted({short for short, _ in cells})
    longs = sorted({long for _, long in cells})
    rows += [
        f"\nShortlists of {shortlist} at D_s (down), ranked at D_r (across), mAP@10 from full; the "
        "first column is one pass at D_s:\n",
        "| D_s | one pass | " + " | ".join(map(str, longs)) + " |",
        "|---|---|" + "---|" * len(longs),
    ]
    alone = {_width(one["plan"], 0, dim): one for one in tables["one pass"]}
    for short in shorts:
        own = [
            f"{cells[short, long]['from_full']['value'] * 100:+.2f}" if long > short else ""
            for long in longs
        ]
        first = f"{alone[short]['from_full']['value'] * 100:+.2f}"
        rows.append(f"| {short} | {first} | " + " | ".join(own) + " |")
    sweep = tables["lengths"]
    kept = sorted({Plan.parse(one["plan"]).stages[0].keep for one in sweep})
    starts = sorted({_width(one["plan"], 0, dim) for one in sweep})
    by_plan = {one["plan"]: one for one in sweep}
    rows += [
        "\nLength of the shortlist, ranked at full width, mAP@10 from full:\n",
        "| D_s | " + " | ".join(f"{n:,}" for n in kept) + " |",
        "|---|" + "---|" * len(kept),
    ]
    for start in starts:
        lost = [by_plan[f"{start}d:{n},raw:10"]["from_full"]["value"] * 100 for n in kept]
        rows.append(f"| {start} | " + " | ".join(f"{value:+.2f}" for value in lost) + " |")
    for title, table in (("Funnels", "funnels"), ("Lists, clustered on one width", "lists")):
        rows += [
            f"\n{title}:\n",
            "| plan | mAP@10 | from full | 1-NN | multiply-adds | KB |",
            "|---|---|---|---|---|---|",
        ]
        rows += [
            f"| {one['way']}{' ' if one['way'] else ''}{one['plan']} | {_points(one['map'])} | "
            f"{_signed(one['from_full'])} | {_points(one['first'])} | "
            f"{one['multiply_adds']:,} | {one['bytes'] / 1e3:,.0f} |"
            for one in tables[table]
        ]
    return [*rows, ""]


def _routers(found: list[dict[str, Any]]) -> list[str]:
    *pairs, fixed = found
    rows = [
        f"Routers, fitted on {pairs[0]['fitted']:,} queries, told of {pairs[0]['quality']['n']:,} "
        "others; a widened query pays for both plans, and queries at random go to the wide plan at "
        "the same mean cost:\n",
        "| narrow, or wide | narrow | wide | routed | widened | from wide | over random | "
        "multiply-adds: narrow, routed, wide | verdict |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in pairs:
        verdict = "used" if one["pays"] else "refused"
        rows.append(
            f"| {one['name']} | {_points(one['narrow'])} | {_points(one['wide'])} | "
            f"{_points(one['quality'])} | {one['share']:.1%} | {_signed(one['from_wide'])} | "
            f"{_signed(one['over_random'])} | {one['narrow_cost']:,.0f}, {one['cost']:,.0f}, "
            f"{one['wide_cost']:,.0f} | {verdict}: {one['reason']} |"
        )
    rows += [
        "\nThe most doubtful share widened, mAP@10 routed / at random at the same cost:\n",
        "| | " + " | ".join(f"{cell['share']:.0%}" for cell in pairs[0]["shares"]) + " |",
        "|---|" + "---|" * len(pairs[0]["shares"]),
    ]
    rows += [
        f"| {one['name']} | "
        + " | ".join(f"{c['routed'] * 100:.2f} / {c['at_random'] * 100:.2f}" for c in one["shares"])
        + " |"
        for one in pairs
    ]
    rows += [
        "\nFixed plans, of the same queries:\n",
        "| plan | mAP@10 | from full | multiply-adds |",
        "|---|---|---|---|",
    ]
    rows += [
        f"| {one['plan']} | {_points(one['map'])} | {_signed(one['from_full'])} | "
        f"{one['cost']:,.0f} |"
        for one in fixed["widths"]
    ]
    return [*rows, ""]


def grid_of(each: dict[str, Any]) -> dict[tuple[int, int], dict[str, Any]]:
    """{(D_s, D_r): cell}."""
    dim = each["dim"]
    return {
        (_width(one["plan"], 0, dim), _width(one["plan"], 1, dim)): one
        for one in each["tables"]["grid"]
    }


def grid_picture(result: dict[str, Any]) -> str:
    """What is kept of full mAP@10 by both widths, a map a set."""
    sets = {name: each for name, each in result["sets"].items() if "tables" in each}
    maps: Mapping[str, Any] = {
        name: {at: _kept(cell, each)[0] for at, cell in grid_of(each).items()}
        for name, each in sets.items()
    }
    if not maps:
        return ""
    shorts = sorted({short for cells in maps.values() for short, _ in cells})
    longs = sorted({long for cells in maps.values() for _, long in cells})
    return heat_maps(
        f"Share of full mAP@10 by {result['shortlist']} rows found at one width, ranked at another",
        maps,
        shorts,
        longs,
        row_name="width of the shortlist",
        column_name="width of the ranking",
        marked=[(16, longs[-1])],
        across=1,
        floor=0.9,
    )


def width_picture(result: dict[str, Any]) -> str:
    """What is kept by the first width: one pass, and ranked at full width, two lines a set."""
    drawn = {}
    for name, each in result["sets"].items():
        if "tables" not in each:
            continue
        dim, short_name = each["dim"], name.split("_")[0]
        drawn[f"{short_name}, one pass"] = {
            float(_width(one["plan"], 0, dim)): _kept(one, each)
            for one in each["tables"]["one pass"]
        }
        drawn[f"{short_name}, to full"] = {
            float(short): _kept(cell, each)
            for (short, long), cell in grid_of(each).items()
            if long == dim
        }
    if not drawn:
        return ""
    title = "Share of full mAP@10 by the first width"
    return lines_of(title, drawn, x_name="first width", y_name="share of full mAP@10")


def _width(plan: str, stage: int, dim: int) -> int:
    return Plan.parse(plan).stages[stage].amount or dim


def _kept(one: dict[str, Any], each: dict[str, Any]) -> tuple[float, float, float]:
    """The share of full mAP@10, with the ends of its paired interval."""
    full = each["tables"]["one pass"][-1]["map"]["value"]
    value, low, high = (1 + one["from_full"][key] / full for key in ("value", "low", "high"))
    return value, low, high


def _points(cell: dict[str, float]) -> str:
    return f"{cell['value'] * 100:.2f}"


def _signed(cell: dict[str, float]) -> str:
    value, low, high = (cell[key] * 100 for key in ("value", "low", "high"))
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"
