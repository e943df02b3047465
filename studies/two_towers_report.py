"""The tables and the picture of the study of two towers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from studies.pictures import lines
from studies.two_towers_adapters import ADS, SIMILAR
from studies.two_towers_temperature import KINDS
from studies.two_towers_values import DIRECTIONS

_GEOMETRY = (
    "intrinsic dimension, pictures",
    "intrinsic dimension, captions",
    "alignment",
    "uniformity, pictures",
)
_CLUSTERED = ("full", "quarter", "signs", "signs of quarter")


def as_markdown(result: Mapping[str, Any]) -> str:
    """Everything that was measured as one page."""
    told = ", ".join(f"{100 * v:.1f} % at {w}" for w, v in result["tower"].items())
    out = [
        "# Two towers",
        "",
        f"{result['fitted']} pictures trained on, {result['asked']} asked about, with "
        f"{result['captions']:,} captions. Image tower: a ResNet 256 wide, trained on Tiny "
        f"ImageNet at 32 x 32, right on its 200 classes' test pictures: {told}. Captions: "
        "all-MiniLM-L6-v2, frozen. Recall@10: caption to picture, the share of captions that find "
        "their picture; picture to caption, the share of pictures that find one of their five. By "
        f"chance .033. {result['seeds']} seeds; intervals are 95 % bootstraps over pictures of the "
        "mean over seeds, differences paired.",
        "",
        "![recall by width](two_towers.svg)",
        "",
    ]
    parts = {
        "towers": _towers,
        "replaced_text": _replaced_text,
        "adapters": _adapters,
        "temperature": _temperature,
    }
    for name, part in parts.items():
        if name in result:
            out += part(result)
    took = "" if result["seconds"] is None else f", {result['seconds']:.0f} s from nothing"
    return "\n".join([*out, f"`{result['command']}` ({result['machine']}{took})", ""])


def _towers(result: Mapping[str, Any]) -> list[str]:
    fit, widths = result["fit"], result["widths"]
    arms = {
        name if len(each[f"{DIRECTIONS[0]}@8"]["seeds"]) > 1 else f"{name} (one seed)": each
        for name, each in result["towers"].items()
    }
    out = [
        "## (a) Both sides trained and cut",
        "",
        f"InfoNCE in both directions, temperature {fit['temperature']:g}, {fit['epochs']} epochs "
        "over the pictures, a caption of each drawn anew in each epoch.",
        "",
    ]
    for direction in DIRECTIONS:
        out += _table(direction, arms, direction, widths)
    beside = {name: each for name, each in arms.items() if name != "FF"}
    return out + _table(f"{DIRECTIONS[0]}, from FF", beside, DIRECTIONS[0], widths, "from")


def _replaced_text(result: Mapping[str, Any]) -> list[str]:
    arms, widths = result["replaced_text"], result["text_widths"]
    out = [
        "## (b) The text tower replaced",
        "",
        "The image tower's own vectors, less their mean; captions by all-MiniLM-L6-v2 cut to so "
        "many dimensions, then mapped linearly to 256. Cut as they are (prefix), along principal "
        "axes (SVD), or by a nested linear map trained on captions of one picture (nested); "
        "ridge: least squares in place of InfoNCE.",
        "",
    ]
    for direction in DIRECTIONS:
        out += _table(direction, arms, direction, widths)
    beside = {name: each for name, each in arms.items() if name != "prefix"}
    return out + _table(f"{DIRECTIONS[0]}, from prefix", beside, DIRECTIONS[0], widths, "from")


def _adapters(result: Mapping[str, Any]) -> list[str]:
    widths = result["widths"]
    out = [
        "## (c) Adapters over two-tower vectors",
        "",
        "Vectors of plain maps, trained on one half of the training pictures; adapters learn from "
        "the other half: from image vectors alone, or from pairs in both directions. Rates chosen "
        "of three by what each training holds out. Picture to picture: the share of the ten "
        "nearest pictures by full vectors that are found by the cut ones.",
        "",
    ]
    for kind, of_kind in result["adapters"].items():
        out += [f"### Learned from {kind}", ""]
        arms = {name: each for name, each in of_kind.items() if name != ADS}
        beside = {name: each for name, each in arms.items() if name != "SVD"}
        for direction in (*DIRECTIONS, SIMILAR):
            out += _table(direction, arms, direction, widths)
        for direction in (*DIRECTIONS, SIMILAR):
            out += _table(f"{direction}, from SVD", beside, direction, widths, "from")
        out += [_row(["SMEC with ADS, from without", *map(str, widths)])]
        out += [_row(["---", *("---:" for _ in widths)])]
        for direction in (*DIRECTIONS, SIMILAR):
            cells = (of_kind[ADS][f"{direction}@{width}"]["from"] for width in widths)
            out.append(_row([direction, *(_cell(cell, signed=True) for cell in cells)]))
        out.append("")
    return out


def _temperature(result: Mapping[str, Any]) -> list[str]:
    arms = result["temperature"]
    values = {name: each["values"] for name, each in arms.items()}
    out = [
        "## (d) Temperatures",
        "",
        "Nested and plain maps as in (a). A quarter: 32 of 128 dimensions, leading or random; "
        "signs compared by Hamming distance.",
        "",
    ]
    for direction in DIRECTIONS:
        out += _table(direction, values, direction, KINDS)
        kept = {name: each["kept"][direction] for name, each in arms.items()}
        out += _table(f"{direction}, share of full", kept, direction, KINDS[1:])
    title = "V-measure of k-means with ten clusters, test pictures of cifar10"
    out += _table(title, values, "V-measure", _CLUSTERED)
    out += [_row(["temperature", *_GEOMETRY]), _row(["---", *("---:" for _ in _GEOMETRY)])]
    out += [
        _row([name, *(f"{each[what]['value']:.3g}" for what in _GEOMETRY)])
        for name, each in values.items()
    ]
    return [*out, ""]


def picture(result: Mapping[str, Any]) -> str:
    """Recall of captions that ask for pictures, by width."""
    series = {
        name: {
            float(width): tuple(
                each[f"{DIRECTIONS[0]}@{width}"][k] for k in ("value", "low", "high")
            )
            for width in result["widths"]
        }
        for name, each in result["towers"].items()
    }
    return lines(
        "Captions that find their picture among 300",
        series,
        x_name="dimensions",
        y_name="recall@10",
    )


def _table(
    title: str,
    arms: Mapping[str, Mapping[str, Any]],
    what: str,
    columns: Sequence[int | str],
    part: str | None = None,
) -> list[str]:
    """A row an arm; part: of each cell, "from" for a difference."""
    lines = [_row([title, *map(str, columns)]), _row(["---", *("---:" for _ in columns)])]
    for name, each in arms.items():
        cells = [name]
        for column in columns:
            cell = each.get(f"{what}@{column}")
            cell = cell if cell is None or part is None else cell.get(part)
            cells.append(_cell(cell, signed=part is not None))
        lines.append(_row(cells))
    return [*lines, ""]


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Mapping[str, Any] | None, *, signed: bool) -> str:
    if cell is None:
        return ""
    sign = "+" if signed else ""
    if "low" not in cell:
        seeds = " ".join(f"{each:.3f}" for each in cell["seeds"])
        return f"{cell['value']:.3f} ({seeds})"
    return f"{cell['value']:{sign}.3f} [{cell['low']:{sign}.3f}, {cell['high']:{sign}.3f}]"
