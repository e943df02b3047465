"""What benchmarks/serve.py says of memory: flat or growing, by an interval."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy")
pytest.importorskip("psutil")

from scipy.stats import linregress
from scipy.stats import t as student


@pytest.fixture(scope="module")
def bench():
    path = Path(__file__).parents[2] / "benchmarks" / "serve.py"
    spec = importlib.util.spec_from_file_location("serve_benchmark", path)
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # where its dataclass looks for it
    spec.loader.exec_module(found)
    yield found
    del sys.modules[spec.name]


def test_a_rise_is_told_by_its_slope_and_interval(bench):
    rng = np.random.default_rng(0)
    samples = 900 + 0.1 * np.arange(60) + rng.normal(0, 0.5, 60)  # 6 MB a minute
    found = bench.growth(samples.tolist())
    means = samples.reshape(12, 5).mean(axis=1)
    line = linregress(np.arange(12) / 12, means)
    half = student.ppf(0.975, 10) * line.stderr
    assert found["mb_a_minute"] == pytest.approx(line.slope, abs=0.006)
    assert found["low"] == pytest.approx(line.slope - half, abs=0.006)
    assert found["high"] == pytest.approx(line.slope + half, abs=0.006)
    assert not found["flat"]


def test_noise_a_fall_and_a_standstill_are_flat(bench):
    noise = np.random.default_rng(1).normal(900, 2, 60)
    for samples in (noise, noise - 0.2 * np.arange(60), np.full(60, 900.0)):
        assert bench.growth(samples.tolist())["flat"]
    assert bench.growth([900.0] * 19) is None


def test_a_run_is_judged_by_its_last_half(bench):
    grown = [800.0 + min(second, 50) for second in range(121)]
    found = bench.summary(700.0, grown)
    assert (found["start"], found["end"], found["most"]) == (800.0, 850.0, 850.0)
    assert found["every_ten_seconds"][:3] == [800.0, 810.0, 820.0]
    assert found["last_half"] == {"mb_a_minute": 0.0, "low": 0.0, "high": 0.0, "flat": True}
