"""The quicklook as an stpipe step."""

import logging
import os
import re
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from jwst.datamodels import ModelContainer

from msa3d_steps.cube.provenance import package_versions
from msa3d_steps.errors import IncompleteError, InputError, Problem, not_written
from msa3d_steps.framework import MSA3DStep
from msa3d_steps.parameters import flat_parameters, parameters_of
from msa3d_steps.progress import Bar, is_shown_by_bar
from msa3d_steps.quicklook.core import check_options, describe, look
from msa3d_steps.quicklook.entry import Entry
from msa3d_steps.quicklook.inputs import SavedMaps, is_cube, items_of, name_of, opened
from msa3d_steps.quicklook.mapfile import as_model
from msa3d_steps.quicklook.view import view_of
from msa3d_steps.tasks import Workers, little_garbage, number_of_cores

__all__ = ["MSA3DQuicklookStep", "Seen", "look_at_file"]

log = logging.getLogger(__name__)

PAGE = "index.html"


class MSA3DQuicklookStep(MSA3DStep):
    """Make a picture and line maps of each cube, and a page that shows them all.

    Given exposures, it draws where slitlets fall on the detector and what is flagged.
    """

    class_alias = "msa3d_quicklook"

    spec = """
    lines = force_list(default=None) # Lines to map: names ([OIII]5007, Ha) or observed wavelengths, um; if not given, those that are found
    redshift = pass(default=None) # Redshift of all sources, or a table (ECSV, CSV) with the columns source and redshift; found if not given
    snr = float(min=0, default=3.0) # Signal over noise of a line below which a spaxel has no velocity
    pictures = boolean(default=True) # Draw a picture (PNG) of each cube
    page = boolean(default=True) # Write a page (index.html) that shows all cubes
    detector = boolean(default=False) # In a pipeline, draw the slitlets and flags of each exposure, too
    maximum_cores = string(default='half') # Processes for the files of a folder or list. Can be an integer, 'none', 'quarter', 'half', or 'all'
    output_use_model = boolean(default=True) # Use the file names in the maps
    suffix = string(default='linemaps') # Suffix of the line maps
    """  # noqa: E501

    entries = drawn = failed = ()
    provenance = None

    def process(self, inputs):
        """Look at cubes.

        Parameters
        ----------
        inputs : str, pathlib.Path, dict, list, ModelContainer or JwstDataModel
            Cubes (s3d): paths, their folder, an association, or models. Exposures (rate, cal, crf)
            are drawn as they are on the detector.

        Returns
        -------
        `~jwst.datamodels.ModelContainer` of `~msa3d_steps.MSALineMapsModel` or SavedMaps
            The maps of each cube that has lines; of many files that are worked on by several
            processes, files that are opened when they are looked at. The input is not changed.
            Pictures and page are written where results are saved.

        Raises
        ------
        InputError
            Where nothing could be looked at.
        """
        self.entries, self.drawn, self.failed = [], [], []
        self.provenance = None
        self._redshifts = check_options(self.lines, self.redshift)
        items = items_of(inputs)
        self._check_names(items)
        if not self.save_results:
            log.info("Pictures and page are not written: save_results is not set")
        cores = min(number_of_cores(self.maximum_cores), len(items))
        is_for_processes = self.save_results and all(isinstance(item, Path) for item in items)
        look_at_all = self._in_processes if is_for_processes and cores > 1 else self._one_by_one
        maps = look_at_all(items, cores)
        if not (self.entries or self.drawn):
            raise InputError("; ".join(map(str, self.problems)))
        if self.page and self.save_results and self.entries:
            self.write_page(_told_apart([*self.entries, *self.failed]), self.provenance or {})
        return maps

    def _check_names(self, items):
        """Make sure that no product takes the place of another."""
        if not self.save_results or self.parent is not None:
            return
        if len(items) > 1 and self.asked_stem():
            raise InputError(
                f"output_file names one product, but there are {len(items)} cubes; leave it out"
            )
        for name, number in Counter(i.name for i in items if isinstance(i, Path)).items():
            if number > 1:
                raise InputError(
                    f"is there {number} times; run each by itself, with an --output_dir of its own",
                    name,
                )

    def _in_processes(self, items, cores):
        """Look at files in several processes; their maps as files."""
        parameters = parameters_of(self) | {"maximum_cores": "none"}
        del parameters["skip"]
        tasks = [(str(item), parameters, str(self.output_folder().resolve())) for item in items]
        seen = {}
        with Workers(cores) as workers, Bar("cubes", len(items)) as bar:
            for outcome in workers.run(look_at_file, tasks):
                path = Path(outcome.item[0])
                seen[path] = outcome
                for entry in outcome.result.entries if outcome.result else ():
                    log.info("%s: %s", entry.title, _words(entry), extra=is_shown_by_bar())
                bar.step(path.name)
        for item in items:  # in their order, whichever was done first
            outcome = seen[item]
            if outcome.error is not None:
                self._fail(item, Problem(str(outcome.error), item.name))
                continue
            found = outcome.result
            for problem in found.problems:
                self._fail(item, problem)
            self.entries += [self._linked(entry, item) for entry in found.entries]
            self.drawn += found.drawn
            self.provenance = self.provenance or found.provenance
        folder = self.output_folder()
        return SavedMaps([folder / entry.maps for entry in self.entries if entry.maps])

    def _one_by_one(self, items, _):
        """Look at cubes and exposures in this process."""
        maps = ModelContainer()
        with Bar("cubes", len(items)) as bar:
            for item in items:
                try:
                    model = self._look_at(item)
                except InputError as err:
                    self._fail(item, err.problem)
                except OSError as err:
                    self._fail(item, not_written(name_of(item), err))
                except Exception as err:  # a fault in one must not cost the others their pictures
                    log.exception("%s cannot be looked at", name_of(item))
                    self._fail(item, Problem(f"{type(err).__name__}: {err}", name_of(item)))
                else:
                    if model is not None:
                        maps.append(model)
                bar.step(name_of(item))
        return maps

    def _fail(self, item, problem):
        """Note what went wrong with a cube, which has a row on the page all the same."""
        self.complain(problem)
        if isinstance(item, Path) and item.stem.endswith("_s3d"):
            label = re.search(r"_([sbv]\d+)_", item.name)
            title = label.group(1) if label else item.stem
            self.failed.append(self._linked(Entry(title, problems=(str(problem),)), item))

    def write_page(self, entries, command, **more):
        """Write the page.

        Parameters
        ----------
        entries : sequence of Entry
            Its rows.
        command : dict
            Parameters and steps that made the cubes, as in a parameter file, and the versions of
            packages if they are not those of now.
        **more
            What else the page tells; see `~msa3d_steps.quicklook.page.write_page`.

        Returns
        -------
        pathlib.Path
            The page.
        """
        from msa3d_steps.quicklook.page import write_page

        path = write_page(
            self.output_folder() / PAGE, entries, _product(entries), dict(flat_parameters(command)),
            command.get("versions") or package_versions(), **more,
        )  # fmt: skip
        log.info("Saved page %s", path)
        return path

    def _look_at(self, item):
        """Draw and map one cube, or draw an exposure; maps, None without lines."""
        if not is_cube(item):
            return self._draw_exposure(item)
        with opened(item) as cube:
            view = view_of(cube)
            own = getattr(cube.meta, "msa3d", None)
            number = getattr(own, "source_id", None) or 0
            redshift = self._redshifts.of(view.title, number, view.name)
            found = look(view, self.lines or (), redshift, self.snr)
            entry = describe(cube, view, found)
            for warning in found.warnings:
                log.warning("%s: %s", view.title, warning)
            self.provenance = self.provenance or _instance(getattr(own, "provenance", None))
            stem = self._stem(item, cube)
            maps = as_model(view, found.maps, cube, self.snr) if found.maps else None
        if maps is not None:
            maps.meta.filename = f"{stem}{self.output_ext}"
        if self.save_results:
            entry = self._linked(self._drawn(entry, view, found, stem), item)
            if maps is not None:
                entry = replace(entry, maps=f"{stem}_{self.suffix}{self.output_ext}")
        self.entries.append(entry)
        log.info("%s: %s", entry.title, _words(entry), extra=is_shown_by_bar())
        return maps

    def _linked(self, entry, item):
        """Say where the cube is, as seen from the page."""
        if not isinstance(item, Path):
            return entry
        return replace(entry, cube=Path(os.path.relpath(item, self.output_folder())).as_posix())

    def _drawn(self, entry, view, found, stem):
        """Draw the picture of a cube."""
        if not self.pictures:
            return entry
        from msa3d_steps.quicklook.picture import draw_cube

        name = f"{stem}_quicklook.png"
        folder = self.output_folder()
        thumbnail = draw_cube(
            view, found.maps, found.spectrum, folder / name, warnings=found.warnings
        )
        return replace(entry, picture=name, thumbnail=thumbnail)

    def _draw_exposure(self, item):
        """Draw the detector of an exposure."""
        from msa3d_steps.quicklook.detector import draw_exposure

        name = Path(name_of(item)).stem + "_detector.png"
        if self.save_results:
            draw_exposure(item, self.output_folder() / name)
            log.info("Saved picture %s", self.output_folder() / name)
        self.drawn.append(name)  # it could be, without results that are saved, too

    def _stem(self, item, cube):
        """Begin the names of the products of a cube."""
        asked = self.asked_stem() if self.parent is None else None
        if asked:
            return asked
        name = item.name if isinstance(item, Path) else cube.meta.filename or view_of(cube).title
        return self.remove_suffix(Path(name).stem)[0]


@dataclass(frozen=True)
class Seen:
    """What came of a file.

    Attributes
    ----------
    entries : list of Entry
        Its row on the page.
    drawn : list of str
        Pictures of detectors.
    problems : list of Problem
        What went wrong.
    provenance : dict or None
        How the cube was made.
    """

    entries: list
    drawn: list
    problems: list
    provenance: dict | None


def look_at_file(task):
    """Look at a file, in any process; its products are saved.

    Parameters
    ----------
    task : tuple of (str, dict, str)
        The file, the parameters of the step, and the folder of the products.

    Returns
    -------
    Seen
        What came of it.
    """
    path, parameters, folder = task
    step = MSA3DQuicklookStep("quicklook", **parameters)
    step.output_dir, step.save_results, step.page = folder, True, False
    problems = []
    try:
        with little_garbage():
            step.run(path)
    except InputError as err:
        problems = step.problems or [err.problem]
    except IncompleteError as err:
        problems = err.problems
    return Seen(step.entries, step.drawn, problems, step.provenance)


def _told_apart(entries):
    """Add the gratings to the titles of sources that have several cubes."""
    number = Counter(entry.title for entry in entries)
    return [
        replace(entry, title=f"{entry.title}_{entry.grating.lower()}")
        if number[entry.title] > 1 and entry.grating
        else entry
        for entry in entries
    ]


def _product(entries):
    """Name what the cubes of a page are of: the name of the first without its source."""
    first = next((e for e in entries if e.cube or e.maps or e.picture), entries[0])
    stem = Path(first.cube or first.maps or first.picture).name
    for suffix in ("_s3d.fits", "_linemaps.fits", "_quicklook.png"):
        stem = stem.removesuffix(suffix)
    label = first.title.split("_")[0]
    return stem.replace(f"_{label}", "") if stem else first.title


def _instance(node):
    """Give plain values of a node of a data model."""
    return getattr(node, "instance", node)


def _words(entry):
    """Say in a line what was found."""
    if not entry.line:
        return "no emission line found"
    where = entry.line
    if not where.startswith("line at"):
        where += f" at {entry.line_wavelength:.5f} um"
    redshift = f", redshift {entry.redshift:.5f}" if entry.redshift is not None else ""
    return f"{where}{redshift}, S/N {entry.line_snr or 0:.0f}"
