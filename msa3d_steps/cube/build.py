"""One source in, one cube out: the order of the work."""

import logging

import numpy as np

from msa3d_steps.cube.combine import combine
from msa3d_steps.cube.grid import make_grid
from msa3d_steps.cube.model import make_model
from msa3d_steps.cube.pattern import find_pattern
from msa3d_steps.errors import InputError

__all__ = ["build_cube"]

log = logging.getLogger(__name__)


def build_cube(source, grid_options, combine_options):
    """Build the cube of one source.

    Parameters
    ----------
    source : `~msa3d_steps.cube.sources.Source`
        The cutouts.
    grid_options : `~msa3d_steps.cube.grid.GridOptions`
        What the user asks of the voxels.
    combine_options : `~msa3d_steps.cube.combine.CombineOptions`
        How pixels become voxels.

    Returns
    -------
    `~msa3d_steps.MSACubeModel`
        The cube.

    Raises
    ------
    InputError
        Where the cutouts cannot make a cube.
    """
    if not source.cutouts:
        raise InputError("none of its slits can be used")
    dispersers = {}
    for cutout in source.cutouts:
        dispersers.setdefault(cutout.disperser, cutout.file)
    if len(dispersers) > 1:
        found = ", ".join(f"{name} ({file})" for name, file in sorted(dispersers.items()))
        raise InputError(
            f"the exposures were taken with different gratings or filters: {found}; "
            "make one association for each"
        )
    _check_weights(source, combine_options.weighting)
    pattern = find_pattern(source.cutouts)
    prism = next(iter(dispersers)).upper().startswith("PRISM")
    grid = make_grid([c.footprint for c in source.cutouts], grid_options, native_wave=prism)
    log.debug("%s: steps %s, dithers %s", source.label, pattern.step, pattern.dither)
    voxels = combine(source.cutouts, pattern.turned, grid, combine_options)
    if not np.isfinite(voxels.data).any():
        ra, dec = source.cutouts[0].footprint.center
        raise InputError(
            f"no pixel falls into the cube, whose middle is at {grid.ra_center:.5f}, "
            f"{grid.dec_center:+.5f} degrees; the data are at {ra:.5f}, {dec:+.5f}"
        )
    return make_model(source, grid, voxels, pattern, grid_options, combine_options)


def _check_weights(source, weighting):
    """Make sure that the cutouts have what their weights are made of."""
    if weighting == "exptime":
        for cutout in source.cutouts:
            if not cutout.exposure_time > 0:
                raise InputError(
                    "the exposure time is not known; choose another weighting",
                    cutout.file,
                    cutout.slit,
                )
    if weighting == "ivm":
        for cutout in source.cutouts:
            if cutout.read_variance is None:
                log.warning(
                    "%s, slit %s: there is no read-noise variance; weighted by the whole variance",
                    cutout.file, cutout.slit,
                )  # fmt: skip
