"""Which rows of a cutout overlap with which spaxels, and products with that, compiled."""

import numpy as np
from numba import njit

from msa3d_steps.cube.overlap import COMPILED

__all__ = ["find_pairs", "gather"]

FAST = {"contract", "nsz", "nnan", "reassoc"}
"""Liberties that the compiler may take; no NaN reaches these loops."""


def find_pairs(bounds, sides, n_sides):
    """Find the rows and spaxels that overlap at any channel.

    Parameters
    ----------
    bounds : numpy.ndarray
        Shape ``(2, n_rows, n_wave)``, float32: ``y_slit`` of both ends of the rows.
    sides, n_sides : numpy.ndarray
        What `~msa3d_steps.cube.overlap.clip_spaxels` gave.

    Returns
    -------
    row, spaxel : numpy.ndarray
        Shape ``(n,)``: the pairs.
    overlap : numpy.ndarray
        Shape ``(n, n_wave)``, float32: part of the spaxel that the row covers.
    """
    reach = np.stack([bounds[0].min(axis=1), bounds[1].max(axis=1)])
    number = _count_pairs(reach, sides, n_sides)
    row, column = np.empty(number, np.int64), np.empty(number, np.int64)
    overlap = np.zeros((number, bounds.shape[2]), np.float32)
    used = _fill_pairs(bounds, reach, sides, n_sides, row, column, overlap)
    return row[:used], column[:used], overlap[:used]


@njit(**COMPILED)
def _limits(sides, n):
    """Least and largest ``y_slit`` of a spaxel's part in the slit."""
    low, high = np.inf, -np.inf
    for c in range(n):
        low, high = min(low, sides[c, 0]), max(high, sides[c, 1])
    return low, high


@njit(**COMPILED)
def _count_pairs(reach, sides, n_sides):
    number = 0
    for i in range(n_sides.size):
        low, high = _limits(sides[i], n_sides[i])
        for row in range(reach.shape[1]):
            number += reach[1, row] > low and reach[0, row] < high
    return number


@njit(**COMPILED, fastmath=FAST)
def _fill_pairs(bounds, reach, sides, n_sides, rows, columns, overlap):
    """Compute the overlaps by the sums over sides of `~msa3d_steps.cube.overlap.drop_rows`."""
    n_wave = bounds.shape[2]
    zero = np.float32(0)
    used = 0
    for i in range(n_sides.size):
        low, high = _limits(sides[i], n_sides[i])
        for row in range(reach.shape[1]):
            if not (reach[1, row] > low and reach[0, row] < high):
                continue
            overlap[used] = 0
            for c in range(n_sides[i]):
                lower, upper = sides[i, c, 0], sides[i, c, 1]
                x_lower, half_slope = sides[i, c, 2], sides[i, c, 3]
                tall = upper - lower
                for k in range(n_wave):
                    a = min(max(bounds[0, row, k] - lower, zero), tall)
                    b = min(max(bounds[1, row, k] - lower, zero), tall)
                    overlap[used, k] += (x_lower + half_slope * (a + b)) * (b - a)
            largest = zero
            for k in range(n_wave):
                overlap[used, k] = max(overlap[used, k], zero)
                largest = max(largest, overlap[used, k])
            if largest > 0:
                rows[used], columns[used] = row, i
                used += 1
    return used


@njit(**COMPILED, fastmath=FAST)
def gather(into, out_of, factors, source, result):
    """Add products to rows of an array: ``result[into] += factors * source[out_of]``.

    Parameters
    ----------
    into, out_of : numpy.ndarray
        Shape ``(n,)``: rows of `result` and of `source`.
    factors : numpy.ndarray
        Shape ``(n, n_wave)``, float32.
    source, result : numpy.ndarray
        Shapes ``(n_source, n_wave)`` and ``(n_result, n_wave)``. The latter is changed in place.
    """
    for p in range(into.size):
        i, j = into[p], out_of[p]
        for k in range(factors.shape[1]):
            result[i, k] += factors[p, k] * source[j, k]
