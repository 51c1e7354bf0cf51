"""A cube of a rotating disc whose sky, velocities and slits are known, made without the package."""

from dataclasses import replace

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from msa3d_steps.quicklook.moments import LineMaps
from msa3d_steps.quicklook.spectrum import ApertureSpectrum
from msa3d_steps.quicklook.view import CubeView, SlitPlaces

LIGHT = 299792.458
RA, DEC = 150.1, 2.3
SCALE = 0.1
WAVELENGTH = 1.3  # um, where the velocity is zero


def sky_wcs(pa=0.0, shape=(30, 24), mirrored=False):
    """A WCS whose y axis has a position angle; mirrored: east to the right where north is up."""
    angle, wcs = np.deg2rad(pa), WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [RA, DEC]
    wcs.wcs.crpix = [(shape[1] + 1) / 2, (shape[0] + 1) / 2]
    wcs.wcs.cdelt = [SCALE / 3600] * 2
    # columns: where one pixel in x and in y lead to, towards east and north
    x = -np.array([np.cos(angle), -np.sin(angle)]) * (-1 if mirrored else 1)
    wcs.wcs.pc = np.array([x, [np.sin(angle), np.cos(angle)]]).T
    return wcs


def offsets(view):
    """Offsets of the spaxels from the source towards east and north, arcsec."""
    y, x = np.indices(view.data.shape[1:])
    places = view.wcs.pixel_to_world(x, y).icrs
    east, north = SkyCoord(RA, DEC, unit="deg").spherical_offsets_to(places)
    return east.arcsec, north.arcsec


def slit_places(n_steps=3, n_dithers=2, pa=30.0, n_detectors=2):
    """Slits that step across their length."""
    n = n_steps * n_dithers * n_detectors
    step, dither = np.arange(n) // n_detectors // n_dithers, np.arange(n) // n_detectors % n_dithers
    across, along = (step - (n_steps - 1) / 2) * 0.2, dither * 0.075
    angle = np.deg2rad(pa)
    east = along * np.sin(angle) + across * np.cos(angle)
    north = along * np.cos(angle) - across * np.sin(angle)
    return SlitPlaces(
        RA + east / 3600 / np.cos(np.deg2rad(DEC)), DEC + north / 3600, np.full(n, 0.197),
        np.full(n, 1.6), np.full(n, pa), step, dither,
    )  # fmt: skip


def disc_view(pa=0.0, mirrored=False, axis_pa=60.0, shape=(80, 30, 24)):
    """A cube with a line: the disc recedes towards `axis_pa`, 100 km/s for each arcsec."""
    blank = np.zeros(shape, np.float32)
    channels = WAVELENGTH + 0.0003 * (np.arange(shape[0]) - shape[0] // 2)
    view = CubeView(
        "s000000001", "test_1", blank, blank + 0.01, blank + 1000, channels,
        sky_wcs(pa, shape[1:], mirrored), SCALE, None, slit_places(), RA, DEC, "F100LP-G140H",
    )  # fmt: skip
    velocity = disc_velocity(view, axis_pa)
    brightness = disc_light(view)
    shift = LIGHT * (channels / WAVELENGTH - 1)[:, None, None] - velocity
    data = brightness * np.exp(-0.5 * (shift / 80) ** 2) + 0.05 * brightness
    data[:, ~covered(view)] = np.nan
    return replace(view, data=data.astype(np.float32))


def disc_velocity(view, axis_pa):
    east, north = offsets(view)
    angle = np.deg2rad(axis_pa)
    return 100 * (east * np.sin(angle) + north * np.cos(angle))


def disc_light(view):
    return 5 * np.exp(-0.5 * np.sum(np.square(offsets(view)), axis=0) / 0.35**2)


def covered(view):
    """All but a corner that was not seen."""
    seen = np.ones(view.data.shape[1:], bool)
    seen[:3, :5] = False
    return seen


def disc_maps(view, axis_pa=60.0, name="[OIII]5007"):
    """The true maps of the line, masked where it is faint."""
    light, velocity = disc_light(view), disc_velocity(view, axis_pa)
    mask = np.where(light < 0.5, 2, 0).astype(np.uint8)
    mask[~covered(view)] |= 1
    good = mask == 0
    flux = np.where(covered(view), light * 1e-16, np.nan)
    one = np.ones(flux.shape)
    return LineMaps(
        name, 0.5008, WAVELENGTH / 0.5008 - 1, WAVELENGTH, (WAVELENGTH - 0.002, WAVELENGTH + 0.002),
        flux, 0.02e-16 * one, np.where(good, velocity, np.nan), np.where(good, 3.0, np.nan),
        np.where(good, 80.0, np.nan), np.where(good, 3.0, np.nan), 0.05 * light, mask, good,
        2e-16, 1e-18,
    )  # fmt: skip


def spectrum_of(view, inside=None):
    inside = disc_light(view) > 0.5 if inside is None else inside
    flux = np.nansum(view.data[:, inside], axis=1) * 1e-3
    return ApertureSpectrum(
        view.wavelengths, flux, np.full(flux.shape, 1e-4), inside, 5.0, int(inside.sum())
    )
