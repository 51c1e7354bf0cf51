"""Write a simulated survey: exposures, metafile, association, run file, references, truth."""

import dataclasses
import json
import logging
import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asdf
import numpy as np
from astropy.io import fits

from msa3d_steps import __version__
from msa3d_steps.errors import InputError
from msa3d_steps.simulate.bench import prepare
from msa3d_steps.simulate.detector.exposing import expose
from msa3d_steps.simulate.exposure import PROGRAM, ExposureName, cal_model, rate_model
from msa3d_steps.simulate.record import write_truth
from msa3d_steps.simulate.references.crds import write_cache
from msa3d_steps.simulate.references.files import write_calibration_references
from msa3d_steps.tasks import Workers
from msa3d_steps.whole import replace_whole

__all__ = ["Products", "write_survey"]

log = logging.getLogger(__name__)

RATE_BYTES = 2048**2 * 20
CUTOUT_BYTES = 45 * 2048 * 32
FIXED_BYTES = 100e6  # references
UNFINISHED = ".unfinished-"
RUN_FILE = "msa3d_cube.asdf"


@dataclass(frozen=True)
class Products:
    """Where everything of a survey is.

    Attributes
    ----------
    folder : Path
        The survey's folder.
    observation : int
        Number of the observation.
    """

    folder: Path
    observation: int = 1

    @property
    def references(self):
        """The local CRDS cache."""
        return self.folder / "crds"

    @property
    def metafile(self):
        """The MSA metafile."""
        return self.folder / ExposureName.metafile(self.observation)

    @property
    def association(self):
        """The association of all calibrated exposures."""
        return self.folder / f"{ExposureName.product(self.observation)}_asn.json"

    @property
    def run_file(self):
        """The run file of the cube step."""
        return self.folder / RUN_FILE

    @property
    def truth(self):
        """Sources, pointings, point spread function."""
        return self.folder / "truth" / "truth.asdf"

    @property
    def label(self):
        """The options of the survey."""
        return self.folder / "truth" / "survey.json"

    def exposure(self, name, suffix):
        """Name a file of an exposure: cal or rate."""
        return self.folder / name.file(suffix)

    def exposure_truth(self, name):
        """Noise-free brightness and masks of an exposure."""
        return self.folder / "truth" / name.file("truth")

    def of_exposure(self, name, level):
        """All files of an exposure."""
        suffixes = ("cal", "rate") if level == "both" else (level,)
        return [*(self.exposure(name, s) for s in suffixes), self.exposure_truth(name)]


def write_survey(survey, folder, cores=1, progress=None):
    """Simulate a survey and write all of it; go on where an earlier run was stopped.

    Parameters
    ----------
    survey : Survey
        What to simulate.
    folder : str or Path
        Where to; made if it is not there.
    cores : int
        Number of processes.
    progress : callable or None
        Called with the number of exposures made and their total after each.

    Returns
    -------
    Products
        What was written.

    Raises
    ------
    InputError
        If the folder holds another survey, or the disk is too small.
    """
    products = Products(Path(folder).resolve(), survey.observation)
    if products.folder.exists() and not products.folder.is_dir():
        raise InputError(f"{products.folder} is a file; name a folder for the survey")
    products.truth.parent.mkdir(parents=True, exist_ok=True)
    _refuse_another(products, survey)
    _clean_up(products.folder)
    with _scratch(products) as scratch:
        bench = prepare(survey, scratch, scratch / products.metafile.name)
        todo = [n for n in bench.names() if not _is_done(products, n, survey.level)]
        total = len(bench.names())
        _check_space(products, bench, len(todo))
        _claim(products, survey)
        if not products.metafile.exists():
            (scratch / products.metafile.name).replace(products.metafile)
        _write_cache(products, bench, scratch)
        write_truth(products.truth.parent, bench)
        if len(todo) < total:
            log.info("%d of %d exposures are there already", total - len(todo), total)
        done = total - len(todo)
        for _ in _make_exposures(bench, products, todo, cores):
            done += 1
            if progress:
                progress(done, total)
    if survey.level != "rate":
        _write_association(products, bench)
        _write_run_file(products, bench)
    return products


def _refuse_another(products, survey):
    """Make sure that the folder is not another survey's."""
    if not products.label.exists():
        return
    try:
        theirs = json.loads(products.label.read_text())
    except ValueError:
        theirs = {}
    mine = _label(survey)
    if any(theirs.get(key) != mine[key] for key in ("digest", "version")):
        changed = sorted(k for k in mine if k != "digest" and _plain(mine[k]) != theirs.get(k))
        raise InputError(
            f"{products.folder} holds a survey with other options ({', '.join(changed)}); "
            "give another folder, or delete that one"
        )


def _claim(products, survey):
    """Write down whose the folder is."""
    if not products.label.exists():
        with replace_whole(products.label) as path:
            path.write_text(json.dumps(_label(survey), indent=1, default=str) + "\n")


def _label(survey):
    """Give what tells a survey from others."""
    return {"version": __version__, "digest": survey.digest(), **dataclasses.asdict(survey)}


def _plain(value):
    """Give a value as it comes back from JSON."""
    return json.loads(json.dumps(value, default=str))


@contextmanager
def _scratch(products):
    """Make a folder for what is not finished, on the same disk."""
    with tempfile.TemporaryDirectory(dir=products.folder, prefix=_unfinished()) as name:
        yield Path(name)


def _unfinished():
    """Begin the name of a folder for what this process has not finished."""
    return f"{UNFINISHED}{os.getpid()}-"


def _clean_up(folder):
    """Remove what processes that are no more have left unfinished."""
    for path in folder.glob(f"{UNFINISHED}*-*"):
        owner = path.name.removeprefix(UNFINISHED).split("-")[0]
        if not (owner.isdigit() and _is_alive(int(owner))):
            shutil.rmtree(path, ignore_errors=True)


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def _is_done(products, name, level):
    return all(path.exists() for path in products.of_exposure(name, level))


def _check_space(products, bench, n_exposures):
    """Refuse to begin what cannot end."""
    n_slits = len(bench.slitlets)
    each = CUTOUT_BYTES * n_slits * 1.2
    each += RATE_BYTES if bench.survey.level != "cal" else 0
    need = each * n_exposures + FIXED_BYTES
    free = shutil.disk_usage(products.folder).free
    log.info("%d files to make, about %.1f GB", n_exposures, need / 1e9)
    if need > free:
        raise InputError(
            f"{products.folder}: the survey needs {need / 1e9:.1f} GB and the disk has "
            f"{free / 1e9:.1f} GB; make room, or give another folder or a smaller survey"
        )


def _write_cache(products, bench, scratch):
    """Write the local CRDS cache, once."""
    label = products.references / "complete"
    if label.exists():
        return
    configuration = bench.survey.grating, bench.survey.filter
    stuck_open = bench.stuck.place if bench.stuck else None
    calibration = write_calibration_references(scratch, *configuration, stuck_open)
    references = bench.references | calibration
    write_cache(products.references, references, *configuration)
    label.touch()


def _make_exposures(bench, products, names, cores):
    """Make exposures, in other processes where there are cores, and yield their names."""
    cores = min(cores, len(names))
    if cores <= 1:
        for name in names:
            _make_exposure(bench, products, name)
            yield name
        return
    setup = _start_worker, bench.survey, products, bench.scene.sources
    try:
        with Workers(cores, setup=setup) as workers:
            for outcome in workers.run(_in_worker, names):
                outcome.unwrap()
                yield outcome.item
    except BaseException:
        _clean_up(products.folder)
        raise


_worker = {}


def _start_worker(survey, products, sources):
    """Make the survey ready in a worker."""
    logging.disable(logging.INFO)
    with _scratch(products) as scratch:
        _worker["bench"] = prepare(survey, scratch, scratch / "msa.fits", sources)
    _worker["products"] = products


def _in_worker(name):
    _make_exposure(_worker["bench"], _worker["products"], name)


def _make_exposure(bench, products, name):
    """Make the files of an exposure of one detector; each is whole or not there."""
    survey = bench.survey
    brightness = bench.brightness(name)
    rate = bench.rate(name, brightness)
    seed = survey.seed
    exposed = expose(rate, survey.exposure_time, name.detector, bench.noise, seed, name.number)
    meta = bench.metadata(name)
    _write_exposure_truth(products.exposure_truth(name), bench, name, brightness, exposed)
    if survey.level != "cal":
        _save(rate_model(meta, name, exposed), products.exposure(name, "rate"))
    if survey.level != "rate":
        slits, responses = bench.slits[name.detector], bench.responses[name.detector]
        stuck_open = bench.stuck is not None
        model = cal_model(meta, name, slits, exposed, responses, bench.to_sky(name), stuck_open)
        _save(model, products.exposure(name, "cal"))


def _save(model, path):
    """Write a model whole or not at all, with its own name inside."""
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=_unfinished()) as scratch:
        model.save(str(Path(scratch) / path.name))
        (Path(scratch) / path.name).replace(path)


def _write_exposure_truth(path, bench, name, brightness, exposed):
    """Write the noise-free brightness of the slitlets and the mask of the cosmic rays."""
    hdus = [fits.PrimaryHDU()]
    hdus[0].header["FILENAME"] = path.name
    for number, (slit, shown) in enumerate(
        zip(bench.slits[name.detector], brightness, strict=True), start=1
    ):
        header = fits.Header({"SLTNAME": slit.name, "SOURCEID": slit.model.source_id})
        header["BUNIT"] = "MJy/sr"
        header["XSTART"], header["YSTART"] = slit.model.xstart, slit.model.ystart
        hdus.append(fits.ImageHDU(shown.astype(np.float32), header, "NOISE_FREE", ver=number))
    mask = exposed.cosmic_rays.astype(np.uint8)
    hdus.append(fits.CompImageHDU(mask, name="COSMIC_RAYS", compression_type="GZIP_1"))
    with replace_whole(path) as temporary:
        fits.HDUList(hdus).writeto(temporary, overwrite=True)


def _write_association(products, bench):
    """Write the association of the calibrated exposures."""
    members = [{"expname": name.file("cal"), "exptype": "science"} for name in bench.names()]
    name = ExposureName.product(products.observation)
    product = f"{name}_{{source_id}}_nirspec_{bench.survey.filter}"
    asn = {
        "asn_type": "spec3", "asn_rule": "DMS_Level3_Base", "asn_id": "a3001", "asn_pool": "none",
        "program": PROGRAM,
        "products": [
            {"name": f"{product}-{bench.survey.grating}".lower(), "members": members}
        ],
    }  # fmt: skip
    with replace_whole(products.association) as path:
        path.write_text(json.dumps(asn, indent=1) + "\n")


def _write_run_file(products, bench):
    """Write the run file of the cube step."""
    tree = {
        "class": "msa3d_steps.MSA3DCubeStep",
        "name": "msa3d_cube",
        "parameters": {},
        "inputs": {"members": [products.association.name]},
        "meta": {"author": "msa3d_simulate", "description": "cubes of a simulated survey"},
    }
    with replace_whole(products.run_file) as path:
        asdf.AsdfFile(tree).write_to(path)
