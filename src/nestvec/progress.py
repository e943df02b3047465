"""How long work tells how far it has come, without knowing who listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """A listener to one task at a time; the command line draws it as a bar."""

    def start(self, what: str, total: int | None) -> None:
        """A task begins; total counts its units, None where unknown."""

    def advance(self, n: int) -> None:
        """n more units are done."""

    def note(self, sentence: str) -> None:
        """Something to know about the task under way."""

    def finish(self) -> None:
        """The task has ended."""


class _Quiet:
    def start(self, what: str, total: int | None) -> None:
        pass

    def advance(self, n: int) -> None:
        pass

    def note(self, sentence: str) -> None:
        pass

    def finish(self) -> None:
        pass


def quiet() -> Progress:
    """A listener that ignores everything."""
    return _Quiet()
