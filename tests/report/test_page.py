import re

from nestvec.report.page import page


def test_page_is_well_formed_and_needs_no_network(make_sheet, parsed):
    html = page(make_sheet())
    found = parsed(html)
    assert not {"script", "link", "img", "iframe", "object"} & set(found.tags)
    assert not re.search(r"url\(|@import|@font-face", html)
    outside = [v for k, v in found.attrs if v and v.startswith("http") and k != "xmlns"]
    assert outside == []


def test_what_users_bring_is_escaped(make_sheet):
    html = page(make_sheet())
    assert "notes <b>.nv" not in html
    assert "what is <i>?" not in html
    assert "notes &lt;b&gt;.nv" in html


def test_page_tells_value_interval_choice_and_command(make_sheet):
    html = page(make_sheet())
    assert "<strong>33 bytes</strong>" in html
    assert ".640 <small>.610 to .670</small>" in html
    assert 'class="is-chosen"' in html
    assert "nestvec build notes --out &#x27;a b.nv&#x27;" in html
    assert "The codec is larger than the codes." in html


def test_an_adapted_choice_is_called_so_throughout(adapted_sheet, parsed):
    html = page(adapted_sheet)
    parsed(html)
    assert "adapted code 32xcb" in html
    assert '<main class="adapted-chosen">' in html
    first, second = html.index("The adapted nested code: "), html.index("The nested code: ")
    assert first < html.index('class="is-chosen"') < second
    assert html.count('class="is-chosen"') == 1
    assert "adapted nested code, cut anywhere" in html


def test_hits_that_differ_and_relevant_ones_are_marked(make_sheet):
    html = page(make_sheet())
    assert html.count('<li class="differs">') == 1
    assert html.count('<span class="badge relevant">') == 1


def test_page_without_choice_questions_or_warnings(make_sheet, parsed):
    html = page(make_sheet(chosen=None, questions=(), warnings=(), costs=()))
    parsed(html)
    assert "Real queries" not in html
    assert 'class="warn"' not in html


def test_pictures_have_words_for_those_who_do_not_see_them(make_sheet):
    html = page(make_sheet())
    assert html.count('role="img"') == 2
    ids = re.findall(r'id="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    for names in re.findall(r'aria-labelledby="([^"]+)"', html):
        assert set(names.split()) <= set(ids)
