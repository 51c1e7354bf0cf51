"""What a worker does: calibrate and cut a file, build the cube of a source."""

import logging
import time
import uuid
from collections import Counter
from dataclasses import replace
from pathlib import Path

import asdf
import numpy as np
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from msa3d_steps.cube.inputs import read_all
from msa3d_steps.cube.provenance import Member
from msa3d_steps.cube.reading import ExposureCutouts, cutouts_of_model, read_exposure
from msa3d_steps.cube.step import MSA3DCubeStep
from msa3d_steps.cube.store import load_cutouts, save_cutouts
from msa3d_steps.errors import IncompleteError, InputError
from msa3d_steps.pipelines.attempt import attempt
from msa3d_steps.pipelines.cleaning import cleaning_steps
from msa3d_steps.pipelines.parts import (
    ExposurePart,
    ExposureReport,
    Found,
    SourceReport,
    write_report,
)
from msa3d_steps.pipelines.pictures import draw_detector
from msa3d_steps.pipelines.workplace import Workplace, keep
from msa3d_steps.tasks import little_garbage
from msa3d_steps.whole import refuse_truncated

__all__ = ["do_exposure", "do_source", "keep_models", "warm_up"]

log = logging.getLogger(__name__)


def warm_up():
    """Load what takes a while, in a new process that has nothing else to do yet."""
    asdf.AsdfFile()  # finds the extensions that are installed


def do_exposure(task):
    """Calibrate a file as far as it needs it, cut it, and keep the cutouts.

    Parameters
    ----------
    task : tuple
        `ExposurePart` and `Recipe`.

    Returns
    -------
    ExposureReport
        What came of it.
    """
    part, recipe = task
    place = Workplace(recipe.folder)
    start = time.perf_counter()
    exposure = None
    with attempt(part, place) as record:
        if part.kind == "cal":
            exposure = read_exposure(part.path, recipe.selection)
            draw_detector(part.path, part.name, recipe)
        else:
            exposure = _calibrated_and_cut(part, recipe, place)
    return _report_exposure(part, recipe, exposure, record, time.perf_counter() - start)


def keep_models(members, recipe):
    """Do the same with models of calibrated exposures, in this process.

    Parameters
    ----------
    members : Members
        The models.
    recipe : Recipe
        How.

    Returns
    -------
    list of ExposureReport
        What came of each.
    """
    place = Workplace(recipe.folder)
    reports = []
    for number, exposure in enumerate(read_all(members, recipe.selection), 1):
        part = ExposurePart("", "cal", f"model-{number:04d}", uuid.uuid4().hex)
        with attempt(part, place) as record:
            reports.append(_report_exposure(part, recipe, exposure, record, 0.0))
    return reports


def _calibrated_and_cut(part, recipe, place):
    """Run stage 1 and stage 2 and cut."""
    # imported here: they take seconds, and who starts from cal files does not need them
    from jwst.assign_wcs.util import NoDataOnDetectorError
    from jwst.pipeline import Detector1Pipeline

    from msa3d_steps.pipelines.spec2 import MSA3DSpec2Pipeline

    _check_whole(part.path)
    with place.unfinished(part) as folder, little_garbage():
        exposure = part.path
        if part.kind == "uncal":
            stage1 = Detector1Pipeline("detector1", **recipe.detector1)
            stage1.output_dir = str(folder)
            exposure = stage1.run(exposure)
        stage2 = MSA3DSpec2Pipeline("spec2", **recipe.spec2)
        stage2.output_dir = str(folder)
        # the slits of other sources need no calibration
        stage2.extract_2d.source_ids = stage2.extract_2d.source_ids or recipe.selection.numbers()
        try:
            (model,) = _run(stage2, exposure)
        except NoDataOnDetectorError:
            log.info("%s: no slit falls onto this detector", part.path)
            return ExposureCutouts(Path(part.path).name)
        cutouts = cutouts_of_model(Path(part.path).name, model, recipe.selection)
        draw_detector(model, part.name, recipe)
        cutouts.problems.extend(stage2.problems)
        cutouts.size = Member.of_file(part.path).size
        if not stage2.save_results:  # only the calibrated exposure needs the repaired metafile
            (folder / Path(model.meta.instrument.msa_metadata_file).name).unlink(missing_ok=True)
        keep(folder, recipe.output_dir)
    return cutouts


def _check_whole(path):
    """Make sure that a file is there and whole; what jwst says of such files helps nobody."""
    try:
        with refuse_truncated(), fits.open(path) as hdus:
            len(hdus)  # reads all headers
    except FileNotFoundError:
        raise InputError("there is no such file; check the path", path) from None
    except (OSError, AstropyWarning) as err:
        reason = str(err).splitlines()[0]
        raise InputError(f"cannot be read ({reason}); download or make it again", path) from err


def _run(step, data):
    """Run a step; what is missing in the result is among its problems."""
    try:
        return step.run(data)
    except IncompleteError as err:
        return err.result


def _report_exposure(part, recipe, exposure, record, seconds):
    place = Workplace(recipe.folder)
    report = ExposureReport(part.name, part.key, recipe.selection)
    if exposure is not None:
        save_cutouts(place.cutouts(part.name), exposure)
        report = replace(
            report,
            member=Member(exposure.name, exposure.size),
            sources=_found(exposure),
            left_out={s.label: (s.source_id, s.name) for s in exposure.left_out},
        )
        record.problems.extend(exposure.problems)
    report = replace(
        report, problems=tuple(record.problems), warnings=record.warnings(), seconds=seconds
    )
    if exposure is not None:
        write_report(place.report(part), report)
    return report


def _found(exposure):
    """Count the slits of each wanted source."""
    used = Counter(entry.source.key for entry in exposure.entries)
    return tuple(
        Found(s.label, s.source_id, s.name, used[s.key], exposure.rejected[s.key], s.disperser)
        for s in exposure.sources
    )


def do_source(task):
    """Build the cube of a source.

    Parameters
    ----------
    task : tuple
        `SourcePart` and `Recipe`.

    Returns
    -------
    SourceReport
        What came of it.
    """
    part, recipe = task
    place = Workplace(recipe.folder)
    report = SourceReport(part.name, part.key)
    with attempt(part, place) as record, place.unfinished(part) as folder:
        source = _source(part.label, part.exposures, part, place)
        report = replace(report, source_name=source.name)
        output_file = recipe.product and f"{recipe.product}.fits"
        blanks, references = _blanks(part, place), []
        for step in cleaning_steps(recipe.cleaning, part.threads):
            step.output_dir, step.output_file = str(folder), output_file
            if step.sees_blanks:
                step.companions, blanks = blanks, []
            if step.is_needed(source):
                source = _run(step, source)
                record.problems.extend(step.problems)
                references += step.references_used
            blanks = [_run(step, b) if step.is_needed(b) else b for b in blanks]
        step = MSA3DCubeStep("cube", **recipe.cube)
        step.output_dir, step.save_results = str(folder), True
        step.maximum_cores, step.key = str(part.threads), part.key
        step.output_file = output_file
        if recipe.origin is not None:
            step.origin = replace(recipe.origin, references=tuple(references))
        (cube,) = _run(step, source)
        record.problems.extend(step.problems)
        made = _of_cube(report, cube)
        cube.close()
        is_written = (folder / made.cube).exists()
        keep(folder, recipe.output_dir)
        report = made if is_written else report
    report = record.concluded(report)
    if report.cube:
        write_report(place.report(part), report)
    return report


def _source(label, exposures, part, place):
    """Load a source as it is through the disperser of a part."""
    source = load_cutouts([place.cutouts(name) for name in exposures], label, part.disperser)
    told_apart = part.name != part.label
    return replace(source, told_apart=told_apart, members=list(part.members))


def _blanks(part, place):
    """Load the background slits."""
    return [
        _source(label, names, part, place) for label, names in part.blanks if label != part.label
    ]


def _of_cube(report, cube):
    """Take from a cube what its report tells."""
    table = cube.exposure_table
    return replace(
        report,
        cube=cube.meta.filename,
        shape=cube.data.shape,
        cutouts=len(table),
        pixels=int(np.sum(table["pixels_used"])),
        pixels_rejected=int(np.sum(table["pixels_rejected"])),
        outliers=int(np.sum(np.maximum(table["outliers"], 0))),
    )
