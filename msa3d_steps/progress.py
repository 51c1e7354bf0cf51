"""How far long work is: a bar where a terminal is watched, lines in logs."""

import logging
import sys
from contextlib import contextmanager

from tqdm import tqdm
from tqdm.contrib import DummyTqdmFile

__all__ = ["Bar", "is_shown_by_bar", "track"]

LINE = "{desc} {n_fmt}/{total_fmt} |{bar:20}| {elapsed}, {remaining} to go{postfix}"


class Bar:
    """A bar with the number of things done and the time to go.

    It is shown on the terminal that logs are shown on at level INFO, and nowhere else: neither in
    files nor in the logs of other processes, nor inside another bar. While it is there, log lines
    are written above it, and those that say the same (`is_shown_by_bar`) go to log files alone.

    Parameters
    ----------
    noun : str
        What is counted, in the plural.
    total : int
        How many there are.
    done : int
        How many of these are done already.
    """

    _shown = None

    def __init__(self, noun, total, done=0):
        self._bar = None
        self._arguments = {"desc": noun.capitalize(), "total": total, "initial": done}

    def __enter__(self):
        handlers = _terminals()
        arguments = self._arguments
        if handlers and Bar._shown is None and arguments["total"] - arguments["initial"] > 1:
            self._bar = tqdm(
                **arguments, bar_format=LINE, file=handlers[0].stream, leave=False,
                dynamic_ncols=True, mininterval=0.2,
            )  # fmt: skip
            self._beside = _lines_above(handlers)
            self._beside.__enter__()
            Bar._shown = self
        return self

    def __exit__(self, *error):
        if self._bar is not None:
            Bar._shown = None
            self._bar.close()
            self._beside.__exit__(*error)
            self._bar = None

    @property
    def is_shown(self):
        """Whether anybody can see it."""
        return self._bar is not None

    def step(self, text=""):
        """Count one more.

        Parameters
        ----------
        text : str
            What to show beside the bar.
        """
        if self._bar is not None:
            if text:
                self._bar.set_postfix_str(text, refresh=False)
            self._bar.update()


def track(items, noun, total=None):
    """Go through items and show how far that is.

    Parameters
    ----------
    items : iterable
        The items.
    noun : str
        What they are, in the plural.
    total : int, optional
        How many there are; their length if not given.

    Yields
    ------
    object
        The items.
    """
    with Bar(noun, len(items) if total is None else total) as bar:
        for item in items:
            yield item
            bar.step()


def is_shown_by_bar():
    """Give what a log line that a bar shows already is marked with: ``log.info(..., extra=)``."""
    return {"is_shown_by_bar": True}


def _terminals():
    """List the handlers that show log lines of level INFO of this package on a terminal."""
    logger = logging.getLogger("msa3d_steps")
    if not logger.isEnabledFor(logging.INFO):
        return []
    found = []
    while logger is not None:
        for handler in logger.handlers:
            stream = getattr(handler, "stream", None)
            is_terminal = stream in (sys.stderr, sys.stdout) and stream.isatty()
            if is_terminal and handler.level <= logging.INFO:
                found.append(handler)
        logger = logger.parent if logger.propagate else None
    return found


@contextmanager
def _lines_above(handlers):
    """Let handlers write above a bar, and leave out what it shows."""

    def keep(record):
        return not hasattr(record, "is_shown_by_bar")

    streams = [handler.stream for handler in handlers]
    for handler in handlers:
        handler.setStream(DummyTqdmFile(handler.stream))
        handler.addFilter(keep)
    try:
        yield
    finally:
        for handler, stream in zip(handlers, streams, strict=True):
            handler.setStream(stream)
            handler.removeFilter(keep)
