import pytest

from nestvec.codec.spec import LevelSpec, format_spec, parse_spec
from nestvec.errors import UserError


@pytest.mark.parametrize(
    "spec",
    [
        "32xcb",
        "8xcb64",
        "48xcb16",
        "sign256+24xcb",
        "64xcb+int8",
        "64xint8",
        "float16",
        "raw",
        "4xcb+raw",
        "48xcb@4",
        "8xcb64@4+int8",
    ],
)
def test_a_spec_prints_as_it_was_read(spec):
    assert format_spec(parse_spec(spec)) == spec


def test_terms_are_read_with_their_numbers():
    assert parse_spec("sign16+3xcb64+int8") == (
        LevelSpec("sign", 16),
        LevelSpec("cb", 3, 64, 8),
        LevelSpec("int8"),
    )


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("", "levels joined by '+'"),
        ("32xcbx", "got '32xcbx'"),
        ("0xcb", "got '0xcb'"),
        ("8xcb3", "power of two from 2 to 256 codewords; got 3"),
        ("8xcb512", "got 512"),
        ("sign12", "write sign16"),
        ("int8+4xcb", "only be the last level"),
    ],
)
def test_a_fault_is_one_sentence_with_the_value(spec, says):
    with pytest.raises(UserError) as fault:
        parse_spec(spec)
    assert says in str(fault.value)
    assert "\n" not in str(fault.value)
