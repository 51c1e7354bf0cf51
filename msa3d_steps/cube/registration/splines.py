"""Images as sums of cubic B-splines, and their means over the footprints of pixels.

A pixel of a slit sees the mean of the sky over a rectangle, which is a product of a mean across and
one along the slit. The integral of a B-spline is a sum of truncated powers (de Boor 1978, A
Practical Guide to Splines), so means and their derivatives by the place of the rectangle are exact.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

__all__ = ["REACH", "Knots", "band_of", "differences", "mean_over", "slope_of_mean"]

REACH = 2.0
"""Half the width of a cubic B-spline, knots."""

POWERS = ((1, 2.0), (-4, 1.0), (6, 0.0), (-4, -1.0), (1, -2.0))


@dataclass(frozen=True)
class Knots:
    """Middles of B-splines at equal distances.

    Parameters
    ----------
    first, distance : float
        Middle of the first, and distance of neighbours, arcsec.
    number : int
        How many.
    """

    first: float
    distance: float
    number: int

    @classmethod
    def cover(cls, low, high, distance):
        """Choose knots whose splines add up to 1 from one place to another, arcsec."""
        number = int(np.ceil((high - low) / distance)) + 3
        middle = 0.5 * (low + high)
        return cls(middle - 0.5 * (number - 1) * distance, distance, number)

    @property
    def places(self):
        """Middles of all, arcsec, shape ``(number,)``."""
        return self.first + self.distance * np.arange(self.number)


def _spline(t):
    """Cubic B-spline, ``t`` in knots from its middle."""
    total = sum(c * np.clip(t + s, 0, None) ** 3 for c, s in POWERS)
    return np.where(np.abs(t) < REACH, total / 6, 0)


def _integral(t):
    """Integral of the spline from minus infinity."""
    t = np.clip(t, -REACH, REACH)
    return sum(c * np.clip(t + s, 0, None) ** 4 for c, s in POWERS) / 24


def mean_over(knots, low, high):
    """Give the means of all splines over intervals.

    Parameters
    ----------
    knots : Knots
        The splines.
    low, high : numpy.ndarray
        Shape ``(n,)``: ends of the intervals, arcsec.

    Returns
    -------
    numpy.ndarray
        Shape ``(n, number)``.
    """
    a, b = ((np.asarray(end)[:, None] - knots.places) / knots.distance for end in (low, high))
    width = (np.asarray(high) - np.asarray(low))[:, None] / knots.distance
    return (_integral(b) - _integral(a)) / width


def slope_of_mean(knots, low, high):
    """Give the derivatives of these means by the place of the intervals, 1 / arcsec.

    Parameters
    ----------
    knots, low, high : object
        As for `mean_over`.

    Returns
    -------
    numpy.ndarray
        Shape ``(n, number)``.
    """
    a, b = ((np.asarray(end)[:, None] - knots.places) / knots.distance for end in (low, high))
    return (_spline(b) - _spline(a)) / (np.asarray(high) - np.asarray(low))[:, None]


def band_of(matrix, n_bands):
    """Give the lower band of a sparse symmetric matrix as LAPACK has it.

    Parameters
    ----------
    matrix : scipy.sparse.sparray
        Shape ``(n, n)``.
    n_bands : int
        Number of diagonals, at least those that are not zero.

    Returns
    -------
    numpy.ndarray
        Shape ``(n_bands, n)``.
    """
    matrix = matrix.tocoo()
    band = np.zeros((n_bands, matrix.shape[0]))
    lower = matrix.row >= matrix.col
    band[(matrix.row - matrix.col)[lower], matrix.col[lower]] = matrix.data[lower]
    return band


def differences(shape):
    """Give the second differences in both directions and the mixed one.

    Parameters
    ----------
    shape : tuple of int
        Numbers of splines across and along.

    Returns
    -------
    centres : numpy.ndarray
        Shape ``(m,)``: flat index of the middle of each.
    rows : scipy.sparse.csr_array
        Shape ``(m, n)``.
    """
    nx, ny = shape
    index = np.arange(nx * ny).reshape(nx, ny)
    root = np.sqrt(2.0)
    stencils = (
        (1, ((index[:-2], 1.0), (index[1:-1], -2.0), (index[2:], 1.0))),
        (1, ((index[:, :-2], 1.0), (index[:, 1:-1], -2.0), (index[:, 2:], 1.0))),
        (0, (
            (index[:-1, :-1], root), (index[1:, 1:], root),
            (index[:-1, 1:], -root), (index[1:, :-1], -root),
        )),
    )  # fmt: skip
    blocks, centres = [], []
    for middle, stencil in stencils:
        count = stencil[0][0].size
        rows = np.tile(np.arange(count), len(stencil))
        columns = np.concatenate([places.ravel() for places, _ in stencil])
        values = np.repeat([v for _, v in stencil], count)
        blocks.append(sparse.csr_array((values, (rows, columns)), shape=(count, nx * ny)))
        centres.append(stencil[middle][0].ravel())
    return np.concatenate(centres), sparse.vstack(blocks).tocsr()
