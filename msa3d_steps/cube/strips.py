"""The slits on the grid: the spaxels that each touches, and its pixels levelled and dropped."""

from functools import partial

import numpy as np

from msa3d_steps.cube.overlap import (
    MAX_SIDES,
    add_density,
    clip_spaxels,
    drop_rows,
    level_rows,
    rebin_rows,
)

__all__ = ["Group", "Strip"]

CELLS_ACROSS = 4
"""Cells of the density for one slit width."""

CELLS_ALONG = 4
"""Cells of the density for one pixel height."""

ITERATIONS = 2
"""Times that the density is levelled."""


class Group:
    """Cutouts whose slits have one direction on the sky, and the density of their weights."""

    def __init__(self, members, cutouts, grid, options):
        self.members = members
        self.strips = [Strip(cutouts[i], grid, options) for i in members]
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

    def drops(self, edges):
        """Give the cutouts that reach into a block of channels, ready to be dropped.

        Parameters
        ----------
        edges : numpy.ndarray
            Shape ``(n_wave + 1,)``: limits of the channels, um.

        Yields
        ------
        int
            Number of the cutout.
        callable
            Adds its pixels to sums; takes slots, time and sums as `drop_rows` does.
        """
        for i, rebinned in self._levelled(edges):
            strip = self.strips[i]
            yield self.members[i], partial(drop_rows, *rebinned, strip.sides, strip.n_sides)

    def levels(self, edges, levels):
        """Put what levelling multiplies the weights with into a list, by cutout.

        Each is of shape ``(ny, n_wave)``, and 0 where a row has no pixel; None for a cutout without
        any.
        """
        for i, ((_, weights, _, before, _), _, _) in self._levelled(edges):
            level = np.zeros_like(weights)
            np.divide(weights, before, out=level, where=before > 0)
            levels[self.members[i]] = level

    def _levelled(self, edges):
        """Rebin the rows of all cutouts that reach into these channels and level their weights."""
        members = [(i, strip.rebin(edges)) for i, strip in enumerate(self.strips)]
        members = [(i, rebinned) for i, rebinned in members if rebinned is not None]
        if members:
            self._level(members, edges.size - 1)
        return members

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


class Strip:
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
        x, y, x_slit, y_slit, margin = self._spaxels_around(grid, half_width, limits)
        near = (np.abs(x_slit) < half_width + margin[0]) & (
            (y_slit > limits[0] - margin[1]) & (y_slit < limits[1] + margin[1])
        )
        x, y = x[near], y[near]
        self.spaxels = y * grid.nx + x
        self.sides = np.zeros((x.size, MAX_SIDES, 4), np.float32)
        self.n_sides = np.zeros(x.size, np.int64)
        inverse = np.linalg.inv(self.matrix)
        clip_spaxels(
            x.astype(float), y.astype(float), -inverse @ self.offset, inverse, half_width,
            self.sides, self.n_sides,
        )  # fmt: skip

    def _spaxels_around(self, grid, half_width, limits):
        """Give x and y of the spaxels in a box around the slit, and their slit coordinates.

        And half a diagonal of a spaxel in these.
        """
        inverse = np.linalg.inv(self.matrix)
        origin = -inverse @ self.offset
        corners = np.array([[x, y] for x in (-half_width, half_width) for y in limits])
        box = self.offset + corners @ self.matrix.T
        size = [grid.nx, grid.ny]
        first = np.clip(np.floor(box.min(axis=0) - 0.5).astype(int), 0, size)
        last = np.clip(np.ceil(box.max(axis=0) + 0.5).astype(int) + 1, 0, size)
        y, x = np.mgrid[first[1] : last[1], first[0] : last[0]]
        x_slit, y_slit = (origin[i] + inverse[i, 0] * x + inverse[i, 1] * y for i in (0, 1))
        return x, y, x_slit, y_slit, 0.5 * np.abs(inverse).sum(axis=1)

    @property
    def size(self):
        """Height of a pixel along the slit and width of the slit, in spaxels."""
        along, across = np.hypot(*self.matrix[:, 1]), np.hypot(*self.matrix[:, 0])
        return self.footprint.row_height * along, self.options.slit_frac * across

    def rebin(self, edges):
        """Share out the pixels among channels, row by row; None if none falls on them."""
        columns = self.columns_of(edges)
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
            *self.pixels(part),
        ]
        if self.backwards:
            arrays = [np.ascontiguousarray(a[:, ::-1]) for a in arrays]
        rows = np.zeros((5, ny, edges.size - 1), np.float32)
        bounds = np.zeros((2, ny, edges.size - 1), np.float32)
        touched = rebin_rows(*arrays, edges, rows, bounds)
        return rows, bounds, touched

    def columns_of(self, edges):
        """Columns of the detector with light of some channels in any row."""
        inside = (np.maximum(self.reddest[:-1], self.reddest[1:]) > edges[0]) & (
            np.minimum(self.bluest[:-1], self.bluest[1:]) < edges[-1]
        )
        return np.flatnonzero(inside) + self.footprint.columns[0]

    def pixels(self, part):
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
