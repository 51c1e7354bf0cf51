"""The mean of the samples of a voxel that agree (`~msa3d_steps.cube.stacked`)."""

import numpy as np
from numba import njit

from msa3d_steps.cube.overlap import COMPILED
from msa3d_steps.cube.stacked import median_of_rows

__all__ = ["STEEPNESS", "clipped_mean"]

STEEPNESS = 0.5
"""How far apart the samples of a voxel may lie unnoticed, in sizes of a pixel.

They come from pixels that reach beyond the voxel to different sides; so they differ, where the
source is steep, by up to half of what it changes over a pixel."""

NEAR = 0.5
"""Part of `clip_snr` at which a sample goes whose neighbour in the same cutout went.

A pixel that is hit reaches into the next voxels with a part of its footprint."""

ROUNDS = 8
"""Most rounds of clipping."""

THERE, WENT, WENT_LATER = 1, 2, 3
"""States of a sample: it counts, it was taken out in the first turn, or in the second."""


@njit(**COMPILED)
def clipped_mean(
    rows, first, step, exposure, cutout, beside, rows_beside, snr, reach, table, sums, samples
):  # fmt: skip
    """Average the samples of each voxel that agree within their errors.

    A sample is held against those of its own step where there are three, else against all of the
    voxel. Where any is off, those go first that are far from the median, if most are not; then,
    again and again, the worst against the mean of the others. A sample may differ by `snr`
    standard deviations and by what the medians let the source change within a pixel. Where a sample
    went, those beside it of the same cutout are looked at once more, more closely. Of two samples
    neither is taken out.

    Parameters
    ----------
    rows : numpy.ndarray
        The stack, as for `median_of_steps`.
    first, step, exposure, cutout, beside, rows_beside : numpy.ndarray
        Those of `Stack`.
    snr : float
        Standard deviations.
    reach : tuple of float
        What samples may differ by, over the largest difference of the medians from a spaxel
        beside: for samples of one step, and of several; and over that from a channel beside.
    table : numpy.ndarray
        `MEDIAN_VARIANCE`.
    sums : numpy.ndarray
        As for `median_of_steps`.
    samples : numpy.ndarray
        Shape ``(2, n_cutouts, n_wave)``: number of samples of each cutout, and of those taken out.
        Changed in place.
    """
    n_rows, n_wave = rows.shape[1:]
    state = np.zeros((n_rows, n_wave), np.int8)
    for row in range(n_rows):
        for k in range(n_wave):
            state[row, k] = THERE if rows[1, row, k] > 0 else 0
    for closer in (False, True):
        for spaxel in range(first.size - 1):
            begin, end = first[spaxel], first[spaxel + 1]
            for k in range(n_wave):
                loose = False
                stop = begin
                while stop < end:
                    start, n = stop, 0
                    while stop < end and step[stop] == step[start]:
                        n += state[stop, k] == THERE
                        stop += 1
                    part = k, start, stop
                    if n < 3:
                        loose |= n > 0
                    elif _is_off(rows, state, part, rows_beside, closer, snr):
                        steep, change = _differences(rows, first, beside, spaxel, k, table)
                        allowed = max(reach[0] * steep, reach[2] * change)
                        _clip(rows, state, part, rows_beside, closer, snr, allowed, table)
                part = k, begin, end
                if loose and _is_off(rows, state, part, rows_beside, closer, snr):
                    steep, change = _differences(rows, first, beside, spaxel, k, table)
                    allowed = max(reach[1] * steep, reach[2] * change)
                    _clip(rows, state, part, rows_beside, closer, snr, allowed, table)
    for spaxel in range(first.size - 1):
        for k in range(n_wave):
            last = -1
            for row in range(first[spaxel], first[spaxel + 1]):
                samples[0, cutout[row], k] += state[row, k] > 0
                samples[1, cutout[row], k] += state[row, k] > THERE
                if state[row, k] == THERE:
                    for plane in range(5):
                        sums[plane, spaxel, k] += rows[plane, row, k]
                    sums[5, spaxel, k] += exposure[row] != last
                    last = exposure[row]


@njit(**COMPILED)
def _is_off(rows, state, part, rows_beside, closer, snr):
    """Whether any sample is off, or in the second turn one is there to be looked at closely."""
    k, start, stop = part
    if not closer:
        return _worst(rows, state, part, snr, 0.0) >= 0
    for row in range(start, stop):
        if state[row, k] == THERE and _went_beside(state, row, k, rows_beside):
            return True
    return False


@njit(**COMPILED)
def _went_beside(state, row, k, rows_beside):
    """Whether a sample beside this one, of the same cutout, went in the first turn."""
    if (k > 0 and state[row, k - 1] == WENT) or (
        k + 1 < state.shape[1] and state[row, k + 1] == WENT
    ):
        return True
    for i in range(rows_beside.shape[1]):
        other = rows_beside[row, i]
        if other >= 0 and state[other, k] == WENT:
            return True
    return False


@njit(**COMPILED)
def _differences(rows, first, beside, spaxel, k, table):
    """Largest difference of the median of a voxel from those beside it: on the sky, in channels."""
    steep = change = 0.0
    here, _, _ = median_of_rows(rows, k, first[spaxel], first[spaxel + 1], table)
    for i in range(beside.shape[1]):
        other = beside[spaxel, i]
        if other >= 0:
            value, _, weight = median_of_rows(rows, k, first[other], first[other + 1], table)
            if weight > 0:
                steep = max(steep, abs(value - here))
    for other in (k - 1, k + 1):
        if 0 <= other < rows.shape[2]:
            begin, end = first[spaxel], first[spaxel + 1]
            value, _, weight = median_of_rows(rows, other, begin, end, table)
            if weight > 0:
                change = max(change, abs(value - here))
    return steep, change


@njit(**COMPILED)
def _clip(rows, state, part, rows_beside, closer, snr, allowed, table):
    """Take out samples of some rows at a channel until the others agree."""
    k, start, stop = part
    if closer:
        for row in range(start, stop):
            if state[row, k] == THERE and _went_beside(state, row, k, rows_beside):
                value, total, variance, n = _total(rows, state, part)
                if n >= 3 and (
                    _excess_over_rest(rows, row, k, value, total, variance, allowed)
                    > (NEAR * snr) ** 2
                ):
                    state[row, k] = WENT_LATER
        return
    middle, spread, _ = median_of_rows(rows, k, start, stop, table)
    n = far = 0
    for row in range(start, stop):
        if state[row, k] == THERE:
            n += 1
            far += _excess(rows, row, k, middle, spread, allowed) > snr**2
    if 0 < far and 2 * far < n:  # else there is no majority to be far from
        for row in range(start, stop):
            if state[row, k] == THERE and (_excess(rows, row, k, middle, spread, allowed) > snr**2):
                state[row, k] = WENT
    for _ in range(ROUNDS):
        found = _worst(rows, state, part, snr, allowed)
        if found < 0:
            return
        state[found, k] = WENT


@njit(**COMPILED)
def _worst(rows, state, part, snr, allowed):
    """Find the row that is farthest from the mean of the others; -1 if none is too far."""
    k, start, stop = part
    value, total, variance, n = _total(rows, state, part)
    worst, found = snr**2, -1
    if n >= 3:
        for row in range(start, stop):
            if state[row, k] == THERE:
                excess = _excess_over_rest(rows, row, k, value, total, variance, allowed)
                if excess > worst:
                    worst, found = excess, row
    return found


@njit(**COMPILED)
def _total(rows, state, part):
    """Sum value x weight, weight and variance x weight^2 of some rows, and count them."""
    k, start, stop = part
    value = total = variance = 0.0
    n = 0
    for row in range(start, stop):
        if state[row, k] == THERE:
            value += rows[0, row, k]
            total += rows[1, row, k]
            variance += rows[2, row, k]
            n += 1
    return value, total, variance, n


@njit(**COMPILED)
def _excess_over_rest(rows, row, k, value, total, variance, allowed):
    """Give `_excess` against the mean of the other rows."""
    rest = total - rows[1, row, k]
    spread = max(variance - rows[2, row, k], 0.0) / rest**2
    return _excess(rows, row, k, (value - rows[0, row, k]) / rest, spread, allowed)


@njit(**COMPILED)
def _excess(rows, row, k, middle, spread, allowed):
    """Square of how far a sample is off beyond what is allowed, over the variance of that."""
    weight = rows[1, row, k]
    off = abs(rows[0, row, k] / weight - middle) - allowed
    variance = rows[2, row, k] / weight**2 + spread
    if off <= 0:
        return 0.0
    return off * off / variance if variance > 0 else np.inf
