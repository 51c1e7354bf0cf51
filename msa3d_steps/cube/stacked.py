"""Robust combination: what several exposures say about a voxel, held against each other.

Each cutout is dropped onto the voxels by itself, so that a voxel has a sample of its value from
each cutout that sees it. The samples of a block of channels are kept in a stack: a row for each
spaxel of each cutout, in the order of spaxels and, within a spaxel, of steps. From that come
medians (`median_of_steps`) or the mean of what is left after outliers were taken out
(`~msa3d_steps.cube.clipping.clipped_mean`). The stack is as large as the slits are, not as the
cube, and lives for a block of channels.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit

from msa3d_steps.cube.overlap import COMPILED

__all__ = ["ROBUST", "Stack", "make_stack", "median_of_rows", "median_of_steps"]

ROBUST = ("median", "clipped")
"""Ways of combination that hold exposures against each other."""

MEDIAN_VARIANCE = np.array(
    [
        1, 1, 1, 1.34601, 1.19280, 1.43417, 1.28846, 1.47313, 1.34547, 1.49491, 1.38330,
        1.50879, 1.41024, 1.51839, 1.43042, 1.52542, 1.44610,
    ]
)  # fmt: skip
"""Variance of the median of n normal samples over that of their mean, n = 0, 1, 2 ...: by numerical
integration over the order statistics."""


@dataclass(frozen=True)
class Stack:
    """Where the samples of each spaxel stand in the stack.

    Parameters
    ----------
    slots : list of numpy.ndarray
        For each cutout the rows of the stack of its spaxels.
    first : numpy.ndarray
        Shape ``(n_spaxels + 1,)``: first row of each spaxel, and the end.
    step : numpy.ndarray
        Shape ``(n_rows,)``: step that each row belongs to.
    exposure, cutout : numpy.ndarray
        Shape ``(n_rows,)``: exposure and cutout that each row belongs to.
    beside : numpy.ndarray
        Shape ``(n_spaxels, 4)``: the spaxels beside each; -1 where there is none.
    rows_beside : numpy.ndarray
        Shape ``(n_rows, 4)``: the rows of the same cutout for these spaxels.
    """

    slots: list
    first: np.ndarray
    step: np.ndarray
    exposure: np.ndarray
    cutout: np.ndarray
    beside: np.ndarray
    rows_beside: np.ndarray

    @property
    def n_rows(self):
        """Number of rows of the stack."""
        return self.step.size


def make_stack(members, step, exposure, spaxels, nx):
    """Give each spaxel of each cutout its row in the stack.

    Parameters
    ----------
    members : list of numpy.ndarray
        For each cutout the flat indices of its spaxels, increasing.
    step, exposure : numpy.ndarray
        Shape ``(n_cutouts,)``: number of the step and of the exposure of each cutout.
    spaxels : numpy.ndarray
        Shape ``(n_spaxels,)``: flat indices of all spaxels, increasing.
    nx : int
        Number of spaxels in x.

    Returns
    -------
    Stack
        The rows.
    """
    sizes = [m.size for m in members]
    cutout = np.repeat(np.arange(len(members)), sizes)
    spaxel = np.searchsorted(spaxels, np.concatenate(members))
    order = np.lexsort((cutout, exposure[cutout], step[cutout], spaxel))
    row = np.empty(order.size, int)
    row[order] = np.arange(order.size)
    slots = np.split(row, np.cumsum(sizes)[:-1])
    first = np.searchsorted(spaxel[order], np.arange(spaxels.size + 1))
    beside = np.full((spaxels.size, 4), -1)
    rows_beside = np.full((row.size, 4), -1)
    for i, (dx, dy) in enumerate(((-1, 0), (1, 0), (0, -1), (0, 1))):
        target = np.where((spaxels % nx + dx) // nx == 0, spaxels + dx + dy * nx, -1)
        beside[:, i] = _find(spaxels, target)
        for own, slot in zip(members, slots, strict=True):
            found = _find(own, target[np.searchsorted(spaxels, own)])
            rows_beside[slot, i] = np.where(found >= 0, slot[found], -1)
    cutout = cutout[order]
    return Stack(slots, first, step[cutout], exposure[cutout], cutout, beside, rows_beside)


def _find(values, wanted):
    """Places of wanted numbers among increasing values; -1 for those that are not there."""
    places = np.searchsorted(values, wanted).clip(max=values.size - 1)
    return np.where(values[places] == wanted, places, -1)


@njit(**COMPILED)
def _weighted_median(x, w, n):
    """Weighted median of ``x[:n]``, which is sorted with its weights in place.

    The samples stand at the middles of their weights; in between it is linear. With equal weights
    it is the usual median, of two samples the weighted mean.
    """
    for i in range(1, n):
        value, weight = x[i], w[i]
        j = i - 1
        while j >= 0 and x[j] > value:
            x[j + 1], w[j + 1] = x[j], w[j]
            j -= 1
        x[j + 1], w[j + 1] = value, weight
    half = 0.0
    for i in range(n):
        half += 0.5 * w[i]
    below, place = -1.0, 0.5 * w[0] - half
    if place >= 0 or n == 1:
        return x[0]
    for i in range(1, n):
        below, place = place, place + 0.5 * (w[i - 1] + w[i])
        if place >= 0:
            return x[i - 1] + (x[i] - x[i - 1]) * below / (below - place)
    return x[n - 1]


@njit(**COMPILED)
def _efficiency(number, table):
    """Interpolate the variance of the median for a number of samples that is no integer."""
    last = table.size - 1
    if number >= last:
        return table[last]
    n = int(number)
    return table[n] + (number - n) * (table[n + 1] - table[n])


@njit(**COMPILED)
def median_of_rows(rows, k, start, stop, table):
    """Weighted median, its variance and the sum of weights of some rows of the stack at a channel.

    The variance is that of the median of as many normal samples as the weights are worth
    (``(sum w)^2 / sum w^2``), of which each counts by its density at the centre: ``g(n) sum w^2 /
    (sum w / sigma)^2``. For weights that differ tenfold its root is right to 10%, for such that
    differ less to 2%. Of two samples it is that of the mean.
    """
    x, w = np.empty(stop - start), np.empty(stop - start)
    n = 0
    total = squares = mean_variance = inverse = 0.0
    for row in range(start, stop):
        weight = rows[1, row, k]
        if weight > 0:
            x[n], w[n] = rows[0, row, k] / weight, weight
            n += 1
            variance = rows[2, row, k]  # of value x weight
            total += weight
            squares += weight * weight
            mean_variance += variance
            inverse += weight * weight / np.sqrt(variance) if variance > 0 else np.inf
    if n == 0:
        return 0.0, 0.0, 0.0
    value = _weighted_median(x, w, n)
    if n < 3:
        return value, mean_variance / (total * total), total
    gain = _efficiency(total * total / squares, table)
    return value, gain * squares / (inverse * inverse), total


@njit(**COMPILED)
def median_of_steps(rows, first, step, exposure, table, sums):
    """Take the median of the samples of each step; steps are averaged by their weights.

    Parameters
    ----------
    rows : numpy.ndarray
        Shape ``(6, n_rows, n_wave)``: the stack, as `~msa3d_steps.cube.overlap.drop_rows` fills it.
    first, step, exposure : numpy.ndarray
        Those of `Stack`.
    table : numpy.ndarray
        `MEDIAN_VARIANCE`.
    sums : numpy.ndarray
        Shape ``(6, n_spaxels, n_wave)``: what `drop_rows` would give for the voxels. Changed in
        place.
    """
    n_wave = rows.shape[2]
    for spaxel in range(first.size - 1):
        begin, end = first[spaxel], first[spaxel + 1]
        for k in range(n_wave):
            start = begin
            while start < end:
                stop = start + 1
                while stop < end and step[stop] == step[start]:
                    stop += 1
                value, variance, weight = median_of_rows(rows, k, start, stop, table)
                sums[0, spaxel, k] += weight * value
                sums[1, spaxel, k] += weight
                sums[2, spaxel, k] += weight * weight * variance
                start = stop
            last = -1
            for row in range(begin, end):
                if rows[5, row, k] > 0:
                    sums[3, spaxel, k] += rows[3, row, k]
                    sums[4, spaxel, k] += rows[4, row, k]
                    sums[5, spaxel, k] += exposure[row] != last
                    last = exposure[row]
