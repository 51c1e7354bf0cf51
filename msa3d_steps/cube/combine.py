"""From the footprints of all exposures to the values of the voxels.

A voxel is the mean of the pixels that overlap it, weighted by the overlap and by a weight of the
pixel. In plain drizzle that is all, and a voxel that straddles places of unequal depth is pulled
towards the deeper one: the flux of a compact source is wrong by percents where exposures or pixels
are missing, steps overlap, or the pointing jitters. Here the weight of each pixel is divided by
the density of weight over its footprint, so that each place of the sky counts alike, however
often it was seen. This is the sampling density compensation of gridding (Pipe & Menon 1999,
Magn. Reson. Med. 41, 179), on cells that follow the slits.

With the robust weightings each cutout is levelled and dropped in the same way, but apart from the
others, and the samples that the cutouts give of a voxel are held against each other
(`~msa3d_steps.cube.stacked`).

The work is done in blocks of channels, which bounds the memory and keeps threads apart.
"""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from msa3d_steps.cube import overlap
from msa3d_steps.cube.overlap import drop_rows
from msa3d_steps.cube.stacked import ROBUST

__all__ = ["CombineOptions", "Voxels", "combine", "compiled_before"]

log = logging.getLogger(__name__)

BLOCK_BYTES = 96e6
"""Memory for one block of channels."""


@dataclass(frozen=True)
class CombineOptions:
    """How pixels become voxels.

    Parameters
    ----------
    weighting : {'drizzle', 'exptime', 'ivm', 'median', 'clipped'}
        Weight of a pixel: 1, exposure time, or inverse read-noise variance. With weight 1 also the
        median over the exposures of a step, and the mean without outliers.
    slit_frac : float
        Part of the slit's width that a pixel's light is dropped into, in (0, 1].
    pixfrac : float
        Part of the pixel's height that a pixel's light is dropped into, in (0, 1].
    clip_snr : float
        With 'clipped', standard deviations by which a sample of a voxel may differ from the others.
    covariance : tuple of float or None
        Wavelengths, um, of the channels whose covariance is wanted; of one in the middle if empty.
    threads : int
        Number of blocks of channels that are worked on at the same time.
    method : {'drizzle', 'linear', 'inverse'}
        Whether pixels are shared out among voxels, or interpolated at them, or explained.
    smoothing : float or None
        With 'inverse', length of the prior, arcsec; chosen by the data if None.
    """

    weighting: str = "drizzle"
    slit_frac: float = 1.0
    pixfrac: float = 1.0
    clip_snr: float = 4.0
    covariance: tuple | None = None
    threads: int = 1
    method: str = "drizzle"
    smoothing: float | None = None

    @property
    def robust(self):
        """Whether exposures are held against each other."""
        return self.weighting in ROBUST


@dataclass(frozen=True)
class Voxels:
    """The planes of a cube, each of shape ``(n_wave, ny, nx)`` and float32 where not said.

    Parameters
    ----------
    data, err : numpy.ndarray
        Surface brightness and its standard deviation, MJy/sr; NaN without coverage.
    weight : numpy.ndarray
        Sum of the weights of the pixels times the parts of the voxel that they cover.
    time : numpy.ndarray
        Exposure time, s, averaged over the voxel.
    exposures : numpy.ndarray
        Number of exposures that contributed, int16.
    samples : numpy.ndarray or None
        Shape ``(2, n_cutouts)``: for the weighting 'clipped' the number of voxels that each cutout
        contributed to, and of those where it was taken out as an outlier.
    """

    data: np.ndarray
    err: np.ndarray
    weight: np.ndarray
    time: np.ndarray
    exposures: np.ndarray
    samples: np.ndarray | None = None

    @classmethod
    def empty(cls, shape):
        """Planes without coverage."""
        planes = [np.full(shape, fill, np.float32) for fill in (np.nan, np.nan, 0, 0)]
        return cls(*planes, np.zeros(shape, np.int16))


def combine(layout):
    """Combine the cutouts of one source.

    Parameters
    ----------
    layout : `~msa3d_steps.cube.layout.Layout`
        The cutouts on the grid.

    Returns
    -------
    Voxels
        The planes of the cube.
    """
    grid, options = layout.grid, layout.options
    if not drop_rows.signatures and not compiled_before():
        log.info("Compiling the kernels, once for this machine (about 10 s)")
    voxels = Voxels.empty(grid.shape)
    if not layout.spaxels.size:
        return voxels
    size = int(np.clip(BLOCK_BYTES / layout.bytes_per_channel, 32, 512))
    blocks = [slice(k, min(k + size, grid.n_wave)) for k in range(0, grid.n_wave, size)]

    def put(block):
        sums, samples = layout.sums(block)
        _finish(sums, voxels, block, layout.spaxels)
        return samples

    if options.threads > 1:
        with ThreadPoolExecutor(options.threads) as pool:
            samples = list(pool.map(put, blocks))
    else:
        samples = [put(block) for block in blocks]
    if options.weighting == "clipped":
        voxels = replace(voxels, samples=np.sum(samples, axis=0))
    return voxels


def compiled_before():
    """Tell whether numba has kept the kernels, as far as its files tell.

    Returns
    -------
    bool
        If not, the first cube takes longer.
    """
    folder = Path(os.environ.get("NUMBA_CACHE_DIR") or Path(overlap.__file__).parent)
    return any(folder.rglob("overlap.drop_rows-*.nbi"))


def _finish(sums, voxels, block, spaxels):
    """Turn the sums of a block into values and put them into the planes."""
    values, weights, variances, depths, times, numbers = sums
    with np.errstate(divide="ignore", invalid="ignore"):
        values /= weights
        np.sqrt(variances, out=variances)
        variances /= weights
    for plane, result in (
        (voxels.data, values),
        (voxels.err, variances),
        (voxels.weight, depths),
        (voxels.time, times),
        (voxels.exposures, numbers),
    ):
        plane.reshape(plane.shape[0], -1)[block, spaxels] = result.T
