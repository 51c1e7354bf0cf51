"""A run: all files, all sources, all pictures; what is there already is not made again."""

import logging
import re
from pathlib import Path

from astropy.io import fits

from msa3d_steps.cube.combine import compiled_before
from msa3d_steps.cube.provenance import package_versions
from msa3d_steps.cube.sources import Source, titles_of
from msa3d_steps.errors import Problem
from msa3d_steps.parameters import what_matters
from msa3d_steps.pipelines.parts import (
    ExposureReport,
    PictureReport,
    SourcePart,
    SourceReport,
    identity,
    key_of,
    read_report,
)
from msa3d_steps.pipelines.pictures import do_picture, done_picture, picture_parts
from msa3d_steps.pipelines.progress import Progress
from msa3d_steps.pipelines.work import do_exposure, do_source

__all__ = ["Run"]

log = logging.getLogger(__name__)


class Run:
    """All parts of one run, and what came of them.

    Parameters
    ----------
    place : Workplace
        Where reports and cutouts are.
    recipe : Recipe
        How parts are made.
    workers : Workers
        Who makes them.
    resume : bool
        Whether parts of an earlier run are taken as they are.
    prepare : callable, optional
        Called with the exposure parts that are to be made, before they are.

    Attributes
    ----------
    exposures : list of ExposureReport
        What came of the files.
    sources : list of SourceReport
        What came of the sources.
    pictures : list of PictureReport
        What came of the pictures of the cubes.
    """

    def __init__(self, place, recipe, workers, resume=True, prepare=None):
        self.place = place
        self.recipe = recipe
        self.workers = workers
        self.resume = resume
        self.prepare = prepare
        self.exposures = []
        self.sources = []
        self.pictures = []
        self._keys = {}

    def make(self, parts, models=()):
        """Make all cubes.

        Parameters
        ----------
        parts : sequence of ExposurePart
            The files.
        models : sequence of ExposureReport
            What came of exposures that were given as models.
        """
        known = {part.name: self._exposure(part) for part in parts}
        self.exposures = [known[part.name] for part in parts if known[part.name]]
        if len(self.exposures) == len(parts) and not models:
            wanted = self._source_parts()
            done = {part.name: self._cube(part) for part in wanted}
            missing = {part.label for part in wanted if done[part.name] is None}
        else:
            missing = None  # all: each file may hold something of each source
        todo = [
            part for part in parts
            if not (known[part.name] and self.place.cutouts(part.name).exists())
            and (missing is None or _has(known[part.name], missing))
        ]  # fmt: skip
        if missing is None or missing:
            if todo and self.prepare is not None:
                self.prepare(todo)
            known |= self._do(do_exposure, ExposureReport, todo, "file", len(parts))
        self.exposures = [*models, *(known[part.name] for part in parts)]
        wanted = self._source_parts()
        self._keys = {part.name: (part.label, part.disperser) for part in wanted}
        done = {part.name: self._cube(part) for part in wanted}
        todo = [part for part in wanted if done[part.name] is None]
        if todo and not compiled_before():
            log.info("The first cube takes up to a minute more: kernels are compiled, just once")
        done |= self._do(do_source, SourceReport, todo, "source", len(wanted))
        self.sources = [done[part.name] for part in wanted]
        self._draw()

    def _draw(self):
        """Make the pictures of all cubes."""
        wanted = picture_parts(self.sources, self.recipe)
        done = {
            part.name: done_picture(part, self.recipe) if self.resume else None for part in wanted
        }
        todo = [part for part in wanted if done[part.name] is None]
        done |= self._do(do_picture, PictureReport, todo, "picture", len(wanted))
        self.pictures = [done[part.name] for part in wanted]

    @property
    def n_exposures(self):
        """Number of exposures; the files of two detectors are one."""
        return len({re.sub(r"_nrs[12]", "", report.name) for report in self.exposures})

    @property
    def reports(self):
        """What came of files, sources and pictures."""
        return [*self.exposures, *self.sources, *self.pictures]

    @property
    def problems(self):
        """Everything that went wrong."""
        of_cubes = (p for report in (*self.sources, *self.pictures) for p in report.problems)
        return [*self.problems_of_files, *of_cubes]

    @property
    def problems_of_files(self):
        """Those among them that are not of a source's cube or picture."""
        return [*(p for r in self.exposures for p in r.problems), *self._not_found()]

    def exposures_rejected(self, source):
        """Count the slits of a source that could not be used.

        Parameters
        ----------
        source : SourceReport
            The source.

        Returns
        -------
        int
            Their number: those of all files, and those that its cube left out.
        """
        slits = [
            found
            for report in self.exposures
            for found in report.sources
            if (found.label, found.disperser) == self._keys[source.name]
        ]
        return sum(found.used + found.rejected for found in slits) - source.cutouts

    def _report(self, part, kind):
        """Report of a part that was made before, from the same; None where it was not."""
        report = read_report(self.place.report(part), kind) if self.resume else None
        if report is None or report.key != part.key:
            return None
        return report

    def _exposure(self, part):
        """Report of a file that serves this run; None where it is to be read (again)."""
        report = self._report(part, ExposureReport)
        if report is None or not report.is_usable or not report.serves(self.recipe.selection):
            return None
        return report.of(self.recipe.selection)

    def _cube(self, part):
        """Report of a cube that is there; None where it is to be made."""
        report = self._report(part, SourceReport)
        if report is None:
            return None
        try:
            found = fits.getval(Path(self.recipe.output_dir) / report.cube, "MSA3DKEY")
        except (OSError, KeyError):
            return None
        return report if found == part.key else None

    def _source_parts(self):
        """List the cubes that the files so far can make."""
        exposures, blanks = {}, {}
        for report in self.exposures:
            for found in report.sources:
                if not found.used:
                    continue
                source = found.source
                if self.recipe.selection.asks_for(source):
                    exposures.setdefault(source.key, []).append(report)
                if self.recipe.selection.blanks and source.kind == "background":
                    of_label = blanks.setdefault(source.disperser, {})
                    of_label.setdefault(source.label, []).append(report.name)
        blanks = {
            disperser: tuple((label, tuple(names)) for label, names in sorted(of_label.items()))
            for disperser, of_label in blanks.items()
        }
        titles = titles_of(exposures)
        keys = {report.name: report.key for report in self.exposures}
        threads = max(1, self.workers.cores // max(1, len(exposures)))
        return [
            SourcePart(
                titles[label, disperser],
                label,
                disperser,
                tuple(report.name for report in reports),
                threads,
                key_of(
                    titles[label, disperser],
                    disperser,
                    [(report.name, report.key) for report in reports],
                    {name: what_matters(own) for name, own in self.recipe.cleaning.items()},
                    _files_in([*self.recipe.cleaning.values(), self.recipe.cube]),
                    what_matters(self.recipe.cube),
                    self.recipe.product,
                    package_versions(),
                    [(k, [keys[name] for name in names]) for k, names in blanks.get(disperser, ())],
                ),
                blanks.get(disperser, ()),
                self._members(reports, blanks.get(disperser, ())),
            )
            for (label, disperser), reports in sorted(exposures.items())
        ]

    def _members(self, reports, blanks):
        """List the files of a source and of its blanks, in the order of the run."""
        needed = {report.name for report in reports}.union(*(names for _, names in blanks))
        return tuple(r.member for r in self.exposures if r.name in needed and r.member)

    def _do(self, function, kind, parts, noun, total):
        """Do parts and say how it goes; reports, of a kind, by name."""
        reports = {}
        with Progress(noun, len(parts), total) as progress:
            for outcome in self.workers.run(function, [(part, self.recipe) for part in parts]):
                part, report = outcome.item[0], outcome.result
                if outcome.error is not None:
                    problem = Problem(f"{noun} {part.name}: {outcome.error}")
                    report = kind(part.name, part.key, problems=(problem,))
                reports[part.name] = report
                progress.tell(report)
        return reports

    def _not_found(self):
        """Say which sources were asked for and are in no file."""
        known = {}
        for report in self.exposures:
            for found in report.sources:
                known[found.label] = Source(found.label, found.source_id, found.name)
            for label, (number, name) in report.left_out.items():
                known[label] = Source(label, number, name)
        return self.recipe.selection.not_among(known.values())


def _files_in(parameters):
    """Tell which files the parameters of steps name, as they are now."""
    values = [value for own in parameters for value in own.values()]
    return [identity(v) for v in values if isinstance(v, str) and Path(v).is_file()]


def _has(report, labels):
    return any(found.label in labels for found in report.sources)
