"""What a run may use: processes, memory, disk."""

import logging
import shutil
from pathlib import Path

import psutil

from msa3d_steps.association.exposures import read_frame
from msa3d_steps.association.metafile import read_metafile
from msa3d_steps.cube.sources import Source
from msa3d_steps.errors import InputError
from msa3d_steps.tasks import number_of_cores
from msa3d_steps.words import counted

__all__ = ["check_disk", "count_slits", "processes_for"]

log = logging.getLogger(__name__)

BASE = 0.4e9
"""Memory of a process with jwst loaded, bytes."""

STAGES = {"uncal": 3.0e9, "rate": 0.4e9, "cal": 0.0}
"""Memory for the frames of one exposure beyond that: ramps, slope images, references."""

SLIT = {"uncal": 30e6, "rate": 30e6, "cal": 1.5e6}
"""Memory for one slit of it: in jwst's models, or as a cutout."""

CUTOUT = 45 * 2048 * 12
"""Size of a cutout: data and two variances of 4 bytes for 45 rows of a grating's spectrum."""

CUBE = 60e6
"""Size of a cube on disk, bytes, of some 25 x 30 spaxels; it needs 4 times as much memory."""


PIXEL = 0.1
"""Height of a detector pixel, arcsec."""

CALIBRATED = 45 * 2048 * 40
"""Size of a slit in a calibrated exposure, bytes."""

WORTHWHILE = 20
"""Work for which other processes are begun, s; each takes some 5 s to begin."""

CUBE_AND_PICTURE = 2.5
"""Work for a source, without its exposures, s."""

MANY_SLITS = 50
"""Number of slits where it cannot be found out."""


def count_slits(paths, metafile, selection):
    """Find out how many slits a file has that are wanted.

    Parameters
    ----------
    paths : sequence of pathlib.Path
        The files; the first one that can be read tells.
    metafile : str or pathlib.Path or None
        MSA metafile to use instead of the one that the exposures name.
    selection : Selection
        Which sources are wanted.

    Returns
    -------
    int
        The number; a guess where no file tells.
    """
    for path in paths:
        try:
            frame = read_frame(path)
            if frame is None:
                continue
            found = frame.sources
            if frame.kind in ("uncal", "rate"):
                place = Path(metafile) if metafile else path.parent / frame.metafile
                found = read_metafile(place).sources([frame.msa_id])
        except InputError:
            continue
        wanted = [s for s in found if selection.wants(Source(s.label, s.source_id, s.name))]
        return max(1, len(wanted))
    return MANY_SLITS


def _seconds(parts, n_slits):
    """Estimate the work, s: calibration takes so long that it always counts as much."""
    if any(part.kind != "cal" for part in parts[1:]):
        return WORTHWHILE
    return n_slits * (0.03 * len(parts) + CUBE_AND_PICTURE)


def processes_for(parts, n_slits, scalexy, maximum_cores, memory_limit):
    """Give the number of processes that memory allows.

    Parameters
    ----------
    parts : sequence of ExposurePart
        The files.
    n_slits : int
        Number of slits of a file, or what there is at most.
    scalexy : float
        Size of a spaxel, arcsec; 0 for the height of a pixel.
    maximum_cores : str
        What the user asks for.
    memory_limit : float
        Memory for all, GB; 0 for what is free.

    Returns
    -------
    int
        Number of processes, at least 1.
    """
    cores = number_of_cores(maximum_cores)
    if _seconds(parts, n_slits) < WORTHWHILE:
        log.info("one process: there is little to do")
        return 1
    kinds = {part.kind for part in parts} or {"cal"}
    exposure = max(STAGES[kind] + SLIT[kind] * n_slits for kind in kinds)
    source = 4 * CUBE * (PIXEL / (scalexy or PIXEL)) ** 2 + 2 * CUTOUT * len(parts)
    each = BASE + max(exposure, source)
    free = memory_limit * 1e9 or psutil.virtual_memory().available
    fitting = max(1, int(free / each))
    log.info(
        "%d process%s of at most %.1f GB each%s", min(cores, fitting),
        "" if min(cores, fitting) == 1 else "es", each / 1e9,
        f" (not {cores}, for want of memory)" if fitting < cores else "",
    )  # fmt: skip
    return min(cores, fitting)


def check_disk(parts, n_slits, recipe, keep_cutouts):
    """Say how much disk a run takes, and refuse to begin what cannot end.

    Parameters
    ----------
    parts : sequence of ExposurePart
        The files.
    n_slits : int
        Number of slits of a file.
    recipe : Recipe
        How parts are made.
    keep_cutouts : bool
        Whether the cutouts stay.

    Raises
    ------
    InputError
        Where the disk is too small.
    """
    cutouts = CUTOUT * n_slits * len(parts)
    products = CUBE * n_slits
    if recipe.spec2 and recipe.spec2["save_results"]:
        products += CALIBRATED * n_slits * sum(part.kind != "cal" for part in parts)
    if keep_cutouts:
        products += cutouts
    need = products + (0 if keep_cutouts else cutouts)
    place = Path(recipe.output_dir)
    free = shutil.disk_usage(place).free
    log.info(
        "%s, %s in each: about %.1f GB on disk, %.1f GB of it in the end",
        counted(len(parts), "file"), counted(n_slits, "slit"), need / 1e9, products / 1e9,
    )  # fmt: skip
    if need > free:
        raise InputError(
            f"{place}: the run needs about {need / 1e9:.1f} GB and the disk has {free / 1e9:.1f} "
            "GB; make room, choose another folder with --output_dir, or fewer sources"
        )
