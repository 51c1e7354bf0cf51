"""The bar: where a terminal is watched, and nowhere else; log lines beside it stay whole."""

import io
import logging
import sys

import pytest

from msa3d_steps.progress import Bar, is_shown_by_bar, track

LOGGER = "msa3d_steps"


class Terminal(io.StringIO):
    """A stream that says that somebody watches it."""

    def isatty(self):
        return True


@pytest.fixture
def logs(monkeypatch, tmp_path):
    """A way to log to a stream in place of the standard error, and to a file; gives both."""
    logger = logging.getLogger(LOGGER)
    before = logger.handlers, logger.level, logger.propagate

    def begin(stream, level=logging.INFO):
        monkeypatch.setattr(sys, "stderr", stream)
        path = tmp_path / "run.log"
        logger.handlers = [logging.StreamHandler(stream), logging.FileHandler(path)]
        logger.setLevel(level)
        logger.propagate = False
        return stream, path

    yield begin
    for handler in logger.handlers:
        handler.close()
    logger.handlers, logger.level, logger.propagate = before
    logger.setLevel(before[1])


def work(number=3):
    """Work through some things and say so."""
    log = logging.getLogger(f"{LOGGER}.cube")
    for i in track(range(number), "exposures"):
        log.info("reading %d", i, extra=is_shown_by_bar())
        log.warning("%d is odd", i)


def shown(stream):
    """What stood on the terminal, one state of a line after the other."""
    return stream.getvalue().replace("\r", "\n").splitlines()


def test_a_terminal_shows_a_bar_and_what_it_does_not_say(logs):
    stream, path = logs(Terminal())
    work()
    lines = shown(stream)
    assert any(line.startswith("Exposures 0/3") for line in lines)
    assert any(line.strip().startswith("Exposures") and "to go" in line for line in lines)
    assert [line for line in lines if "is odd" in line] == ["0 is odd", "1 is odd", "2 is odd"]
    assert not any("reading" in line for line in lines)
    assert path.read_text().splitlines() == [
        line for i in range(3) for line in (f"reading {i}", f"{i} is odd")
    ]


def test_the_handlers_are_as_before(logs):
    stream, _ = logs(Terminal())
    handler = logging.getLogger(LOGGER).handlers[0]
    with pytest.raises(ZeroDivisionError), Bar("cubes", 3) as bar:
        assert bar.is_shown
        raise ZeroDivisionError
    assert handler.stream is stream
    assert not handler.filters
    with Bar("cubes", 3) as bar:
        assert bar.is_shown


@pytest.mark.parametrize(
    ("stream", "level"), [(io.StringIO(), logging.INFO), (Terminal(), logging.WARNING)]
)
def test_elsewhere_and_where_lines_are_not_wanted_there_is_none(logs, stream, level):
    logs(stream, level)
    work()
    lines = shown(stream)
    expected = [line for i in range(3) for line in (f"reading {i}", f"{i} is odd")]
    assert lines == [line for line in expected if level == logging.INFO or "odd" in line]


def test_not_within_another_nor_for_one_thing(logs):
    logs(Terminal())
    with Bar("sources", 2) as outer, Bar("exposures", 5) as inner:
        assert outer.is_shown
        assert not inner.is_shown
    with Bar("sources", 1) as bar:
        assert not bar.is_shown


def test_time_to_go_counts_from_what_was_done_before(logs):
    stream, _ = logs(Terminal())
    with Bar("files", 10, done=8) as bar:
        bar.step("jw01")
        bar.step("jw02")
    assert any(line.startswith("Files 8/10") for line in shown(stream))
