"""One source in, one cube out: the order of the work."""

import logging

import numpy as np

from msa3d_steps.cube.combine import combine
from msa3d_steps.cube.correlation import correlate
from msa3d_steps.cube.ends import leave_out_ends
from msa3d_steps.cube.grid import make_grid
from msa3d_steps.cube.inverse.solve import invert
from msa3d_steps.cube.layout import Layout
from msa3d_steps.cube.model import make_model, set_sharpness
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
    _check_weights(source, combine_options.weighting)
    pattern = find_pattern(source.cutouts)
    prism = source.disperser.upper().startswith("PRISM")
    grid = make_grid([c.footprint for c in source.cutouts], grid_options, native_wave=prism)
    log.debug("%s: steps %s, dithers %s", source.label, pattern.step, pattern.dither)
    layout = Layout(source.cutouts, pattern, grid, combine_options)
    voxels = combine(layout)
    leave_out_ends(voxels, source.cutouts, [s.spaxels for s in layout.strips], grid)
    if not np.isfinite(voxels.data).any():
        ra, dec = source.cutouts[0].footprint.center
        raise InputError(
            f"no pixel falls into the cube, whose middle is at {grid.ra_center:.5f}, "
            f"{grid.dec_center:+.5f} degrees; the data are at {ra:.5f}, {dec:+.5f}"
        )
    if combine_options.method == "inverse":
        voxels, sharpness, layout = invert(source.cutouts, grid, combine_options, voxels)
    else:
        sharpness = None
    correlation = correlate(layout, voxels.err)
    model = make_model(source, grid, voxels, correlation, pattern, grid_options, combine_options)
    set_sharpness(model, sharpness)
    return model


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
