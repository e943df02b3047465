"""Settings: what makes no sense is refused where it is given."""

import math

import pytest

from nestvec.errors import UserError
from nestvec.learn.adapters.settings import AdapterSettings, Training, check_device, default_widths


@pytest.mark.parametrize("name", ["batch", "epochs", "checks", "patience"])
@pytest.mark.parametrize("value", [0, -3])
def test_counts_of_a_training_are_at_least_one(name, value):
    with pytest.raises(UserError, match=f"{name} must be at least 1; got {value}. Give 1 or more"):
        Training(**{name: value})


@pytest.mark.parametrize("name", ["queue", "neighbours"])
def test_counts_of_an_adapter_are_at_least_one(name):
    with pytest.raises(UserError, match=f"{name} must be at least 1; got 0"):
        AdapterSettings(**{name: 0})


@pytest.mark.parametrize("value", [0.0, -1.0, math.inf, math.nan])
def test_rates_and_temperatures_are_numbers_above_nought(value):
    for make in (
        lambda: Training(rate=value),
        lambda: Training(taus=(1.0, value)),
        lambda: AdapterSettings(temperature=value),
        lambda: AdapterSettings(scale=value),
    ):
        with pytest.raises(UserError, match=f"must be a number above 0; got {value}"):
            make()


def test_weights_and_seeds_may_be_nought_and_not_less():
    Training(decay=0.0, seed=0)
    AdapterSettings(alpha=0.0, hidden=0)
    for make in (
        lambda: Training(decay=-0.1),
        lambda: Training(seed=-1),
        lambda: AdapterSettings(alpha=math.nan),
        lambda: AdapterSettings(hidden=-1),
    ):
        with pytest.raises(UserError, match="must be at least 0"):
            make()


def test_a_rate_that_torch_cannot_step_by_is_refused():
    with pytest.raises(UserError, match=r"at most 1e\+30; got 1e\+38. Try 0.001"):
        Training(rate=1e38)


def test_default_widths_are_powers_of_two_below_the_vectors_own():
    assert default_widths(384) == (16, 32, 64, 128, 256)
    assert default_widths(256) == (16, 32, 64, 128)
    assert default_widths(24) == (16,)
    assert default_widths(16) == default_widths(3) == ()


def test_a_training_without_a_batch_is_refused():
    with pytest.raises(UserError, match="batch must be at least 1"):
        Training(batch=0)


@pytest.mark.parametrize("name", ["nosuch", "cpu:x", ""])
def test_an_unknown_device_is_refused(name):
    check_device("cpu")
    with pytest.raises(UserError, match=f"torch finds here, such as cpu; got '{name}'"):
        check_device(name)
