"""How much of each detector pixel falls into each voxel, compiled.

A pixel's footprint is the slit's width by the pixel's height on the sky, times its bandpass. The
overlap with a voxel is therefore that of two intervals in wavelength times that of two polygons
on the sky, and the drizzle is done in two passes, both exact: along each row of the detector
pixels are shared out among channels (`rebin_rows`), then each row is shared out among spaxels
channel by channel (`drop_rows`), at the place along the slit where the trace is at that channel.
The weights are those of 3-D drizzle (Law et al. 2023, AJ 166, 45), at a tenth of the arithmetic.

The part of a spaxel that lies in the slit below a position ``y`` along it is the area of a convex
polygon cut at ``y``. By Green's theorem it is a sum over the polygon's sides of a quadratic in
``y``, so a row costs two such sums for each spaxel, whatever the rotation.

Arrays have the channel as their last axis, so that the inner loops run over contiguous memory.
"""

import numpy as np
from numba import njit

__all__ = ["MAX_SIDES", "add_density", "clip_spaxels", "drop_rows", "level_rows", "rebin_rows"]

MAX_SIDES = 8
"""Room for the sides of a square cut by the two long sides of a slit: six at most."""

COMPILED = {"cache": True, "nogil": True}
"""Compiled once for a machine, and able to run in several threads."""

FAST = {"contract", "nsz", "nnan"}
"""Liberties that the compiler may take; no NaN reaches these loops."""

BLOCK = 64
"""Channels that are worked on together; blocks whose row does not reach a spaxel are skipped."""


@njit(**COMPILED)
def rebin_rows(lam, y_low, y_high, values, variances, weights, edges, rows_out, bounds_out):
    """Share out the pixels of each row among the channels.

    Parameters
    ----------
    lam : numpy.ndarray
        Shape ``(ny, nx + 1)``: wavelengths of the pixel edges, um, increasing along each row.
    y_low, y_high : numpy.ndarray
        Shape ``(ny, nx + 1)``: ``y_slit`` of the lower and upper end of the row at these edges.
    values, variances, weights : numpy.ndarray
        Shape ``(ny, nx)``. A pixel with weight 0 is left out.
    edges : numpy.ndarray
        Shape ``(n_wave + 1,)``: limits of the channels, um.
    rows_out : numpy.ndarray
        Shape ``(5, ny, n_wave)``, float32, zero: sums of value x weight, weight, variance x
        weight^2 (with the squares of the overlaps), weight again, and coverage. Changed in place.
    bounds_out : numpy.ndarray
        Shape ``(2, ny, n_wave)``, float32: ``y_slit`` of both ends of the row at the channel.
        Changed in place.

    Returns
    -------
    numpy.ndarray
        Shape ``(ny, 2)``: first and last + 1 channel touched by each row.
    """
    ny, nx = values.shape
    n_wave = edges.size - 1
    touched = np.zeros((ny, 2), np.int64)
    for row in range(ny):
        first, last = n_wave, 0
        k = 0
        for x in range(nx):
            low, high = lam[row, x], lam[row, x + 1]
            if high <= edges[0] or low >= edges[n_wave] or not weights[row, x] > 0:
                continue
            if k >= n_wave or edges[k] > low:
                k = 0
            if edges[k + 1] <= low:  # the channel of the pixel's blue end
                k += np.searchsorted(edges[k + 1 :], low, side="right")
            value, variance, weight = values[row, x], variances[row, x], weights[row, x]
            j = k
            while j < n_wave and edges[j] < high:
                width = edges[j + 1] - edges[j]
                part = (min(high, edges[j + 1]) - max(low, edges[j])) / width
                share = part * weight
                rows_out[0, row, j] += share * value
                rows_out[1, row, j] += share
                rows_out[2, row, j] += share * share * variance
                rows_out[3, row, j] += share
                rows_out[4, row, j] += part
                j += 1
            first, last = min(first, k), max(last, j)
            k = j - 1
        if last <= first:
            continue
        touched[row, 0], touched[row, 1] = first, last
        # the place along the slit, linear between the pixel edges around the channel's middle
        x = 0
        for j in range(first, last):
            middle = 0.5 * (edges[j] + edges[j + 1])
            while x < nx - 1 and lam[row, x + 1] < middle:
                x += 1
            part = (middle - lam[row, x]) / (lam[row, x + 1] - lam[row, x])
            a = y_low[row, x] + part * (y_low[row, x + 1] - y_low[row, x])
            b = y_high[row, x] + part * (y_high[row, x + 1] - y_high[row, x])
            bounds_out[0, row, j], bounds_out[1, row, j] = min(a, b), max(a, b)
    return touched


@njit(**COMPILED, fastmath=FAST)
def add_density(rows, bounds, touched, origin, scale, first_cell, parts, density):
    """Add the weights of a cutout to the density of weight on cells that follow the slit.

    Parameters
    ----------
    rows, bounds, touched : numpy.ndarray
        What `rebin_rows` gave.
    origin, scale : float
        Cell along the slit of ``y_slit`` 0, and cells for one unit of ``y_slit``, positive.
    first_cell : int
        First cell across the slit that the slit covers.
    parts : numpy.ndarray
        Shape ``(n,)``: part of this cell and of the next ones that it covers.
    density : numpy.ndarray
        Shape ``(n_across, n_along, n_wave)``. Changed in place.
    """
    _, ny, n_wave = rows.shape
    n_along = density.shape[1]
    profile = np.zeros((n_along, n_wave), np.float32)
    lowest, highest = n_along, 0
    for row in range(ny):
        first, last = touched[row]
        low, high = _cells(bounds, row, first, last, origin, scale, n_along)
        lowest, highest = min(lowest, low), max(highest, high)
        for cell in range(low, high):
            shift = np.float32(cell - origin)
            for k in range(first, last):
                a = max(scale * bounds[0, row, k] - shift, np.float32(0))
                b = min(scale * bounds[1, row, k] - shift, np.float32(1))
                profile[cell, k] += rows[1, row, k] * max(b - a, np.float32(0))
    for i in range(parts.size):
        for cell in range(lowest, highest):
            for k in range(n_wave):
                density[first_cell + i, cell, k] += parts[i] * profile[cell, k]


@njit(**COMPILED, fastmath=FAST)
def level_rows(rows, bounds, touched, origin, scale, first_cell, parts, inverse):
    """Multiply the weights of rows by the mean of a map over their footprints.

    Parameters
    ----------
    rows, bounds, touched, origin, scale, first_cell, parts : object
        As for `add_density`. The first three planes of `rows` are changed in place.
    inverse : numpy.ndarray
        Shape ``(n_across, n_along, n_wave)``: inverse density.
    """
    _, ny, n_wave = rows.shape
    n_along = inverse.shape[1]
    lowest, highest = n_along, 0
    for row in range(ny):
        low, high = _cells(bounds, row, touched[row, 0], touched[row, 1], origin, scale, n_along)
        lowest, highest = min(lowest, low), max(highest, high)
    profile = np.zeros((n_along, n_wave), np.float32)
    total = parts.sum()
    for i in range(parts.size):
        part = parts[i] / total
        for cell in range(lowest, highest):
            for k in range(n_wave):
                profile[cell, k] += part * inverse[first_cell + i, cell, k]
    factor = np.empty(n_wave, np.float32)
    for row in range(ny):
        first, last = touched[row]
        low, high = _cells(bounds, row, first, last, origin, scale, n_along)
        factor[first:last] = 0
        for cell in range(low, high):
            shift = np.float32(cell - origin)
            for k in range(first, last):
                a = max(scale * bounds[0, row, k] - shift, np.float32(0))
                b = min(scale * bounds[1, row, k] - shift, np.float32(1))
                factor[k] += profile[cell, k] * max(b - a, np.float32(0))
        for k in range(first, last):
            mean = factor[k] / (scale * (bounds[1, row, k] - bounds[0, row, k]))
            rows[0, row, k] *= mean
            rows[1, row, k] *= mean
            rows[2, row, k] *= mean * mean


@njit(**COMPILED)
def _cells(bounds, row, first, last, origin, scale, n_along):
    """First and last + 1 cell that a row reaches at any channel."""
    low, high = np.inf, -np.inf
    for k in range(first, last):
        low, high = min(low, bounds[0, row, k]), max(high, bounds[1, row, k])
    if low > high:
        return 0, 0
    low, high = np.floor(origin + scale * low), np.ceil(origin + scale * high)
    return max(int(low), 0), min(int(high), n_along)


@njit(**COMPILED)
def clip_spaxels(x, y, offset, matrix, half_width, sides, n_sides):
    """Cut spaxels by a slit.

    Parameters
    ----------
    x, y : numpy.ndarray
        Shape ``(n,)``: 0-based spaxel coordinates of the spaxel middles.
    offset, matrix : numpy.ndarray
        Shapes ``(2,)`` and ``(2, 2)``: slit coordinates of spaxel (0, 0), and their change by one
        spaxel in x (first column) and y.
    half_width : float
        The slit reaches from ``-half_width`` to ``half_width`` in ``x_slit``.
    sides : numpy.ndarray
        Shape ``(n, MAX_SIDES, 4)``, float32: for each side of the polygon its lower end ``y``, its
        upper end ``y``, ``x`` at the lower end times the side's sense (+1 to the right of the
        polygon, -1 to its left) and half its slope times the sense. Changed in place.
    n_sides : numpy.ndarray
        Shape ``(n,)``: number of sides, 0 for a spaxel off the slit. Changed in place.
    """
    corners_x = np.array([-0.5, 0.5, 0.5, -0.5])
    corners_y = np.array([-0.5, -0.5, 0.5, 0.5])
    spaxel = abs(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0])
    px, py = np.empty(MAX_SIDES), np.empty(MAX_SIDES)
    qx, qy = np.empty(MAX_SIDES), np.empty(MAX_SIDES)
    for i in range(x.size):
        for c in range(4):
            dx, dy = x[i] + corners_x[c], y[i] + corners_y[c]
            px[c] = offset[0] + matrix[0, 0] * dx + matrix[0, 1] * dy
            py[c] = offset[1] + matrix[1, 0] * dx + matrix[1, 1] * dy
        n = _cut(px, py, 4, 1.0, half_width, qx, qy)
        n = _cut(qx, qy, n, -1.0, half_width, px, py)
        area = 0.0
        for c in range(n):
            d = (c + 1) % n
            area += 0.5 * (px[c] + px[d]) * (py[d] - py[c])
        sense = 1.0 if area > 0 else -1.0
        m = 0
        for c in range(n):
            d = (c + 1) % n
            if py[c] == py[d]:
                continue
            up = py[d] > py[c]
            a, b = (c, d) if up else (d, c)
            sign = sense if up else -sense
            sides[i, m, 0], sides[i, m, 1] = py[a], py[b]
            sides[i, m, 2] = sign * px[a] / spaxel
            sides[i, m, 3] = 0.5 * sign * (px[b] - px[a]) / (py[b] - py[a]) / spaxel
            m += 1
        n_sides[i] = m


@njit(**COMPILED)
def _cut(px, py, n, sign, limit, qx, qy):
    """Keep the part of a polygon with ``sign * x <= limit`` (Sutherland & Hodgman 1974)."""
    m = 0
    for c in range(n):
        d = (c + 1) % n
        here, there = sign * px[c] - limit, sign * px[d] - limit
        if here <= 0:
            qx[m], qy[m] = px[c], py[c]
            m += 1
        if here * there < 0:
            part = here / (here - there)
            qx[m], qy[m] = sign * limit, py[c] + part * (py[d] - py[c])
            m += 1
    return m


@njit(**COMPILED, fastmath=FAST)
def drop_rows(rows, bounds, touched, sides, n_sides, slots, time, sums):
    """Share out rebinned rows among spaxels.

    Parameters
    ----------
    rows, bounds, touched : numpy.ndarray
        What `rebin_rows` gave.
    sides, n_sides : numpy.ndarray
        What `clip_spaxels` gave for the spaxels that the slit may touch.
    slots : numpy.ndarray
        Shape ``(n,)``: index of these spaxels in `sums`.
    time : float
        Exposure time, s.
    sums : numpy.ndarray
        Shape ``(6, n_spaxels, n_wave)``, float32: sums of value x weight, weight, variance x
        weight^2, weight before `level_rows`, exposure time x coverage, and the number of cutouts.
        Changed in place.
    """
    _, ny, n_wave = rows.shape
    zero, one = np.float32(0), np.float32(1)
    reach = _reach(bounds, touched)
    share = np.empty(BLOCK, np.float32)
    seen = np.empty(n_wave, np.float32)
    for i in range(slots.size):
        low, high = np.inf, -np.inf
        for c in range(n_sides[i]):
            low, high = min(low, sides[i, c, 0]), max(high, sides[i, c, 1])
        slot = slots[i]
        seen[:] = 0.0
        for row in range(ny):
            first, last = touched[row]
            for block in range(first // BLOCK, (last + BLOCK - 1) // BLOCK):
                if reach[1, row, block] <= low or reach[0, row, block] >= high:
                    continue
                start, stop = max(first, block * BLOCK), min(last, (block + 1) * BLOCK)
                share[: stop - start] = 0.0
                for c in range(n_sides[i]):
                    lower, upper = sides[i, c, 0], sides[i, c, 1]
                    x_lower, half_slope = sides[i, c, 2], sides[i, c, 3]
                    tall = upper - lower
                    for k in range(start, stop):
                        a = min(max(bounds[0, row, k] - lower, zero), tall)
                        b = min(max(bounds[1, row, k] - lower, zero), tall)
                        share[k - start] += (x_lower + half_slope * (a + b)) * (b - a)
                for k in range(start, stop):
                    part = max(share[k - start], zero)
                    sums[0, slot, k] += part * rows[0, row, k]
                    sums[1, slot, k] += part * rows[1, row, k]
                    sums[2, slot, k] += part * part * rows[2, row, k]
                    sums[3, slot, k] += part * rows[3, row, k]
                    seen[k] += part * rows[4, row, k]
        for k in range(n_wave):
            sums[4, slot, k] += time * seen[k]
            sums[5, slot, k] += one if seen[k] > zero else zero


@njit(**COMPILED)
def _reach(bounds, touched):
    """Least and largest ``y_slit`` of each row in each block of channels."""
    _, ny, n_wave = bounds.shape
    reach = np.empty((2, ny, (n_wave + BLOCK - 1) // BLOCK))
    reach[0], reach[1] = np.inf, -np.inf
    for row in range(ny):
        for k in range(touched[row, 0], touched[row, 1]):
            block = k // BLOCK
            reach[0, row, block] = min(reach[0, row, block], bounds[0, row, k])
            reach[1, row, block] = max(reach[1, row, block], bounds[1, row, k])
    return reach
