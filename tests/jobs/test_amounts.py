import pytest

from nestvec.jobs.amounts import in_bytes, in_percent


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(812, "812 bytes"), (1536, "1.54 kB"), (6_291_456, "6.29 MB"), (2.5e12, "2.5 TB")],
)
def test_bytes(n_bytes, text):
    assert in_bytes(n_bytes) == text


def test_percent():
    assert in_percent(0.9934) == "99.3 %"
