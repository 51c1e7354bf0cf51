"""The channels at the ends of a detector's spectrum, where a part of the slit has no pixels.

Lines of equal wavelength are tilted against the columns of the detector, so that the spectrum of a
slit ends (at the gap between NRS1 and NRS2, too) at another wavelength in each of its rows. In a
channel there some rows have light and others none; a voxel between them holds the mean of a part
of it, which for a galaxy is not that of the whole. Such voxels are left out, but where another
exposure has light in all rows.
"""

import logging

import numpy as np

__all__ = ["leave_out_ends"]

log = logging.getLogger(__name__)

LEAST_PART = 0.5
"""Part of a channel that the row with least of it must have, of what the row with most has."""


def leave_out_ends(voxels, cutouts, spaxels, grid):
    """Take out the voxels of channels that a part of the slit does not have.

    Parameters
    ----------
    voxels : `~msa3d_steps.cube.combine.Voxels`
        The planes of the cube; changed in place.
    cutouts : list of `~msa3d_steps.cube.sources.Cutout`
        The cutouts.
    spaxels : list of numpy.ndarray
        Flat indices of the spaxels that each cutout may touch.
    grid : `~msa3d_steps.cube.grid.CubeGrid`
        The voxels.
    """
    ranges = np.array([c.footprint.wavelengths_of_rows() for c in cutouts])  # cutouts, 2, 2
    parts = np.minimum(grid.edges[1:], ranges[..., 1:]) - np.maximum(
        grid.edges[:-1], ranges[..., :1]
    )
    common, reach = np.clip(parts, 0, None).transpose(1, 0, 2)  # cutouts, channels
    uneven = (common < LEAST_PART * reach).any(axis=0)
    channels = np.flatnonzero(uneven & np.isfinite(voxels.data).any(axis=(1, 2)))
    for channel in channels:
        covered = np.zeros(grid.ny * grid.nx, bool)
        even = (common[:, channel] >= LEAST_PART * reach[:, channel]) & (reach[:, channel] > 0)
        for i in np.flatnonzero(even):
            covered[spaxels[i]] = True
        bare = ~covered.reshape(grid.ny, grid.nx)
        for plane in (voxels.data, voxels.err):
            plane[channel, bare] = np.nan
        for plane in (voxels.weight, voxels.time, voxels.exposures):
            plane[channel, bare] = 0
    log.debug("%d channels at the ends of spectra", channels.size)
