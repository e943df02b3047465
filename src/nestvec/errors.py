"""The two kinds of error that a user sees."""

from __future__ import annotations


class UserError(ValueError):
    """A user's mistake, told in one sentence: the rule, the value seen, the remedy.

    The command line prints it and exits with code 2.
    """


class MissingExtra(UserError):
    """A feature was asked for whose optional packages are not installed.

    feature: what was asked for, as a noun phrase; extra: the extra that brings it.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(
            f"{feature} needs the extra '{extra}', which is not installed: "
            f"run pip install 'nestvec[{extra}]'."
        )
        self.feature = feature
        self.extra = extra
