"""Maps of an emission line: flux, velocity and dispersion as moments, with their errors.

With the continuum-subtracted flux density ``s_i`` of channel `i` (erg s-1 cm-2 um-1 arcsec-2),
its width ``D_i``, its velocity ``v_i = c (lam_i / lam_0 - 1)`` and the part ``w_i`` of it that
lies in the window of the spaxel,

=========== =================================================================================
flux        ``F = sum_i w_i D_i s_i``
velocity    ``V = sum_i w_i D_i v_i s_i / F``
dispersion  ``S^2 = sum_i w_i D_i (v_i - V)^2 s_i / F``
=========== =================================================================================

Each is a sum of channels to first order, with the weights ``w_i D_i``, ``w_i D_i (v_i - V) / F``
and ``w_i D_i ((v_i - V)^2 - S^2) / (2 S F)``, less what the straight line of the continuum takes
off the channels beside. Of these sums the variance follows from ERR and the correlation of
channels (`noise`).

The window of a spaxel reaches `REACH` standard deviations to either side of the line as it is near
the spaxel: its place and width are the moments of the smoothed cube, which are found by
iteration from the line as a whole (`windows`). So a window is little moved by the noise of
its own spaxel, as one that follows the spaxel's own maximum would be, and errors are not those of
a window that holds all of the rotation.
"""

from dataclasses import dataclass

import numpy as np

from msa3d_steps.quicklook.noise import channel_correlation, linear_variance, sum_factor
from msa3d_steps.quicklook.windows import line_windows, located

__all__ = ["FAILED", "FAINT", "NO_DATA", "NO_DISPERSION", "LineMaps", "map_line"]

NO_DATA, FAINT, FAILED, NO_DISPERSION = 1, 2, 4, 8
"""Bits of the mask."""

CGS = 2.99792458e14 * 1e-17 * np.deg2rad(1 / 3600) ** 2
"""erg s-1 cm-2 arcsec-2 um-1 in a MJy/sr at 1 um: ``f_lam = f_nu c / lam^2``."""


@dataclass(frozen=True)
class LineMaps:
    """Maps of an emission line.

    Attributes
    ----------
    name : str
        As in ``"[OIII]5007"``; ``"line at 1.2345 um"`` where it is unknown.
    rest : float or None
        Vacuum wavelength at rest, um.
    redshift : float or None
        For which the velocity is 0.
    wavelength : float
        The same as a wavelength, um.
    window : tuple of float
        From where to where the windows of spaxels reach, um.
    flux, flux_err : numpy.ndarray
        Of the line, erg s-1 cm-2 arcsec-2, shape ``(ny, nx)``; NaN without data.
    velocity, velocity_err : numpy.ndarray
        First moment, km/s; NaN where masked.
    dispersion, dispersion_err : numpy.ndarray
        Root of the second moment, as observed: that of the instrument is in it; km/s, NaN where
        masked.
    continuum : numpy.ndarray
        At the line, MJy/sr.
    mask : numpy.ndarray
        uint8: sum of 1 (no data), 2 (S/N too low for moments), 4 (the first moment fails: its
        error is as large as the window) and 8 (no dispersion: the second moment is not positive); 0
        is good.
    aperture : numpy.ndarray
        Where the line is bright, bool.
    total_flux, total_flux_err : float
        Sum over the aperture, erg s-1 cm-2.
    """

    name: str
    rest: float | None
    redshift: float | None
    wavelength: float
    window: tuple
    flux: np.ndarray
    flux_err: np.ndarray
    velocity: np.ndarray
    velocity_err: np.ndarray
    dispersion: np.ndarray
    dispersion_err: np.ndarray
    continuum: np.ndarray
    mask: np.ndarray
    aperture: np.ndarray
    total_flux: float
    total_flux_err: float

    @property
    def snr(self):
        """Signal over noise of the flux, shape ``(ny, nx)``; NaN without data."""
        return self.flux / self.flux_err

    @property
    def total_snr(self):
        """Signal over noise of the total flux."""
        return self.total_flux / self.total_flux_err if self.total_flux_err > 0 else 0.0


def map_line(view, choice, snr=3.0):
    """Make the maps of a line.

    Parameters
    ----------
    view : CubeView
        The cube.
    choice : LineChoice
        The line.
    snr : float
        Signal over noise of a spaxel's flux from which on it has a velocity and a dispersion.

    Returns
    -------
    LineMaps
        Its maps.

    Raises
    ------
    InputError
        Where the cube does not reach to both sides of the line.
    """
    channels, line, windows, variance = located(view, choice)
    windows = line_windows(view, channels, line, windows, variance)
    found = _moments(channels, line, windows, channel_correlation(view.correlation))
    nothing = ~found["known"]
    faint = ~nothing & ~(found["flux"] >= snr * found["flux_err"])
    good = ~nothing & ~faint
    failed = good & ~(found["velocity_err"] < windows.half_width)
    shapeless = good & ~failed & ~(found["variance"] > 0)
    mask = NO_DATA * nothing + FAINT * faint + FAILED * failed + NO_DISPERSION * shapeless
    good &= ~failed
    aperture = windows.aperture
    total, total_err = _total(view, found, aperture, windows)
    dispersion = np.sqrt(found["variance"].clip(min=0))

    def where(seen, values):
        return np.where(seen, values, np.nan).astype(np.float32)

    wide = good & ~shapeless
    return LineMaps(
        name=choice.name, rest=choice.rest, redshift=choice.redshift,
        wavelength=choice.wavelength, window=windows.limits(choice.wavelength),
        flux=where(~nothing, found["flux"]), flux_err=where(~nothing, found["flux_err"]),
        velocity=where(good, found["velocity"]), velocity_err=where(good, found["velocity_err"]),
        dispersion=where(wide, dispersion), dispersion_err=where(wide, found["dispersion_err"]),
        continuum=where(~nothing, line.continuum.at(0.0)), mask=mask.astype(np.uint8),
        aperture=aperture, total_flux=total, total_flux_err=total_err,
    )  # fmt: skip


def _moments(channels, line, windows, correlation):
    """Give the moments of all spaxels; a dict of maps, float64."""
    inside = windows.parts(channels)
    known = line.known & ~((inside > 0) & ~channels.known).any(axis=0)
    width = inside * (CGS * channels.bandpass / channels.wavelengths**2)[:, None, None]
    values = np.where(inside > 0, line.values, 0.0)
    velocity = channels.velocity[:, None, None]

    def error(weights):
        weights = line.with_continuum(weights)
        return np.sqrt(linear_variance(weights * line.err, correlation).clip(min=0))

    with np.errstate(invalid="ignore", divide="ignore"):
        flux = (width * values).sum(axis=0)
        # about the middle of the window, where the numbers are small
        offset = velocity - windows.centre
        first = (width * offset * values).sum(axis=0) / flux
        offset = offset - first
        variance = (width * offset**2 * values).sum(axis=0) / flux
        dispersion_err = error(width * (offset**2 - variance) / flux) / (2 * np.sqrt(variance))
        return {
            "known": known, "flux": flux, "flux_err": error(width),
            "velocity": windows.centre + first, "velocity_err": error(width * offset / flux),
            "variance": variance, "dispersion_err": dispersion_err,
        }  # fmt: skip


def _total(view, found, aperture, windows):
    """Sum the flux over the aperture: flux and error, erg s-1 cm-2."""
    inside = aperture & found["known"]
    if not inside.any():
        return 0.0, 0.0
    area = view.scale**2
    n_channels = float(np.median(2 * windows.half_width[inside])) / windows.channel
    ratio = sum_factor(view.correlation, inside.sum(), max(n_channels, 1))
    ratio /= sum_factor(view.correlation, 1, max(n_channels, 1))
    error = np.sqrt((found["flux_err"][inside] ** 2).sum()) * ratio
    return float(found["flux"][inside].sum() * area), float(error * area)
