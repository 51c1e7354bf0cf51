"""Where the light of each detector pixel of a slitlet comes from.

A pixel sees the full open width of the slit (``x_slit`` from -0.5 to 0.5), its own height along the
slit and its own bandpass. Height and bandpass follow from the WCS at the pixel's edges. Both are
smooth, so the WCS is evaluated on a sparse grid and a Chebyshev surface is laid through it; the
slit itself lies on the sky by an affine map.
"""

import logging
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial import chebyshev
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from msa3d_steps.cube.tangent import from_plane, to_plane
from msa3d_steps.cube.transforms import frame_names, transform_between
from msa3d_steps.errors import InputError

__all__ = ["OPEN_WIDTH", "Footprint", "Surface", "footprint_from_wcs"]

log = logging.getLogger(__name__)

OPEN_WIDTH = 0.196
"""Width of an open MSA shutter on the sky, arcsec, for data whose WCS does not know the slit."""

FIT_TOLERANCE = 0.002
"""Largest residual of a surface that is accepted, in detector pixels."""

METRES_TO_MICRON = 1e6


@dataclass(frozen=True)
class Surface:
    """A smooth quantity on the detector, as a tensor product of Chebyshev polynomials.

    Parameters
    ----------
    coefficients : numpy.ndarray
        Shape ``(degree_rows + 1, degree_columns + 1)``.
    shape : tuple of int
        Shape ``(ny, nx)`` of the cutout; the domain is half a pixel larger on every side.
    """

    coefficients: np.ndarray
    shape: tuple

    def __call__(self, columns, rows):
        """Evaluate the surface on a grid.

        Parameters
        ----------
        columns : numpy.ndarray
            Shape ``(n,)``, 0-based pixel coordinates along the dispersion.
        rows : numpy.ndarray
            Shape ``(m,)``, 0-based pixel coordinates along the slit.

        Returns
        -------
        numpy.ndarray
            Shape ``(m, n)``.
        """
        along = chebyshev.chebvander(_unit(columns, self.shape[1]), self.coefficients.shape[1] - 1)
        return self._across(rows) @ along.T

    def at_edges(self, rows, start=0, stop=None):
        """Evaluate the surface at the edges of pixels along the dispersion.

        Parameters
        ----------
        rows : numpy.ndarray
            Shape ``(m,)``, 0-based pixel coordinates along the slit.
        start, stop : int, optional
            First and last + 1 pixel; all by default.

        Returns
        -------
        numpy.ndarray
            Shape ``(m, n + 1)`` for ``n`` pixels.
        """
        nx = self.shape[1]
        along = _edge_basis(nx, self.coefficients.shape[1] - 1)
        return self._across(rows) @ along[:, start : (nx if stop is None else stop) + 1]

    def _across(self, rows):
        across = chebyshev.chebvander(_unit(rows, self.shape[0]), self.coefficients.shape[0] - 1)
        return across @ self.coefficients


@dataclass(frozen=True)
class Dispersion:
    """The wavelengths of a rectified spectrum: the same in all rows, and not always smooth.

    Parameters
    ----------
    edges : numpy.ndarray
        Shape ``(nx + 1,)``: wavelengths of the pixel edges, um.
    """

    edges: np.ndarray

    def __call__(self, columns, rows):
        """Interpolate on a grid, as `Surface` does."""
        lam = np.interp(columns, np.arange(self.edges.size) - 0.5, self.edges)
        return np.tile(lam, (len(rows), 1))

    def at_edges(self, rows, start=0, stop=None):
        """Give the wavelengths at pixel edges, as `Surface` does."""
        stop = self.edges.size if stop is None else stop + 1
        return np.tile(self.edges[start:stop], (len(rows), 1))


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

    @property
    def center(self):
        """Sky position (ra, dec), degrees, of the middle of the slit's sampled points."""
        ra0, dec0 = self.sky[2, 0], self.sky[3, 0]
        xi, eta = to_plane(self.sky[2], self.sky[3], ra0, dec0)
        ra, dec = from_plane(xi.mean(), eta.mean(), ra0, dec0)
        return float(ra), float(dec)

    @property
    def pixel_height(self):
        """Median height of a pixel along the slit, arcsec."""
        ny, nx = self.shape
        edges = self.along(np.array([(nx - 1) / 2]), np.arange(ny + 1) - 0.5)
        _, matrix = self.to_plane(*self.center)
        return float(np.median(np.abs(np.diff(edges[:, 0]))) * np.hypot(*matrix[:, 1]))


def footprint_from_wcs(wcs, usable):
    """Measure the footprint of a cutout with its WCS.

    Parameters
    ----------
    wcs : `~gwcs.wcs.WCS`
        WCS of the cutout; one with a frame ``gwa`` comes from the detector, one without it is
        that of a rectified spectrum.
    usable : numpy.ndarray
        Boolean, shape ``(ny, nx)``: the pixels that have data; they tell how far the slit is lit.

    Returns
    -------
    Footprint
        The geometry.

    Raises
    ------
    InputError
        Where the WCS gives no finite coordinates.
    """
    surfaces = _surfaces_of_slit if "gwa" in frame_names(wcs) else _surfaces_of_rectified
    wavelength, along, slit_to_sky = surfaces(wcs, usable.shape)
    limits, columns, n_lit = _lit_range(along, usable)
    sky = slit_to_sky(wavelength, limits)
    return Footprint(usable.shape, wavelength, along, limits, columns, n_lit, sky)


def _surfaces_of_slit(wcs, shape):
    """Take wavelength and ``y_slit`` of the detector, and the slit's place on the sky."""
    to_slit = transform_between(wcs, frame_names(wcs)[0], "slit_frame")

    def sample(columns, rows):
        _, y_slit, metres = to_slit(columns, rows)
        return METRES_TO_MICRON * metres, y_slit

    def slit_to_sky(wavelength, limits):
        ends = wavelength(np.array([0.0, shape[1] - 1.0]), np.array([(shape[0] - 1) / 2]))[0]
        x_slit, y_slit, lam = (
            axis.ravel()
            for axis in np.meshgrid(
                [-0.5, 0.0, 0.5], [limits[0], 0.5 * sum(limits), limits[1]], ends
            )
        )
        ra, dec, _ = transform_between(wcs, "slit_frame")(x_slit, y_slit, lam / METRES_TO_MICRON)
        return np.stack([x_slit, y_slit, ra, dec])

    return *_fit_surfaces(sample, shape), slit_to_sky


def _surfaces_of_rectified(wcs, shape):
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
    along = chebyshev.chebfit(_unit(rows, ny), direction @ places, min(2, ny - 1))
    _, _, lam = to_world(np.arange(float(nx)), np.full(nx, np.floor((ny - 1) / 2)))

    def slit_to_sky(wavelength, limits):
        x_slit, y_slit = (
            a.ravel() for a in np.meshgrid([-0.5, 0.0, 0.5], [limits[0], 0, limits[1]])
        )
        across = OPEN_WIDTH * np.array([direction[1], -direction[0]])
        plane = np.outer(across, x_slit) + np.outer(direction, y_slit)
        return np.stack([x_slit, y_slit, *from_plane(*plane, ra0, dec0)])

    return Dispersion(_edges_between(lam)), Surface(along[:, None], shape), slit_to_sky


def _edges_between(middles):
    """Edges of pixels from their middles; shape ``(n,)`` to ``(n + 1,)``."""
    inner = 0.5 * (middles[1:] + middles[:-1])
    return np.concatenate(
        [[1.5 * middles[0] - 0.5 * middles[1]], inner, [1.5 * middles[-1] - 0.5 * middles[-2]]]
    )


def _fit_surfaces(sample, shape):
    """Lay surfaces through wavelength and ``y_slit``, of a higher degree where need be."""
    columns = rows = np.empty(0)
    for degree, n_columns in ((12, 56), (24, 56), (48, 160)):
        if columns.size < n_columns:
            columns, rows = _nodes(shape[1], n_columns), _nodes(shape[0], 8)
            grid = np.meshgrid(columns, rows)
            wavelength, along = (
                values.reshape(len(rows), len(columns))
                for values in sample(*(axis.ravel() for axis in grid))
            )
            finite = np.isfinite(wavelength) & np.isfinite(along)
        if finite.sum() < 3 * (degree + 1):
            raise InputError(
                "the WCS gives no wavelength for this slit (it lies off the detector or off the "
                "wavelength range); leave the slit out or run assign_wcs and extract_2d again"
            )
        degrees = (min(3, shape[0] - 1), min(degree, shape[1] - 1))
        surfaces = _fit(columns, rows, (wavelength, along), finite, degrees, shape)
        worst = max(
            (np.abs(s(columns, rows) - values)[finite] / _per_pixel(s, columns, rows, axis)).max()
            for s, values, axis in zip(surfaces, (wavelength, along), (1, 0), strict=True)
        )
        if worst < FIT_TOLERANCE:
            break
    else:
        log.warning(
            "The WCS is not smooth: footprints are uncertain by up to %.3f detector pixels", worst
        )
    return tuple(surfaces)


def _fit(columns, rows, values, finite, degrees, shape):
    """Least-squares surfaces through several quantities that are known at the same nodes."""
    across = chebyshev.chebvander(_unit(rows, shape[0]), degrees[0])
    along = chebyshev.chebvander(_unit(columns, shape[1]), degrees[1])
    design = (across[:, None, :, None] * along[None, :, None, :])[finite]
    design = design.reshape(len(design), -1)
    target = np.stack([v[finite] for v in values], axis=1)
    try:  # the basis is nearly orthogonal on the nodes: the normal equations are harmless
        solution = cho_solve(cho_factor(design.T @ design), design.T @ target)
    except LinAlgError:  # too few nodes on the slit for all terms
        solution = np.linalg.lstsq(design, target)[0]
    degrees = [d + 1 for d in degrees]
    return [Surface(column.reshape(degrees), shape) for column in solution.T]


@lru_cache(maxsize=16)
def _edge_basis(size, degree):
    """Polynomials at all pixel edges of a detector axis, shape ``(degree + 1, size + 1)``."""
    edges = np.arange(size + 1) - 0.5
    return np.ascontiguousarray(chebyshev.chebvander(_unit(edges, size), degree).T)


def _per_pixel(surface, columns, rows, axis):
    """Median change of a surface from one pixel to the next along an axis of the detector."""
    step = (columns, rows + 1.0) if axis == 0 else (columns + 1.0, rows)
    return np.median(np.abs(surface(*step) - surface(columns, rows)))


def _nodes(size, number):
    """Chebyshev nodes that reach from edge to edge of a detector axis, in pixels."""
    angle = np.pi * (np.arange(number) + 0.5) / number
    unit = -np.cos(angle) / np.cos(angle[0])
    return -0.5 + 0.5 * size * (unit + 1)


def _unit(pixels, size):
    """Map pixel coordinates of a detector axis onto [-1, 1]."""
    return 2 * (np.asarray(pixels, float) + 0.5) / size - 1


def _lit_range(along, usable):
    """Least and largest ``y_slit`` of usable pixels, their columns, and the pixels in between."""
    ny = usable.shape[0]
    columns = np.flatnonzero(usable.any(axis=0))
    if not columns.size:
        raise InputError("no pixel has data (all are NaN or DO_NOT_USE); leave this slit out")
    edges = along.at_edges(np.arange(ny + 1) - 0.5, columns[0], columns[-1] + 1)
    edges = 0.5 * (edges[:, 1:] + edges[:, :-1])
    lower, upper = np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])
    usable = usable[:, columns[0] : columns[-1] + 1]
    limits = float(lower[usable].min()), float(upper[usable].max())
    n_lit = int(((lower >= limits[0]) & (upper <= limits[1])).sum())
    return limits, (int(columns[0]), int(columns[-1])), n_lit
