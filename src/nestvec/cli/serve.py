"""nestvec serve: embeddings and searches over HTTP."""

from __future__ import annotations

import os
from typing import Any

import click

from nestvec.cli.options import json_option, opening_options
from nestvec.cli.output import print_json, say, warn
from nestvec.serve.settings import (
    KEY_VARIABLE,
    Limits,
    ServeSettings,
    core_shares,
    key_of,
)

_OWN = ServeSettings()
_LIMITS = Limits()


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
@click.option(
    "--max-texts", type=int, default=_LIMITS.texts, show_default=True, help="Of one request."
)
@click.option(
    "--max-characters",
    type=int,
    default=_LIMITS.text_characters,
    show_default=True,
    help="Of one text.",
)
@click.option("--max-k", type=int, default=_LIMITS.hits, show_default=True, help="Of one search.")
@click.option(
    "--rate",
    type=float,
    default=_LIMITS.requests_per_s,
    show_default=True,
    help="Requests a second of one client; 0 for no limit.",
)
@click.option(
    "--burst", type=int, default=_LIMITS.burst, show_default=True, help="Requests at once of one."
)
@click.option(
    "--send-seconds",
    type=float,
    default=_LIMITS.send_s,
    show_default=True,
    help="A client has for sending a request.",
)
@click.option(
    "--max-waiting",
    type=int,
    default=_LIMITS.waiting,
    show_default=True,
    help="Texts that wait for the model.",
)
@click.option(
    "--batch",
    type=int,
    default=_LIMITS.batch_texts,
    show_default=True,
    help="Texts encoded at once.",
)
@opening_options
@json_option
def command(
    target: str,
    host: str,
    port: int,
    api_key: str | None,
    any_dimensions: bool,
    max_body_mb: float,
    max_texts: int,
    max_characters: int,
    max_k: int,
    rate: float,
    burst: int,
    send_seconds: float,
    max_waiting: int,
    batch: int,
    trust_remote_code: bool,
    api: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Serve a collection, with a page to search it at /, or a model, until it is interrupted.

    POST /v1/embeddings answers as OpenAI's API does, POST /search finds rows, and GET /openapi.json
    lists all there is.
    """
    limits = Limits(
        body_bytes=round(max_body_mb * 2**20) if max_body_mb < 2**20 else 2**40,
        texts=max_texts,
        text_characters=max_characters,
        hits=max_k,
        requests_per_s=rate,
        burst=burst,
        send_s=send_seconds,
        waiting=max_waiting,
        batch_texts=batch,
    )
    settings = ServeSettings(host, port, key_of(api_key), any_dimensions, limits)
    _serve(target, settings, as_json, trust_remote_code=trust_remote_code, api=api, device=device)


def _serve(target: str, settings: ServeSettings, as_json: bool, **opening: Any) -> None:
    searching, encoding = core_shares(os.cpu_count() or 1)
    # read by the libraries when they are loaded, below
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
