"""The quicklook as an stpipe step."""

import logging
import os
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from jwst.datamodels import ModelContainer
from stdatamodels.jwst.datamodels import IFUCubeModel, JwstDataModel

from msa3d_steps.association.headers import read_primary
from msa3d_steps.cube.inputs import find_members
from msa3d_steps.cube.provenance import package_versions
from msa3d_steps.datamodels import MSACubeModel, MSALineMapsModel
from msa3d_steps.errors import IncompleteError, InputError, Problem, not_written
from msa3d_steps.framework import MSA3DStep
from msa3d_steps.parameters import flat_parameters, parameters_of
from msa3d_steps.progress import Bar, is_shown_by_bar
from msa3d_steps.quicklook.core import check_options, describe, look
from msa3d_steps.quicklook.mapfile import as_model
from msa3d_steps.quicklook.view import view_of
from msa3d_steps.tasks import Workers, number_of_cores

__all__ = ["MSA3DQuicklookStep"]

log = logging.getLogger(__name__)

PAGE = "index.html"


class MSA3DQuicklookStep(MSA3DStep):
    """Make a picture and line maps of each cube, and a page that shows them all.

    Given exposures, it draws where slitlets fall on the detector and what is flagged.
    """

    class_alias = "msa3d_quicklook"

    spec = """
    lines = force_list(default=None) # Lines to map: names ([OIII]5007, Ha) or observed wavelengths, um; if not given, those that are found
    redshift = string(default=None) # Redshift of all sources, or a table (ECSV, CSV) with the columns source and redshift; found if not given
    snr = float(min=0, default=3.0) # Signal over noise of a line below which a spaxel has no velocity
    pictures = boolean(default=True) # Draw a picture (PNG) of each cube
    page = boolean(default=True) # Write a page (index.html) that shows all cubes
    detector = boolean(default=False) # In a pipeline, draw the slitlets and flags of each exposure, too
    maximum_cores = string(default='half') # Processes for the files of a folder or list. Can be an integer, 'none', 'quarter', 'half', or 'all'
    output_use_model = boolean(default=True) # Use the file names in the maps
    suffix = string(default='linemaps') # Suffix of the line maps
    """  # noqa: E501

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
        self.entries, self.drawn = [], []
        self._redshifts = check_options(self.lines, self.redshift)
        self.provenance = None
        items = _items(inputs)
        cores = min(number_of_cores(self.maximum_cores), len(items))
        is_for_processes = self.save_results and all(isinstance(item, Path) for item in items)
        look_at_all = self._in_processes if is_for_processes and cores > 1 else self._one_by_one
        maps = look_at_all(items, cores)
        if not (self.entries or self.drawn):
            raise InputError("; ".join(map(str, self.problems)))
        if self.page and self.save_results and self.entries:
            self.write_page(self.entries, self.provenance or {})
        return maps

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
                self.complain(Problem(str(outcome.error), item.name))
                continue
            found = outcome.result
            for problem in found.problems:
                self.complain(problem)
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
                    self.complain(err.problem)
                except OSError as err:
                    self.complain(not_written(_name(item), err))
                except Exception as err:  # a fault in one must not cost the others their pictures
                    log.exception("%s cannot be looked at", _name(item))
                    self.complain(Problem(f"{type(err).__name__}: {err}", _name(item)))
                else:
                    if model is not None:
                        maps.append(model)
                bar.step(_name(item))
        return maps

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
        if not _is_cube(item):
            return self._draw_exposure(item)
        with _opened(item) as cube:
            view = view_of(cube)
            own = getattr(cube.meta, "msa3d", None)
            number = getattr(own, "source_id", None) or 0
            redshift = self._redshifts.of(view.title, number, view.name)
            found = look(view, self.lines or (), redshift, self.snr)
            entry = describe(cube, view, found)
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
        thumbnail = draw_cube(view, found.maps, found.spectrum, folder / name)
        return replace(entry, picture=name, thumbnail=thumbnail)

    def _draw_exposure(self, item):
        """Draw the detector of an exposure."""
        from msa3d_steps.quicklook.detector import draw_exposure

        name = Path(_name(item)).stem + "_detector.png"
        if self.save_results:
            draw_exposure(item, self.output_folder() / name)
            log.info("Saved picture %s", self.output_folder() / name)
        self.drawn.append(name)

    def _stem(self, item, cube):
        """Begin the names of the products of a cube."""
        asked = self.asked_stem() if self.parent is None else None
        if asked:
            return asked
        name = item.name if isinstance(item, Path) else cube.meta.filename or view_of(cube).title
        return Path(name).stem.removesuffix("_s3d")


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
        step.run(path)
    except InputError as err:
        problems = step.problems or [err.problem]
    except IncompleteError as err:
        problems = err.problems
    return Seen(step.entries, step.drawn, problems, step.provenance)


class SavedMaps:
    """Line maps in files, opened when they are looked at.

    Parameters
    ----------
    paths : list of pathlib.Path
        The files.
    """

    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        return MSALineMapsModel(self.paths[index])

    def __iter__(self):
        return (MSALineMapsModel(path) for path in self.paths)


def _items(inputs):
    """List cubes and exposures: paths or models."""
    if hasattr(inputs, "paths") and hasattr(inputs, "summary"):  # the cubes of a run
        return list(inputs.paths.values())
    if isinstance(inputs, (str, Path)) and Path(inputs).expanduser().is_dir():
        found = sorted(Path(inputs).expanduser().glob("*_s3d.fits"))
        if not found:
            raise InputError("has no cubes (*_s3d.fits); name another folder", str(inputs))
        return found
    items = find_members(inputs).items
    return [path for item in items for path in (_items(item) if _is_folder(item) else [item])]


def _is_folder(item):
    return isinstance(item, Path) and item.is_dir()


def _name(item):
    """Name a cube or exposure in messages."""
    return item.name if isinstance(item, Path) else getattr(item.meta, "filename", None) or "model"


def _is_cube(item):
    """Tell cubes from exposures."""
    if isinstance(item, JwstDataModel):
        return isinstance(item, IFUCubeModel)
    kind = str(read_primary(item).get("DATAMODL", ""))
    if kind in ("IFUCubeModel", "MSACubeModel"):
        return True
    if kind in ("MultiSlitModel", "SlitModel", "ImageModel"):
        return False
    raise InputError(f"holds {kind or 'no data model'}, neither a cube nor an exposure", item.name)


@contextmanager
def _opened(item):
    """Open a cube; what was open already stays so."""
    if isinstance(item, JwstDataModel):
        yield item
        return
    try:
        cube = MSACubeModel(item)
    except ValueError as err:
        raise InputError(
            f"is a cube of another version of this package ({err}); build it again", item.name
        ) from err
    with cube:
        yield cube


def _product(entries):
    """Name what the cubes of a page are of: the name of the first without its source."""
    first = entries[0]
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
    where = f"{entry.line} at {entry.line_wavelength:.5f} um"
    redshift = f", redshift {entry.redshift:.5f}" if entry.redshift is not None else ""
    return f"{where}{redshift}, S/N {entry.line_snr or 0:.0f}"
