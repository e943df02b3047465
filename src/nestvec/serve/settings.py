"""What a server is told before it starts: where it listens, its key and its limits."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field

from nestvec.errors import UserError

KEY_VARIABLE = "NESTVEC_API_KEY"
_SHORTEST_KEY = 8
_SHAPES_KEPT = 32


@dataclass(frozen=True)
class Limits:
    """What one request, one client and the waiting room may hold.

    body_bytes: of a request. texts: of one embeddings request. text_characters: of each text.
    hits: of one search. requests_per_s: of one client on average, 0 for no limit; burst: at once
    after a pause. send_s: seconds a client has to send a request, and to take in its answer.
    waiting: texts that wait for the encoder, and as many searches for their turn. held_bytes: of
    all bodies together. connections: open at once. batch_texts, batch_characters: that the encoder
    is given at once. batch_wait_ms: how long the first text of a batch waits for others. grace_s:
    how long a stop waits for what runs. Raises UserError where a limit leaves no room for one
    request.
    """

    body_bytes: int = 8 << 20
    texts: int = 2048
    text_characters: int = 100_000
    hits: int = 1000
    requests_per_s: float = 100.0
    burst: int = 400
    send_s: float = 15.0
    waiting: int = 8192
    held_bytes: int = 128 << 20
    connections: int = 900
    batch_texts: int = 32
    batch_characters: int = 16_000
    batch_wait_ms: float = 3.0
    grace_s: float = 30.0

    def __post_init__(self) -> None:
        least = dict.fromkeys(("requests_per_s", "batch_wait_ms"), 0.0)
        least |= dict.fromkeys(("send_s", "grace_s"), 0.01)
        for name, value in vars(self).items():
            # what is no number compares with nothing
            if not value >= least.get(name, 1):
                raise UserError(
                    f"the limit {name} must be at least {least.get(name, 1):g}; got {value}."
                )


@dataclass(frozen=True)
class ServeSettings:
    """host, port: where to listen; port 0 takes a free one. api_key: wanted of every request where
    it is not None. any_dimensions: also widths that the model was not trained for.

    Raises UserError where others than this machine could connect and there is no key.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    api_key: str | None = field(default=None, repr=False)
    any_dimensions: bool = False
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise UserError(f"a port is a number from 0 to 65535; got {self.port}: try 8080.")
        if self.api_key is not None and not _is_key(self.api_key):
            raise UserError(
                f"a key is {_SHORTEST_KEY} characters or more, of ASCII and without blanks; got "
                "another: "
                f"give a long random one in {KEY_VARIABLE}."
            )
        if self.api_key is None and not is_loopback(self.host):
            raise UserError(
                f"a server that listens beyond this machine needs a key; got the address "
                f"{self.host!r} and none: set {KEY_VARIABLE}, or listen at 127.0.0.1."
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to an address that a server listens at.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def key_of(given: str | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """The key as given, else that of the environment; None where there is neither."""
    return given if given is not None else environment.get(KEY_VARIABLE) or None


def core_shares(cores: int) -> tuple[int, int]:
    """Threads of the search and of the encoder beside it; both run at once, each called by one.

    >>> core_shares(2), core_shares(16)
    ((1, 1), (4, 12))
    """
    searching = max(1, cores // 4)
    return searching, max(1, cores - searching)


def bound_libraries(environment: MutableMapping[str, str] = os.environ) -> None:
    """Say how much the libraries may keep, where nobody has said so; before torch is loaded.

    oneDNN, which torch has for GELU, keeps what it made for every shape of a batch, 1,024 of them
    if it is not told. That is little, but it lies between tensors that come and go, and the heap
    grows around it: all-MiniLM over 800 batches of random shapes grew from 613 to 742 MB and on;
    with 32 shapes it stood still at 669 MB. A batch has one shape in all its layers, and making
    that anew takes a tenth of a millisecond.
    """
    environment.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", str(_SHAPES_KEPT))


def _is_key(key: str) -> bool:
    return len(key) >= _SHORTEST_KEY and key.isascii() and key.isprintable() and " " not in key
