"""A scene whose every photon is known: galaxies, point sources and the zodiacal light.

A source is a set of round Gaussian clouds on the sky, each with a velocity and a velocity
dispersion. So its surface brightness is a finite sum of Gaussians in (ra, dec, wavelength), and
stays one after convolution with a point spread function that is a sum of Gaussians; averages over
slits, pixels, spaxels and bandpasses are differences of error functions, without quadrature.
"""

from dataclasses import dataclass, field

import numpy as np

from msa3d_steps.errors import InputError

__all__ = [
    "LINE_TABLE",
    "Clouds",
    "Galaxy",
    "Line",
    "PointSource",
    "Scene",
    "check_widths",
    "galaxy_lines",
]

SPEED_OF_LIGHT = 299792.458  # km/s
ARCSEC2_IN_SR = (np.pi / 180 / 3600) ** 2
REFERENCE_WAVELENGTH = 1.3  # um, where continua are normalised

# Vacuum wavelengths (um; NIST) and strengths relative to H-alpha: case B at 10^4 K (Osterbrock &
# Ferland 2006, table 4.4), doublets by their transition probabilities (Storey & Zeippen 2000), the
# rest as in a star-forming disk of solar metallicity at redshift 1.
LINE_TABLE = (
    ("Hbeta", 0.4862683, 1 / 2.86),
    ("[OIII]4959", 0.4960295, 0.70 / 2.98),
    ("[OIII]5007", 0.5008240, 0.70),
    ("[NII]6548", 0.6549850, 0.35 / 3.05),
    ("Halpha", 0.6564610, 1.0),
    ("[NII]6583", 0.6585280, 0.35),
    ("[SII]6716", 0.6718290, 0.17),
    ("[SII]6731", 0.6732670, 0.13),
)


@dataclass(frozen=True)
class Line:
    """An emission line.

    Attributes
    ----------
    name : str
        Its name.
    wavelength : float
        Vacuum wavelength at rest, um.
    flux : float
        Flux, 1e-20 W/m2.
    """

    name: str
    wavelength: float
    flux: float


@dataclass(frozen=True)
class Clouds:
    """Round Gaussian clouds, arrays of shape ``(n,)``.

    Attributes
    ----------
    east, north : ndarray
        Offsets from the source's position in its tangent plane, arcsec.
    sigma : ndarray
        Standard deviation on the sky, arcsec; 0 for a point.
    line, continuum : ndarray
        Shares of the source's line and continuum flux.
    velocity, dispersion : ndarray
        Velocity relative to the source's redshift, and its dispersion, km/s.
    """

    east: np.ndarray
    north: np.ndarray
    sigma: np.ndarray
    line: np.ndarray
    continuum: np.ndarray
    velocity: np.ndarray
    dispersion: np.ndarray


@dataclass(frozen=True)
class _Source:
    """What all sources have in common.

    Attributes
    ----------
    source_id : int
        Number in the catalogue.
    ra, dec : float
        Position, deg.
    redshift : float
        Systemic redshift.
    lines : tuple of Line
        Emission lines.
    continuum : float
        Flux density at 1.3 um, uJy.
    slope : float
        Power of the wavelength with which the flux density changes.
    """

    source_id: int
    ra: float
    dec: float
    redshift: float = 0.0
    lines: tuple = ()
    continuum: float = 0.0
    slope: float = 0.0

    def observed(self, line):
        """Observed wavelength of a line at the systemic redshift, um."""
        return line.wavelength * (1 + self.redshift)

    def line_brightness(self, line):
        """Integral of a line's surface brightness, MJy/sr arcsec2 um.

        ``F lam^2 / c``, the flux density of a line in frequency times its width in wavelength.
        """
        lam = self.observed(line) * 1e-6
        in_mega_jansky_um = line.flux * lam**2 / (SPEED_OF_LIGHT * 1e3) * 1e6  # 1e-20 W = 1 MJy Hz
        return in_mega_jansky_um / ARCSEC2_IN_SR

    def continuum_brightness(self, lam):
        """Integral of the continuum's surface brightness over the sky at ``lam`` (um).

        Returns
        -------
        ndarray
            MJy/sr arcsec2, shape of ``lam``.
        """
        total = self.continuum * 1e-12 / ARCSEC2_IN_SR
        return total * (np.asarray(lam) / REFERENCE_WAVELENGTH) ** self.slope

    def offsets(self, ra, dec):
        """Offsets of positions (deg) from the source in its tangent plane: east, north, arcsec."""
        d_ra, dec0 = np.deg2rad(ra - self.ra), np.deg2rad(self.dec)
        dec = np.deg2rad(dec)
        cos_distance = np.sin(dec0) * np.sin(dec) + np.cos(dec0) * np.cos(dec) * np.cos(d_ra)
        east = np.cos(dec) * np.sin(d_ra) / cos_distance
        north = np.cos(dec0) * np.sin(dec) - np.sin(dec0) * np.cos(dec) * np.cos(d_ra)
        return np.rad2deg(east) * 3600, np.rad2deg(north / cos_distance) * 3600


@dataclass(frozen=True)
class PointSource(_Source):
    """A point with a continuum and lines of a given velocity dispersion (km/s)."""

    dispersion: float = 0.0

    def clouds(self):
        """Give the one cloud, a point."""
        zero, one = np.zeros(1), np.ones(1)
        return Clouds(zero, zero, zero, one, one, zero, np.full(1, self.dispersion))


@dataclass(frozen=True)
class Galaxy(_Source):
    """A thin exponential disk that rotates, with an optional bulge and clumps.

    Attributes
    ----------
    scale_length : float
        Of the disk, arcsec.
    inclination : float
        0 is face on, deg.
    position_angle : float
        Of the receding half of the major axis, deg east of north.
    rotation : float
        Asymptotic rotation speed in the disk's plane, km/s.
    turnover : float
        Radius of the arctan rotation curve (Courteau 1997), arcsec.
    dispersion : float
        Velocity dispersion of the gas, km/s.
    bulge : float
        Share of the continuum that is in a round Gaussian bulge.
    bulge_sigma : float
        Its standard deviation, arcsec.
    clumps : tuple of tuple
        ``(east, north, share of the line flux)``; a clump moves with the disk, arcsec.
    truncation : float
        Where the disk ends, scale lengths.
    """

    scale_length: float = 0.35
    inclination: float = 50.0
    position_angle: float = 30.0
    rotation: float = 200.0
    turnover: float = 0.15
    dispersion: float = 40.0
    bulge: float = 0.0
    bulge_sigma: float = 0.06
    clumps: tuple = field(default=())
    truncation: float = 5.0

    def velocity(self, east, north):
        """Line-of-sight velocity of the disk at offsets on the sky (arcsec), km/s."""
        major, minor = self._plane(east, north)
        radius = np.hypot(major, minor)
        speed = self.rotation * (2 / np.pi) * np.arctan(radius / self.turnover)
        cos_azimuth = np.divide(major, radius, out=np.zeros_like(radius), where=radius > 0)
        return speed * cos_azimuth * np.sin(np.deg2rad(self.inclination))

    def clouds(self):
        """Lay the clouds out on a hexagonal grid on the sky.

        The clouds of the disk are 0.7 of their distance wide, which leaves a ripple below 1e-4;
        their distance is an eighth of the scale length, at most 0.05 arcsec, so that a galaxy
        seen face on is less than 0.2% wider than its exponential.
        """
        spacing = min(self.scale_length / 8, 0.05)
        east, north = _hexagons(self.truncation * self.scale_length, spacing)
        radius = np.hypot(*self._plane(east, north))
        inside = radius < self.truncation * self.scale_length
        east, north, radius = east[inside], north[inside], radius[inside]
        disk = np.exp(-radius / self.scale_length)
        disk /= disk.sum()
        clumps = np.array(self.clumps, float).reshape(-1, 3)
        none = np.zeros(len(clumps))
        share = 1 - clumps[:, 2].sum()
        x = np.concatenate([east, clumps[:, 0], [0.0]])
        y = np.concatenate([north, clumps[:, 1], [0.0]])
        return Clouds(
            x, y,
            np.concatenate([np.full(east.size, 0.7 * spacing), none + 0.03, [self.bulge_sigma]]),
            np.concatenate([share * disk, clumps[:, 2], [0.0]]),
            np.concatenate([(1 - self.bulge) * disk, none, [self.bulge]]),
            self.velocity(x, y), np.full(x.size, self.dispersion),
        )  # fmt: skip

    def _plane(self, east, north):
        """Coordinates in the disk's plane, along and across its receding major axis, arcsec."""
        angle = np.deg2rad(self.position_angle)
        major = east * np.sin(angle) + north * np.cos(angle)
        minor = east * np.cos(angle) - north * np.sin(angle)
        return major, minor / np.cos(np.deg2rad(self.inclination))


@dataclass(frozen=True)
class Scene:
    """Everything that shines.

    Attributes
    ----------
    sources : tuple
        Galaxies and point sources.
    zodiacal : float
        Surface brightness of the uniform background at 1.3 um, MJy/sr.
    zodiacal_slope : float
        Power of the wavelength with which it changes.
    """

    sources: tuple
    zodiacal: float = 0.0
    zodiacal_slope: float = -0.4

    def background(self, lam):
        """Surface brightness of the zodiacal light at ``lam`` (um), MJy/sr."""
        return self.zodiacal * (np.asarray(lam) / REFERENCE_WAVELENGTH) ** self.zodiacal_slope

    def brightness(self, ra, dec, lam, psf=None):
        """Surface brightness at points, MJy/sr.

        Parameters
        ----------
        ra, dec : ndarray
            Positions, deg, shape ``(n,)``.
        lam : ndarray
            Wavelengths, um, shape ``(n,)``.
        psf : Psf or None
            Seen through this point spread function; a point source needs one. The width of a
            line's point spread function is that at the line's systemic wavelength.

        Returns
        -------
        ndarray
            Shape ``(n,)``.

        Raises
        ------
        InputError
            If a point is to be seen without point spread function, or a line without dispersion.
        """
        total = self.background(lam)
        for source in self.sources:
            clouds = source.clouds()
            check_widths(source, clouds, psf)
            east, north = source.offsets(ra, dec)
            squared = (east[:, None] - clouds.east) ** 2 + (north[:, None] - clouds.north) ** 2
            image = _image(squared, clouds.sigma, psf, np.asarray(lam, float)[:, None])
            total = total + source.continuum_brightness(lam) * (image @ clouds.continuum)
            for line in source.lines:
                centre = source.observed(line)
                image = _image(squared, clouds.sigma, psf, centre)
                place = centre * (1 + clouds.velocity / SPEED_OF_LIGHT)
                width = centre * clouds.dispersion / SPEED_OF_LIGHT
                profile = np.exp(-0.5 * ((lam[:, None] - place) / width) ** 2)
                profile /= np.sqrt(2 * np.pi) * width
                light = np.einsum("ij,ij,j->i", image, profile, clouds.line)
                total = total + source.line_brightness(line) * light
        return total


def check_widths(source, clouds, psf, blurred=False):
    """Refuse what is infinitely bright.

    Parameters
    ----------
    source : Galaxy or PointSource
        What shines.
    clouds : Clouds
        Its clouds.
    psf : Psf or None
        Point spread function.
    blurred : bool
        Whether a line spread function widens the lines.

    Raises
    ------
    InputError
        If there is a point without point spread function, or a line without any width.
    """
    if psf is None and not (clouds.sigma > 0).all():
        raise InputError(
            f"source {source.source_id} has a point in it, which has no brightness of its own; "
            "give a point spread function"
        )
    if source.lines and not blurred and not (clouds.dispersion > 0).all():
        raise InputError(
            f"the lines of source {source.source_id} have no width, hence no brightness at a "
            "wavelength; give a velocity dispersion above 0"
        )


def _image(squared, sigma, psf, lam):
    """Sum the Gaussians of the point spread function at squared distances (arcsec2)."""
    weights, widths = ((1.0,), (0.0,)) if psf is None else psf.components(lam)
    image = 0.0
    for weight, width in zip(weights, widths, strict=True):
        variance = sigma**2 + width**2
        image = image + weight * np.exp(-0.5 * squared / variance) / (2 * np.pi * variance)
    return image


def _hexagons(radius, spacing):
    """Lay points out on a hexagonal grid in a square of half width ``radius`` (arcsec)."""
    n_rows = int(np.ceil(radius / (spacing * np.sqrt(0.75))))
    n_columns = int(np.ceil(radius / spacing)) + 1
    row, column = np.mgrid[-n_rows : n_rows + 1, -n_columns : n_columns + 1]
    return ((column + 0.5 * (row % 2)) * spacing).ravel(), (row * spacing * np.sqrt(0.75)).ravel()


def galaxy_lines(h_alpha):
    """Make the strong optical lines of a star-forming galaxy.

    Parameters
    ----------
    h_alpha : float
        Flux of H-alpha, 1e-20 W/m2.

    Returns
    -------
    tuple of Line
        H-beta, [OIII], [NII], H-alpha, [SII].
    """
    return tuple(Line(name, lam, ratio * h_alpha) for name, lam, ratio in LINE_TABLE)
