"""Stage 3 for slit stepping: calibrated exposures in, one cube for each source out."""

import logging
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from jwst.datamodels import ModelContainer
from jwst.stpipe import Pipeline

from msa3d_steps.association.exposures import kind_of
from msa3d_steps.association.headers import read_primary
from msa3d_steps.cube.inputs import Members, Selection, find_members
from msa3d_steps.cube.provenance import Origin, package_versions
from msa3d_steps.cube.step import MSA3DCubeStep
from msa3d_steps.errors import InputError, Problem, not_written
from msa3d_steps.framework import MSA3DStep
from msa3d_steps.parameters import (
    changed_parameters,
    command_of,
    parameters_of,
    what_matters,
    write_parameters,
)
from msa3d_steps.pipelines.cleaning import CLEANING
from msa3d_steps.pipelines.cubes import Cubes
from msa3d_steps.pipelines.limits import check_disk, count_slits, processes_for
from msa3d_steps.pipelines.parts import (
    ExposurePart,
    Recipe,
    identity,
    key_of,
)
from msa3d_steps.pipelines.pictures import entries_of
from msa3d_steps.pipelines.run import Run
from msa3d_steps.pipelines.summary import summary_table, summary_text
from msa3d_steps.pipelines.work import keep_models, warm_up
from msa3d_steps.pipelines.workplace import Workplace
from msa3d_steps.quicklook.core import check_options
from msa3d_steps.quicklook.step import MSA3DQuicklookStep
from msa3d_steps.tasks import Workers

__all__ = ["MSA3DSpec3Pipeline"]

log = logging.getLogger(__name__)


class MSA3DSpec3Pipeline(MSA3DStep, Pipeline):
    """Make one spectral cube for each source out of calibrated exposures, and pictures of them.

    Each file is opened once. Files are read, and cubes built, in several processes or on a Dask
    cluster. A run that was stopped goes on where it was when the same command is given again.
    """

    class_alias = "msa3d_spec3"

    spec = """
    sources = force_list(default=None) # Sources to build, by label (s000000933), number or name; all if not given
    background_slits = boolean(default=False) # Build cubes of background slits (b...) too
    virtual_slits = boolean(default=False) # Build cubes of virtual slits (v...) too
    maximum_cores = string(default='half') # Processes on this machine. Can be an integer, 'none', 'quarter', 'half', or 'all'
    dask_scheduler = string(default=None) # Address of the scheduler of a Dask cluster (tcp://host:8786) that shall do the work
    memory_limit = float(min=0, default=0.0) # Memory for all processes together, GB; 0 for what is free
    resume = boolean(default=True) # Take over what an earlier run with the same inputs and parameters has made
    keep_cutouts = boolean(default=False) # Keep the cutouts, for other cubes of the same exposures
    suffix = string(default='s3d') # Suffix of the cubes
    """  # noqa: E501

    prefetch_references = False  # of each exposure, by its own pipeline

    step_defs = {**CLEANING, "cube": MSA3DCubeStep, "quicklook": MSA3DQuicklookStep}  # noqa: RUF012

    defaults = {"background.skip": True}  # noqa: RUF012

    def __init__(self, *args, **kwargs):
        with _left_out("%s instance created."):  # a line for each of some fifty steps
            super().__init__(*args, **kwargs)

    def run(self, *args):
        """Run the pipeline.

        Parameters
        ----------
        *args
            The input; none where a run file has it.

        Returns
        -------
        Cubes or `~jwst.datamodels.ModelContainer`
            The cubes.
        """
        # a thousand lines, which are written to a file instead
        with _left_out("Step %s parameters are:%s"):
            return super().run(*args)

    def finalize_result(self, result, reference_files_used):
        """Leave a cube as its step made it: it needs no reference file, and so no CRDS.

        Parameters
        ----------
        result, reference_files_used : object
            As in jwst.
        """

    def process(self, inputs):
        """Make the cubes.

        Parameters
        ----------
        inputs : str, pathlib.Path, dict, list, ModelContainer, ModelLibrary or JwstDataModel
            Association, exposures, or their models.

        Returns
        -------
        Cubes or `~jwst.datamodels.ModelContainer`
            One cube for each source: as files that are opened when they are looked at, or in memory
            where results are not to be saved. The input is not changed.

        Raises
        ------
        InputError
            Where no cube could be made.
        """
        members = find_members(inputs)
        asked = self.search_attr("output_file")
        product = self.remove_suffix(Path(asked).stem)[0] if asked else members.product
        with self._folder_of_products() as output_dir:
            place = Workplace(output_dir / f"{_stem(product, members)}_msa3d")
            with place.claim(), place.logged(self.get_stpipe_loggers()), _stopped():
                place.prepare()
                recipe = self._recipe(product, place, output_dir)
                run = self._run(members, recipe, place)
                return self._finish(run, place, output_dir)

    @contextmanager
    def _folder_of_products(self):
        """Give the folder of the products; one for the time being where none are to be saved."""
        if self.save_results:
            yield self.output_folder().resolve()
            return
        with tempfile.TemporaryDirectory(prefix="msa3d-") as name:
            yield Path(name)

    def _recipe(self, product, place, output_dir):
        cube = parameters_of(self.cube) | {"suffix": self.suffix}
        selection = Selection(
            tuple(self.sources or self.cube.sources or ()),
            self.background_slits or self.cube.background_slits,
            self.virtual_slits or self.cube.virtual_slits,
        )
        for name in ("sources", "background_slits", "virtual_slits", "maximum_cores"):
            del cube[name]  # ours are used
        cleaning = self._cleaning()
        background = cleaning.get("background", {})
        if background.get("method") == "source_free" and background["use_background_slits"]:
            selection = replace(selection, blanks=True)
        return Recipe(
            selection, cleaning, cube, *self._calibration(),
            product, str(place.folder), str(output_dir), self._origin(product), self._quicklook(),
        )  # fmt: skip

    def _origin(self, product):
        """Tell the command: this pipeline, or the one that it is in."""
        metafile = getattr(self, "msa_metafile", None)
        return Origin(command_of(self.outermost()), product, metafile and Path(metafile).name)

    def _cleaning(self):
        """Give the parameters of the steps that correct cutouts, of those that are not skipped."""
        chosen = {}
        for name in CLEANING:
            own = parameters_of(getattr(self, name))
            if not own.pop("skip"):
                del own["sources"]
                own.pop("maximum_cores", None)
                chosen[name] = own
        return chosen

    def _quicklook(self):
        """Give the parameters of the quicklook; None where no pictures are to be made."""
        own = parameters_of(self.quicklook)
        if own.pop("skip") or not self.save_results:
            return None
        for name in ("output_file", "output_dir"):  # everything is where the cubes are
            own.pop(name, None)
            setattr(self.quicklook, name, None)
        check_options(own["lines"], own["redshift"])
        return own | {"maximum_cores": "none"}  # this pipeline has the processes

    def _calibration(self):
        """Give the parameters of stage 1 and stage 2; this pipeline has none."""
        return None, None

    def _run(self, members, recipe, place):
        """Make all parts."""
        paths, models = _sort_members(members)
        parts = self._parts(paths, recipe)
        n_slits = count_slits(paths, getattr(self, "msa_metafile", None), recipe.selection)
        check_disk(parts, n_slits, recipe, self.keep_cutouts)
        cores = 1
        if not self.dask_scheduler:
            cores = processes_for(
                parts, n_slits, self.cube.scalexy, self.maximum_cores, self.memory_limit
            )
        with Workers(cores, self.dask_scheduler, (warm_up,)) as workers:
            workers.begin()
            write_parameters(place.parameters, self)
            run = Run(place, recipe, workers, self.resume, self._prepare)
            run.make(parts, keep_models(models, recipe) if models else [])
        return run

    def _parts(self, paths, recipe):
        """List the files as parts of the run."""
        names, parts = set(), []
        for path in paths:
            name = path.name.removesuffix(".fits")
            while name in names:  # files of one name in two folders
                name += "+"
            names.add(name)
            kind, *used = self._kind(path)
            stages = (recipe.detector1, recipe.spec2) if kind != "cal" else ()
            key = key_of(identity(path), *map(what_matters, stages), used, package_versions())
            parts.append(ExposurePart(str(path), kind, name, key))
        return parts

    def _kind(self, path):
        """Tell what a file is, and give what else its calibration depends on."""
        try:
            kind = kind_of(read_primary(path))
        except InputError:
            return ("cal",)  # who reads it will say what is wrong with it
        if kind in ("uncal", "rate"):
            raise InputError(
                "is not calibrated yet; run it with 'strun msa3d' or calibrate it with 'strun "
                "msa3d_spec2'", str(path)
            )  # fmt: skip
        return ("cal",)

    def _prepare(self, parts):
        """Do what must be done before parts are made."""

    def _finish(self, run, place, output_dir):
        """Say what was made."""
        table = summary_table(run.exposures, run.sources)
        table.write(place.summary, format="ascii.ecsv", overwrite=True)
        self.problems.extend(run.problems)
        log.info("\n%s", summary_text(table, run.reports, self.problems))
        if run.recipe.quicklook and self.quicklook.page and run.sources:
            self._write_page(run)
        made = {r.name: output_dir / r.cube for r in run.sources if r.cube}
        if not self.keep_cutouts and not self.problems:
            place.drop_cutouts()
        elif self.save_results:
            log.info("%s has cutouts of %.2f GB, for another try", place.folder, place.size() / 1e9)
        if not made:
            raise InputError(f"no cube could be made: {'; '.join(map(str, self.problems))}")
        cubes = Cubes(made, table)
        if self.save_results:
            return cubes
        loaded = ModelContainer()
        for cube in cubes:
            loaded.append(cube.copy())
            cube.close()
        return loaded

    def _write_page(self, run):
        """Write the page of all cubes; a page that cannot be written costs no cube."""
        try:
            step = self.outermost()
            self.quicklook.write_page(
                entries_of(run), command_of(step), changed=changed_parameters(step),
                problems=run.problems_of_files, exposures=run.n_exposures,
            )  # fmt: skip
        except OSError as err:
            self.complain(not_written("index.html", err))
        except Exception as err:
            log.exception("The page cannot be written")
            self.complain(Problem(f"{type(err).__name__}: {err}", "index.html"))


@contextmanager
def _stopped():
    """Say that a run that is interrupted is not lost."""
    try:
        yield
    except KeyboardInterrupt:
        log.info("Stopped; the same command goes on from here")
        raise


@contextmanager
def _left_out(message):
    """Leave a message of stpipe out of the log."""
    logger = logging.getLogger("stpipe.step")

    def keep(record):
        return record.msg != message

    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)


def _stem(product, members):
    """Begin the name of the folder of a run."""
    if product:
        return product.replace("{source_id}", "").replace("__", "_").strip("_")
    if not isinstance(members.items, (list, tuple)):
        return "models"  # of a library, which is not open
    first = members.items[0]
    name = first.name if isinstance(first, Path) else getattr(first.meta, "filename", None)
    return (name or "models").split("_")[0].removesuffix(".fits")


def _sort_members(members):
    """Sort files from models."""
    if not isinstance(members.items, (list, tuple)):
        return [], members  # a library
    paths = [item for item in members.items if isinstance(item, Path)]
    models = [item for item in members.items if not isinstance(item, Path)]
    return paths, Members(models) if models else None
