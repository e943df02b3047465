import pytest

from nestvec.cli import bars
from nestvec.cli.bars import Bars, Lines, _duration, _rate


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.34, "0.3 s"), (42, "42 s"), (61, "1 min 01 s"), (7260, "2 h 01 min")],
)
def test_durations(seconds, text):
    assert _duration(seconds) == text


def test_rates():
    assert _rate(2.345) == "2.3"
    assert _rate(12345.6) == "12,346"


def test_lines_tell_progress_rate_and_time_left(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr(bars.time, "monotonic", lambda: now[0])
    lines = Lines()
    lines.start("encoding", 1000)
    now[0] = 5.0
    lines.advance(100)
    assert capsys.readouterr().err == ""
    now[0] = 20.0
    lines.advance(300)
    assert capsys.readouterr().err == "encoding: 400 of 1,000, 20/s, 30 s left\n"
    now[0] = 50.0
    lines.finish()
    assert capsys.readouterr().err == "encoding: 400 at 8.0/s, 50 s\n"


def test_short_tasks_leave_no_line(capsys):
    for progress in (Lines(), Bars()):
        progress.start("a moment", None)
        progress.advance(3)
        progress.finish()
        progress.finish()
        progress.advance(1)
    assert "a moment:" not in capsys.readouterr().err
