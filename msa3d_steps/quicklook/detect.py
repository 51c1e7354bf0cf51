"""Where emission lines are in a cube: a matched filter along the spectra of small apertures.

Each spectrum is the mean of a square of about `APERTURE`. A broken line through the medians of
blocks of channels is its continuum. The rest is compared with Gaussians of several widths,

``S/N_k = sum_i g_{i-k} r_i / s_i^2 / (rho_g sqrt(sum_i g_{i-k}^2 / s_i^2))``

with its errors ``s_i`` and the factor ``rho_g`` by which correlated channels raise the error of
this sum (`noise.filter_factor`). Where the S/N of a spectrum scatters by more than 1, it is divided
by that scatter (from the median of its absolute values).
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from msa3d_steps.quicklook.noise import channel_correlation, filter_factor, sum_factor

__all__ = ["MARGIN", "WIDTHS", "Spectra", "is_line", "matched", "spectra", "spectra_of"]

APERTURE = 0.3
"""Side of the squares, arcsec."""

MOST = 900
"""Squares that are looked at, at most; more lie farther apart."""

BLOCK = 32
"""Channels of a block of the continuum."""

WIDTHS = (1.0, 1.8, 3.5)
"""Standard deviations of the Gaussians, channels: that of an unresolved line and two wider ones."""

MARGIN = 6
"""Channels from the ends of the spectrum of a detector where no line is looked for."""

STANDS_OUT = 0.5
"""Part of the light of a line that must be left when the higher of its sides is the continuum."""

BESIDE = 12
"""Channels of a side."""

DIP = 0.7
"""Part of the S/N of a line that a dip beside it may have."""


@dataclass(frozen=True)
class Spectra:
    """Mean spectra of squares of spaxels.

    Attributes
    ----------
    whole : numpy.ndarray
        Surface brightness, MJy/sr, float32, shape ``(n, n_wave)``; 0 where it is not known.
    values, err : numpy.ndarray
        The same without continuum, and its error; 0 and 1 where it is not known.
    known : numpy.ndarray
        bool, the same shape: where all spaxels have data.
    trusted : numpy.ndarray
        The same without the ends.
    correlation : numpy.ndarray
        Of channels.
    """

    whole: np.ndarray
    values: np.ndarray
    err: np.ndarray
    known: np.ndarray
    trusted: np.ndarray
    correlation: np.ndarray


def spectra_of(view):
    """Average a cube over small squares all over the field.

    Parameters
    ----------
    view : CubeView
        The cube.

    Returns
    -------
    Spectra
        Of all squares in which there is data.
    """
    ny, nx = view.data.shape[1:]
    side = int(np.clip(round(APERTURE / view.scale), 1, min(ny, nx)))
    step = max(1, side // 2)
    while ((ny - side) // step + 1) * ((nx - side) // step + 1) > MOST:
        step += 1
    data, err = view.data, view.err
    known = np.isfinite(data) & np.isfinite(err) & (err > 0)
    number = _boxes(known, side, step)
    number_there = number.max(axis=0)
    whole = (number == number_there) & (number > side**2 / 2)
    safe = np.maximum(number, 1)
    values = _boxes(np.where(known, data, 0), side, step) / safe
    error = np.sqrt(_boxes(np.where(known, err, 0) ** 2, side, step)) / safe
    error *= sum_factor(view.correlation, side**2)
    some = whole.any(axis=0)
    correlation = channel_correlation(view.correlation)
    return spectra(values[:, some].T, error[:, some].T, whole[:, some].T, correlation)


def spectra(values, err, known, correlation):
    """Make `Spectra` of spectra with continuum.

    Parameters
    ----------
    values, err, known, correlation : numpy.ndarray
        As in `Spectra`, but with the continuum.

    Returns
    -------
    Spectra
        The same without.
    """
    trusted = ndimage.binary_erosion(known, np.ones((1, 2 * MARGIN + 1)))
    whole = np.where(known, values, 0).astype(np.float32)
    values = np.where(known, whole - _continuum(whole, known), 0).astype(np.float32)
    err = np.where(known, err, 1).astype(np.float32)
    return Spectra(whole, values, err, known, trusted, correlation)


def _boxes(cube, side, step):
    """Sum over squares of spaxels, shape ``(n_wave, n_y, n_x)``."""
    for axis in (1, 2):
        total = 0
        n = cube.shape[axis] - side + 1
        for start in range(side):
            chosen = [slice(None)] * 3
            chosen[axis] = slice(start, start + n, step)
            total = total + cube[tuple(chosen)].astype(np.float32)
        cube = total
    return cube


def _continuum(values, known):
    """Join the medians of blocks of channels, the middles of which lie half a block apart."""
    n, n_wave = values.shape
    if n_wave < 2 * BLOCK:
        return _medians(values[:, None], known[:, None])[0] * np.ones((1, n_wave))
    padded = np.where(known, values, np.nan).astype(np.float32)
    half = BLOCK // 2
    n_halves = n_wave // half
    halves = padded[:, : n_halves * half].reshape(n, n_halves, half)
    halves.sort(axis=2)
    blocks = np.concatenate([halves[:, :-1], halves[:, 1:]], axis=2)
    median, number = _medians(blocks, np.isfinite(blocks))
    middle = np.arange(1, n_halves) * half - 0.5
    result = np.zeros((n, n_wave), np.float32)
    good = number >= half // 2
    same = good.all(axis=1)
    place = np.clip(np.interp(np.arange(n_wave), middle, np.arange(middle.size)), 0, None)
    low = np.minimum(place.astype(int), middle.size - 2)
    part = (place - low).astype(np.float32)
    result[same] = median[same][:, low] * (1 - part) + median[same][:, low + 1] * part
    for i in np.flatnonzero(~same & good.any(axis=1)):
        result[i] = np.interp(np.arange(n_wave), middle[good[i]], median[i, good[i]])
    return result


def _medians(blocks, known):
    """Give the medians along the last axis and the number of values."""
    number = known.sum(axis=2)
    ordered = np.sort(np.where(known, blocks, np.nan), axis=2)  # NaN come last
    last = np.clip(number - 1, 0, None)[..., None]
    low, high = (
        np.take_along_axis(ordered, i, axis=2)[..., 0] for i in (last // 2, (last + 1) // 2)
    )
    return np.where(number > 0, (low + high) / 2, 0.0), number


def matched(found, width):
    """Compare spectra with a Gaussian.

    Parameters
    ----------
    found : Spectra
        The spectra.
    width : float
        Standard deviation of the Gaussian, channels.

    Returns
    -------
    numpy.ndarray
        S/N, float32, shape ``(n, n_wave)``; 0 where it is not to be trusted.
    """
    reach = int(np.ceil(3 * width))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    inverse = found.known / found.err**2
    signal = ndimage.correlate1d(found.values * inverse, kernel, axis=1, mode="constant")
    square = ndimage.correlate1d(inverse, kernel**2, axis=1, mode="constant")
    noise = np.sqrt(square) * filter_factor(kernel, found.correlation)
    snr = np.divide(signal, noise, out=np.zeros_like(signal), where=found.trusted & (noise > 0))
    return snr / _scatter(snr, found.trusted)


def _scatter(snr, trusted):
    """Give the scatter of each spectrum, 1 where it is less."""
    absolute = np.where(trusted, np.abs(snr), np.nan)
    median, _ = _medians(absolute[:, None, ::3], trusted[:, None, ::3])
    return np.maximum(1.4826 * median, 1.0)


def is_line(found, place, width, snr):
    """Tell whether what the filter found looks like a line.

    There must be spectrum on both sides, and its light must stand out of the higher of these
    (else it is a slope), with no dip of the same size beside it (else it is a break or a seam).
    The Gaussian must describe it better than any two neighbouring channels with light of their
    own do (else it is narrower than any line that the spectrograph shows: a bad pixel).

    Parameters
    ----------
    found : Spectra
        The spectra.
    place : tuple of int
        Number of the spectrum, and channel.
    width : float
        Standard deviation of the Gaussian that fits best, channels.
    snr : numpy.ndarray
        S/N of this spectrum with this Gaussian.

    Returns
    -------
    bool
        Whether it does.
    """
    i, k = place
    if snr[max(k - BLOCK, 0) : k + BLOCK].min() < -DIP * snr[k]:
        return False
    values, known, whole = (a[i] for a in (found.values, found.known, found.whole))
    half, far = round(2 * width), round(3 * width) + 1
    low = slice(max(k - far - BESIDE, 0), max(k - far, 0))
    high = slice(k + far + 1, k + far + 1 + BESIDE)
    if min(known[low].sum(), known[high].sum()) < BESIDE // 3:
        return False
    line = slice(max(k - half, 0), k + half + 1)
    level = max(float(np.median(whole[side][known[side]])) for side in (low, high))
    if whole[line].mean() - level < STANDS_OUT * values[line].mean():
        return False
    near = np.arange(max(k - far, 0), min(k + far + 1, values.size))
    light = values[near] / found.err[i, near]
    shifts = np.array([[-0.5], [0.0], [0.5]])
    kernels = np.exp(-0.5 * ((near - k - shifts) / width) ** 2)
    whole = ((kernels @ light) ** 2 / (kernels**2).sum(axis=1)).max()
    pair = (light[1:].clip(min=0) ** 2 + light[:-1].clip(min=0) ** 2).max()
    return bool(whole > pair)
