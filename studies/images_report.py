"""The tables and pictures of the study of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from studies.images_shifted import lines_of as shifted_lines
from studies.pictures import lines as lines_of

_NAMES = {
    "ff": "FF",
    "mrl": "MRL",
    "mrl-longer": "MRL, half as long again",
    "mrl-e": "MRL-E",
    "svd": "SVD of FF",
    "random": "random of FF",
}
_MEASURES = ("accuracy", "1-NN", "mAP@10", "mAP@10 by k", "P@10")


def as_markdown(result: Mapping[str, Any], stem: str) -> str:
    """Everything as one page. stem: how its pictures' names begin."""
    out = ["# Nested image models", ""]
    for name, each in result["sets"].items():
        out += [f"## {name}", "", f"![accuracy by width]({stem}-{name}.svg)", ""]
        out += [_about(each), ""]
        for measure in _MEASURES:
            if measure == "mAP@10 by k" and _alike(each["arms"], "mAP@10", measure):
                out += [
                    "mAP@10 by k is the same: every class has ten pictures to find, or more.",
                    "",
                ]
                continue
            out += [*_table(each, measure), ""]
        if "cascades" not in each:
            continue
        out += [*_cascades(each["cascades"], each["models_of_cascades"]), ""]
        out += _more(each["more"])
        out += shifted_lines(each["more"], each["widths"])
    computed = "in bfloat16, " if result["bfloat16"] else ""
    out += [
        f"`{result['command']}` ({computed}{result['machine']}, {result['seconds']:.0f} s)",
        "",
    ]
    return "\n".join(out)


def picture(name: str, each: Mapping[str, Any]) -> str:
    """Accuracy of every arm by width."""
    series = {
        _NAMES[arm]: {
            float(w): tuple(100 * cell["accuracy"][k] for k in ("value", "low", "high"))
            for w, cell in by.items()
        }
        for arm, by in each["arms"].items()
    }
    return lines_of(
        f"{name} by width",
        series,
        x_name="dimensions",
        y_name="accuracy, %",
    )


def _about(each: Mapping[str, Any]) -> str:
    seconds = ", ".join(f"{_NAMES[arm]} {s:.0f} s" for arm, s in each["seconds_a_model"].items())
    weights = ""
    if each["weights"]:
        listed = " ".join(f"{weight:g}" for weight in each["weights"])
        weights = f"Weights of the widths in MRL and MRL-E: {listed}. "
    return (
        f"{each['classes']} classes; {each['model']}; {each['fitted']:,} pictures trained on for "
        f"{each['epochs']:g} epochs, {each['held']:,} held out for thresholds, {each['test']:,} "
        f"told; {each['seeds']} seeds. {weights}A training: {seconds}. Percent; "
        "intervals over pictures, of the mean over seeds; in brackets after a difference, that of "
        "each seed."
    )


def _table(each: Mapping[str, Any], measure: str) -> list[str]:
    widths = each["widths"]
    lines = [f"### {measure}", "", "| arm | " + " | ".join(map(str, widths)) + " |"]
    lines.append("|---|" + "---:|" * len(widths))
    for arm in [name for name in _NAMES if name in each["arms"]]:
        by = _by_width(each["arms"][arm])
        cells = [_percent(by[w][measure]) for w in widths]
        lines.append(f"| {_NAMES[arm]} | " + " | ".join(cells) + " |")
    for arm in ("mrl", "mrl-longer", "mrl-e"):
        if arm not in each["leads"]:
            continue
        by = _by_width(each["leads"][arm])
        cells = [_lead(by[w][measure]) for w in widths]
        lines.append(f"| {_NAMES[arm]} - FF | " + " | ".join(cells) + " |")
    return lines


def _alike(arms: Mapping[str, Any], one: str, other: str) -> bool:
    cells = [cell for by in arms.values() for cell in by.values()]
    return all(cell[one]["value"] == cell[other]["value"] for cell in cells)


def _cascades(cascades: Mapping[str, Any], models: int) -> list[str]:
    lines = [
        "### Cascades over MRL",
        "",
        f"Thresholds from held-out pictures; means over {models} models, a seed each; draws: 30 "
        "halves of held-out and of test pictures of the first seed, the middle 95 %; crossed: "
        "held-out pictures by thresholds from their other half. Chosen by these, as that of the "
        "fewest dims among those that are no worse there by half a point, with its interval: "
        f"{cascades['chosen']}.",
        "",
        "| cascade | accuracy | from full | last width | times fewer | sum of widths | draws: from "
        "full | draws: last width | crossed: from full | crossed: last width |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, one in cascades.items():
        if name == "chosen":
            continue
        if name == "oracle":
            lines.append(
                f"| oracle | {100 * one['accuracy']:.1f} | | {one['last']:.1f} | | "
                f"{one['sum']:.1f} | | | | |"
            )
            continue
        difference, dims = one["draws"]["from_full"], one["draws"]["last"]
        lines.append(
            f"| {name} | {100 * one['accuracy']['value']:.1f} | {_signed(one['from_full'])} | "
            f"{one['last']:.1f} | {one['fewer']:.1f} | {one['sum']:.1f} | "
            f"{100 * difference[0]:+.2f} [{100 * difference[1]:+.2f}, "
            f"{100 * difference[2]:+.2f}] | "
            f"{dims[0]:.1f} [{dims[1]:.1f}, {dims[2]:.1f}] | "
            f"{_signed(one['crossed']['from_full'])} | {one['crossed']['last']:.1f} |"
        )
    return lines


def _more(more: Mapping[str, Any]) -> list[str]:
    told = more["agreement"]
    lines = [
        "### One seed more closely",
        "",
        f"Right at every width {_share(told['always_right'])}, at none "
        f"{_share(told['never_right'])}, at some width {_share(told['any_width'])}, at full width "
        f"{_share(told['full'])}. Of {told['classes']} classes {told['classes_that_never_fall']} "
        f"never fall as the width grows; {told['classes_best_before_full']} are best before full "
        "width.",
        "",
    ]
    if "coarse" in more:
        by = _by_width(more["coarse"])
        lines += _rows(
            "right", {k: {w: c[k] for w, c in by.items()} for k in ("classes", "groups")}
        )
    tail = more["long_tail"]
    rows = {
        f"{_NAMES[arm]}, {part} classes": {w: c[part] for w, c in _by_width(tail[arm]).items()}
        for arm in ("mrl", "ff")
        for part in ("head", "tail")
    }
    lines += [
        f"Long tail: {tail['pictures']:,} pictures, the last class with {tail['least']:g} of "
        "the first one's.",
        "",
    ]
    lines += _rows("long tail", rows)
    shots = more["few_shot"]
    rows = {
        f"{part}, {n} a class": {w: c[n] for w, c in _by_width(shots[part]).items()}
        for part in ("base", "novel")
        for n in next(iter(shots[part].values()))
    }
    lines += [
        f"Nearest class means among base classes, and among {shots['unseen']} novel ones of "
        f"{shots['classes']} that training never saw:",
        "",
        *_rows("few shots", rows),
        "Accuracy on corrupted test pictures, means over five severities:",
        "",
    ]
    rows = {
        f"{_NAMES[arm]}, {kind}": {w: sum(v) / len(v) for w, v in _by_width(by[arm]).items()}
        for kind, by in more["corruptions"].items()
        for arm in ("mrl", "ff")
    }
    return [*lines, *_rows("corruption", rows)]


def _rows(name: str, rows: Mapping[str, Mapping[int, float]]) -> list[str]:
    widths = sorted({width for by in rows.values() for width in by})
    lines = [f"| {name} | " + " | ".join(map(str, widths)) + " |", "|---|" + "---:|" * len(widths)]
    for row, by in rows.items():
        cells = [f"{100 * by[w]:.1f}" if w in by else "" for w in widths]
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _by_width(by: Mapping[Any, Any]) -> dict[int, Any]:
    """Keys as numbers, which JSON made texts of."""
    return {int(width): each for width, each in by.items()}


def _percent(cell: Mapping[str, Any]) -> str:
    return f"{100 * cell['value']:.1f}"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _signed(cell: Mapping[str, float]) -> str:
    return f"{100 * cell['value']:+.2f} [{100 * cell['low']:+.2f}, {100 * cell['high']:+.2f}]"


def _lead(cell: Mapping[str, Any]) -> str:
    seeds = " ".join(f"{100 * each:+.1f}" for each in cell["seeds"])
    return f"{_signed(cell)} ({seeds})"
