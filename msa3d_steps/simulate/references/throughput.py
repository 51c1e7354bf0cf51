"""Counts of a pixel per unit of brightness: telescope, gratings and detector as photon counters.

Modelled after documented figures of NIRSpec: the shape of the blazes, the level of the throughput
and the wavelengths per pixel are estimates that give count rates of the right size, not a
calibration.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.interpolate import CubicSpline

from msa3d_steps.errors import InputError

__all__ = ["GRATINGS", "PIXEL_AREA", "Grating", "conversion", "find_grating"]

ARCSEC2 = (np.pi / (180 * 3600)) ** 2
"""One square arcsecond, steradian."""

PIXEL_AREA = 0.1958 * 0.1045 * ARCSEC2
"""Sky seen by a pixel through an open shutter, steradian: slit width times height of a pixel."""

MIRROR_AREA = 25.0
"""Collecting area of the telescope, square metres (JWST documentation: 25.4, unobscured)."""

PLANCK = 6.62607015e-34
"""Planck's constant, joule second (exact in SI)."""

MEGAJANSKY = 1e-20
"""One MJy, watt per square metre and hertz."""


@dataclass(frozen=True)
class Grating:
    """A disperser with its filter, as far as the throughput is concerned.

    Parameters
    ----------
    name, filter_ : str
        As in the keywords GRATING and FILTER.
    lam_range : tuple of float
        Wavelengths that are calibrated, micron; a little wider than what the filter lets through.
    bandwidth : float or None
        Wavelengths on one pixel, micron; None for the prism, where it varies.
    blaze : float
        Wavelength of the highest throughput, micron.
    width : float
        Width of the blaze, micron.
    throughput : float
        Photons detected per photon collected, at the blaze.
    """

    name: str
    filter_: str
    lam_range: tuple[float, float]
    bandwidth: float | None
    blaze: float
    width: float
    throughput: float

    def pixel_bandwidth(self, lam):
        """Wavelengths on one pixel.

        Parameters
        ----------
        lam : array_like
            Wavelengths, micron.

        Returns
        -------
        numpy.ndarray
            Same shape; micron.
        """
        lam = np.asarray(lam, dtype=float)
        if self.bandwidth is not None:
            return np.full_like(lam, self.bandwidth)
        return np.exp(_prism_log_bandwidth()(lam))

    def efficiency(self, lam):
        """Photons detected per photon that falls on the telescope's mirror.

        A Gaussian blaze on a pedestal, so that no wavelength is blind.

        Parameters
        ----------
        lam : array_like
            Wavelengths, micron.

        Returns
        -------
        numpy.ndarray
            Same shape.
        """
        away = (np.asarray(lam, dtype=float) - self.blaze) / self.width
        return self.throughput * (0.3 + 0.7 * np.exp(-0.5 * away**2))


@cache
def _prism_log_bandwidth():
    """Logarithm of the prism's bandwidth of a pixel against wavelength, both in micron.

    From 1.4 micron on as measured in the WCS of a real exposure (GO-1345); below, after the
    documented resolving power (about 30 at 1.2 micron, 2.2 pixels per resolution element).
    """
    lam = [0.5, 0.6, 0.8, 1.0, 1.2, 1.4, 1.8, 2.4, 3.0, 4.0, 5.0, 5.6]
    band = [3.6, 5.0, 10.5, 15.8, 18.9, 20.25, 19.87, 16.54, 13.57, 10.18, 8.01, 7.0]
    return CubicSpline(lam, np.log(np.multiply(band, 1e-3)))


GRATINGS = {
    (grating.name, grating.filter_): grating
    for grating in (
        Grating("PRISM", "CLEAR", (0.5, 5.6), None, 2.6, 1.7, 0.50),
        Grating("G140M", "F100LP", (0.85, 2.05), 6.37e-4, 1.3, 0.35, 0.45),
        Grating("G140H", "F100LP", (0.85, 2.05), 2.35e-4, 1.3, 0.35, 0.40),
        Grating("G235M", "F170LP", (1.5, 3.4), 1.067e-3, 2.3, 0.60, 0.50),
        Grating("G235H", "F170LP", (1.5, 3.4), 3.95e-4, 2.3, 0.60, 0.45),
        Grating("G395M", "F290LP", (2.6, 5.6), 1.79e-3, 3.9, 1.00, 0.50),
        Grating("G395H", "F290LP", (2.6, 5.6), 6.65e-4, 3.9, 1.00, 0.45),
    )
}
"""The gratings that are modelled, by (GRATING, FILTER); throughput after the documented curves."""


def find_grating(grating, filter_):
    """Find the model of a grating with its filter.

    Parameters
    ----------
    grating, filter_ : str
        As in the keywords GRATING and FILTER.

    Returns
    -------
    Grating
        Its throughput and bandwidth.

    Raises
    ------
    InputError
        If it is not modelled.
    """
    try:
        return GRATINGS[grating, filter_]
    except KeyError:
        known = ", ".join("/".join(key) for key in GRATINGS)
        raise InputError(f"{grating}/{filter_} is not simulated; choose one of {known}") from None


def conversion(lam, grating, filter_):
    """Count the photons of one pixel from a source of unit brightness, before flats and losses.

    Photons per second are brightness x pixel area x mirror x throughput x bandwidth / (wavelength
    x Planck's constant): an energy per hertz becomes photons per fractional bandwidth. The gain is
    one electron per DN.

    Parameters
    ----------
    lam : array_like
        Wavelengths, micron.
    grating, filter_ : str
        As in the keywords GRATING and FILTER.

    Returns
    -------
    numpy.ndarray
        Same shape; DN/s per MJy/sr; NaN outside the calibrated range.
    """
    model = find_grating(grating, filter_)
    lam = np.asarray(lam, dtype=float)
    low, high = model.lam_range
    lam = np.where((lam >= low) & (lam <= high), lam, np.nan)
    photons = MEGAJANSKY * PIXEL_AREA * MIRROR_AREA / PLANCK
    return photons * model.efficiency(lam) * model.pixel_bandwidth(lam) / lam
