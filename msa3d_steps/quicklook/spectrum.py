"""The spectrum of a source, in an aperture where it is bright."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from msa3d_steps.quicklook.images import channel_weights
from msa3d_steps.quicklook.noise import sum_factor

__all__ = ["ApertureSpectrum", "aperture_of", "bright_region", "circle", "integrate"]

RADIUS = 0.3
"""Radius of the aperture of a source that is too faint for one of its own, arcsec."""

PART = 0.1
"""Part of the brightest place that the aperture reaches down to."""

SIGNIFICANT = 3.0
"""S/N of the smoothed image that the aperture reaches down to."""

SMOOTHING = 0.1
"""Standard deviation by which images are smoothed before, arcsec."""

MISSING = 0.1
"""Part of the spaxels of an aperture that may be missing in a channel."""

MJY_SR_IN_MJY = 1e9
"""mJy in a MJy/sr times a steradian."""


@dataclass(frozen=True)
class ApertureSpectrum:
    """A spectrum that was summed over spaxels.

    Attributes
    ----------
    wavelengths : numpy.ndarray
        Middles of the channels, um, shape ``(n_wave,)``.
    flux, err : numpy.ndarray
        Flux density and its standard deviation, mJy, shape ``(n_wave,)``; NaN where more than a
        tenth of the spaxels has no data.
    inside : numpy.ndarray
        Spaxels that were summed, bool, shape ``(ny, nx)``.
    continuum_snr : float
        Median of flux over err, per channel; NaN where there is no channel.
    n_spaxels : int
        Number of spaxels that were summed.
    """

    wavelengths: np.ndarray
    flux: np.ndarray
    err: np.ndarray
    inside: np.ndarray
    continuum_snr: float
    n_spaxels: int


def aperture_of(view, maps=None):
    """Choose the spaxels of a source.

    Parameters
    ----------
    view : CubeView
        The cube.
    maps : LineMaps or None
        Of its strongest line, whose aperture it is; without them, or where that is empty, that of
        the white light, above the median of the field (sky that was not subtracted).

    Returns
    -------
    numpy.ndarray
        bool, shape ``(ny, nx)``.
    """
    if maps is not None and maps.aperture.any():
        return maps.aperture
    image, err = _white_light(view)
    sky = np.median(image[np.isfinite(image)]) if np.isfinite(image).any() else 0.0
    return bright_region(image - sky, err, view)


def bright_region(image, err, view):
    """Find the connected region about the most significant place of an image.

    The image is smoothed, and the region reaches down to `PART` of its brightest place and to an
    S/N of `SIGNIFICANT`. Where it would be smaller than a circle of half of `RADIUS` it is the
    circle of `RADIUS` about that place; where the source is too faint (S/N below twice
    `SIGNIFICANT`), about the catalogue position.

    Parameters
    ----------
    image, err : numpy.ndarray
        Surface brightness and its standard deviation, shape ``(ny, nx)``; NaN without data.
    view : CubeView
        The cube that it is from.

    Returns
    -------
    numpy.ndarray
        bool, shape ``(ny, nx)``; there is data in all of it.
    """
    known = np.isfinite(image) & np.isfinite(err) & (err > 0)
    fallback = circle(view, RADIUS) & known
    if not known.any():
        return fallback
    smooth, error = smoothed(image, err, SMOOTHING / view.scale, view.correlation)
    snr = np.where(known, smooth / error, -np.inf)
    peak = np.unravel_index(np.argmax(snr), image.shape)
    if snr[peak] < 2 * SIGNIFICANT:
        return fallback
    level = PART * smooth[peak]
    labels, _ = ndimage.label((snr > SIGNIFICANT) & (smooth > level))
    region = ndimage.binary_fill_holes(labels == labels[peak]) & known
    small = region.sum() * view.scale**2 < np.pi * (RADIUS / 2) ** 2
    return circle(view, RADIUS, peak) & known if small else region


def smoothed(image, err, sigma, table):
    """Smooth an image with a Gaussian, without its holes.

    Parameters
    ----------
    image, err : numpy.ndarray
        The image and its standard deviation, shape ``(ny, nx)``; NaN where unknown.
    sigma : float
        Standard deviation of the Gaussian, spaxels.
    table : numpy.ndarray or None
        The table CORRELATION, for the errors.

    Returns
    -------
    image, err : numpy.ndarray
        The same, smoothed; 0 and infinity where nothing is near.
    """
    known = np.isfinite(image) & np.isfinite(err)
    weight = ndimage.gaussian_filter(known.astype(float), sigma, mode="constant")
    value = ndimage.gaussian_filter(np.where(known, image, 0.0), sigma, mode="constant")
    square = np.where(known, err, 0.0) ** 2  # that of a Gaussian is narrower by the root of 2
    square = ndimage.gaussian_filter(square, sigma / 2**0.5, mode="constant")
    n_spaxels = 4 * np.pi * sigma**2  # of a box with the same noise
    share = np.clip(1 / n_spaxels, None, 1.0)
    error = np.sqrt(square * share) * sum_factor(table, 1 / share)
    some = weight > 1e-3
    return (
        np.divide(value, weight, out=np.zeros_like(value), where=some),
        np.divide(error, weight, out=np.full_like(value, np.inf), where=some & (error > 0)),
    )


def circle(view, radius, centre=None):
    """Give the spaxels within a radius (arcsec) of a place ``(y, x)``, else of the source."""
    ny, nx = view.data.shape[1:]
    y, x = np.mgrid[:ny, :nx]
    if centre is None:
        centre = _catalogue_place(view)
    inside = np.hypot(y - centre[0], x - centre[1]) * view.scale <= radius
    inside[int(np.rint(centre[0])), int(np.rint(centre[1]))] = True
    return inside


def _catalogue_place(view):
    """Give where the source should be, ``(y, x)``; the middle of the field, where unknown."""
    ny, nx = view.data.shape[1:]
    if view.ra is not None and view.dec is not None:
        x, y = view.wcs.world_to_pixel_values(view.ra, view.dec)
        if -0.5 < x < nx - 0.5 and -0.5 < y < ny - 0.5:
            return float(y), float(x)
    return (ny - 1) / 2, (nx - 1) / 2


def _white_light(view):
    """Average a cube over its channels, weighted as in the picture: image and error."""
    known = np.isfinite(view.data) & np.isfinite(view.err)
    weights = channel_weights(view.err)
    number = np.tensordot(weights, known, 1)
    total = np.tensordot(weights, np.where(known, view.data, 0), 1)
    square = np.tensordot(weights**2, np.where(known, view.err, 0) ** 2, 1)
    some = number > 0.5 * number.max()
    image = np.divide(total, number, out=np.full(total.shape, np.nan), where=some)
    error = np.sqrt(square) * sum_factor(view.correlation, 1, len(known))
    return image, np.divide(error, number, out=np.full(total.shape, np.nan), where=some)


def integrate(view, inside):
    """Sum a cube over an aperture.

    Where a few of the spaxels have no data in a channel, the sum of the others is scaled up.

    Parameters
    ----------
    view : CubeView
        The cube.
    inside : numpy.ndarray
        The spaxels, bool, shape ``(ny, nx)``.

    Returns
    -------
    ApertureSpectrum
        Its errors are those of correlated spaxels, with the factor of the table CORRELATION.
    """
    data, err = view.data[:, inside], view.err[:, inside]
    known = np.isfinite(data) & np.isfinite(err)
    ever = known.any(axis=0)
    total = int(ever.sum())
    number = known.sum(axis=1)
    some = (number > 0) & (number >= (1 - MISSING) * total)
    scale = np.divide(
        MJY_SR_IN_MJY * _solid_angle(view) * total, number,
        out=np.full(number.shape, np.nan), where=some,
    )  # fmt: skip
    flux = np.where(known, data, 0).sum(axis=1, dtype=float) * scale
    square = (np.where(known, err, 0).astype(float) ** 2).sum(axis=1)
    error = np.sqrt(square) * scale * sum_factor(view.correlation, max(total, 1))
    used = np.zeros(inside.shape, bool)
    used[inside] = ever
    ratio = flux[some] / error[some]
    continuum = float(np.median(ratio)) if some.any() else np.nan
    return ApertureSpectrum(view.wavelengths, flux, error, used, continuum, total)


def _solid_angle(view):
    """Give that of a spaxel, sr."""
    return float(np.deg2rad(view.scale / 3600) ** 2)
