"""What a slitlet shows of a scene: the average over slit width, pixel height and bandpass.

The box of the slit, the pixel and its bandpass are integrated exactly, as differences of error
functions, at the nodes of a fine grid along the slit and in wavelength; pixels are read off
cubic splines through the nodes. The slit is a straight rectangle on the sky.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.interpolate import BarycentricInterpolator, CubicSpline, RectBivariateSpline

from msa3d_steps.simulate.scene.boxes import REACH, averages, sum_of_averages
from msa3d_steps.simulate.scene.gaussians import box_average
from msa3d_steps.simulate.scene.sources import SPEED_OF_LIGHT

__all__ = ["LSF_PIXELS", "SlitOnSky", "SlitPixels", "chebyshev_nodes", "observe"]

# FWHM of the line spread function before the pixels average it, in pixels of the dispersion:
# the slit's image, 0.2 arcsec, is 1.9 pixels wide, and a resolution of 2700 in G140H (JDox,
# "NIRSpec Dispersers and Filters") is 2.1 to 2.2 pixels of 2.3 Angstrom with the pixel included.
LSF_PIXELS = 2.0
FWHM = np.sqrt(8 * np.log(2))

Y_NODES = 0.008  # arcsec between nodes along the slit; the sharpest image has a sigma of 0.03
LAM_NODES = 0.2  # sigmas between nodes in wavelength
FAINT = 1e-8  # share of the brightest cloud's light that counts


@dataclass(frozen=True)
class SlitPixels:
    """The pixels of a slitlet on a detector, wherever the telescope looks.

    Attributes
    ----------
    lam : ndarray
        Wavelengths of the pixels' centres, um, NaN outside the slit, shape ``(ny, nx)``.
    y_slit : ndarray
        Their positions along the slit, in heights of an open shutter, shape ``(ny, nx)``.
    bandpass : ndarray
        Wavelengths that a pixel covers, um, shape ``(ny, nx)``.
    height : float
        Height of a pixel, in heights of an open shutter.
    """

    lam: np.ndarray
    y_slit: np.ndarray
    bandpass: np.ndarray
    height: float

    def dispersion(self, lam):
        """Wavelength per pixel at ``lam`` (um), um, from the middle row of the slit."""
        valid = np.isfinite(self.lam)
        order = np.argsort(self.lam[valid])
        return np.interp(lam, self.lam[valid][order], self.bandpass[valid][order])


@dataclass(frozen=True)
class SlitOnSky:
    """Where a slitlet is on the sky in an exposure.

    Attributes
    ----------
    ra, dec : float
        Of the origin of the slit's frame, deg.
    along : tuple of float
        East and north of one open shutter's height along the slit, arcsec.
    width : float
        Of the slit, across that direction, arcsec.
    """

    ra: float
    dec: float
    along: tuple
    width: float

    @property
    def scale(self):
        """Height of an open shutter, arcsec."""
        return float(np.hypot(*self.along))

    def coordinates(self, source, east, north):
        """Turn offsets from a source into offsets from the slit's origin.

        Parameters
        ----------
        source : Galaxy or PointSource
            The offsets' origin.
        east, north : ndarray
            Offsets, arcsec.

        Returns
        -------
        across, along : ndarray
            Offsets from the slit's origin, arcsec, shape of the input.
        """
        origin_east, origin_north = source.offsets(self.ra, self.dec)
        unit_east, unit_north = np.array(self.along) / self.scale
        east, north = east - origin_east, north - origin_north
        return east * unit_north - north * unit_east, east * unit_east + north * unit_north


@lru_cache(maxsize=64)
def _clouds(source):
    return source.clouds()


def observe(scene, psf, slit, pixels):
    """Average a scene over the footprints of a slitlet's pixels.

    Parameters
    ----------
    scene : Scene
        What shines.
    psf : Psf
        Point spread function before slit and pixels.
    slit : SlitOnSky
        Where the slit is.
    pixels : SlitPixels
        Where its pixels are.

    Returns
    -------
    ndarray
        Surface brightness, MJy/sr, NaN outside the slit, shape ``(ny, nx)``, float64.
    """
    total = scene.background(pixels.lam)
    valid = np.isfinite(pixels.lam)
    if not valid.any():
        return total
    along = pixels.y_slit * slit.scale
    nodes = _nodes(along[valid].min(), along[valid].max(), Y_NODES)
    for source in scene.sources:
        strips = _Strips(source, psf, slit, pixels.height * slit.scale, nodes)
        if not strips.near:
            continue
        if source.continuum:
            total[valid] += _continuum(strips, along[valid], pixels.lam[valid])
        for line in source.lines:
            _add_line(total, strips, line, along, pixels)
    return total


class _Strips:
    """The clouds of a source as a slit cuts them, on nodes along the slit."""

    def __init__(self, source, psf, slit, height, nodes):
        self.source, self.psf, self.nodes = source, psf, nodes
        self.half_width, self.half_height = slit.width / 2, height / 2
        clouds = _clouds(source)
        across, along = slit.coordinates(source, clouds.east, clouds.north)
        widest = psf.components(5.5)[1].max()
        reach = REACH * np.hypot(clouds.sigma, widest)
        seen = np.abs(across) < self.half_width + reach
        seen &= (along > nodes[0] - height - reach) & (along < nodes[-1] + height + reach)
        self.near = bool(seen.any())
        self.across, self.along, self.sigma = across[seen], along[seen], clouds.sigma[seen]
        self.line, self.continuum = clouds.line[seen], clouds.continuum[seen]
        self.velocity, self.dispersion = clouds.velocity[seen], clouds.dispersion[seen]

    def profiles(self, lam, light):
        """Profiles along the slit, 1/arcsec2.

        Parameters
        ----------
        lam : float
            Wavelength of the point spread function, um.
        light : ndarray
            Light of the clouds.

        Returns
        -------
        ndarray
            Light of each cloud that matters at each node, shape ``(n, n_nodes)``.
        ndarray
            Which clouds matter, bool.
        """
        weights, widths = self.psf.components(lam)
        sigma = np.hypot(self.sigma, np.reshape(widths, (-1, 1)))
        share = np.reshape(weights, (-1, 1)) * box_average(self.across, self.half_width, sigma)
        share = share * light
        total = share.sum(axis=0)
        bright = total > FAINT * total.max(initial=0)
        rows = sum_of_averages(
            self.along[bright], sigma[:, bright], share[:, bright], self.nodes, self.half_height
        )
        return rows, bright


def _nodes(low, high, step):
    """Make nodes that reach beyond ``low`` and ``high`` by two steps."""
    return np.linspace(low - 2 * step, high + 2 * step, int(np.ceil((high - low) / step)) + 5)


def chebyshev_nodes(low, high):
    """Make Chebyshev nodes dense enough for what changes as a power of the wavelength (um)."""
    low, high = 0.999 * low, 1.001 * high  # also where there is one wavelength alone
    count = 7 + int(np.ceil(4 * np.log2(high / low)))
    angle = np.pi * (np.arange(count) + 0.5) / count
    return 0.5 * (low + high) - 0.5 * (high - low) * np.cos(angle)


def _continuum(strips, along, lam):
    """Continuum of a source at points of the slit (arcsec, um), MJy/sr."""
    node = chebyshev_nodes(lam.min(), lam.max())
    profiles = [strips.profiles(lam_node, strips.continuum)[0].sum(axis=0) for lam_node in node]
    at_nodes = CubicSpline(strips.nodes, np.stack(profiles, axis=1))(along)
    basis = BarycentricInterpolator(node, np.eye(node.size))(lam)
    return strips.source.continuum_brightness(lam) * np.einsum("ij,ij->i", at_nodes, basis)


def _add_line(total, strips, line, along, pixels):
    """Add an emission line to the pixels that see it."""
    centre = strips.source.observed(line)
    bandpass = pixels.dispersion(centre)
    place = centre * (1 + strips.velocity / SPEED_OF_LIGHT)
    sigma = np.hypot(centre * strips.dispersion / SPEED_OF_LIGHT, LSF_PIXELS * bandpass / FWHM)
    reach = REACH * sigma.max() + bandpass
    inside = (pixels.lam > place.min() - reach) & (pixels.lam < place.max() + reach)
    if not inside.any():
        return
    rows, bright = strips.profiles(centre, strips.line)
    nodes = _nodes(place.min() - reach, place.max() + reach, LAM_NODES * sigma.min())
    spectra = averages(place[bright], sigma[bright], nodes, bandpass / 2)
    table = RectBivariateSpline(strips.nodes, nodes, rows.T @ spectra)
    brightness = strips.source.line_brightness(line)
    total[inside] += brightness * table.ev(along[inside], pixels.lam[inside])
