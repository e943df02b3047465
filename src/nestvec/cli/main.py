"""The command `nestvec`: finds the subcommand, runs it, and tells errors in one sentence.

Nothing here imports numpy: `nestvec --help` answers at once, and a subcommand's own
imports wait until it runs.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from nestvec import __version__
from nestvec.errors import UserError

#: subcommand -> its one line in the help; its code is cli/<subcommand>.py
COMMANDS = {
    "build": "Turn texts, images or vectors into a small, measured, searchable collection.",
    "search": "Answer a question or an image, or one question a line, from a collection.",
    "add": "Add rows to a collection.",
    "delete": "Leave rows out of a collection from now on.",
    "compact": "Free the disk of deleted rows and old versions.",
    "versions": "List a collection's versions.",
    "tag": "Name a version, so that it stays.",
    "evaluate": "Measure every method at every byte count on your own data.",
    "refit": "Fit a collection's codec on the rows it has now.",
    "lists": "Sort a collection's rows into lists, for plans with probe.",
    "graph": "Link a collection's rows to their neighbours (HNSW).",
    "plan": "Choose a collection's plan by measurement, or set one.",
    "choose": "Say the cheapest code and plan that keep what you wish.",
    "embed": "Turn texts or images into a file of vectors.",
    "fit": "Fit a nested codec on a file of vectors.",
    "adapt": "Train an adapter over frozen vectors, and judge it.",
    "classify": "Label rows by the narrowest width that is sure.",
    "train": "Train an encoder whose prefixes and layers work.",
    "truncate": "Cut a model to fewer layers and dimensions.",
    "info": "Say what a collection holds.",
    "verify": "Check that a collection's files are as they were written.",
    "serve": "Answer embeddings and searches over HTTP, with a page to search.",
    "export": "Write a collection into another engine, with its query.",
    "report": "Write a collection's report as one HTML file.",
}

# numpy's OpenBLAS reads this when it is loaded. By default its idle threads spin for some 30 ms
# after each product; on a busy machine that made a fit of many small products ten times slower.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

#: a place that cannot be read or written, as the system names it
_PLACES = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.ELOOP,
}

EXIT_USER = 2
EXIT_FAULT = 1
EXIT_INTERRUPT = 130


class _Commands(click.Group):
    """A group whose subcommands are imported when they run, and whose errors are sentences."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"nestvec.cli.{cmd_name}").command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> Any:
        extra["standalone_mode"] = False
        try:
            code = super().main(args, *rest, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.ctx.get_help() if error.ctx else error.format_message(), err=True)
            sys.exit(EXIT_USER)
        except click.ClickException as error:
            _complain(_usage_sentence(error), EXIT_USER)
        except UserError as error:
            _complain(str(error), EXIT_USER)
        except (KeyboardInterrupt, click.Abort):
            _complain("stopped; a rerun goes on where this one stopped.", EXIT_INTERRUPT)
        except BrokenPipeError:
            sys.stderr.close()
            sys.exit(EXIT_FAULT)
        except OSError as error:
            where = f" for {error.filename}" if error.filename else ""
            if error.errno in _PLACES:
                _complain(f"{error.strerror}{where}: check the path and its rights.", EXIT_USER)
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            _complain(
                f"the disk is full{where}; free some space, and a rerun goes on where this "
                "one stopped.",
                EXIT_FAULT,
            )
        sys.exit(code if isinstance(code, int) else 0)


def _usage_sentence(error: click.ClickException) -> str:
    sentence = error.format_message()
    if isinstance(error, click.UsageError) and error.ctx is not None:
        sentence += f" See '{error.ctx.command_path} --help'."
    return sentence


def _complain(sentence: str, code: int) -> NoReturn:
    click.echo(f"nestvec: {sentence}", err=True)
    sys.exit(code)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="nestvec")
def main() -> None:
    """Embeddings that can be cut: nested codes, measured on your own data.

    \b
    nestvec build notes/ --out notes.nv       texts (or vectors) to a small collection
    nestvec search notes.nv "a question"      an answer
    nestvec evaluate notes.nv                 what each byte count costs on your data
    """


if __name__ == "__main__":
    main()
