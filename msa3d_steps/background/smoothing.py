"""A smooth curve through the channels, and what it does to their errors.

A least-squares cubic spline whose knots have equally many channels between them. It is linear in
the data, so that the covariance of the curve follows from the errors of the channels.
"""

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import BSpline

__all__ = ["Curve", "fit_curve"]

DEGREE = 3

LEAST = 8
"""Least number of channels between two knots."""

CLIPPINGS = 4
"""Times that channels may be left out."""

CLIP = 4.0
"""Channels farther than this from the curve, in sigmas, are left out."""


@dataclass(frozen=True)
class Curve:
    """A spline with the covariance of its coefficients.

    Parameters
    ----------
    knots : numpy.ndarray
        Its knots, um, those at the ends repeated.
    coefficients : numpy.ndarray
        Shape ``(n,)``, MJy/sr.
    covariance : numpy.ndarray
        Shape ``(n, n)``, (MJy/sr)^2.
    chi2 : float
        Mean squared residual in units of the errors, for each degree of freedom.
    used : numpy.ndarray
        Boolean: channels that count.
    """

    knots: np.ndarray
    coefficients: np.ndarray
    covariance: np.ndarray
    chi2: float
    used: np.ndarray

    def __call__(self, wavelength):
        """Evaluate the curve.

        Parameters
        ----------
        wavelength : numpy.ndarray
            Shape ``(n,)``, um.

        Returns
        -------
        value, error : numpy.ndarray
            Shape ``(n,)``, MJy/sr.
        """
        basis = _basis(self.knots, wavelength)
        variance = np.einsum("ij,jk,ik->i", basis, self.covariance, basis)
        return basis @ self.coefficients, np.sqrt(np.maximum(variance, 0))


def fit_curve(wavelength, value, variance, expected, common, distance=None):
    """Fit a curve.

    Where the distance of the knots is not given it is half of the one that describes the data best
    by Akaike's criterion (1974, IEEE Trans. Autom. Control 19, 716): that one leaves a bias as
    large as the noise, half of it a sixteenth.

    Parameters
    ----------
    wavelength, value : numpy.ndarray
        Shape ``(n,)``: increasing, um, and MJy/sr.
    variance : numpy.ndarray
        Shape ``(n,)``: of each value alone.
    expected : numpy.ndarray
        Shape ``(n,)``: variances that the weights are made of.
    common : numpy.ndarray
        Shape ``(m, n)``: errors that all values have in common (one row for each cause).
    distance : float, optional
        Distance of the knots, um.

    Returns
    -------
    Curve
        The curve.
    """
    used = np.ones(wavelength.size, bool)
    for _ in range(CLIPPINGS):
        knots = _choose_knots(wavelength[used], value[used], 1 / expected[used], distance)
        operator = np.zeros((knots.size - DEGREE - 1, wavelength.size))
        operator[:, used] = _operator(_basis(knots, wavelength[used]), 1 / expected[used])
        coefficients = operator @ value
        off = (value - _basis(knots, wavelength) @ coefficients) / np.sqrt(variance)
        freedom = max(used.sum() - coefficients.size, 1)
        chi2 = float((off[used] ** 2).sum() / freedom)
        near = np.abs(off) < CLIP * max(1.0, np.sqrt(chi2))
        if (near == used).all():
            break
        fitted, used = used, near
    else:
        used = fitted
    # more scatter than the errors say is of something that they do not know, as 1/f noise
    excess = chi2 if chi2 > 1 + 4 * np.sqrt(2 / freedom) else 1.0
    shared = operator @ np.atleast_2d(common).T
    covariance = (operator * (excess * variance)) @ operator.T + shared @ shared.T
    return Curve(knots, coefficients, covariance, chi2, used)


def _choose_knots(lam, value, weight, distance):
    """Choose the knots: at a given distance, or where the data want them."""
    most = max(lam.size // LEAST, 1)
    if distance is not None:
        return _knots(lam, int(np.clip(np.ceil(np.ptp(lam) / distance), 1, most)))
    best, least = 1, np.inf
    for number in 2 ** np.arange(int(np.log2(most)) + 1):
        basis = _basis(_knots(lam, number), lam)
        rest = value - basis @ (_operator(basis, weight) @ value)
        criterion = (weight * rest**2).sum() + 2 * basis.shape[1]
        if criterion < least:
            best, least = number, criterion
    return _knots(lam, min(2 * best, most))


def _knots(lam, number):
    """Lay knots so that there are equally many channels between them."""
    inner = np.quantile(lam, np.arange(number + 1) / number)
    return np.concatenate([np.repeat(inner[0], DEGREE), inner, np.repeat(inner[-1], DEGREE)])


def _basis(knots, lam):
    """Evaluate the basis of splines; it is continued beyond the ends."""
    return BSpline(knots, np.eye(knots.size - DEGREE - 1), DEGREE)(lam)


def _operator(basis, weight):
    """Matrix that makes the coefficients of the values by weighted least squares."""
    root = np.sqrt(weight)
    return np.linalg.pinv(basis * root[:, None]) * root
