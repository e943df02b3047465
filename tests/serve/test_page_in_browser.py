"""The page in a real browser, before a stub of the server and before the server itself.

Runs where there is a Chromium.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from nestvec.serve.page import assets

from . import conftest
from .stub_server import ROWS, Stub, ranked, running

playwright = pytest.importorskip("playwright.sync_api")
expect = playwright.expect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        expect.set_options(timeout=20_000)
        yield opened
        opened.close()


@pytest.fixture
def stub() -> Iterator[Stub]:
    with running() as started:
        yield started


Open = Callable[..., Any]


@pytest.fixture
def visit(browser: Any, stub: Stub) -> Iterator[Open]:
    """Opens the page; afterwards no script may have failed, and no rule of its policy was broken.

    at: the stub's address where no other is given; after: what follows it. More is said of the
    context, such as has_touch.
    """
    contexts, complaints = [], []

    def opened(
        width: int = 1280, height: int = 900, after: str = "", at: str = "", **more: Any
    ) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, **more)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda told: complaints.append(told.text) if "Content Security" in told.text else None,
        )
        page.goto((at or stub.address) + after)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints


def ask(page: Any, question: str = "which row?") -> None:
    page.fill("#question", question)
    page.press("#question", "Enter")


def titles(page: Any, side: str) -> list[str]:
    return page.locator(f"#{side} .title").all_inner_texts()


def shows(page: Any, side: str, rows: list[str]) -> None:
    expect(page.locator(f"#{side} .title")).to_have_text(rows)


def no_sideways(page: Any) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def test_a_question_is_typed_and_the_slider_changes_the_hits(visit: Open, stub: Stub) -> None:
    page = visit()
    expect(page.locator("#facts")).to_contain_text("12 rows")
    page.locator("#question").type("which row?")
    page.get_by_role("button", name="Search").click()
    shows(page, "near", ROWS[:10])
    shows(page, "far", ROWS[:10])
    expect(page.get_by_role("status")).to_have_text(
        "10 of 10 of the full vectors’ hits at 17 of 256 bytes."
    )
    page.locator("#slider").fill("0")  # as a finger does, to the left end
    shows(page, "near", ranked({"bytes": 4})[:10])
    shows(page, "far", ROWS[:10])
    expect(page.get_by_role("status")).to_have_text(
        "8 of 10 of the full vectors’ hits at 5 of 256 bytes."
    )
    expect(page.locator("#near .hit").nth(0).locator(".badge")).to_have_text("new")
    expect(page.locator("#far .hit").nth(0).locator(".badge")).to_have_text("missed")
    expect(page.locator("#near .hit").nth(2).locator(".badge")).to_have_text(re.compile("▲.7"))
    expect(page.locator("#links .link")).to_have_count(8)
    expect(page.locator("#links .stub")).to_have_count(4)
    # what was read, by either search
    expect(page.locator("#cost tbody").nth(0)).to_contain_text("4B:10")
    expect(page.locator("#cost tbody").nth(1)).to_contain_text("3,072")
    # the point of the curve
    expect(page.locator("#picture svg")).to_have_attribute("aria-label", re.compile("at 5 bytes"))
    expect(page.locator("#curve-note")).to_contain_text(".310, 95 % interval .280 to .340")
    assert stub.asked[-1] == {"query": "which row?", "k": 10, "bytes": 4}


def test_texts_are_never_markup(visit: Open) -> None:
    page = visit()
    ask(page, "<img src=x onerror=alert(1)>")
    expect(page.locator("#near .snippet").nth(0)).to_have_text("<img src=x onerror=alert(1)> <b>")
    assert page.locator("img").count() == 0


def test_the_keyboard_alone_is_enough(visit: Open) -> None:
    page = visit()
    expect(page.locator("#question")).to_be_focused()
    page.keyboard.type("which row?")
    page.keyboard.press("Enter")
    shows(page, "near", ROWS[:10])
    for wanted in ("Search", "bytes", "k", "slider"):
        page.keyboard.press("Tab")
        here = page.evaluate(
            "(({id, value, innerText}) => [id, value, innerText])(document.activeElement)"
        )
        assert wanted in here
    page.keyboard.press("ArrowLeft")
    shows(page, "near", [*ROWS[1::-1], *ROWS[2:10]])
    assert page.get_attribute("#slider", "aria-valuetext") == "8 bytes"
    page.keyboard.press("Home")
    shows(page, "near", ranked({"bytes": 4})[:10])
    page.keyboard.press("Tab")
    expect(page.locator("#near .title").nth(0)).to_be_focused()
    expect(page.locator("#near .title").nth(0)).to_have_attribute("aria-expanded", "false")
    page.keyboard.press("Enter")
    expect(page.locator("#near .title").nth(0)).to_have_attribute("aria-expanded", "true")
    # the other ways to rank, by arrows
    page.focus("input[value=bytes]")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#reading")).to_have_text("2 dimensions of 4")
    expect(page.get_by_role("status")).to_contain_text("at 2 of 4 dimensions.")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.locator("#plan")).to_be_focused()
    page.keyboard.press("Control+A")
    page.keyboard.type("8B:12,raw:10")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("by 8B:12,raw:10.")


def test_the_first_tab_stop_skips_to_the_hits(visit: Open) -> None:
    page = visit()
    ask(page)
    shows(page, "near", ROWS[:10])
    page.evaluate("document.activeElement.blur()")
    page.focus(".skip")
    page.keyboard.press("Enter")
    expect(page.locator("#hits")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#near .title").nth(0)).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 768])
def test_a_phone_needs_no_sideways_scrolling(visit: Open, width: int, scheme: str) -> None:
    page = visit(width, 844, has_touch=True, is_mobile=True, color_scheme=scheme)
    assert no_sideways(page)
    ask(page, "a question with averyverylongwordthatdoesnotfitintoanycolumnofaphone" * 3)
    shows(page, "near", ROWS[:10])
    assert no_sideways(page)
    # the slider stays in sight, and is large enough for a finger
    page.evaluate("scrollTo(0, 700)")
    box = page.locator("#slider").bounding_box()
    assert 0 <= box["y"] < 200
    assert box["height"] >= 40
    page.locator("#slider").tap(position={"x": 4, "y": box["height"] / 2})
    shows(page, "near", ranked({"bytes": 4})[:10])
    page.tap("#near .hit >> nth=3")
    expect(page.locator("#near .snippet").nth(3)).to_be_visible()
    for way in ("dims", "plan"):
        page.tap(f"label:has(input[value={way}])")
        assert no_sideways(page)


def _luminance(color: str) -> float:
    channels = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


_GROUND = """element => {
  let at = element;
  while (at && getComputedStyle(at).backgroundColor === "rgba(0, 0, 0, 0)") at = at.parentElement;
  return [getComputedStyle(element).color, getComputedStyle(at ?? document.body).backgroundColor];
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(visit: Open, scheme: str) -> None:
    page = visit(color_scheme=scheme)
    ask(page)
    shows(page, "near", ROWS[:10])
    page.press("#slider", "Home")
    shows(page, "near", ranked({"bytes": 4})[:10])
    dark = _luminance(page.evaluate("getComputedStyle(document.body).backgroundColor")) < 0.1
    assert dark == (scheme == "dark")
    for place in (
        "h1", "#facts", "#ask button", "#reading", "#saving", ".marks span", "#overlap strong",
        "#near .title", "#near .snippet", "#near .rank", ".badge.new", ".badge.missed",
        "#near-name", "#far-size", "#curve-note", "#cost th", "#cost td", ".legend dd",
        ".ways input:checked + span", ".ways input:not(:checked) + span",
    ):  # fmt: skip
        ink, ground = page.locator(place).first.evaluate(_GROUND)
        least, most = sorted((_luminance(ink), _luminance(ground)))
        # of WCAG 2.2, criterion 1.4.3
        assert (most + 0.05) / (least + 0.05) >= 4.5, f"{place}: {ink} on {ground}"


def test_a_late_answer_does_not_take_the_place_of_a_newer_one(visit: Open, stub: Stub) -> None:
    stub.held[8] = threading.Event()
    page = visit()
    ask(page)
    shows(page, "near", ROWS[:10])
    page.press("#slider", "ArrowLeft")  # to 8 bytes, which wait
    while not any(body.get("bytes") == 8 for body in stub.asked):
        page.wait_for_timeout(20)
    page.press("#slider", "ArrowLeft")
    shows(page, "near", ranked({"bytes": 4})[:10])
    stub.held[8].set()
    page.wait_for_timeout(300)
    assert titles(page, "near") == ranked({"bytes": 4})[:10]
    expect(page.locator("#near-name")).to_have_text("4 bytes")


def test_hits_of_two_questions_never_stand_side_by_side(visit: Open, stub: Stub) -> None:
    page = visit()
    ask(page, "first")
    expect(page.locator("#far .snippet").nth(0)).to_have_text("first <b>")
    stub.held[16] = threading.Event()
    ask(page, "second")
    expect(page.locator("#far .snippet").nth(0)).to_have_text("second <b>")
    expect(page.locator("#near .hit")).to_have_count(0)
    expect(page.locator("#overlap")).to_be_empty()
    stub.held[16].set()
    expect(page.locator("#near .snippet").nth(0)).to_have_text("second <b>")
    expect(page.locator("#overlap")).to_contain_text("10 of 10")


def test_a_reading_can_be_kept_as_an_address(visit: Open) -> None:
    page = visit(after="#q=which+row%3F&k=5&bytes=4")
    shows(page, "near", ranked({"bytes": 4})[:5])
    expect(page.locator("#question")).to_have_value("which row?")
    ask(page, "another")
    page.press("#slider", "End")
    expect(page.locator("#near-name")).to_have_text("16 bytes")
    assert page.url.endswith("#q=another&k=5&bytes=16")
    page.go_back()
    expect(page.locator("#question")).to_have_value("which row?")
    shows(page, "near", ranked({"bytes": 4})[:5])


def test_a_key_is_asked_for_and_sent(visit: Open, stub: Stub) -> None:
    stub.key = "correct horse"
    page = visit()
    expect(page.locator("#unlock")).to_be_visible()
    expect(page.locator("#ask")).to_be_hidden()
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").first).to_have_text("The server does not take this key.")
    page.keyboard.type("correct horse")
    page.keyboard.press("Enter")
    expect(page.locator("#unlock")).to_be_hidden()
    ask(page)
    shows(page, "near", ROWS[:10])
    assert "horse" not in page.url
    stub.key = "another key"
    page.press("#slider", "Home")
    expect(page.locator("#unlock")).to_be_visible()
    expect(page.locator("#key")).to_be_focused()


def test_it_says_when_the_server_is_away_and_comes_back(visit: Open) -> None:
    page = visit()
    ask(page)
    shows(page, "near", ROWS[:10])
    page.route("**/search", lambda route: route.abort())
    page.press("#slider", "Home")
    alert = page.get_by_role("alert").first
    expect(alert).to_contain_text("The server does not answer. Is nestvec serve still running?")
    expect(page.locator("#near .hit")).to_have_count(0)  # none that the slider does not stand for
    expect(page.locator("#overlap")).to_be_empty()
    page.unroute("**/search")
    page.get_by_role("button", name="Try again").click()
    shows(page, "near", ranked({"bytes": 4})[:10])
    expect(alert).to_be_empty()


def test_a_refusal_is_shown_in_the_servers_words(visit: Open, stub: Stub) -> None:
    page = visit()
    stub.refusal = (400, "a question must hold fewer words.", "query")
    ask(page)
    expect(page.get_by_role("alert").first).to_have_text("a question must hold fewer words. ")
    stub.refusal = None
    ask(page)
    expect(page.get_by_role("alert").first).to_be_empty()
    stub.refusal = (400, "a plan may cut the code only where a level ends.", "plan")
    page.check("input[value=plan]", force=True)
    expect(page.locator("#plan-fault")).to_contain_text("only where a level ends")
    expect(page.locator("#plan")).to_have_attribute("aria-invalid", "true")
    ask(page, "another")  # which the far side answers
    expect(page.locator("#far .snippet").nth(0)).to_have_text("another <b>")
    expect(page.locator("#near-size")).to_have_text("not answered")
    expect(page.locator("#plan-fault")).to_contain_text("only where a level ends")
    stub.refusal = None
    page.fill("#plan", "8B:10")
    page.press("#plan", "Enter")
    expect(page.locator("#plan-fault")).to_be_empty()
    shows(page, "near", ROWS[:10])


def test_it_says_when_there_is_no_curve_and_no_hit(visit: Open, stub: Stub) -> None:
    stub.info |= {"curve": [], "measure": None, "full": None}
    stub.rows = 0
    page = visit()
    expect(page.locator("#curve-note")).to_contain_text("There is no curve")
    ask(page)
    expect(page.get_by_role("status")).to_contain_text("No hits")
    expect(page.locator("#columns")).to_be_hidden()


def test_without_vectors_the_whole_code_stands_in_their_place(visit: Open, stub: Stub) -> None:
    stub.info |= {"has_vectors": False, "has_texts": False, "dims": []}
    page = visit(after="#q=x&bytes=4")
    expect(page.locator("#overlap")).to_have_text(
        "8 of 10 of the whole code’s hits at 5 of 17 bytes."
    )
    expect(page.locator("#hits-note")).to_contain_text("keeps no full vectors")
    expect(page.locator("#hits-note")).to_contain_text("keeps no texts")
    expect(page.locator("input[value=dims]")).to_be_disabled()
    assert not any(body.get("exact") for body in stub.asked)


def test_a_collection_of_vectors_is_asked_by_numbers(visit: Open, stub: Stub) -> None:
    stub.info["model"] = None
    page = visit()
    expect(page.locator("#question-note")).to_contain_text("no model here turns a text into one")
    alert = page.get_by_role("alert").first
    ask(page, "1, 2, 3")
    expect(alert).to_have_text("A vector of this collection is 4 numbers; got 3. ")
    ask(page, "1, 2, 3, four")
    expect(alert).to_contain_text("“four” is none")
    ask(page, "[1, 2.5, -3e-1\t4]")
    shows(page, "near", ROWS[:10])
    assert stub.asked[-1]["vector"] == [1, 2.5, -0.3, 4]


def test_a_model_alone_has_nothing_to_search(visit: Open, stub: Stub) -> None:
    stub.info |= {"rows": 0, "plan": "", "cuts": [], "curve": [], "searchable": False}
    page = visit()
    expect(page.get_by_role("alert").first).to_contain_text("holds no collection")
    expect(page.locator("#ask")).to_be_hidden()


def test_who_wants_no_motion_gets_none(visit: Open) -> None:
    for motion, moves in (("reduce", 0), ("no-preference", 1)):
        page = visit(reduced_motion=motion)
        page.evaluate(
            "() => { window.moves = 0; const own = Element.prototype.animate;"
            "Element.prototype.animate = function (...a) {"
            "  moves += 1; return own.apply(this, a); }; }"
        )
        ask(page)
        shows(page, "near", ROWS[:10])
        page.press("#slider", "Home")
        shows(page, "near", ranked({"bytes": 4})[:10])
        assert min(page.evaluate("moves"), 1) == moves


def test_rows_that_are_added_while_the_page_is_open_are_counted(visit: Open, stub: Stub) -> None:
    page = visit()
    ask(page)
    shows(page, "near", ROWS[:10])
    page.locator("#slider").fill("0")
    shows(page, "near", ranked({"bytes": 4})[:10])
    page.fill("#question", "half of another que")
    stub.info |= {"rows": 1234, "collection_version": 2, "plan": "8B:10"}
    page.locator("#slider").fill("1")
    expect(page.locator("#facts")).to_contain_text("1,234 rows")
    expect(page.locator("#facts")).to_contain_text("plan 8B:10")
    # what the reader was doing stays
    expect(page.locator("#slider")).to_have_value("1")
    expect(page.locator("#question")).to_have_value("half of another que")
    shows(page, "near", ranked({"bytes": 8})[:10])
    # a cut that is there no more
    stub.info |= {"cuts": [4, 16], "collection_version": 3}
    ask(page)
    expect(page.locator("#slider")).to_have_attribute("max", "1")
    expect(page.locator("#slider")).to_have_value("1")
    shows(page, "near", ROWS[:10])


def test_the_page_and_the_server_agree(visit: Open, serving: Callable[..., Any]) -> None:
    pytest.importorskip("fastapi")
    pytest.importorskip("uvicorn")
    served, _ = serving()
    with conftest.running(served, conftest.settings_with(), assets()) as server:
        page = visit(at=server.address)
        expect(page.locator("#facts")).to_contain_text("300 rows")
        expect(page.locator("#curve-note")).to_contain_text("nDCG@10")
        for keys, how, size in (
            ("", {"bytes": 8}, "9 of 128 bytes"),
            ("ArrowLeft", {"bytes": 4}, "5 of 128 bytes"),
            ("dims", {"dims": 16}, "16 of 32 dimensions"),
            ("plan", {"plan": "4B:40,raw:10"}, "by 4B:40,raw:10"),
        ):
            if not keys:
                ask(page, "row number 7")
            elif keys.startswith("Arrow"):
                page.press("#slider", keys)
            else:
                page.check(f"input[value={keys}]", force=True)
            if keys == "plan":
                page.fill("#plan", "4B:40,raw:10")
                page.press("#plan", "Enter")
            expect(page.get_by_role("status")).to_contain_text(size)
            answer = server.ask("POST", "/search", {"query": "row number 7", "k": 10, **how}).json
            shows(page, "near", [hit["title"] for hit in answer["hits"]])
            expect(page.locator("#cost tbody").nth(0).locator("tr")).to_have_count(
                1 + len(answer["stages"])
            )
        exact = server.ask("POST", "/search", {"query": "row number 7", "exact": True}).json
        shows(page, "far", [hit["title"] for hit in exact["hits"]])
        page.fill("#plan", "7B:10000,1B:10")
        page.press("#plan", "Enter")
        expect(page.locator("#plan-fault")).to_contain_text("each stage must read more")
