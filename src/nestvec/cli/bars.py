"""Progress on standard error: a bar with rate and time left; plain lines away from a terminal."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

#: away from a terminal a line is written this often, so that a log shows life
LINE_EVERY_S = 15.0
#: and a task that ends sooner than this is not worth one
WORTH_A_LINE_S = 2.0


class Bars:
    """A nestvec.progress.Progress drawn by rich, one task at a time."""

    def __init__(self) -> None:
        self._rich: RichProgress | None = None
        self._task: TaskID | None = None

    def start(self, what: str, total: int | None) -> None:
        """Draw a new bar."""
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.finish()
        self._rich = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(file=sys.stderr),
            transient=True,
        )
        self._rich.start()
        self._task = self._rich.add_task(what, total=total, rate="")

    def advance(self, n: int) -> None:
        """Move the bar on by n units."""
        if self._rich is None or self._task is None:
            return
        self._rich.advance(self._task, n)
        speed = self._rich.tasks[0].speed
        if speed:
            self._rich.update(self._task, rate=f"{_rate(speed)}/s")

    def note(self, sentence: str) -> None:
        """Write a line above the bar."""
        if self._rich is not None:
            self._rich.console.print(sentence, markup=False, highlight=False)

    def finish(self) -> None:
        """Take the bar away; a line stays where the task took long."""
        if self._rich is None:
            return
        task = self._rich.tasks[0]
        self._rich.stop()
        self._rich = None
        _say_done(task.description, int(task.completed), task.elapsed or 0.0)


class Lines:
    """A nestvec.progress.Progress for logs and pipes: a line now and then."""

    def __init__(self) -> None:
        self._what = ""
        self._total: int | None = None
        self._done = 0
        self._started = self._told = 0.0

    def start(self, what: str, total: int | None) -> None:
        """Remember the task; nothing is written yet."""
        self.finish()
        self._what, self._total, self._done = what, total, 0
        self._started = self._told = time.monotonic()

    def advance(self, n: int) -> None:
        """Write a line when the last one is old."""
        self._done += n
        now = time.monotonic()
        ended = self._total is not None and self._done >= self._total
        if not self._what or ended or now - self._told < LINE_EVERY_S:
            return
        self._told = now
        speed = self._done / (now - self._started)
        line = f"{self._what}: {self._done:,}"
        if self._total:
            line += f" of {self._total:,}"
        line += f", {_rate(speed)}/s"
        if self._total and speed > 0:
            line += f", {_duration((self._total - self._done) / speed)} left"
        click.echo(line, err=True)

    def note(self, sentence: str) -> None:
        """Write a line."""
        click.echo(sentence, err=True)

    def finish(self) -> None:
        """Write the task's last line where it took long."""
        if self._what:
            _say_done(self._what, self._done, time.monotonic() - self._started)
        self._what = ""


def bars() -> Bars | Lines:
    """Bars on a terminal, lines elsewhere."""
    return Bars() if sys.stderr.isatty() else Lines()


def _say_done(what: str, done: int, seconds: float) -> None:
    if seconds < WORTH_A_LINE_S:
        return
    amount = f": {done:,} at {_rate(done / seconds)}/s" if done else ""
    click.echo(f"{what}{amount}, {_duration(seconds)}", err=True)


def _rate(speed: float) -> str:
    return f"{speed:,.0f}" if speed >= 10 else f"{speed:.1f}"


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
