"""Which channels belong to a line: in the cube, and in each spaxel."""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from msa3d_steps.errors import InputError
from msa3d_steps.quicklook.continuum import subtract_continuum
from msa3d_steps.quicklook.linelist import rest_wavelengths
from msa3d_steps.quicklook.noise import channel_correlation, linear_variance
from msa3d_steps.quicklook.spectrum import bright_region

__all__ = ["SPEED_OF_LIGHT", "Channels", "Windows", "line_windows", "located"]

SPEED_OF_LIGHT = 299792.458
"""km/s"""

ZONE = 700.0
"""km/s on either side that a line may reach to, so long as it is not known to be wider."""

WIDEST = 3000.0
"""The same, at most."""

NARROWEST = 4.0
"""The same, at least, channels."""

BESIDE = 25
"""Channels on either side from which the continuum comes, at least."""

BESIDE_VELOCITY = 1500.0
"""The same, km/s; whichever is more."""

REACH = 3.0
"""Standard deviations of a line that the window of a spaxel reaches to on either side."""

LEAST = 2.5
"""Half width of the window of a spaxel, at least, channels."""

KERNELS = (0.4, 0.15)
"""Standard deviations over which the cube is smoothed for windows, one after the other, arcsec."""

PRIOR = 4.0
"""Weight of the line as a whole in the window of a spaxel, errors of the smoothed flux."""

LEAST_KERNEL = 1.0
"""The same, at least, spaxels."""

FAINTEST = 5.0
"""S/N of a line as a whole from which on it has a place and a width of its own."""

ROUNDS = 5
"""Times that windows are found anew."""


@dataclass(frozen=True)
class Channels:
    """Channels about a line.

    Attributes
    ----------
    wavelengths, bandpass, velocity : numpy.ndarray
        Middles (um), widths (um), velocities relative to the line (km/s), shape ``(n,)``.
    data, err : numpy.ndarray
        Surface brightness and ERR, MJy/sr, shape ``(n, ny, nx)``, float64.
    known : numpy.ndarray
        Where there is data, bool, shape ``(n, ny, nx)``.
    zone : tuple of float
        From where to where the line may reach, km/s.
    beside : numpy.ndarray
        Channels that show the continuum, bool, shape ``(n,)``.
    """

    wavelengths: np.ndarray
    bandpass: np.ndarray
    velocity: np.ndarray
    data: np.ndarray
    err: np.ndarray
    known: np.ndarray
    zone: tuple
    beside: np.ndarray


@dataclass(frozen=True)
class Windows:
    """The windows of the spaxels.

    Attributes
    ----------
    centre, half_width : numpy.ndarray
        km/s, shape ``(ny, nx)``.
    zone : tuple of float
        Which no window leaves, km/s.
    aperture : numpy.ndarray
        Where the line is bright, bool, shape ``(ny, nx)``.
    channel : float
        Width of a channel, km/s.
    """

    centre: np.ndarray
    half_width: np.ndarray
    zone: tuple
    aperture: np.ndarray
    channel: float

    def parts(self, channels):
        """Give the part of each channel that is in the windows, shape ``(n, ny, nx)``."""
        half = SPEED_OF_LIGHT * channels.bandpass / np.median(channels.wavelengths) / 2
        low = np.maximum(self.centre - self.half_width, self.zone[0])
        high = np.minimum(self.centre + self.half_width, self.zone[1])
        middle, half = channels.velocity[:, None, None], half[:, None, None]
        shared = np.minimum(middle + half, high) - np.maximum(middle - half, low)
        return np.clip(shared / (2 * half), 0, 1)

    def limits(self, wavelength):
        """Give from where to where the windows in the aperture reach, um."""
        inside = self.aperture if self.aperture.any() else np.ones_like(self.aperture)
        low = max(self.zone[0], float((self.centre - self.half_width)[inside].min()))
        high = min(self.zone[1], float((self.centre + self.half_width)[inside].max()))
        return tuple(wavelength * (1 + v / SPEED_OF_LIGHT) for v in (low, high))


def located(view, choice):
    """Take a line out of a cube and find it; what it reaches is widened until it is all there.

    Parameters
    ----------
    view : CubeView
        The cube.
    choice : LineChoice
        The line.

    Returns
    -------
    channels : Channels
        About the line.
    line : Line
        The same without continuum.
    windows : Windows
        The same in all spaxels, and the region where the line is bright.
    variance : float
        Of the line in that region, (km/s)^2.

    Raises
    ------
    InputError
        Where the line is not in the cube.
    """
    half = ZONE
    while True:
        channels = _channels_of(view, choice, half)
        line = subtract_continuum(channels)
        windows, variance = _whole_line(view, channels, line)
        if REACH * variance**0.5 <= half or half >= WIDEST:
            return channels, line, windows, variance
        half = min(1.5 * half, WIDEST)


def _channels_of(view, choice, half=ZONE):
    """Take the channels about a line out of a cube.

    Where the redshift is known, the line reaches at most half the way to the next line, and
    the channels of other lines do not count as continuum.

    Parameters
    ----------
    view : CubeView
        The cube.
    choice : LineChoice
        The line.
    half : float
        How far to either side it may reach, km/s; if that is fewer channels than `NARROWEST`,
        these.

    Returns
    -------
    Channels
        Its channels.

    Raises
    ------
    InputError
        Where the line is not in the cube.
    """
    lam = view.wavelengths
    velocity = (lam / choice.wavelength - 1) * SPEED_OF_LIGHT
    if not velocity[0] < 0 < velocity[-1]:
        raise InputError(
            f"{choice.name} would be at {choice.wavelength:.4f} um; the cube reaches from "
            f"{lam[0]:.4f} to {lam[-1]:.4f} um"
        )
    bandpass = view.bandpass
    channel = SPEED_OF_LIGHT * float(np.interp(choice.wavelength, lam, bandpass / lam))
    half = max(half, NARROWEST * channel)
    others = _others(choice, max(LEAST * channel, 250.0))
    zone = (
        max([-half, *(v / 2 for v in others if v < 0)]),
        min([half, *(v / 2 for v in others if v > 0)]),
    )
    margin = max(BESIDE_VELOCITY, BESIDE * channel)
    near = slice(*np.searchsorted(velocity, [-half - margin, half + margin]))
    velocity = velocity[near]
    beside = np.abs(velocity) > half
    for other in others:
        beside &= np.abs(velocity - other) > half / 2
    data, err = (a[near].astype(float) for a in (view.data, view.err))
    known = np.isfinite(data) & np.isfinite(err) & (err > 0)
    return Channels(lam[near], bandpass[near], velocity, data, err, known, zone, beside)


def _others(choice, blend):
    """Give the velocities of other lines, km/s, but for those that are one with this one."""
    if choice.rest is None:
        return []
    found = [(rest / choice.rest - 1) * SPEED_OF_LIGHT for rest in rest_wavelengths()]
    return [v for v in found if abs(v) > blend]


def line_windows(view, channels, line, windows, variance):
    """Find where the line is in each spaxel.

    From the line as a whole on, its moments are found in the cube that is smoothed with ever
    smaller kernels; where the line is faint, they go over into those that were found before.

    Parameters
    ----------
    view : CubeView
        The cube.
    channels, line, windows, variance
        What `located` gives.

    Returns
    -------
    Windows
        The windows of the spaxels.
    """
    correlation = channel_correlation(view.correlation)
    variance = np.full(line.known.shape, variance)
    for kernel in KERNELS:
        sigma = max(kernel / view.scale, LEAST_KERNEL)
        soft = _soft(line, sigma)
        for _ in range(ROUNDS):
            windows, variance = _refine(channels, soft, windows, variance, correlation)
    return windows


def _whole_line(view, channels, line):
    """Find where a line is as a whole.

    Parameters
    ----------
    view : CubeView
        The cube.
    channels : Channels
        About the line.
    line : Line
        The same without continuum.

    Returns
    -------
    windows : Windows
        The same in all spaxels, and the region where the line is bright.
    variance : float
        Of the line in that region, (km/s)^2.
    """
    correlation = channel_correlation(view.correlation)
    shape = line.known.shape
    windows = _everywhere(channels, 0.0, np.inf, np.zeros(shape, bool))
    for _ in range(2):  # in all of the zone, then about the line as a whole
        image, err = _image(channels, line, windows, correlation)
        aperture = bright_region(image, err, view)
        centre, variance = _whole(channels, line, aperture, correlation)
        windows = _everywhere(channels, centre, REACH * variance**0.5, aperture)
    return windows, variance


def _everywhere(channels, centre, half_width, aperture):
    """Make windows that are the same in all spaxels."""
    full = np.full(aperture.shape, 1.0)
    channel = SPEED_OF_LIGHT * float(np.median(channels.bandpass / channels.wavelengths))
    half_width = max(half_width, LEAST * channel)
    return Windows(centre * full, half_width * full, channels.zone, aperture, channel)


def _image(channels, line, windows, correlation):
    """Integrate a line over its windows: flux and error, MJy/sr um."""
    width = windows.parts(channels) * channels.bandpass[:, None, None]
    flux = (width * line.values).sum(axis=0)
    err = np.sqrt(linear_variance(line.with_continuum(width) * line.err, correlation))
    return np.where(line.known, flux, np.nan), np.where(line.known, err, np.nan)


def _whole(channels, line, aperture, correlation):
    """Give mean velocity and variance of a line as a whole, km/s.

    Where the line is too faint for that, they are 0 and that of a fourth of the zone.
    """
    windows = _everywhere(channels, 0.0, np.inf, aperture)
    faint = 0.0, (channels.zone[1] - channels.zone[0]) ** 2 / 64
    if not aperture.any():
        return faint
    values = line.values[:, aperture].sum(axis=1)[:, None, None]
    err = np.sqrt((line.err[:, aperture] ** 2).sum(axis=1))[:, None, None]
    centre, variance = np.zeros((1, 1)), np.full((1, 1), np.inf)
    for _ in range(2 * ROUNDS):
        half = np.maximum(REACH * np.sqrt(variance), LEAST * windows.channel)
        here = Windows(centre, half, channels.zone, aperture, windows.channel)
        flux, centre, variance = _moments(channels, values, here)
        width = here.parts(channels) * channels.bandpass[:, None, None]
        if flux[0, 0] < FAINTEST * np.sqrt(linear_variance(width * err, correlation)[0, 0]):
            return faint
        variance = variance.clip(min=windows.channel**2 / 4)
    return float(centre[0, 0]), float(variance[0, 0])


def _moments(channels, values, windows):
    """Give flux, mean velocity and variance in windows; without light the latter are theirs."""
    width = windows.parts(channels) * channels.bandpass[:, None, None]
    offset = channels.velocity[:, None, None] - windows.centre
    flux = (width * values).sum(axis=0)
    safe = np.where(flux > 0, flux, np.inf)
    first = (width * offset * values).sum(axis=0) / safe
    second = (width * (offset - first) ** 2 * values).sum(axis=0) / safe
    return flux, windows.centre + first, second


def _soft(line, sigma):
    """Smooth a line over the sky: values and errors, shape ``(n, ny, nx)``."""
    sigmas = (0, sigma, sigma)
    values = np.where(line.known, line.values, 0.0)
    variance = np.where(line.known, line.err, 0.0) ** 2
    weight = ndimage.gaussian_filter(line.known.astype(float), sigma, mode="constant")
    weight = weight.clip(min=1e-3)
    values = ndimage.gaussian_filter(values, sigmas, mode="constant") / weight
    variance = ndimage.gaussian_filter(variance, sigmas, mode="constant") / weight
    return values, np.sqrt(variance / max(4 * np.pi * sigma**2, 1.0))


def _refine(channels, soft, windows, variance, correlation):
    """Move windows to where the line is in a smoothed cube: windows and variances."""
    values, err = soft
    flux, centre, own = _moments(channels, values, windows)
    width = windows.parts(channels) * channels.bandpass[:, None, None]
    prior = PRIOR * np.sqrt(linear_variance(width * err, correlation))
    light = flux.clip(min=0)
    weight = np.divide(light, light + prior, out=np.zeros_like(light), where=light > 0)
    centre = weight * centre + (1 - weight) * windows.centre
    variance = weight * own.clip(min=windows.channel**2 / 4) + (1 - weight) * variance
    half = np.maximum(REACH * np.sqrt(variance), LEAST * windows.channel)
    return Windows(centre, half, windows.zone, windows.aperture, windows.channel), variance
