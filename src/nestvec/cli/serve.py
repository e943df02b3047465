"""nestvec serve: embeddings and searches over HTTP."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from typing import Any

import click

from nestvec.cli.options import json_option, opening_options
from nestvec.cli.output import print_json, say, warn
from nestvec.serve.settings import (
    KEY_VARIABLE,
    Limits,
    ServeSettings,
    bound_libraries,
    core_shares,
    key_of,
)

_OWN = ServeSettings()
_LIMITS = Limits()


def _limit(name: str, field: str, words: str) -> Callable[[Any], Any]:
    """The option `name` for a field of Limits, a number, whose default is there."""
    own = getattr(_LIMITS, field)
    return click.option(name, field, type=type(own), default=own, show_default=True, help=words)


@click.command("serve", short_help="Answer embeddings and searches over HTTP.")
@click.argument("target", metavar="DIR_OR_MODEL")
@click.option("--host", default=_OWN.host, show_default=True, help="The address to listen at.")
@click.option(
    "--port", type=int, default=_OWN.port, show_default=True, help="The port; 0 for a free one."
)
@click.option(
    "--api-key", metavar="KEY", help=f"What requests must bring.  [{KEY_VARIABLE}, else none]"
)
@click.option("--any-dimensions", is_flag=True, help="Fewer than the model was trained for, too.")
@click.option(
    "--max-body-mb",
    type=float,
    default=_LIMITS.body_bytes / 2**20,
    show_default=True,
    help="Of one request.",
)
@_limit("--max-texts", "texts", "Of one request.")
@_limit("--max-characters", "text_characters", "Of one text.")
@_limit("--max-k", "hits", "Of one search.")
@_limit("--rate", "requests_per_s", "Requests a second of one client; 0 for no limit.")
@_limit("--burst", "burst", "Requests at once of one.")
@_limit("--send-seconds", "send_s", "A client has for sending a request.")
@_limit("--max-waiting", "waiting", "Texts that wait for the model.")
@_limit("--batch", "batch_texts", "Texts encoded at once.")
@opening_options
@json_option
def command(
    target: str,
    host: str,
    port: int,
    api_key: str | None,
    any_dimensions: bool,
    max_body_mb: float,
    trust_remote_code: bool,
    api: str | None,
    device: str,
    as_json: bool,
    **limits: Any,
) -> None:
    """Serve a collection, with a page to search it at /, or a model, until it is interrupted.

    POST /v1/embeddings answers as OpenAI's API does, POST /search finds rows, and GET /openapi.json
    lists all there is.
    """
    allowed = Limits(
        body_bytes=round(max_body_mb * 2**20) if max_body_mb < 2**20 else 2**40,
        **limits,
    )
    settings = ServeSettings(host, port, key_of(api_key), any_dimensions, allowed)
    _serve(target, settings, as_json, trust_remote_code=trust_remote_code, api=api, device=device)


def _serve(target: str, settings: ServeSettings, as_json: bool, **opening: Any) -> None:
    searching, encoding = core_shares(os.cpu_count() or 1)
    # read by the libraries when they are loaded, below
    bound_libraries()
    os.environ.setdefault("NUMBA_NUM_THREADS", str(searching))
    os.environ.setdefault("OPENBLAS_NUM_THREADS", str(searching))
    from nestvec.jobs.checks import is_collection

    if is_collection(target):
        os.environ.setdefault("OMP_NUM_THREADS", str(encoding))
    from nestvec.serve.app import make_app
    from nestvec.serve.opening import open_served
    from nestvec.serve.page import assets
    from nestvec.serve.server import Server

    served = open_served(target, settings, note=lambda sentence: warn([sentence]), **opening)
    server = Server(make_app(served, settings, assets()), settings)
    served.warm_up()

    def started() -> None:
        if as_json:
            print_json({"address": server.address, "name": served.name})
        else:
            say(f"{served.name} is served at {server.address}; stop it with Ctrl-C.")

    server.run(started)
    # as it ends, Python looks through all that is left for cycles: seconds, where torch is loaded
    gc.freeze()
