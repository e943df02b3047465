"""What people and programs see: one JSON object, or tables; never both.

Results go to standard output, progress and warnings to standard error.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from nestvec.report.style import number

if TYPE_CHECKING:
    from rich.console import Console


def print_json(value: Mapping[str, Any]) -> None:
    """One JSON object on standard output; a number that is not finite is null."""
    click.echo(json.dumps(_plain(value), ensure_ascii=False, allow_nan=False))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if value - value == 0.0 else None
    if hasattr(value, "item"):
        return _plain(value.item())
    return value


def console() -> Console:
    """A rich console on standard output, made anew so that a redirected one is honoured."""
    from rich.console import Console

    # away from a terminal rich would guess 80 columns and fold tables
    width = None if sys.stdout.isatty() else 120
    return Console(file=sys.stdout, highlight=False, width=width, soft_wrap=False)


def say(sentence: str) -> None:
    """One line on standard output."""
    click.echo(sentence)


def warn(sentences: Iterable[str]) -> None:
    """Each sentence on a line of standard error."""
    for sentence in sentences:
        click.echo(f"note: {sentence}", err=True)


def print_table(
    title: str, columns: Sequence[tuple[str, bool]], rows: Iterable[Sequence[str]]
) -> None:
    """A plain table; columns are (heading, is a number), rows are cells of rich markup."""
    from rich import box
    from rich.table import Table

    table = Table(
        title=title or None,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        pad_edge=False,
        padding=(0, 1),
    )
    for heading, is_number in columns:
        table.add_column(heading, justify="right" if is_number else "left", no_wrap=is_number)
    for row in rows:
        table.add_row(*row)
    console().print(table)


def interval(value: float, low: float, high: float) -> str:
    """A value with its interval: .679 [.641, .716]."""
    return f"{number(value)} [{number(low)}, {number(high)}]"


def signed_interval(value: float, low: float, high: float) -> str:
    """A difference with its interval: +0.041 [-0.002, +0.080]."""
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
