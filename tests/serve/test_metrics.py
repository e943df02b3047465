"""What Prometheus reads: every line parses, buckets add up."""

import re

from nestvec.serve.metrics import Histogram, Metrics

_SAMPLE = re.compile(r'([a-z_]+)(\{(?:[a-z]+="[^"]*",?)+\})? (\S+)')


def samples(text):
    assert text.endswith("\n")
    found, kinds = {}, {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            kinds[name] = kind
        elif not line.startswith("# HELP "):
            match = _SAMPLE.fullmatch(line)
            assert match, line
            assert any(match[1].startswith(name) for name in kinds)
            found[match[1] + (match[2] or "")] = float(match[3])
    return found, kinds


def test_a_histogram_counts_up_to_its_bounds():
    seconds = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 3.0):
        seconds.observe(value)
    assert list(seconds.lines("s", 'route="x"')) == [
        's_bucket{route="x",le="0.1"} 2',
        's_bucket{route="x",le="1"} 3',
        's_bucket{route="x",le="+Inf"} 4',
        's_sum{route="x"} 3.65',
        's_count{route="x"} 4',
    ]


def test_all_that_happened_is_told():
    metrics = Metrics()
    metrics.request("/search", 200, 0.02)
    metrics.request("/search", 400, 0.001)
    metrics.batch(7)
    metrics.tokens(11)
    metrics.gauges["nestvec_encode_waiting"] = ("Texts that wait.", lambda: 3.0)
    found, kinds = samples(metrics.text())
    assert found['nestvec_requests_total{route="/search",status="200"}'] == 1
    assert found['nestvec_requests_total{route="/search",status="400"}'] == 1
    assert found['nestvec_request_seconds_count{route="/search"}'] == 2
    assert found['nestvec_batch_texts_bucket{le="4"}'] == 0
    assert found['nestvec_batch_texts_bucket{le="8"}'] == 1
    assert found["nestvec_tokens_total"] == 11
    assert found["nestvec_encode_waiting"] == 3
    assert kinds["nestvec_requests_total"] == "counter"
    assert kinds["nestvec_encode_waiting"] == "gauge"
