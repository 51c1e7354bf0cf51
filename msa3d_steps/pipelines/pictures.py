"""The pictures of a run and the page that shows them."""

import logging
from dataclasses import replace
from pathlib import Path

from msa3d_steps.cube.provenance import package_versions
from msa3d_steps.parameters import what_matters
from msa3d_steps.pipelines.attempt import attempt, own_warnings
from msa3d_steps.pipelines.parts import (
    QUICKLOOK,
    PicturePart,
    PictureReport,
    identity,
    key_of,
    read_report,
    source_of,
    write_report,
)
from msa3d_steps.pipelines.workplace import Workplace, keep
from msa3d_steps.quicklook.entry import Entry
from msa3d_steps.quicklook.step import look_at_file

__all__ = ["do_picture", "done_picture", "draw_detector", "entries_of", "picture_parts"]

log = logging.getLogger(__name__)

OF_THE_RUN = ("page", "detector", "maximum_cores")
"""Parameters that do not change what is made of a cube."""


def picture_parts(sources, recipe):
    """List the pictures that the cubes of a run want.

    Parameters
    ----------
    sources : sequence of SourceReport
        What came of the sources.
    recipe : Recipe
        How.

    Returns
    -------
    list of PicturePart
        One for each cube; none where no pictures are wanted.
    """
    if recipe.quicklook is None:
        return []
    parameters = what_matters(recipe.quicklook).items()
    how = {name: value for name, value in parameters if name not in OF_THE_RUN}
    table = Path(str(recipe.quicklook["redshift"])).expanduser()
    if table.is_file():
        how["redshift"] = identity(table)
    return [
        PicturePart(
            report.name + QUICKLOOK,
            report.cube,
            key_of(report.key, how, package_versions()),
        )
        for report in sources
        if report.cube
    ]


def done_picture(part, recipe):
    """Give the report of a picture that was made before, from the same; None where it was not.

    Parameters
    ----------
    part : PicturePart
        The part.
    recipe : Recipe
        How.

    Returns
    -------
    PictureReport or None
        What came of it.
    """
    report = read_report(Workplace(recipe.folder).report(part), PictureReport)
    if report is None or report.key != part.key or not report.entry:
        return None
    out = Path(recipe.output_dir)
    same = all(list(identity(out / name)) == list(known) for name, known in report.files.items())
    return report if same else None


def do_picture(task):
    """Draw and map a cube.

    Parameters
    ----------
    task : tuple
        `PicturePart` and `Recipe`.

    Returns
    -------
    PictureReport
        What came of it.
    """
    part, recipe = task
    place = Workplace(recipe.folder)
    report = PictureReport(part.name, part.key)
    _forget(part, recipe)
    with attempt(part, place) as record, place.unfinished(part) as folder:
        cube = Path(recipe.output_dir) / part.cube
        seen = look_at_file((str(cube), recipe.quicklook, str(folder)))
        record.problems.extend(seen.problems)
        if seen.entries:
            entry = replace(seen.entries[0], cube=part.cube)
            report = replace(report, entry=entry.as_dict())
        made = keep(folder, recipe.output_dir)
        report = replace(report, files={path.name: identity(path) for path in made})
    report = record.concluded(report)
    if report.entry and not report.problems:
        write_report(place.report(part), report)
    return report


def _forget(part, recipe):
    """Remove what an earlier run made of a cube: it may not be made again."""
    report = Workplace(recipe.folder).report(part)
    before = read_report(report, PictureReport)
    report.unlink(missing_ok=True)
    for name in before.files if before else ():
        (Path(recipe.output_dir) / name).unlink(missing_ok=True)


def draw_detector(exposure, name, recipe):
    """Draw the slitlets of a calibrated exposure on the detector, where that is asked for.

    A picture that fails costs no exposure.

    Parameters
    ----------
    exposure : str or JwstDataModel
        The exposure.
    name : str
        Name of its part.
    recipe : Recipe
        How.
    """
    if recipe.quicklook is None or not recipe.quicklook["detector"]:
        return
    from msa3d_steps.quicklook.detector import draw_exposure

    try:
        draw_exposure(exposure, Path(recipe.output_dir) / f"{name}_detector.png")
    except Exception as err:
        log.warning("%s: its detector cannot be drawn (%s: %s)", name, type(err).__name__, err)


def entries_of(run):
    """List the rows of the page: a source without a cube or without a picture has one, too.

    Parameters
    ----------
    run : ~msa3d_steps.pipelines.run.Run
        A run that is done.

    Returns
    -------
    list of Entry
        The rows.
    """
    pictures = {source_of(report.name): report for report in run.pictures}
    entries = []
    for source in run.sources:
        picture = pictures.get(source.name)
        if picture is not None and picture.entry:
            entry = Entry.from_dict(picture.entry)
        else:
            entry = Entry(source.name, source.source_name, source.cube or "")
        reports = [source, picture] if picture else [source]
        problems = [problem for report in reports for problem in report.problems]
        warnings = [text for report in reports for text in own_warnings(report)]
        entries.append(
            replace(
                entry,
                title=source.name,
                exposures_rejected=run.exposures_rejected(source),
                warnings=tuple(dict.fromkeys((*entry.warnings, *warnings))),
                problems=tuple(str(problem) for problem in problems),
            )
        )
    return entries
