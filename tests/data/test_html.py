from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nestvec.data.html import html_text


def test_text_and_title_without_scripts_and_styles() -> None:
    page = (
        "<!doctype html><html><head><title>A &amp; B\n c</title><style>p{x}</style></head><body>"
        "<h1>Head</h1><script>var a = '<p>no</p>';</script><p>One  <b>bold</b>\nword&nbsp;x</p>"
        "<ul><li>first<li>second</ul><pre>a\n  b</pre><svg><title>no</title></svg></body></html>"
    )
    title, text = html_text(page)
    assert title == "A & B c"
    assert text.split("\n\n") == ["Head", "One bold word x", "first", "second", "a\n  b"]


def test_a_page_with_an_open_head_still_gives_its_body() -> None:
    assert html_text("<head><title>T</title><body><p>x") == ("T", "x")
    assert html_text("just words") == ("", "just words")


@given(st.text())
def test_any_text_is_read_without_failing(page: str) -> None:
    html_text(page)


@given(st.lists(st.sampled_from(["<p>", "</p>", "<script>", "</script>", "<head>", "</svg>", "a"])))
def test_any_order_of_tags_is_read_without_failing(tags: list[str]) -> None:
    html_text("".join(tags))
