"""What a run says of itself while it works."""

import logging
import time

from msa3d_steps.pipelines.parts import ExposureReport, PictureReport
from msa3d_steps.progress import Bar, is_shown_by_bar
from msa3d_steps.words import counted

__all__ = ["Progress"]

log = logging.getLogger(__name__)

SECONDS = 5
"""Parts that went well are named only so often, unless they took longer than this."""

LONG = 20
"""The time to go is told if it is longer, s."""


class Progress:
    """Says how far a run is: with a bar on a terminal, in lines elsewhere.

    Parameters
    ----------
    noun : str
        What the parts are: ``file``, ``source`` or ``picture``.
    todo, total : int
        Number of parts to make, and of all, of which the rest is there.
    """

    def __init__(self, noun, todo, total):
        self._done, self._total = total - todo, total
        self._bar = Bar(f"{noun}s", total, total - todo)
        self._todo = todo
        self._first = self._last = None
        if self._done:
            log.info("%d of %d %ss are there already", self._done, total, noun)

    def __enter__(self):
        self._bar.__enter__()
        return self

    def __exit__(self, *error):
        self._bar.__exit__(*error)

    def tell(self, report):
        """Say what came of a part, and what went wrong with it.

        Parameters
        ----------
        report : ExposureReport, SourceReport or PictureReport
            What came of it.
        """
        self._done += 1
        now = time.perf_counter()
        self._first = self._first or now
        interesting = report.problems or report.warnings or report.seconds > SECONDS
        is_end = self._done in (self._total, self._total - self._todo + 1)
        if interesting or is_end or now - self._last > SECONDS:
            log.info(
                "[%d/%d] %s: %s, %.1f s%s", self._done, self._total, report.name, _words(report),
                report.seconds, self._to_go(now), extra=is_shown_by_bar(),
            )  # fmt: skip
            self._last = now
        self._bar.step(report.name)
        for problem in report.problems:
            log.error("%s", problem)

    def _to_go(self, now):
        """Estimate the time to go, by the parts since the first: workers take a while to begin."""
        since = self._done - (self._total - self._todo) - 1
        if not since:
            return ""
        left = (now - self._first) / since * (self._total - self._done)
        if left < LONG:
            return ""
        return f"; about {f'{left:.0f} s' if left < 90 else f'{left / 60:.0f} min'} to go"


def _words(report):
    """Say what came of a part."""
    if isinstance(report, ExposureReport):
        words = [counted(sum(found.used for found in report.sources), "slit")]
    elif isinstance(report, PictureReport):
        words = [(report.entry or {}).get("line") or "no emission line"]
    elif report.cube:
        nw, ny, nx = report.shape
        words = [f"{report.cutouts} cutouts -> {nx} x {ny} spaxels x {nw} channels"]
    else:
        words = ["no cube"]
    words += [counted(len(report.warnings), "warning")] if report.warnings else []
    words += [counted(len(report.problems), "problem")] if report.problems else []
    return ", ".join(words)
