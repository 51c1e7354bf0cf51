"""One source in, one cube out: the order of the work."""

import logging

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
    pattern = find_pattern(source.cutouts)
    prism = next(iter(dispersers)).upper().startswith("PRISM")
    grid = make_grid([c.footprint for c in source.cutouts], grid_options, native_wave=prism)
    log.debug("%s: steps %s, dithers %s", source.label, pattern.step, pattern.dither)
    voxels = combine(source.cutouts, pattern.turned, grid, combine_options)
    return make_model(source, grid, voxels, pattern, grid_options, combine_options)
