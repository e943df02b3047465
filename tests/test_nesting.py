from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nestvec.errors import UserError
from nestvec.nesting import Nesting


def test_widths_alone_weigh_one() -> None:
    nesting = Nesting.parse("32,64,128")
    assert nesting.widths == (32, 64, 128)
    assert nesting.weights == (1.0, 1.0, 1.0)
    assert str(nesting) == "32,64,128"
    assert nesting == Nesting((32, 64, 128))


def test_weights_are_read_and_printed() -> None:
    nesting = Nesting.parse(" 32:2, 64 ,128:0.5")
    assert nesting.weights == (2.0, 1.0, 0.5)
    assert str(nesting) == "32:2,64:1,128:0.5"


@given(
    st.sets(st.integers(1, 5000), min_size=1, max_size=8),
    st.lists(st.floats(1e-6, 1e6), min_size=8, max_size=8),
)
def test_printing_then_parsing_is_equal(widths: set[int], weights: list[float]) -> None:
    nesting = Nesting(tuple(sorted(widths)), tuple(weights[: len(widths)]))
    assert Nesting.parse(str(nesting)) == nesting


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("64,32,768", "Try 32,64,768"),
        ("32,32", "Try 32."),
        ("0,8", "Try 8."),
        ("-4", "Try 32,64,128"),
        ("", "Try 32,64,128 or"),
        ("a,b", "got 'a' in 'a,b'"),
        ("32:x", "got '32:x'"),
        ("32:0", "Leave the width out"),
        ("32:nan", "got nan for width 32"),
    ],
)
def test_a_bad_nesting_says_rule_value_remedy(text: str, remedy: str) -> None:
    with pytest.raises(UserError) as error:
        Nesting.parse(text)
    assert remedy in str(error.value)


def test_weights_must_match_widths() -> None:
    with pytest.raises(UserError, match="got 1 weights for 2 widths"):
        Nesting((1, 2), (1.0,))
    with pytest.raises(UserError, match="got none"):
        Nesting(())


def test_check_wants_the_last_width_to_be_the_vectors() -> None:
    Nesting((32, 64)).check(64)
    with pytest.raises(UserError, match=r"got \(32, 64\) for width 48\. Try 32,48\."):
        Nesting((32, 64)).check(48)
