"""Cubes of a rotating Gaussian source with lines: known moments, correlated noise."""

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS
from scipy.special import erf

from msa3d_steps.quicklook.view import CubeView

C = 299792.458  # km/s
MIXED = 0.3  # of a channel's noise that is in the next one, too
CHANNEL_CORRELATION = MIXED / (1 + MIXED**2)
TABLE = [("spaxels", "i2"), ("channels", "i2"), ("factor", "f4"), ("spread", "f4")]


@dataclass(frozen=True)
class Galaxy:
    """A source whose lines have a Gaussian profile in each spaxel."""

    lines: dict  # rest wavelength (um): peak of the integrated line, MJy/sr um
    redshift: float = 1.0
    rotation: float = 120.0  # km/s at two standard deviations
    dispersion: float = 70.0  # km/s
    size: float = 0.3  # arcsec, standard deviation
    continuum: float = 0.0  # MJy/sr at its peak
    slope: float = 0.5  # of the continuum, per channel / 100


def rows(correlation):
    """A table CORRELATION of spaxels that are independent, of channels that are not."""
    found = [
        (side, n, np.sqrt(1 + 2 * (1 - 1 / n) * correlation), 0.0)
        for side in range(1, 8)
        for n in (1, 2, 3, 5, 10)
    ]
    return np.array(found, dtype=TABLE)


def grid(ny=24, nx=24, n_wave=240, start=1.2, step=2.3e-4, scale=0.1):
    """Wavelengths, offsets of the spaxels (arcsec), and a WCS."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [150.1, 2.2], [(nx + 1) / 2, (ny + 1) / 2]
    wcs.wcs.cdelt = [scale / 3600] * 2
    wcs.wcs.pc = [[-1, 0], [0, 1]]
    y, x = (np.indices((ny, nx)) - np.array([(ny - 1) / 2, (nx - 1) / 2])[:, None, None]) * scale
    return start + step * np.arange(n_wave), y, x, wcs, scale


def view_of_galaxy(galaxy, noise=0.05, seed=None, correlated=True, **options):
    """The cube; noise-free, if there is no seed (ERR is the same)."""
    lam, y, x, wcs, scale = grid(**options)
    light, velocity = truth(galaxy, y, x)
    half = options.get("step", 2.3e-4) / 2
    edges = np.append(lam - half, lam[-1] + half)
    width = np.diff(edges)[:, None, None]
    data = galaxy.continuum * light * (1 + galaxy.slope * np.arange(lam.size)[:, None, None] / 100)
    for rest, peak in galaxy.lines.items():
        centre = rest * (1 + galaxy.redshift)
        place, sigma = centre * (1 + velocity / C), centre * galaxy.dispersion / C
        profile = erf((edges[:, None, None] - place) / (np.sqrt(2) * sigma)) / 2
        data = data + peak * light * np.diff(profile, axis=0) / width
    err = np.full(data.shape, noise)
    if seed is not None:
        data = data + noise * correlated_noise(np.random.default_rng(seed), data.shape)
    return CubeView(
        title="s1", name="1", data=data.astype("f4"), err=err.astype("f4"), etime=None,
        wavelengths=lam, wcs=wcs, scale=scale, ra=150.1, dec=2.2,
        correlation=rows(CHANNEL_CORRELATION) if correlated else None,
    )  # fmt: skip


def truth(galaxy, y, x):
    """Light relative to the peak, and velocity (km/s), of the spaxels."""
    light = np.exp(-0.5 * (x**2 + y**2) / galaxy.size**2)
    return light, galaxy.rotation * np.tanh(x / galaxy.size) / np.tanh(2)


def correlated_noise(rng, shape):
    """Noise of standard deviation 1, of which neighbouring channels share a part."""
    white = rng.normal(size=(shape[0] + 1, *shape[1:]))
    return (white[:-1] + MIXED * white[1:]) / np.hypot(1, MIXED)
