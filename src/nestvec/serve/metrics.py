"""What a server counts, in the text format of Prometheus (version 0.0.4), written by hand."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


class Histogram:
    """Counts of values up to each bound, their sum and number."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = tuple(bounds)
        self._counts = [0] * (len(self._bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def lines(self, name: str, labels: str = "") -> Iterator[str]:
        """Its samples; labels: such as route="/search", without braces."""
        comma = "," if labels else ""
        total = 0
        for bound, count in zip((*self._bounds, None), self._counts, strict=True):
            total += count
            le = "+Inf" if bound is None else f"{bound:g}"
            yield f'{name}_bucket{{{labels}{comma}le="{le}"}} {total}'
        braces = f"{{{labels}}}" if labels else ""
        yield f"{name}_sum{braces} {self._sum:g}"
        yield f"{name}_count{braces} {total}"


class Metrics:
    """Counters of one server. gauges: name -> (what it is, how it is read now)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: dict[tuple[str, int], int] = defaultdict(int)
        self._seconds: dict[str, Histogram] = {}
        self._sizes = Histogram(_SIZES)
        self._tokens = 0
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count an answered request; route: one of a few known ones."""
        with self._lock:
            self._requests[route, status] += 1
            if route not in self._seconds:
                self._seconds[route] = Histogram(_SECONDS)
            self._seconds[route].observe(seconds)

    def batch(self, size: int) -> None:
        """Count a batch of so many texts."""
        with self._lock:
            self._sizes.observe(size)

    def tokens(self, count: int) -> None:
        """Count tokens that were embedded."""
        with self._lock:
            self._tokens += count

    def text(self) -> str:
        """All of it, as Prometheus scrapes it."""
        with self._lock:
            return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        name = "nestvec_requests_total"
        yield from _head(name, "counter", "Requests answered, by route and status.")
        for (route, status), count in sorted(self._requests.items()):
            yield f'{name}{{route="{route}",status="{status}"}} {count}'
        name = "nestvec_request_seconds"
        yield from _head(name, "histogram", "Seconds from a request's headers to its answer.")
        for route, seconds in sorted(self._seconds.items()):
            yield from seconds.lines(name, f'route="{route}"')
        name = "nestvec_batch_texts"
        yield from _head(name, "histogram", "Texts that the encoder was given at once.")
        yield from self._sizes.lines(name)
        name = "nestvec_tokens_total"
        yield from _head(name, "counter", "Tokens of the texts that were embedded for clients.")
        yield f"{name} {self._tokens}"
        for name, (words, read) in self.gauges.items():
            yield from _head(name, "gauge", words)
            yield f"{name} {read():g}"


def _head(name: str, kind: str, words: str) -> Iterator[str]:
    yield f"# HELP {name} {words}"
    yield f"# TYPE {name} {kind}"
