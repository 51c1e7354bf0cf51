"""From the footprints of all exposures to the values of the voxels.

Within a step (exposures that saw the same strip of sky) a voxel is the drizzled mean of the pixels
that overlap it, with their weights. Steps are then joined by geometry alone: each counts by the
part of the voxel that its strip covers, whatever its depth. A plain weighted mean over all pixels
would pull a voxel that straddles two strips towards the deeper one and so change the flux of a
compact source where exposures or pixels are missing.
"""

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np

from msa3d_steps.cube.overlap import MAX_SIDES, clip_spaxels, drop_rows, rebin_rows

__all__ = ["WEIGHTINGS", "CombineOptions", "Voxels", "combine"]

log = logging.getLogger(__name__)

WEIGHTINGS = ("drizzle", "exptime", "ivm")


@dataclass(frozen=True)
class CombineOptions:
    """How pixels become voxels.

    Parameters
    ----------
    weighting : {'drizzle', 'exptime', 'ivm'}
        Weight of a pixel within its step: 1, exposure time, or inverse read-noise variance.
    slit_frac : float
        Part of the slit's width that a pixel's light is dropped into, in (0, 1].
    pixfrac : float
        Part of the pixel's height that a pixel's light is dropped into, in (0, 1].
    threads : int
        Number of steps that are worked on at the same time.
    """

    weighting: str = "drizzle"
    slit_frac: float = 1.0
    pixfrac: float = 1.0
    threads: int = 1


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
        Number of cutouts that contributed, int16.
    """

    data: np.ndarray
    err: np.ndarray
    weight: np.ndarray
    time: np.ndarray
    exposures: np.ndarray


def combine(cutouts, steps, grid, options):
    """Combine the cutouts of one source.

    Parameters
    ----------
    cutouts : list of `~msa3d_steps.cube.sources.Cutout`
        The cutouts.
    steps : numpy.ndarray
        Shape ``(n,)``: step of each cutout.
    grid : `~msa3d_steps.cube.grid.CubeGrid`
        The voxels.
    options : CombineOptions
        How to combine.

    Returns
    -------
    Voxels
        The planes of the cube.
    """
    tasks = [[c for c, s in zip(cutouts, steps, strict=True) if s == step] for step in set(steps)]
    n_spaxels = grid.ny * grid.nx
    mean = np.zeros((n_spaxels, grid.n_wave), np.float32)
    covered, variance, weight, time, number = (np.zeros_like(mean) for _ in range(5))
    for spaxels, coverage, sums in _in_order(
        lambda members: _sum_step(members, grid, options), tasks, options.threads
    ):
        values, weights, variances, times, numbers = sums
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(weights > 0, coverage[:, None], 0)
            scale = np.where(weights > 0, share / weights, 0)
        mean[spaxels] += values * scale
        variance[spaxels] += variances * scale**2
        covered[spaxels] += share
        weight[spaxels] += weights
        time[spaxels] += times
        number[spaxels] += numbers
    empty = ~(covered > 0)
    covered[empty] = np.nan
    mean /= covered
    np.sqrt(variance, out=variance)
    variance /= covered
    del covered
    return Voxels(
        *(_cube(plane, grid) for plane in (mean, variance, weight, time)),
        _cube(number, grid).astype(np.int16),
    )


def _cube(plane, grid):
    """Turn (spaxel, channel) into (channel, y, x)."""
    return np.ascontiguousarray(plane.T).reshape(grid.shape)


def _in_order(function, tasks, threads):
    """Map a function over tasks in threads; at most two results wait for each thread."""
    if threads <= 1:
        yield from map(function, tasks)
        return
    with ThreadPoolExecutor(threads) as pool:
        tasks = iter(tasks)
        waiting = [pool.submit(function, task) for task in islice(tasks, threads)]
        while waiting:
            result = waiting.pop(0).result()
            waiting.extend(pool.submit(function, task) for task in islice(tasks, 1))
            yield result


def _sum_step(cutouts, grid, options):
    """Drizzle the cutouts of one step.

    Returns
    -------
    spaxels : numpy.ndarray
        Shape ``(n,)``: flat indices of the spaxels that the step touches.
    coverage : numpy.ndarray
        Shape ``(n,)``: part of the spaxel that the strip of the step covers.
    sums : numpy.ndarray
        Shape ``(5, n, n_wave)``: see `~msa3d_steps.cube.overlap.drop_rows`.
    """
    slits = [_Slit(c.footprint, grid, options.slit_frac) for c in cutouts]
    spaxels = np.unique(np.concatenate([slit.spaxels for slit in slits]))
    sums = np.zeros((5, spaxels.size, grid.n_wave))
    overlap, between, reach = np.zeros((3, spaxels.size))
    for cutout, slit in zip(cutouts, slits, strict=True):
        sides, n_sides, areas = slit.clip(grid, spaxels)
        overlap += areas[:, 0]
        between += areas[:, 1]
        np.maximum(reach, areas[:, 1], out=reach)
        slots = np.flatnonzero(n_sides)
        rows = _rebin(cutout, grid, options)
        drop_rows(*rows, sides[slots], n_sides[slots], slots, cutout.exposure_time, sums)
    # across the slit the mean over the exposures (jitter), along it the farthest that any reached
    with np.errstate(divide="ignore", invalid="ignore"):
        coverage = np.where(between > 0, overlap / between * reach, 0)
    return spaxels, coverage, sums


class _Slit:
    """The strip of spaxels that a slit may touch."""

    def __init__(self, footprint, grid, slit_frac):
        offset, matrix = grid.from_slit(footprint)
        self.inverse = np.linalg.inv(matrix)
        self.origin = -self.inverse @ offset
        self.half_width = 0.5 * slit_frac
        self.low, self.high = footprint.limits
        # spaxels whose middle is within half a diagonal of the strip, row by row of the cube
        corners = np.array(
            [[x, y] for x in (-self.half_width, self.half_width) for y in (self.low, self.high)]
        )
        box = offset + corners @ matrix.T
        first = np.clip(np.floor(box.min(axis=0) - 0.5).astype(int), 0, [grid.nx, grid.ny])
        last = np.clip(np.ceil(box.max(axis=0) + 0.5).astype(int) + 1, 0, [grid.nx, grid.ny])
        y, x = np.mgrid[first[1] : last[1], first[0] : last[0]]
        x_slit, y_slit = (
            self.origin[i] + self.inverse[i, 0] * x + self.inverse[i, 1] * y for i in (0, 1)
        )
        reach = 0.5 * np.abs(self.inverse).sum(axis=1)
        near = (np.abs(x_slit) < self.half_width + reach[0]) & (
            (y_slit > self.low - reach[1]) & (y_slit < self.high + reach[1])
        )
        self.spaxels = (y * grid.nx + x)[near]

    def clip(self, grid, spaxels):
        """Cut spaxels by the slit; see `~msa3d_steps.cube.overlap.clip_spaxels`."""
        sides = np.zeros((spaxels.size, MAX_SIDES, 4))
        n_sides = np.zeros(spaxels.size, np.int64)
        areas = np.zeros((spaxels.size, 2))
        y, x = np.divmod(spaxels, grid.nx)
        clip_spaxels(
            x.astype(float), y.astype(float), self.origin, self.inverse,
            self.half_width, self.low, self.high, sides, n_sides, areas,
        )  # fmt: skip
        return sides, n_sides, areas


def _rebin(cutout, grid, options):
    """Share out the pixels of a cutout among the channels, row by row."""
    ny, nx = cutout.footprint.shape
    columns, rows = np.arange(nx + 1) - 0.5, np.arange(float(ny))
    lam = cutout.footprint.wavelength(columns, rows)
    y_low = cutout.footprint.along(columns, rows - 0.5 * options.pixfrac)
    y_high = cutout.footprint.along(columns, rows + 0.5 * options.pixfrac)
    weights = _weights(cutout, options.weighting)
    planes = [np.nan_to_num(cutout.data), np.nan_to_num(cutout.variance), weights]
    if lam[ny // 2, 0] > lam[ny // 2, -1]:
        lam, y_low, y_high, *planes = (a[:, ::-1] for a in (lam, y_low, y_high, *planes))
    rebinned = np.zeros((4, ny, grid.n_wave))
    bounds = np.zeros((2, ny, grid.n_wave))
    arrays = (np.ascontiguousarray(a) for a in (lam, y_low, y_high, *planes))
    touched = rebin_rows(*arrays, grid.edges, rebinned, bounds)
    return rebinned, bounds, touched


def _weights(cutout, weighting):
    """Weight of each pixel, float32, 0 where it must not be used."""
    usable = np.isfinite(cutout.data)
    if weighting == "exptime":
        return np.where(usable, np.float32(cutout.exposure_time), np.float32(0))
    if weighting == "ivm":
        variance = cutout.read_variance if cutout.read_variance is not None else cutout.variance
        with np.errstate(divide="ignore", invalid="ignore"):
            weights = np.where(usable & (variance > 0), 1 / variance, 0)
        return np.where(np.isfinite(weights), weights, 0).astype(np.float32)
    return usable.astype(np.float32)
