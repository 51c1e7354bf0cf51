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
    """A smooth quantity along a trace: polynomials in the row about the middle of the trace.

    Coefficients and middle are Chebyshev series in the column. Following the trace keeps the fit
    sound where a slit lights only a few rows and these drift across the cutout.

    Parameters
    ----------
    coefficients : numpy.ndarray
        Shape ``(degree_rows + 1, degree_columns + 1)``: of the powers of the row's distance.
    middle : numpy.ndarray
        Chebyshev coefficients of the middle of the trace, in rows.
    half : float
        Unit of the distance from it, rows.
    columns : tuple of int
        First and last column that has data; the surface holds from edge to edge of them.
    """

    coefficients: np.ndarray
    middle: np.ndarray
    half: float
    columns: tuple

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
        degree = self.coefficients.shape[1] - 1
        return self._on(chebyshev.chebvander(_unit(columns, *self.columns), degree).T, rows)

    def at_edges(self, rows, start=None, stop=None):
        """Evaluate the surface at the edges of pixels along the dispersion.

        Parameters
        ----------
        rows : numpy.ndarray
            Shape ``(m,)``, 0-based pixel coordinates along the slit.
        start, stop : int, optional
            First and last + 1 pixel; all that have data by default.

        Returns
        -------
        numpy.ndarray
            Shape ``(m, n + 1)`` for ``n`` pixels.
        """
        first, last = self.columns
        basis = _edge_basis(first, last, self.coefficients.shape[1] - 1)
        start, stop = start or first, last + 1 if stop is None else stop
        return self._on(basis[:, start - first : stop - first + 1], rows)

    def _on(self, basis, rows):
        """Evaluate with the polynomials of some columns, shape ``(degree + 1, n)``."""
        terms = self.coefficients @ basis
        distance = (np.asarray(rows)[:, None] - self.middle @ basis[: self.middle.size]) / self.half
        return _horner(terms, distance)


@dataclass(frozen=True)
class Dispersion:
    """The wavelengths of a rectified spectrum: the same in all rows, and not always smooth.

    Parameters
    ----------
    edges : numpy.ndarray
        Shape ``(nx + 1,)``: wavelengths of the pixel edges, um.
    columns : tuple of int
        First and last column that has data.
    """

    edges: np.ndarray
    columns: tuple

    def __call__(self, columns, rows):
        """Interpolate on a grid, as `Surface` does."""
        lam = np.interp(columns, np.arange(self.edges.size) - 0.5, self.edges)
        return np.tile(lam, (len(rows), 1))

    def at_edges(self, rows, start=None, stop=None):
        """Give the wavelengths at pixel edges, as `Surface` does."""
        first, last = self.columns
        start, stop = start or first, last + 1 if stop is None else stop
        return np.tile(self.edges[start : stop + 1], (len(rows), 1))


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
        rows = np.arange(self.shape[0] + 1) - 0.5
        edges = self.along(np.array([0.5 * sum(self.columns)]), rows)
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
    lit = np.flatnonzero(usable.any(axis=0))
    if not lit.size:
        raise InputError("no pixel has data (all are NaN or DO_NOT_USE); leave this slit out")
    columns = int(lit[0]), int(lit[-1])
    wavelength, along, slit_to_sky = surfaces(wcs, usable.shape, columns)
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

    return *_fit_surfaces(sample, shape[0], columns), slit_to_sky


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
    return Dispersion(_edges_between(lam), columns), surface, slit_to_sky


def _edges_between(middles):
    """Edges of pixels from their middles; shape ``(n,)`` to ``(n + 1,)``."""
    inner = 0.5 * (middles[1:] + middles[:-1])
    return np.concatenate(
        [[1.5 * middles[0] - 0.5 * middles[1]], inner, [1.5 * middles[-1] - 0.5 * middles[-2]]]
    )


def _fit_surfaces(sample, n_rows, columns):
    """Lay surfaces through wavelength and ``y_slit``, of a higher degree where need be."""
    rows = np.concatenate([[-0.5], np.arange(n_rows), [n_rows - 0.5]])
    for degree, number in ((18, 40), (32, 90), (48, 160)):
        nodes = _nodes(*columns, number)
        grid = np.meshgrid(nodes, rows)
        values = [v.reshape(grid[0].shape) for v in sample(*(axis.ravel() for axis in grid))]
        finite = np.isfinite(values[0]) & np.isfinite(values[1])
        lit = finite.sum(axis=0)
        if (lit > 1).sum() < 2:
            raise InputError(
                "the WCS gives no wavelength for this slit (it lies off the detector or off the "
                "wavelength range); leave the slit out or run assign_wcs and extract_2d again"
            )
        degrees = min(3, lit.max() - 1), min(degree, (lit > 0).sum() - 1, columns[1] - columns[0])
        basis = chebyshev.chebvander(_unit(nodes, *columns), degrees[1])
        middle, half = _follow(rows, basis, finite)
        distance = (rows[:, None] - basis[:, : middle.size] @ middle) / half
        fits = _fit(distance, basis, values, finite, degrees[0])
        worst = _worst_residual(fits, distance, basis, values, finite, nodes, half)
        if worst < FIT_TOLERANCE:
            break
    else:
        log.warning(
            "The WCS is not smooth: footprints are uncertain by up to %.3f detector pixels", worst
        )
    return tuple(Surface(fit, middle, half, columns) for fit in fits)


def _follow(rows, basis, finite):
    """Find the middle of the lit rows, a low series in the column, and their largest distance."""
    lit = finite.any(axis=0)
    mean = (rows[:, None] * finite).sum(axis=0)[lit] / finite.sum(axis=0)[lit]
    basis = basis[:, : min(4, lit.sum())]
    middle = np.linalg.lstsq(basis[lit], mean)[0]
    distance = np.abs(rows[:, None] - basis @ middle)[finite].max()
    return middle, max(float(distance), 0.5)


def _fit(distance, basis, values, finite, degree):
    """Fit quantities at the nodes by least squares: powers of the distance times the basis.

    The normal equations need only the moments of the distance in each column; they are harmless
    for a basis that is nearly orthogonal on the nodes.
    """
    n_powers, n_terms = degree + 1, basis.shape[1]
    powers = np.where(finite, distance, 0) ** np.arange(2 * degree + 1)[:, None, None]
    powers *= finite
    blocks = (basis.T * powers.sum(axis=1)[:, None, :]) @ basis  # (moment, term, term)
    order = np.arange(n_powers)
    normal = blocks[order[:, None] + order].transpose(0, 2, 1, 3).reshape(n_powers * n_terms, -1)
    target = np.stack(
        [
            ((powers[:n_powers] * np.where(finite, v, 0)).sum(axis=1) @ basis).ravel()
            for v in values
        ],
        axis=1,
    )
    try:
        solution = cho_solve(cho_factor(normal), target)
    except LinAlgError:  # too few lit nodes for all terms: the smallest solution
        design = np.einsum("prc,cq->rcpq", powers[:n_powers], basis)[finite]
        design = design.reshape(len(design), -1)
        solution = np.linalg.lstsq(design, np.stack([v[finite] for v in values], axis=1))[0]
    return [column.reshape(n_powers, n_terms) for column in solution.T]


def _worst_residual(fits, distance, basis, values, finite, nodes, half):
    """Largest residual of wavelength and ``y_slit`` at the nodes, in detector pixels."""
    wavelength, along = (fit @ basis.T for fit in fits)
    pixels = (
        np.median(np.abs(np.diff(wavelength[0]) / np.diff(nodes))),
        np.median(np.abs(along[1]) / half),
    )
    return max(
        np.abs(_horner(terms, distance) - v)[finite].max() / pixel
        for terms, v, pixel in zip((wavelength, along), values, pixels, strict=True)
    )


def _horner(terms, distance):
    """Sum powers of the distance, shape ``(m, n)``, with coefficients ``(powers, n)``."""
    result = np.broadcast_to(terms[-1], distance.shape).copy()
    for term in terms[-2::-1]:
        result *= distance
        result += term
    return result


@lru_cache(maxsize=64)
def _edge_basis(first, last, degree):
    """Polynomials at the pixel edges of some columns, shape ``(degree + 1, n + 1)``."""
    edges = np.arange(first, last + 2) - 0.5
    return np.ascontiguousarray(chebyshev.chebvander(_unit(edges, first, last), degree).T)


def _nodes(first, last, number):
    """Chebyshev nodes from edge to edge of some pixels."""
    angle = np.pi * (np.arange(number) + 0.5) / number
    unit = -np.cos(angle) / np.cos(angle[0])
    return first - 0.5 + 0.5 * (last - first + 1) * (unit + 1)


def _unit(pixels, first, last):
    """Map pixel coordinates onto [-1, 1], from edge to edge of some pixels."""
    return 2 * (np.asarray(pixels, float) - first + 0.5) / (last - first + 1) - 1


def _lit_range(along, usable):
    """Least and largest ``y_slit`` of usable pixels, and the number of pixels in between."""
    first, last = along.columns
    edges = along.at_edges(np.arange(usable.shape[0] + 1) - 0.5)
    edges = 0.5 * (edges[:, 1:] + edges[:, :-1])
    lower, upper = np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])
    usable = usable[:, first : last + 1]
    limits = float(lower[usable].min()), float(upper[usable].max())
    return limits, int(((lower >= limits[0]) & (upper <= limits[1])).sum())
