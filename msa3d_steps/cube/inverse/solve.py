"""The cube that explains the exposures, instead of the mean of what falls into each voxel.

Drizzle spreads each pixel's light over the width of its slit. Where steps overlap, that blur can be
undone in part: the exposures are a known linear blur of the scene (`msa3d_steps.cube.operator`),
and the scene that explains them is found by regularised least squares
(`msa3d_steps.cube.inverse.leastsquares`), as in the reconstruction of images from undersampled
dithers (Fruchter 2011, PASP 123, 497, says what drizzle leaves) and of maps from scans (Tegmark
1997, ApJ 480, L87). In wavelength the pixels are shared out among the channels as in drizzle. The
strength of the prior is chosen once for a cube (`msa3d_steps.cube.inverse.smoothing`), so that all
channels have the same resolution.

Weights are those of the pixels, not the inverse variance of the data: that is smaller where the
source is bright, which would make a smoothed source fainter.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from msa3d_steps.cube.footprint import axes_of_slit
from msa3d_steps.cube.inverse.leastsquares import Inverse, system_of
from msa3d_steps.cube.inverse.noise import Solution
from msa3d_steps.cube.inverse.resolution import (
    Sharpness,
    piece_width,
    point_rows,
    response_widths,
    sample_places,
)
from msa3d_steps.cube.inverse.smoothing import brightest_channels, choose_smoothing
from msa3d_steps.cube.operator import make_strips, observe
from msa3d_steps.errors import InputError

__all__ = ["Scene", "check_options", "invert"]

log = logging.getLogger(__name__)

FINEST = 0.55
"""Size of the spaxels that are solved for, at most, in slit widths."""

BLOCK = 64
"""Channels that share one inverse."""

BLOCK_BYTES = 32e6
"""Memory for the operator of a block of channels."""

MARGIN = 2.0
"""How far beyond the cube the scene is solved for, where there are data, in slit widths."""

MAX_SPAXELS = 6000
"""More spaxels than this are too many for a dense inverse (300 MB)."""


def check_options(options):
    """Make sure that options suit the inverse solution.

    Parameters
    ----------
    options : `~msa3d_steps.cube.combine.CombineOptions`
        What was asked for.

    Raises
    ------
    InputError
        Where they ask for what only drizzle has.
    """
    if options.robust:
        raise InputError(
            f"method=inverse has no weighting={options.weighting}; choose drizzle, exptime or ivm, "
            "and let msa3d_outlier flag outliers first"
        )
    if (options.slit_frac, options.pixfrac) != (1, 1):
        raise InputError(
            "method=inverse knows what each pixel sees; leave slit_frac and pixfrac at 1"
        )


@dataclass(frozen=True)
class Scene:
    """The spaxels that are solved for, and how they make those of the cube.

    Parameters
    ----------
    grid : `~msa3d_steps.cube.grid.CubeGrid`
        Its spaxels: a whole number for each of the cube's, and more around them where the
        exposures reach beyond the cube.
    strips : list
        The cutouts on it.
    width : float
        Width of the slits, arcsec.
    split : int
        Spaxels for the side of one of the cube's.
    margin : tuple of int
        Rim in x and y, spaxels of the cube.
    shape : tuple of int
        Shape ``(ny, nx)`` of the cube.
    """

    grid: object
    strips: list
    width: float
    split: int
    margin: tuple
    shape: tuple

    @classmethod
    def of(cls, cutouts, grid, options):
        """Lay out the spaxels.

        Parameters
        ----------
        cutouts : list of `~msa3d_steps.cube.sources.Cutout`
            The cutouts.
        grid : `~msa3d_steps.cube.grid.CubeGrid`
            Grid of the cube.
        options : `~msa3d_steps.cube.combine.CombineOptions`
            Weights of the pixels.
        """
        maps = [grid.from_slit(c.footprint) for c in cutouts]
        width = float(np.median([np.hypot(*m[:, 0]) for _, m in maps])) * grid.scale
        corners = np.concatenate(
            [c.footprint.corners(*m) for c, m in zip(cutouts, maps, strict=True)]
        )
        size = np.array([grid.nx, grid.ny])
        beyond = np.maximum(-0.5 - corners.min(axis=0), corners.max(axis=0) - size + 0.5)
        margin = np.ceil(np.clip(beyond, 0, MARGIN * width / grid.scale) - 1e-6).astype(int)
        split = int(np.ceil(grid.scale / (FINEST * width) - 1e-6))
        nx, ny = (int(n) for n in (size + 2 * margin) * split)
        fine = replace(grid, scale=grid.scale / split, nx=nx, ny=ny)
        strips = make_strips(cutouts, fine, options)
        return cls(fine, strips, width, split, tuple(margin), (grid.ny, grid.nx))

    def block(self, channels):
        """Set up the least squares problem of some channels; None where there are no data.

        Parameters
        ----------
        channels : slice
            The channels.

        Returns
        -------
        `~msa3d_steps.cube.inverse.leastsquares.System` or None
            The problem.
        """
        samples, operator = observe(
            self.strips, self.grid.edges[channels.start : channels.stop + 1]
        )
        if samples is None:
            return None
        if operator.spaxels.size > MAX_SPAXELS:
            raise InputError(
                f"the inverse solution of {operator.spaxels.size} spaxels takes too long; choose a "
                "larger scalexy or fewer spaxels (nspax_x, nspax_y), or method=drizzle"
            )
        rim = round(0.5 * self.width / self.grid.scale)
        system = system_of(samples, operator, self.grid.nx, self.grid.scale, rim)
        return system if system.weights.any() else None

    def to_output(self, spaxels):
        """Give the averages that make the cube's spaxels.

        Parameters
        ----------
        spaxels : numpy.ndarray
            Shape ``(n,)``: flat indices of spaxels of the scene.

        Returns
        -------
        output : numpy.ndarray
            Shape ``(n_out,)``: flat indices of the cube's spaxels, increasing.
        average : scipy.sparse.csr_array
            Shape ``(n_out, n)``: the mean of the spaxels of the scene in each.
        """
        y, x = np.divmod(spaxels, self.grid.nx)
        ny, nx = self.shape
        x, y = x // self.split - self.margin[0], y // self.split - self.margin[1]
        inside = np.flatnonzero((x >= 0) & (x < nx) & (y >= 0) & (y < ny))
        output, row = np.unique(y[inside] * nx + x[inside], return_inverse=True)
        values = 1 / np.bincount(row)[row]
        shape = output.size, spaxels.size
        return output, sparse.csr_array((values, (row, inside)), shape=shape)

    def offsets(self, output, places):
        """Give the distance of the cube's spaxels from places.

        Parameters
        ----------
        output : numpy.ndarray
            Shape ``(n_out,)``: flat indices of spaxels of the cube.
        places : numpy.ndarray
            Shape ``(n, 2)``: x and y in spaxels of the scene.

        Returns
        -------
        numpy.ndarray
            Shape ``(2, n_out, n)``: across and along the first slit, arcsec.
        """
        middles = np.stack(np.divmod(output, self.shape[1])[::-1]) + np.array(self.margin)[:, None]
        middles = (middles + 0.5) * self.split - 0.5
        distance = middles[:, :, None] - places.T[:, None, :]
        axes = axes_of_slit(self.strips[0].matrix)
        return self.grid.scale * np.tensordot(axes, distance, axes=1)

    def blocks(self, size):
        """Cut the channels into blocks of a size."""
        n_wave = self.grid.n_wave
        return [slice(k, min(k + size, n_wave)) for k in range(0, n_wave, size)]

    def block_size(self):
        """Give the number of channels of a block, within the memory that it may take."""
        pairs = 0
        for strip in self.strips:
            height, _ = strip.size
            pairs += strip.spaxels.size * (1 / height + 2)
        return int(np.clip(BLOCK_BYTES / (4 * max(pairs, 1)), 8, BLOCK))


def invert(cutouts, grid, options, drizzled):
    """Find the cube that explains the cutouts of one source.

    Parameters
    ----------
    cutouts : list of `~msa3d_steps.cube.sources.Cutout`
        The cutouts.
    grid : `~msa3d_steps.cube.grid.CubeGrid`
        The voxels.
    options : `~msa3d_steps.cube.combine.CombineOptions`
        Weights of the pixels, number of threads and length of the prior.
    drizzled : `~msa3d_steps.cube.combine.Voxels`
        The drizzled cube: where there are data, and which channels are bright.

    Returns
    -------
    voxels : `~msa3d_steps.cube.combine.Voxels`
        The planes of the cube. Weight, time and exposures are those of the drizzled one.
    sharpness : `~msa3d_steps.cube.inverse.resolution.Sharpness`
        Its resolution.
    solution : `~msa3d_steps.cube.inverse.noise.Solution`
        What its noise follows from.

    Raises
    ------
    InputError
        Where there are too many spaxels, or no exposure lies within the cube.
    """
    scene = Scene.of(cutouts, grid, options)
    bright = brightest_channels(drizzled.data, drizzled.err)
    with threadpool_limits(1, user_api="blas"):  # blocks are the threads
        singles = [(k, scene.block(slice(k, k + 1))) for k in bright]
        singles = [(k, system) for k, system in singles if system is not None]
        if not singles:
            raise InputError(
                "no exposure lies within the cube with the whole width of its slit; choose a "
                "larger cube (nspax_x, nspax_y) or method=drizzle"
            )
        smoothing = options.smoothing
        if smoothing is None:
            smoothing = choose_smoothing([system for _, system in singles], scene.width)
        data, err = (np.full_like(drizzled.data, np.nan) for _ in range(2))

        def work(block):
            _solve(scene, block, smoothing, data, err)

        blocks = scene.blocks(scene.block_size())
        if options.threads > 1:
            with ThreadPoolExecutor(options.threads) as pool:
                list(pool.map(work, blocks))
        else:
            for block in blocks:
                work(block)
        for plane in (data, err):
            plane[~np.isfinite(drizzled.data)] = np.nan
        sharpness = _measure(scene, singles[0][0], smoothing, err, drizzled.err)
    _tell(sharpness)
    voxels = replace(drizzled, data=data, err=err)
    return voxels, sharpness, Solution(grid, options, scene, smoothing)


def _solve(scene, channels, smoothing, data, err):
    """Solve a block of channels and put it into the planes."""
    system = scene.block(channels)
    if system is None:
        return
    output, average = scene.to_output(system.operator.spaxels)
    odd = system.odd_channels
    others = np.setdiff1d(np.arange(system.weights.shape[1]), odd)
    for members in ([others] if others.size else []) + [np.array([k]) for k in odd]:
        part = system.part(members)
        if not part.weights.any():
            continue
        inverse = Inverse.of(part, smoothing)
        values = average @ part.solve(smoothing, inverse)
        variance = inverse.variance(average)
        for plane, found in ((data, values), (err, np.sqrt(variance))):
            _planes(plane)[np.ix_(channels.start + members, output)] = found.T


def _measure(scene, channel, smoothing, err, drizzle_err):
    """Measure the resolution of the estimator and of the drizzle at a channel, and their noise."""
    system = scene.block(slice(channel, channel + 1))
    operator, inverse = system.operator, Inverse.of(system, smoothing)
    output, average = scene.to_output(operator.spaxels)
    inner = system.rim.diagonal() == 0
    if not (average @ inner).any():  # nothing but rim
        inner[:] = True
    places = sample_places(operator.spaxels[inner], scene.grid.nx)
    seen = point_rows(system, scene.strips, places)
    weights = system.weights[:, :1]
    overlap = average @ operator.matrix(0, normalised=False).T
    total = overlap @ weights
    drizzle = overlap @ (weights * seen) / np.where(total > 0, total, 1)
    offsets = scene.offsets(output, places)
    chosen = output[average @ inner > 0.999]
    with np.errstate(invalid="ignore", divide="ignore"):  # errors may be 0
        ratio = _planes(err)[:, chosen] / _planes(drizzle_err)[:, chosen]
    return Sharpness(
        smoothing,
        *response_widths(inverse.estimator(average) @ seen, offsets),
        *response_widths(drizzle, offsets),
        piece_width([scene.strips[i] for i in np.unique(system.samples.strip)]),
        float(np.nanmedian(ratio)) if np.isfinite(ratio).any() else np.nan,
    )


def _planes(cube):
    """Flatten the sky axes of a cube, without a copy."""
    return cube.reshape(cube.shape[0], -1)


def _tell(sharpness):
    """Say what is gained, or that nothing is."""
    log.info(
        'Inverse solution, smoothed over %.3f": point response %.3f" across and %.3f" along the '
        'slit, drizzle %.3f" and %.3f"; noise of a voxel %.1f times that of drizzle',
        sharpness.smoothing, sharpness.across, sharpness.along,
        sharpness.drizzle_across, sharpness.drizzle_along, sharpness.noise,
    )  # fmt: skip
    if sharpness.gained:
        log.info("Gains %.0f%% of resolution across the slit", 100 * sharpness.gain)
    elif sharpness.overlapping:
        log.warning(
            "Nothing is gained across the slit by method=inverse: the source is too faint. Use "
            "method=drizzle",
        )
    else:
        log.warning(
            "Nothing is gained across the slit by method=inverse: the slits of different exposures "
            "hardly overlap across, so that what lies within a slit is not told apart. Use "
            "method=drizzle; to gain, steps of half a slit are needed"
        )
