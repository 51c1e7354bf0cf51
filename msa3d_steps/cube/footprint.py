"""Where the light of each detector pixel of a slitlet comes from.

A pixel sees the full open width of the slit (``x_slit`` from -0.5 to 0.5), its own height along the
slit and its own bandpass. Height and bandpass follow from the WCS at the pixel's edges. Both are
smooth, so the WCS is evaluated on a sparse grid and a Chebyshev surface is laid through it; the
slit itself lies on the sky by an affine map.
"""

from dataclasses import dataclass

import numpy as np

from msa3d_steps.cube.surface import Dispersion, Surface, fit_surfaces
from msa3d_steps.cube.tangent import from_plane, to_plane
from msa3d_steps.cube.transforms import frame_names, transform_between
from msa3d_steps.errors import InputError

__all__ = ["OPEN_WIDTH", "Footprint", "axes_of_slit", "footprint_from_wcs"]

OPEN_WIDTH = 0.196
"""Width of an open MSA shutter on the sky, arcsec, for data whose WCS does not know the slit."""

METRES_TO_MICRON = 1e6


@dataclass(frozen=True)
class Footprint:
    """The geometry of one slitlet of one exposure on one detector.

    Parameters
    ----------
    shape : tuple of int
        Shape ``(ny, nx)`` of the cutout.
    wavelength : Surface or Dispersion
        Wavelength, um, of a detector position.
    along : Surface
        Position along the slit, ``y_slit``, of a detector position. Its unit is that of `sky`.
    limits : tuple of float
        Least and largest ``y_slit`` of the illuminated slit.
    columns : tuple of int
        First and last column that has data.
    n_lit : int
        Number of pixels between these limits and columns.
    sky : numpy.ndarray
        Shape ``(4, n)``: ``x_slit``, ``y_slit``, ra and dec (degrees) of points of the slit.
    """

    shape: tuple
    wavelength: Surface | Dispersion
    along: Surface
    limits: tuple
    columns: tuple
    n_lit: int
    sky: np.ndarray

    def to_plane(self, ra_center, dec_center):
        """Give the affine map from the slit to the tangent plane of a centre.

        Parameters
        ----------
        ra_center, dec_center : float
            The tangent point, degrees.

        Returns
        -------
        offset : numpy.ndarray
            Shape ``(2,)``: xi and eta of the slit's origin, arcsec.
        matrix : numpy.ndarray
            Shape ``(2, 2)``: arcsec for one unit of ``x_slit`` (first column) and ``y_slit``.
        """
        x_slit, y_slit, ra, dec = self.sky
        plane = np.stack(to_plane(ra, dec, ra_center, dec_center), axis=1)
        design = np.stack([np.ones_like(x_slit), x_slit, y_slit], axis=1)
        solution = np.linalg.lstsq(design, plane)[0]
        return solution[0], solution[1:].T

    def corners(self, offset, matrix):
        """Give the corners of the slit under an affine map.

        Parameters
        ----------
        offset, matrix : numpy.ndarray
            Shapes ``(2,)`` and ``(2, 2)``: where the slit's origin is, and the change for one unit
            of ``x_slit`` (first column) and ``y_slit``; those of `to_plane`, for example.

        Returns
        -------
        numpy.ndarray
            Shape ``(4, 2)``.
        """
        low, high = self.limits
        slit = np.array([[-0.5, low], [0.5, low], [0.5, high], [-0.5, high]])
        return offset + slit @ matrix.T

    def wavelengths_of_rows(self):
        """Give the wavelengths at which the lit rows of the slit begin and end.

        Returns
        -------
        common : tuple of float
            Least and largest wavelength that all rows have, um.
        reach : tuple of float
            Least and largest wavelength that any row has, um.
        """
        first, last = self.columns
        ends = np.array([first - 0.5, last + 0.5])
        rows = np.arange(self.shape[0] + 1) - 0.5
        along, wavelength = self.along(ends, rows), self.wavelength(ends, rows)
        margin = 0.1 * np.abs(np.diff(along[:, 0])).max()
        low, high = self.limits
        lit = (along > low - margin) & (along < high + margin)
        lit |= ~lit.any(axis=0)  # no row is lit at this end
        blue, red = (wavelength[lit[:, i], i] for i in np.argsort(wavelength.mean(axis=0)))
        return (blue.max(), red.min()), (blue.min(), red.max())

    @property
    def span(self):
        """The columns that have data, as a slice."""
        return slice(self.columns[0], self.columns[1] + 1)

    @property
    def middles(self):
        """Columns (those that have data) and rows of the middles of pixels, for its surfaces."""
        return np.arange(self.columns[0], self.columns[1] + 1.0), np.arange(float(self.shape[0]))

    @property
    def center(self):
        """Sky position (ra, dec), degrees, of the middle of the slit's sampled points."""
        ra0, dec0 = self.sky[2, 0], self.sky[3, 0]
        xi, eta = to_plane(self.sky[2], self.sky[3], ra0, dec0)
        ra, dec = from_plane(xi.mean(), eta.mean(), ra0, dec0)
        return float(ra), float(dec)

    @property
    def row_height(self):
        """Median height of a pixel along the slit, in units of ``y_slit``."""
        rows = np.arange(self.shape[0] + 1) - 0.5
        edges = self.along(np.array([0.5 * sum(self.columns)]), rows)
        return float(np.median(np.abs(np.diff(edges[:, 0]))))

    @property
    def pixel_height(self):
        """Median height of a pixel along the slit, arcsec."""
        _, matrix = self.to_plane(*self.center)
        return self.row_height * float(np.hypot(*matrix[:, 1]))


def axes_of_slit(matrix):
    """Give the directions across and along a slit on the sky.

    Parameters
    ----------
    matrix : numpy.ndarray
        Shape ``(2, 2)``: that of `Footprint.to_plane`.

    Returns
    -------
    numpy.ndarray
        Shape ``(2, 2)``: unit vectors (xi, eta) across and along the slit, as rows.
    """
    along = matrix[:, 1] / np.hypot(*matrix[:, 1])
    return np.array([[along[1], -along[0]], along])


def footprint_from_wcs(wcs, usable, opening=None):
    """Measure the footprint of a cutout with its WCS.

    Parameters
    ----------
    wcs : `~gwcs.wcs.WCS`
        WCS of the cutout; one with a frame ``gwa`` comes from the detector, one without it is
        that of a rectified spectrum.
    usable : numpy.ndarray
        Boolean, shape ``(ny, nx)``: the pixels that have data; they tell how far the slit is lit.
        Changed in place: pixels beyond the opening become False.
    opening : tuple of float, optional
        Least and largest ``y_slit`` of the open shutters, where they are known. jwst cuts slits
        out with a margin of half a shutter, where there is no light and what a correction of the
        bar shadows makes of none.

    Returns
    -------
    Footprint
        The geometry.

    Raises
    ------
    InputError
        Where the WCS gives no finite coordinates.
    """
    from_detector = "gwa" in frame_names(wcs)
    surfaces = _surfaces_of_slit if from_detector else _surfaces_of_rectified
    lit = np.flatnonzero(usable.any(axis=0))
    if not lit.size:
        raise InputError("no pixel has data (all are NaN or DO_NOT_USE); leave this slit out")
    columns = int(lit[0]), int(lit[-1])
    wavelength, along, slit_to_sky = surfaces(wcs, usable.shape, columns)
    if from_detector and opening is not None:
        _leave_out_ends(along, usable, opening)
    limits, n_lit = _lit_range(along, usable)
    sky = slit_to_sky(wavelength, limits)
    return Footprint(usable.shape, wavelength, along, limits, columns, n_lit, sky)


def _surfaces_of_slit(wcs, shape, columns):
    """Take wavelength and ``y_slit`` of the detector, and the slit's place on the sky."""
    to_slit = transform_between(wcs, frame_names(wcs)[0], "slit_frame")

    def sample(columns, rows):
        _, y_slit, metres = to_slit(columns, rows)
        return METRES_TO_MICRON * metres, y_slit

    def slit_to_sky(wavelength, limits):
        ends = wavelength(np.array(columns, float), np.array([(shape[0] - 1) / 2]))[0]
        x_slit, y_slit, lam = (
            axis.ravel()
            for axis in np.meshgrid(
                [-0.5, 0.0, 0.5], [limits[0], 0.5 * sum(limits), limits[1]], ends
            )
        )
        ra, dec, _ = transform_between(wcs, "slit_frame")(x_slit, y_slit, lam / METRES_TO_MICRON)
        return np.stack([x_slit, y_slit, ra, dec])

    return *fit_surfaces(sample, shape[0], columns), slit_to_sky


def _surfaces_of_rectified(wcs, shape, columns):
    """Take the same from a rectified spectrum, whose WCS knows sky and wavelength only.

    The coordinate along the slit is in arcsec; the slit is as wide as a shutter and upright on it.
    """
    to_world = transform_between(wcs, frame_names(wcs)[0])
    ny, nx = shape
    rows = np.arange(float(ny))
    ra, dec, _ = to_world(np.full(ny, np.floor((nx - 1) / 2)), rows)
    ra0, dec0 = ra[ny // 2], dec[ny // 2]
    places = np.stack(to_plane(ra, dec, ra0, dec0))
    slope = np.polyfit(rows, places.T, 1)[0]
    if not np.hypot(*slope) > 0:
        raise InputError(
            "the WCS does not tell where the slit lies on the sky; run assign_wcs again"
        )
    direction = slope / np.hypot(*slope)
    half = (ny - 1) / 2
    along = np.polyfit(rows / half - 1, direction @ places, min(2, ny - 1))[::-1, None]
    _, _, lam = to_world(np.arange(float(nx)), np.full(nx, np.floor((ny - 1) / 2)))

    def slit_to_sky(wavelength, limits):
        x_slit, y_slit = (
            a.ravel() for a in np.meshgrid([-0.5, 0.0, 0.5], [limits[0], 0, limits[1]])
        )
        across = OPEN_WIDTH * np.array([direction[1], -direction[0]])
        plane = np.outer(across, x_slit) + np.outer(direction, y_slit)
        return np.stack([x_slit, y_slit, *from_plane(*plane, ra0, dec0)])

    surface = Surface(along, np.array([half]), half, columns)
    return Dispersion(lam, columns), surface, slit_to_sky


def _leave_out_ends(along, usable, opening):
    """Make pixels unusable whose middle is beyond the open shutters."""
    first, last = along.columns
    y_slit = along(np.arange(first, last + 1.0), np.arange(usable.shape[0] * 1.0))
    inside = (y_slit >= opening[0]) & (y_slit <= opening[1])
    lit = usable[:, first : last + 1]
    if not (lit & inside).any():
        raise InputError("no pixel within the open shutters has data; leave this slit out")
    lit &= inside


def _lit_range(along, usable):
    """Least and largest ``y_slit`` of usable pixels, and the number of pixels in between."""
    first, last = along.columns
    edges = along.at_edges(np.arange(usable.shape[0] + 1) - 0.5)
    edges = 0.5 * (edges[:, 1:] + edges[:, :-1])
    lower, upper = np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])
    usable = usable[:, first : last + 1]
    limits = float(lower[usable].min()), float(upper[usable].max())
    return limits, int(((lower >= limits[0]) & (upper <= limits[1])).sum())
