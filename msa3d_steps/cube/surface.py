"""Smooth quantities on the detector, known at few places and wanted at every pixel."""

import logging
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.polynomial import chebyshev
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from msa3d_steps.errors import InputError

__all__ = ["Dispersion", "Surface", "fit_surfaces"]

log = logging.getLogger(__name__)

FIT_TOLERANCE = 0.002
"""Largest residual of a surface that is accepted, in detector pixels."""


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
        start = first if start is None else start
        stop = last + 1 if stop is None else stop
        return self._on(basis[:, start - first : stop - first + 1], rows)

    def at_middles(self, rows, start, stop):
        """Evaluate the surface at the middles of pixels along the dispersion.

        Parameters
        ----------
        rows : numpy.ndarray
            Shape ``(m,)``, 0-based pixel coordinates along the slit.
        start, stop : int
            First and last + 1 pixel.

        Returns
        -------
        numpy.ndarray
            Shape ``(m, stop - start)``.
        """
        return self(np.arange(float(start), float(stop)), rows)

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
    middles : numpy.ndarray
        Shape ``(nx,)``: wavelengths of the middles of pixels, um.
    columns : tuple of int
        First and last column that has data.
    """

    middles: np.ndarray
    columns: tuple

    @cached_property
    def edges(self):
        """Wavelengths of the pixel edges, um; shape ``(nx + 1,)``."""
        middles = self.middles
        inner = 0.5 * (middles[1:] + middles[:-1])
        ends = 1.5 * middles[[0, -1]] - 0.5 * middles[[1, -2]]
        return np.concatenate([ends[:1], inner, ends[1:]])

    def __call__(self, columns, rows):
        """Interpolate on a grid, as `Surface` does."""
        lam = np.interp(columns, np.arange(self.edges.size) - 0.5, self.edges)
        return np.tile(lam, (len(rows), 1))

    def at_edges(self, rows, start=None, stop=None):
        """Give the wavelengths at pixel edges, as `Surface` does."""
        first, last = self.columns
        start = first if start is None else start
        stop = last + 1 if stop is None else stop
        return np.tile(self.edges[start : stop + 1], (len(rows), 1))

    def at_middles(self, rows, start, stop):
        """Give the wavelengths at the middles of pixels, as `Surface` does."""
        return np.tile(self.middles[start:stop], (len(rows), 1))


def fit_surfaces(sample, n_rows, columns):
    """Lay surfaces through wavelength and ``y_slit``, of a higher degree where need be.

    Parameters
    ----------
    sample : callable
        ``f(columns, rows)`` gives wavelength (um) and ``y_slit`` of detector positions; all of
        shape ``(n,)``, NaN off the slit.
    n_rows : int
        Number of rows of the cutout.
    columns : tuple of int
        First and last column that has data.

    Returns
    -------
    tuple of Surface
        Wavelength and ``y_slit``.

    Raises
    ------
    InputError
        Where there are no finite coordinates.
    """
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
