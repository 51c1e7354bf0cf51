"""Profiles along the slit, channel by channel, through the pixels of several exposures; compiled.

The pixels of the exposures that saw one strip of the sky are samples of one function of the place
along the slit and the wavelength: the sky as a detector pixel averages it. In each channel it is a
cubic spline, fitted with a prior of its second differences (P-splines: Eilers & Marx 1996, Stat.
Sci. 11, 89). The expectation of a pixel from all others follows from its residual r and its
leverage h without another fit: ``d - r / (1 - h)``, with the variance ``v / (1 - h)`` (Cook &
Weisberg 1982, Residuals and Influence in Regression). The matrices are banded, and of the inverse
only the band is needed (Hutchinson & de Hoog 1985, Numer. Math. 47, 99).

Places are in detector pixels. Samples are sorted by channel.
"""

import numpy as np
from numba import njit

__all__ = ["fit_channels", "local_levels", "place_pixels", "seen_by_others", "sort_samples"]

COMPILED = {"cache": True, "nogil": True}

TAPS = 5
"""Channels that a value between channels is made of."""

INTERPOLATION = 0.2
"""Error of that, in differences from the middle channel."""

BAND = 4
"""A cubic spline at a place has four coefficients that are not zero."""


@njit(**COMPILED)
def place_pixels(lam, channels, nearest, offset):
    """Find the channel of each pixel.

    Parameters
    ----------
    lam : numpy.ndarray
        Shape ``(ny, nx)``: wavelengths of pixels, um, monotonic along each row.
    channels : numpy.ndarray
        Shape ``(n_channels,)``: wavelengths of the channels, um, increasing.
    nearest : numpy.ndarray
        Shape ``(ny, nx)``, int32: nearest channel; -1 for pixels farther than one channel off the
        ends. Changed in place.
    offset : numpy.ndarray
        Shape ``(ny, nx)``, float32: distance from it in channels. Changed in place.
    """
    ny, nx = lam.shape
    last = channels.size - 2
    for row in range(ny):
        k = 0
        for x in range(nx):
            value = lam[row, x]
            while k < last and channels[k + 1] <= value:
                k += 1
            while k > 0 and channels[k] > value:
                k -= 1
            place = k + (value - channels[k]) / (channels[k + 1] - channels[k])
            if not (place > -1 and place < last + 2):
                nearest[row, x] = -1
                continue
            number = min(max(int(np.floor(place + 0.5)), 0), last + 1)
            nearest[row, x] = number
            offset[row, x] = place - number


@njit(**COMPILED)
def sort_samples(channel, n_channels):
    """Sort samples by channel.

    Parameters
    ----------
    channel : numpy.ndarray
        Shape ``(n,)``: channel of each.
    n_channels : int
        Number of channels.

    Returns
    -------
    start : numpy.ndarray
        Shape ``(n_channels + 1,)``: first sample of each channel in the order.
    order : numpy.ndarray
        Shape ``(n,)``: the order.
    """
    start = np.zeros(n_channels + 1, np.int64)
    for c in channel:
        start[c + 1] += 1
    for c in range(n_channels):
        start[c + 1] += start[c]
    place = start[:-1].copy()
    order = np.empty(channel.size, np.int64)
    for i in range(channel.size):
        order[place[channel[i]]] = i
        place[channel[i]] += 1
    return start, order


@njit(**COMPILED)
def seen_by_others(start, y, member, reach):
    """Tell which samples have one of another exposure near them in their channel.

    Parameters
    ----------
    start : numpy.ndarray
        Shape ``(n_channels + 1,)``: first sample of each channel.
    y, member : numpy.ndarray
        Shape ``(n,)``: place and exposure of the samples.
    reach : float
        Largest distance, pixels.

    Returns
    -------
    numpy.ndarray
        Shape ``(n,)``, bool.
    """
    seen = np.zeros(y.size, np.bool_)
    for c in range(start.size - 1):
        for i in range(start[c], start[c + 1]):
            for j in range(start[c], start[c + 1]):
                if member[j] != member[i] and abs(y[j] - y[i]) <= reach:
                    seen[i] = True
                    break
    return seen


@njit(**COMPILED)
def local_levels(start, y, value, variance, n_cells, level, highest, noise):
    """Give the brightness of cells of one pixel that at least half of their samples exceed.

    A hit raises the lower median of two or three samples no more than that of seven.

    Parameters
    ----------
    start : numpy.ndarray
        Shape ``(n_channels + 1,)``: first sample of each channel.
    y, value, variance : numpy.ndarray
        Shape ``(n,)``: place from 0, value and variance of the samples.
    n_cells : int
        Number of cells along the slit.
    level, highest, noise : numpy.ndarray
        Shape ``(n_channels, n_cells)``, NaN: lower median and largest of the values, and lower
        median of the standard deviations, for cells with two samples or more. Changed in place.
    """
    most = 1
    for c in range(start.size - 1):
        most = max(most, start[c + 1] - start[c])
    values = np.empty((n_cells, most), np.float32)
    deviations = np.empty((n_cells, most), np.float32)
    for c in range(start.size - 1):
        count = np.zeros(n_cells, np.int64)
        for i in range(start[c], start[c + 1]):
            cell = min(max(int(y[i]), 0), n_cells - 1)
            values[cell, count[cell]] = value[i]
            deviations[cell, count[cell]] = np.sqrt(variance[i])
            count[cell] += 1
        for cell in range(n_cells):
            n = count[cell]
            if n > 1:
                ordered = np.sort(values[cell, :n])
                level[c, cell], highest[c, cell] = ordered[(n - 1) // 2], ordered[n - 1]
                noise[c, cell] = np.sort(deviations[cell, :n])[(n - 1) // 2]


@njit(**COMPILED)
def fit_channels(
    start, y, offset, value, variance, masked, prior, knot, before, slack, mismatch,
    result, slopes, steep, expected, deviation,
):  # fmt: skip
    """Fit the profile of every channel and tell how far each sample is off what the others say.

    Parameters
    ----------
    start : numpy.ndarray
        Shape ``(n_channels + 1,)``: first sample of each channel.
    y, offset, value, variance : numpy.ndarray
        Shape ``(n,)``: place along the slit from 0, distance from the channel in channels, value
        and variance of the samples.
    masked : numpy.ndarray
        Shape ``(n,)``, bool: samples that are not fitted.
    prior : numpy.ndarray
        Shape ``(n_channels, n_coefficients - 2)``: standard deviation of the second differences.
    knot : float
        Distance of the knots, pixels.
    before : numpy.ndarray
        Shape ``(n_channels, n_coefficients)``: what the last call gave, of which the slopes are
        taken that bring a sample to its channel; zeros at first.
    slack : float
        Misregistration to allow for, pixels along the slit and channels.
    mismatch : float
        Differences of brightness to allow for, as a part of it.
    result : numpy.ndarray
        Shape as `before`: the coefficients. Changed in place.
    slopes : numpy.ndarray
        Shape ``(n,)``: slope of the profile along the slit at the samples, for one pixel. Changed
        in place.
    steep : numpy.ndarray
        Shape ``(n,)``: how steep the last profiles are at the samples, for one pixel along the slit
        and one channel. Changed in place.
    expected, deviation : numpy.ndarray
        Shape ``(n,)``: expectation from the other samples, and standard deviation of a sample from
        it; NaN where the others say nothing. Changed in place.
    """
    n_channels, n = before.shape
    normal = np.zeros((n, BAND))  # lower band: normal[i, d] is element (i + d, i)
    inverse = np.zeros((n, BAND))
    near = np.empty(TAPS)
    for c in range(n_channels):
        first, last = start[c], start[c + 1]
        n_used = 0
        normal[:] = 0
        target = np.zeros(n)
        for j in range(n - 2):
            w = 1 / prior[c, j] ** 2
            normal[j, 0] += w
            normal[j + 1, 0] += 4 * w
            normal[j + 2, 0] += w
            normal[j, 1] -= 2 * w
            normal[j + 1, 1] -= 2 * w
            normal[j, 2] += w
        moved = np.empty(last - first)
        spread = np.empty(last - first)
        for i in range(first, last):
            k, basis, slope = _spline(y[i] / knot)
            along = 0.0
            near[:] = 0
            for a in range(BAND):
                along += slope[a] * before[c, k + a]
                for t in range(TAPS):
                    near[t] += basis[a] * before[min(max(c + t - 2, 0), n_channels - 1), k + a]
            here = near[2]
            across, change = _between(near, offset[i])
            moved[i - first] = value[i] - change
            along /= knot
            steep[i] = np.sqrt(along**2 + across**2)
            bent = abs(near[3] - near[1]) / 2 + abs(offset[i] * (near[3] - 2 * here + near[1])) / 2
            tolerance = (slack * steep[i]) ** 2 + (mismatch * here) ** 2
            tolerance += (INTERPOLATION * offset[i] * bent) ** 2
            spread[i - first] = variance[i] + tolerance
            if masked[i]:
                continue
            n_used += 1
            w = 1 / spread[i - first]
            for a in range(BAND):
                target[k + a] += w * basis[a] * moved[i - first]
                for b in range(a + 1):
                    normal[k + b, a - b] += w * basis[a] * basis[b]
        if n_used < 2 or not _factor(normal):
            for i in range(first, last):
                expected[i], deviation[i], slopes[i] = np.nan, np.nan, 0.0
            continue
        _solve(normal, target)
        _invert(normal, inverse)
        result[c] = target
        for i in range(first, last):
            k, basis, slope = _spline(y[i] / knot)
            fitted, quadratic, along = 0.0, 0.0, 0.0
            for a in range(BAND):
                fitted += basis[a] * target[k + a]
                along += slope[a] * target[k + a]
                quadratic += basis[a] ** 2 * inverse[k + a, 0]
                for b in range(a):
                    quadratic += 2 * basis[a] * basis[b] * inverse[k + b, a - b]
            slopes[i] = along / knot
            v = spread[i - first]
            residual = moved[i - first] - fitted
            if masked[i]:
                total = v + quadratic
            else:
                freedom = 1 - quadratic / v
                if freedom < 0.05:
                    expected[i], deviation[i] = np.nan, np.nan
                    continue
                residual /= freedom
                total = v / freedom
            expected[i] = value[i] - residual
            deviation[i] = np.sqrt(total)


@njit(**COMPILED)
def _between(near, u):
    """Slope at a place between channels, and difference from the middle channel (Lagrange)."""
    v, w = u * u - 1, u * u - 4
    change = near[0] * u * v * (u - 2) / 24 + near[4] * u * v * (u + 2) / 24
    change -= near[1] * u * (u - 1) * w / 6 + near[3] * u * (u + 1) * w / 6
    change += near[2] * (v * w / 4 - 1)
    return (near[3] - near[1]) / 2 + u * (near[3] - 2 * near[2] + near[1]), change


@njit(**COMPILED)
def _spline(place):
    """First coefficient, basis and slope (per knot) of a uniform cubic spline at a place."""
    k = int(place)
    f = place - k
    g = 1 - f
    basis = (
        g * g * g / 6,
        (3 * f * f * f - 6 * f * f + 4) / 6,
        (3 * g * g * g - 6 * g * g + 4) / 6,
        f * f * f / 6,
    )
    slope = (-g * g / 2, (3 * f - 4) * f / 2, -(3 * g - 4) * g / 2, f * f / 2)
    return k, basis, slope


@njit(**COMPILED)
def _factor(band):
    """Replace the lower band of a matrix by that of its Cholesky factor; False if it has none."""
    n = band.shape[0]
    for j in range(n):
        for d in range(1, min(BAND, j + 1)):
            w = band[j - d, d]
            for e in range(d, BAND):
                if j - d + e < n:
                    band[j, e - d] -= w * band[j - d, e]
        if not band[j, 0] > 0:
            return False
        root = np.sqrt(band[j, 0])
        for e in range(BAND):
            band[j, e] /= root
    return True


@njit(**COMPILED)
def _solve(band, target):
    """Solve with the Cholesky factor, in place."""
    n = band.shape[0]
    for j in range(n):
        target[j] /= band[j, 0]
        for d in range(1, min(BAND, n - j)):
            target[j + d] -= band[j, d] * target[j]
    for j in range(n - 1, -1, -1):
        for d in range(1, min(BAND, n - j)):
            target[j] -= band[j, d] * target[j + d]
        target[j] /= band[j, 0]


@njit(**COMPILED)
def _invert(band, inverse):
    """Give the lower band of the inverse of a matrix from its Cholesky factor."""
    n = band.shape[0]
    inverse[:] = 0
    for j in range(n - 1, -1, -1):
        reach = min(BAND, n - j)
        for d in range(reach - 1, -1, -1):
            total = 1 / band[j, 0] if d == 0 else 0.0
            for e in range(1, reach):  # element (j + e, j + d)
                low, high = min(d, e), max(d, e)
                total -= band[j, e] * inverse[j + low, high - low]
            inverse[j, d] = total / band[j, 0]
