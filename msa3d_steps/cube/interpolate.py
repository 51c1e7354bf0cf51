"""Voxels interpolated between the middles of pixels, instead of pixels shared out among voxels.

In each exposure the value at a voxel's middle is interpolated linearly: in wavelength between the
middles of the pixels of a row, each row with its own wavelengths, then along the slit between the
places of two rows at that wavelength. It is exact where the brightness is linear in both. Across
the slit it is constant over the slit's width, and beyond the middles of the outermost pixels there
is none. This is what the published reduction of GO-2136 does with rectified spectra (Barisic et
al. 2024); here it is done with pixels of the detector, too.

A sample is a sum ``sum_p c_p d_p`` over up to four pixels, and its variance ``sum_p c_p^2 var_p``.
It counts by the part of the spaxel's width that the slit covers, so that what lies between two
slits is the mean of both.
"""

from functools import partial

import numpy as np
from numba import njit
from scipy import sparse

from msa3d_steps.cube.overlap import COMPILED
from msa3d_steps.cube.strips import Strip

__all__ = ["SampledGroup", "SampledStrip", "sample_noise"]

NEAR = 1e-5
"""A voxel this close to a pixel, in distances of pixels, is at the pixel: others do not count."""


class SampledGroup:
    """Cutouts that are interpolated; for `~msa3d_steps.cube.layout.Layout`, as `Group` is."""

    def __init__(self, members, cutouts, grid, options):
        self.members = members
        self.strips = [SampledStrip(cutouts[i], grid, options) for i in members]
        self.floats_per_channel = 9 * max(s.footprint.shape[0] for s in self.strips)

    def drops(self, edges):
        """Give the cutouts that reach into a block of channels; see `Group`."""
        centers = 0.5 * (edges[:-1] + edges[1:])
        for i, strip in zip(self.members, self.strips, strict=True):
            found = strip.locate(edges, centers)
            if found is None:
                continue
            part, column, fraction, place = found
            pixels = [np.ascontiguousarray(a) for a in strip.pixels(part)]
            rows = np.zeros((3, *column.shape), np.float32)
            sample_rows(*pixels, column, fraction, rows)
            yield i, partial(sample_spaxels, rows, place, strip.y_slit, strip.part)


class SampledStrip(Strip):
    """One cutout on the grid: where the spaxels of its slit are.

    Attributes
    ----------
    y_slit : numpy.ndarray
        Shape ``(n_spaxels,)``: place along the slit of each, with the sign of `sense`.
    part : numpy.ndarray
        Shape ``(n_spaxels,)``: part of its width that lies in the slit.
    sense : float
        -1 where ``y_slit`` decreases with the row of the detector, else 1.
    """

    def _find_spaxels(self, grid, half_width, limits):
        x, y, x_slit, y_slit, _ = self._spaxels_around(grid, half_width, limits)
        width = 1 / np.hypot(*self.matrix[:, 0])
        low, high = x_slit - 0.5 * width, x_slit + 0.5 * width
        part = (np.minimum(high, half_width) - np.maximum(low, -half_width)) / width
        inside = (part > NEAR) & (y_slit > limits[0]) & (y_slit < limits[1])
        self.spaxels = y[inside] * grid.nx + x[inside]
        self.part = np.minimum(part[inside], 1)
        ends = self.footprint.along.at_edges(np.array([0.0, self.footprint.shape[0] - 1.0]))
        self.sense = float(np.sign(np.median(ends[1] - ends[0])))
        self.y_slit = self.sense * y_slit[inside]

    def locate(self, edges, centers):
        """Find the pixels between which some channels lie.

        Parameters
        ----------
        edges : numpy.ndarray
            Shape ``(n_wave + 1,)``: limits of the channels, um.
        centers : numpy.ndarray
            Shape ``(n_wave,)``: their middles.

        Returns
        -------
        part : slice
            The columns of the detector that are needed, in the direction of the wavelength.
        column : numpy.ndarray
            Shape ``(ny, n_wave)``: the pixel of `part` below the channel, -1 where there is none.
        fraction : numpy.ndarray
            Same shape: how far it is from there to the next one, in [0, 1).
        place : numpy.ndarray
            Same shape: place along the slit, increasing with the row, NaN where there is none.
            All four are one None where the cutout does not reach these channels.
        """
        columns = self.columns_of(edges)
        if not columns.size or not self.spaxels.size:
            return None
        first, last = self.footprint.columns
        start, stop = max(columns[0] - 1, first), min(columns[-1] + 1, last) + 1
        y = np.arange(float(self.footprint.shape[0]))
        lam = self.footprint.wavelength.at_middles(y, start, stop)
        along = self.sense * self.footprint.along.at_middles(y, start, stop)
        part = slice(start, stop)
        if self.backwards:
            lam, along = (np.ascontiguousarray(a[:, ::-1]) for a in (lam, along))
            part = slice(stop - 1, start - 1 if start else None, -1)
        column = np.full((y.size, centers.size), -1)
        fraction, place = np.zeros(column.shape), np.full(column.shape, np.nan)
        between_pixels(lam, along, centers, column, fraction, place)
        return part, column, fraction, place


@njit(**COMPILED)
def between_pixels(lam, along, centers, column, fraction, place):
    """Find where channels lie between the pixels of each row.

    Parameters
    ----------
    lam, along : numpy.ndarray
        Shape ``(ny, nx)``: wavelengths of the middles of pixels, um, increasing along each row, and
        their places along the slit.
    centers : numpy.ndarray
        Shape ``(n_wave,)``: middles of the channels, um.
    column, fraction, place : numpy.ndarray
        Those of `SampledStrip.locate`: -1, 0 and NaN. Changed in place.
    """
    ny, nx = lam.shape
    for row in range(ny):
        x = 0
        for k in range(centers.size):
            while x < nx - 2 and lam[row, x + 1] <= centers[k]:
                x += 1
            if nx == 1:
                break
            t = _snapped((centers[k] - lam[row, x]) / (lam[row, x + 1] - lam[row, x]))
            if t < 0 or t > 1:
                continue
            place[row, k] = (1 - t) * along[row, x] + t * along[row, x + 1]
            column[row, k], fraction[row, k] = (x + 1, 0.0) if t == 1 else (x, t)


@njit(**COMPILED)
def _snapped(part):
    """Give 0 or 1 for what is almost that."""
    if abs(part) < NEAR:
        return 0.0
    return 1.0 if abs(part - 1) < NEAR else part


@njit(**COMPILED)
def sample_rows(values, variances, weights, column, fraction, rows):
    """Interpolate the rows of the detector at channels.

    Parameters
    ----------
    values, variances, weights : numpy.ndarray
        Shape ``(ny, nx)``. A pixel with weight 0 makes no sample.
    column, fraction : numpy.ndarray
        Those of `SampledStrip.locate`.
    rows : numpy.ndarray
        Shape ``(3, ny, n_wave)``, float32, zero: value, variance and weight. Changed in place.
    """
    for row in range(column.shape[0]):
        for k in range(column.shape[1]):
            x, t = column[row, k], fraction[row, k]
            if x < 0 or not weights[row, x] > 0 or (t > 0 and not weights[row, x + 1] > 0):
                continue
            rows[0, row, k] = (1 - t) * values[row, x]
            rows[1, row, k] = (1 - t) ** 2 * variances[row, x]
            rows[2, row, k] = (1 - t) * weights[row, x]
            if t > 0:
                rows[0, row, k] += t * values[row, x + 1]
                rows[1, row, k] += t**2 * variances[row, x + 1]
                rows[2, row, k] += t * weights[row, x + 1]


@njit(**COMPILED)
def _row_below(place, y, k, guess):
    """Find the row below a place along the slit, and how far it is to the next; -1 if none."""
    last = place.shape[0] - 1
    for shift in range(-1, last):
        row = guess if shift < 0 else shift
        if row < last:
            low, high = place[row, k], place[row + 1, k]
            part = _snapped((y - low) / (high - low))  # NaN where a row does not reach the channel
            if 0 <= part <= 1:
                return (row, part) if part < 1 else (row + 1, 0.0)
    return -1, 0.0


@njit(**COMPILED)
def sample_spaxels(rows, place, y_slit, part, slots, time, sums):
    """Interpolate rows at spaxels.

    Parameters
    ----------
    rows : numpy.ndarray
        What `sample_rows` gave.
    place : numpy.ndarray
        That of `SampledStrip.locate`.
    y_slit : numpy.ndarray
        Shape ``(n,)``: place along the slit of the spaxels.
    part : numpy.ndarray
        Shape ``(n,)``: part of their width in the slit.
    slots : numpy.ndarray
        Shape ``(n,)``: index of these spaxels in `sums`.
    time : float
        Exposure time, s.
    sums : numpy.ndarray
        Shape ``(6, n_spaxels, n_wave)``, float32: as in `~msa3d_steps.cube.overlap.drop_rows`.
        Changed in place.
    """
    for i in range(slots.size):
        slot, guess = slots[i], 0
        for k in range(place.shape[1]):
            row, s = _row_below(place, y_slit[i], k, guess)
            if row < 0:
                continue
            guess = row
            if not rows[2, row, k] > 0 or (s > 0 and not rows[2, row + 1, k] > 0):
                continue
            value, variance = (1 - s) * rows[0, row, k], (1 - s) ** 2 * rows[1, row, k]
            weight = (1 - s) * rows[2, row, k]
            if s > 0:
                value += s * rows[0, row + 1, k]
                variance += s**2 * rows[1, row + 1, k]
                weight += s * rows[2, row + 1, k]
            weight *= part[i]
            sums[0, slot, k] += weight * value
            sums[1, slot, k] += weight
            sums[2, slot, k] += weight**2 * variance
            sums[3, slot, k] += weight
            sums[4, slot, k] += time * part[i]
            sums[5, slot, k] += 1


@njit(**COMPILED)
def list_coefficients(weights, column, fraction, place, y_slit, sample, pixel, coefficient):
    """Write down the coefficients that `sample_rows` and `sample_spaxels` multiply pixels with.

    Parameters
    ----------
    weights, column, fraction, place, y_slit : numpy.ndarray
        As there.
    sample, pixel, coefficient : numpy.ndarray
        Shape ``(4 * n_spaxels * n_wave,)``: number ``i * n_wave + k`` of a sample, number
        ``row * nx + column`` of a pixel and its coefficient. Changed in place.

    Returns
    -------
    int
        How many there are.
    """
    nx, n_wave = weights.shape[1], column.shape[1]
    number = 0
    for i in range(y_slit.size):
        guess = 0
        for k in range(n_wave):
            below, s = _row_below(place, y_slit[i], k, guess)
            if below < 0:
                continue
            guess, first, usable = below, number, True
            for row in range(below, below + 1 + (s > 0)):
                x, t = column[row, k], fraction[row, k]
                for c in range(x, x + 1 + (t > 0)):
                    usable &= weights[row, c] > 0
                    sample[number], pixel[number] = i * n_wave + k, row * nx + c
                    coefficient[number] = (s if row > below else 1 - s) * (t if c > x else 1 - t)
                    number += 1
            if not usable:
                number = first
    return number


def sample_noise(layout, block):
    """Give what the noise of each pixel adds to each voxel of a mean.

    Parameters
    ----------
    layout : `~msa3d_steps.cube.layout.Layout`
        Cutouts that are interpolated.
    block : slice
        The channels.

    Returns
    -------
    matrix, spaxels : object
        As `~msa3d_steps.cube.noise.drizzle_noise` gives.
    """
    edges = layout.grid.edges[block.start : block.stop + 1]
    centers = 0.5 * (edges[:-1] + edges[1:])
    n_spaxels, n_pixels = layout.spaxels.size, 0
    parts = []
    for strip in layout.strips:
        found = strip.locate(edges, centers)
        if found is None:
            continue
        part, column, fraction, place = found
        _, variances, weights = (np.ascontiguousarray(a) for a in strip.pixels(part))
        room = 4 * strip.y_slit.size * centers.size
        sample, pixel, share = np.zeros(room, int), np.zeros(room, int), np.zeros(room)
        number = list_coefficients(
            weights, column, fraction, place, strip.y_slit, sample, pixel, share
        )
        sample, pixel, share = sample[:number], pixel[:number], share[:number]
        weight = np.bincount(sample, share * weights.ravel()[pixel])[sample]
        weight *= strip.part[sample // centers.size]
        spaxel = np.searchsorted(layout.spaxels, strip.spaxels)[sample // centers.size]
        voxel = sample % centers.size * n_spaxels + spaxel
        sigma = np.sqrt(variances.ravel()[pixel])
        parts.append((voxel, n_pixels + pixel, share * weight * sigma, share * weight))
        n_pixels += weights.size
    if not parts:
        return None, None
    voxel, pixel, values, weights = (np.concatenate(p) for p in zip(*parts, strict=True))
    total = np.bincount(voxel, weights, minlength=n_spaxels * centers.size)
    shape = total.size, n_pixels
    return sparse.csr_array((values / total[voxel], (voxel, pixel)), shape=shape), layout.spaxels
