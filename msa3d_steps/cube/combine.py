"""From the footprints of all exposures to the values of the voxels.

A voxel is the mean of the pixels that overlap it, weighted by the overlap and by a weight of the
pixel. In plain drizzle that is all, and a voxel that straddles places of unequal depth is pulled
towards the deeper one: the flux of a compact source is wrong by percents where exposures or pixels
are missing, steps overlap, or the pointing jitters. Here the weight of each pixel is divided by
the density of weight over its footprint, so that each place of the sky counts alike, however
often it was seen. This is the sampling density compensation of gridding (Pipe & Menon 1999,
Magn. Reson. Med. 41, 179), on cells that follow the slits.

The work is done in blocks of channels, which bounds the memory and keeps threads apart.
"""

import logging
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from msa3d_steps.cube import overlap
from msa3d_steps.cube.overlap import (
    MAX_SIDES,
    add_density,
    clip_spaxels,
    drop_rows,
    level_rows,
    rebin_rows,
)

__all__ = ["CombineOptions", "Voxels", "combine"]

log = logging.getLogger(__name__)

CELLS_ACROSS = 4
"""Cells of the density for one slit width."""

CELLS_ALONG = 4
"""Cells of the density for one pixel height."""

ITERATIONS = 2
"""Times that the density is levelled."""

BLOCK_BYTES = 32e6
"""Memory for one block of channels."""


@dataclass(frozen=True)
class CombineOptions:
    """How pixels become voxels.

    Parameters
    ----------
    weighting : {'drizzle', 'exptime', 'ivm'}
        Weight of a pixel: 1, exposure time, or inverse read-noise variance.
    slit_frac : float
        Part of the slit's width that a pixel's light is dropped into, in (0, 1].
    pixfrac : float
        Part of the pixel's height that a pixel's light is dropped into, in (0, 1].
    threads : int
        Number of blocks of channels that are worked on at the same time.
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

    @classmethod
    def empty(cls, shape):
        """Planes without coverage."""
        planes = [np.full(shape, fill, np.float32) for fill in (np.nan, np.nan, 0, 0)]
        return cls(*planes, np.zeros(shape, np.int16))


def combine(cutouts, turned, grid, options):
    """Combine the cutouts of one source.

    Parameters
    ----------
    cutouts : list of `~msa3d_steps.cube.sources.Cutout`
        The cutouts.
    turned : numpy.ndarray
        Shape ``(n,)``: group of each cutout; the slits of a group have one direction on the sky.
    grid : `~msa3d_steps.cube.grid.CubeGrid`
        The voxels.
    options : CombineOptions
        How to combine.

    Returns
    -------
    Voxels
        The planes of the cube.
    """
    groups = [
        _Group([c for c, g in zip(cutouts, turned, strict=True) if g == group], grid, options)
        for group in np.unique(turned)
    ]
    spaxels = np.unique(np.concatenate([strip.spaxels for g in groups for strip in g.strips]))
    if not drop_rows.signatures and not _compiled_before():
        log.info("Compiling the kernels, once for this machine (about 10 s)")
    voxels = Voxels.empty(grid.shape)
    if not spaxels.size:
        return voxels
    bytes_per_channel = 4 * (6 * spaxels.size + sum(g.floats_per_channel for g in groups))
    size = int(np.clip(BLOCK_BYTES / bytes_per_channel, 32, 512))
    blocks = [slice(k, min(k + size, grid.n_wave)) for k in range(0, grid.n_wave, size)]

    def work(block):
        sums = np.zeros((6, spaxels.size, block.stop - block.start), np.float32)
        for group in groups:
            group.drop(grid.edges[block.start : block.stop + 1], spaxels, sums)
        _finish(sums, voxels, block, spaxels)

    if options.threads > 1:
        with ThreadPoolExecutor(options.threads) as pool:
            list(pool.map(work, blocks))
    else:
        for block in blocks:
            work(block)
    return voxels


def _compiled_before():
    """Whether numba has kept the kernels; as far as can be told without asking its insides."""
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


class _Group:
    """Cutouts whose slits have one direction on the sky, and the density of their weights."""

    def __init__(self, cutouts, grid, options):
        self.strips = [_Strip(cutout, grid, options) for cutout in cutouts]
        first = self.strips[0]
        to_slit = np.linalg.inv(first.matrix)
        across, along = np.array([to_slit @ (s.offset - first.offset) for s in self.strips]).T
        # y_slit of all strips in that of the first, then in cells
        units = np.array([(to_slit @ s.matrix)[1, 1] for s in self.strips])
        reach = along[:, None] + units[:, None] * [s.footprint.limits for s in self.strips]
        cells = CELLS_ALONG / first.footprint.row_height
        origins = (along - reach.min()) * cells + 1
        self.n_along = int(np.ptp(reach) * cells) + 3
        left = (across - across.min()) * CELLS_ACROSS
        width = options.slit_frac * CELLS_ACROSS
        self.n_across = int(left.max() + width) + 2
        boxes = [_box(start, start + width) for start in left]
        self.covered = _covered(left, width, self.n_across)
        self.places = [
            (np.float32(origin), np.float32(unit * cells), *box)
            for origin, unit, box in zip(origins, units, boxes, strict=True)
        ]
        rows = sum(s.footprint.shape[0] for s in self.strips)
        self.floats_per_channel = self.n_across * self.n_along + 7 * rows

    def drop(self, edges, spaxels, sums):
        """Add the pixels of all cutouts to the sums of a block of channels."""
        members = [(i, strip.rebin(edges)) for i, strip in enumerate(self.strips)]
        members = [(i, rebinned) for i, rebinned in members if rebinned is not None]
        if not members:
            return
        self._level(members, edges.size - 1)
        for i, rebinned in members:
            strip = self.strips[i]
            slots = np.searchsorted(spaxels, strip.spaxels)
            drop_rows(*rebinned, strip.sides, strip.n_sides, slots, np.float32(strip.time), sums)

    def _level(self, members, n_wave):
        """Divide the weights by their density, but for its mean over the field."""
        density = np.empty((self.n_across, self.n_along, n_wave), np.float32)
        depth = None
        for _ in range(ITERATIONS):
            density[:] = 0
            for i, rebinned in members:
                add_density(*rebinned, *self.places[i], density)
            density /= self.covered[:, None, None]
            if depth is None:  # with slits of several directions, deeper ones keep their lead
                covered = np.maximum((density > 0).sum(axis=(0, 1)), 1)
                depth = density.sum(axis=(0, 1)) / covered
            np.divide(1, density, out=density, where=density > 0)
            for i, rebinned in members:
                level_rows(*rebinned, *self.places[i], density)
        for _, (rows, _, _) in members:
            rows[:2] *= depth
            rows[2] *= depth**2


def _box(low, high):
    """First cell that an interval covers, and the covered parts of it and the next ones."""
    cells = np.arange(int(low), int(np.ceil(high)))
    parts = np.minimum(high, cells + 1) - np.maximum(low, cells)
    return int(low), parts.astype(np.float32)


def _covered(starts, width, n_cells):
    """Part of each cell that any of some intervals of one width covers; 1 where none does.

    The density of weight in a cell at the border of the field, or with a gap between slits, is that
    of its covered part.
    """
    starts = np.sort(starts)
    ends = np.minimum(starts + width, np.append(starts[1:], np.inf))
    cells = np.arange(n_cells)[:, None]
    parts = np.minimum(ends, cells + 1) - np.maximum(starts, cells)
    covered = np.clip(parts, 0, None).sum(axis=1)
    return np.where(covered > 0, covered, 1).astype(np.float32)


class _Strip:
    """One cutout on the grid: the spaxels of its slit and the pixels that go into them."""

    def __init__(self, cutout, grid, options):
        footprint = self.footprint = cutout.footprint
        self.cutout, self.options, self.time = cutout, options, cutout.exposure_time
        self.offset, self.matrix = grid.from_slit(footprint)
        ny = footprint.shape[0]
        lam = footprint.wavelength.at_edges(np.array([0, ny // 2, ny]) - 0.5)
        self.backwards = lam[0, 0] > lam[0, -1]
        self.bluest, self.reddest = lam.min(axis=0), lam.max(axis=0)
        self._find_spaxels(grid, 0.5 * options.slit_frac, footprint.limits)

    def _find_spaxels(self, grid, half_width, limits):
        """Find the spaxels whose middle is less than half a diagonal off the slit; cut them."""
        inverse = np.linalg.inv(self.matrix)
        origin = -inverse @ self.offset
        corners = np.array([[x, y] for x in (-half_width, half_width) for y in limits])
        box = self.offset + corners @ self.matrix.T
        size = [grid.nx, grid.ny]
        first = np.clip(np.floor(box.min(axis=0) - 0.5).astype(int), 0, size)
        last = np.clip(np.ceil(box.max(axis=0) + 0.5).astype(int) + 1, 0, size)
        y, x = np.mgrid[first[1] : last[1], first[0] : last[0]]
        x_slit, y_slit = (origin[i] + inverse[i, 0] * x + inverse[i, 1] * y for i in (0, 1))
        margin = 0.5 * np.abs(inverse).sum(axis=1)
        near = (np.abs(x_slit) < half_width + margin[0]) & (
            (y_slit > limits[0] - margin[1]) & (y_slit < limits[1] + margin[1])
        )
        x, y = x[near], y[near]
        self.spaxels = y * grid.nx + x
        self.sides = np.zeros((x.size, MAX_SIDES, 4), np.float32)
        self.n_sides = np.zeros(x.size, np.int64)
        clip_spaxels(
            x.astype(float), y.astype(float), origin, inverse, half_width, self.sides, self.n_sides
        )

    def rebin(self, edges):
        """Share out the pixels among channels, row by row; None if none falls on them."""
        inside = (np.maximum(self.reddest[:-1], self.reddest[1:]) > edges[0]) & (
            np.minimum(self.bluest[:-1], self.bluest[1:]) < edges[-1]
        )
        columns = np.flatnonzero(inside) + self.footprint.columns[0]
        if not columns.size:
            return None
        part = slice(columns[0], columns[-1] + 1)
        footprint = self.footprint
        ny, half = footprint.shape[0], 0.5 * self.options.pixfrac
        y = np.arange(float(ny))
        arrays = [
            footprint.wavelength.at_edges(y, part.start, part.stop),
            footprint.along.at_edges(y - half, part.start, part.stop),
            footprint.along.at_edges(y + half, part.start, part.stop),
            *self._pixels(part),
        ]
        if self.backwards:
            arrays = [np.ascontiguousarray(a[:, ::-1]) for a in arrays]
        rows = np.zeros((5, ny, edges.size - 1), np.float32)
        bounds = np.zeros((2, ny, edges.size - 1), np.float32)
        touched = rebin_rows(*arrays, edges, rows, bounds)
        return rows, bounds, touched

    def _pixels(self, part):
        """Values, variances and weights of some columns; a pixel of no use has weight 0."""
        data, variance = self.cutout.data[:, part], self.cutout.variance[:, part]
        usable = np.isfinite(data)
        weights = usable.astype(np.float32)
        if self.options.weighting == "exptime":
            weights *= np.float32(self.time)
        elif self.options.weighting == "ivm":
            noise = self.cutout.read_variance
            noise = variance if noise is None else noise[:, part]
            with np.errstate(divide="ignore", invalid="ignore"):
                weights = np.where(usable & (noise > 0) & np.isfinite(noise), 1 / noise, 0)
            weights = weights.astype(np.float32)
        return np.where(usable, data, 0), np.where(usable, variance, 0), weights
