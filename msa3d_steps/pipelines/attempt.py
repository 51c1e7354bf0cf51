"""An attempt at a part of a run: its log goes to a file, what goes wrong is written down."""

import logging
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from threadpoolctl import threadpool_limits

from msa3d_steps.errors import InputError, Problem
from msa3d_steps.framework import MSA3DStep
from msa3d_steps.pipelines.parts import source_of
from msa3d_steps.pipelines.workplace import LINE

__all__ = ["Record", "attempt", "own_warnings"]

log = logging.getLogger(__name__)

MOST_WARNINGS = 20
"""Number of different warnings that a report holds."""


class Record(logging.Handler):
    """What is warned of and what goes wrong while a part is made."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.problems = []
        self._began = time.perf_counter()
        self._counts = Counter()

    def emit(self, record):
        """Count a warning."""
        if record.levelno >= logging.ERROR and record.name.startswith("msa3d_steps"):
            return  # is a problem
        lines = record.getMessage().strip().splitlines() or [""]
        self._counts[f"{record.name}: {lines[0]}"] += 1

    def concluded(self, report):
        """Write into a report what went wrong, what was warned of, and how long it took.

        Parameters
        ----------
        report : SourceReport or PictureReport
            What came of the part.

        Returns
        -------
        SourceReport or PictureReport
            The same with that.
        """
        return replace(
            report,
            problems=tuple(self.problems),
            warnings=self.warnings(),
            seconds=time.perf_counter() - self._began,
        )

    def warnings(self):
        """List the warnings, each once with its number."""
        found = [f"{text} ({n} times)" if n > 1 else text for text, n in self._counts.items()]
        more = len(found) - MOST_WARNINGS
        return (*found[:MOST_WARNINGS], *([f"and {more} more"] if more > 0 else []))


def own_warnings(report):
    """List the warnings of this package among those of a report.

    Parameters
    ----------
    report : ExposureReport, SourceReport or PictureReport
        What came of a part.

    Returns
    -------
    list of str
        Without the names of loggers.
    """
    found = [warning.partition(": ") for warning in report.warnings]
    return [text for logger, _, text in found if logger.startswith("msa3d_steps")]


@contextmanager
def attempt(part, place):
    """Send the log to a file, and make problems of exceptions.

    Yields
    ------
    Record
        Warnings and problems.
    """
    record = Record()
    # small matrices: several threads would wait for each other, the longer the busier the machine
    with _logged(place.log(part), record), threadpool_limits(1, user_api="blas"):
        try:
            yield record
        except InputError as err:
            record.problems.append(err.problem)
        except Exception as err:
            log.exception("%s", part.name)
            reason = str(err).splitlines()[0] if str(err) else ""
            of_source = f"source {source_of(part.name)}"
            where = Path(part.path).name if hasattr(part, "path") else of_source
            record.problems.append(
                Problem(f"{type(err).__name__}: {reason} (all of it: {place.log(part)})", where)
            )


@contextmanager
def _logged(path, record):
    """Send what the pipelines log to a file and to a record, and nowhere else."""
    file = logging.FileHandler(path, "w", encoding="utf-8")
    file.setFormatter(logging.Formatter(LINE))
    loggers = [logging.getLogger(name) for name in MSA3DStep.get_stpipe_loggers()]
    before = [(logger.handlers, logger.level, logger.propagate) for logger in loggers]
    warned = logging._warnings_showwarning  # noqa: SLF001 - tells whether it is captured already
    if warned is None:
        logging.captureWarnings(True)
    try:
        for logger in loggers:
            logger.handlers, logger.propagate = [file, record], False
            logger.setLevel(logging.INFO)
        yield
    finally:
        for logger, (handlers, level, propagate) in zip(loggers, before, strict=True):
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)
        if warned is None:
            logging.captureWarnings(False)
        file.close()
