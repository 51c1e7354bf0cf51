"""How far the light of a galaxy reaches: an exponential disk fitted to its picture.

Outside of the few scale lengths where a galaxy is seen its light goes on, too faint to be noticed
place by place and bright enough to be taken for sky. The fit says where that light is faint enough,
and what is left of it there.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

__all__ = ["Picture", "Wings", "fit_wings"]

SHAPE_ERROR = 0.1
"""Galaxies follow an exponential to this part of their brightness, place by place."""

SCALE_RANGE = 0.02, 2.0
"""Least and largest scale length, arcsec."""

LIMITS = (
    [-np.inf, -np.inf, *[-np.log(SCALE_RANGE[1])] * 2, -20.0],
    [np.inf, np.inf, *[-np.log(SCALE_RANGE[0])] * 2, 20.0],
)
"""Least and largest parameters."""

ROUNDS = 2
"""Times that the fit is repeated with the errors of the fit before."""

PRIOR = 0.7
"""How far the scale lengths may lie from those of the moments, as natural logarithm (1 sigma)."""

LEAST_PLACES = 8
"""Number of places that a fit needs."""

FAINTEST = 5.0
"""A galaxy whose brightest place is fainter than this, in sigmas, has no wings."""


@dataclass(frozen=True)
class Picture:
    """A map of the mean brightness over all wavelengths, each array of shape ``(n_places,)``.

    Parameters
    ----------
    across, along : numpy.ndarray
        Places, arcsec.
    value, error : numpy.ndarray
        Brightness without sky and its standard deviation, MJy/sr; error infinite without data.
    """

    across: np.ndarray
    along: np.ndarray
    value: np.ndarray
    error: np.ndarray


@dataclass(frozen=True)
class Wings:
    """Exponential wings of a galaxy at the places of its picture.

    Parameters
    ----------
    brightness : numpy.ndarray
        Shape ``(n_places,)``: the galaxy's brightness as the fit has it, MJy/sr.
    derivatives : numpy.ndarray
        Shape ``(n_parameters, n_places)``: its change with the parameters of the fit.
    covariance : numpy.ndarray
        Shape ``(n_parameters, n_parameters)``: covariance of the parameters.
    level : float
        Brightness of the sky that the picture still has, MJy/sr.
    parameters : numpy.ndarray or None
        The parameters of the fit.
    """

    brightness: np.ndarray
    derivatives: np.ndarray
    covariance: np.ndarray
    level: float
    parameters: np.ndarray | None = None

    @classmethod
    def none(cls, picture, level=0.0):
        """Give the wings of nothing."""
        size = picture.value.size
        return cls(np.zeros(size), np.zeros((1, size)), np.zeros((1, 1)), level)

    def mean(self, weights):
        """Mean brightness of the wings and its variance.

        Parameters
        ----------
        weights : numpy.ndarray
            Shape ``(n_places,)``: weights of the places.

        Returns
        -------
        tuple of float
            MJy/sr and (MJy/sr)^2.
        """
        share = weights / weights.sum()
        slope = self.derivatives @ share
        return float(self.brightness @ share), float(slope @ self.covariance @ slope)


def fit_wings(picture, usable, before=None):
    """Fit an exponential disk and a constant to the picture of a galaxy.

    ``I = A exp(-r) + c`` with ``r^2 = (a x)^2 + (b x + d y)^2`` about the centroid. Each place has
    an error of a tenth of the model's brightness besides the noise, so that bulge, clumps and arms
    do not count for more than the wings.

    Parameters
    ----------
    picture : Picture
        The picture.
    usable : numpy.ndarray
        Boolean, shape ``(n_places,)``: places that count.
    before : Wings, optional
        An earlier fit to begin with.

    Returns
    -------
    Wings
        The fit at all places; `Wings.none` where nothing is bright, or places are too few.
    """
    if usable.sum() < LEAST_PLACES:
        return Wings.none(picture)
    level = float(np.median(picture.value[usable]))
    signal = picture.value - level
    peak = np.max(np.where(usable, signal / picture.error, 0), initial=0)
    if peak < FAINTEST:
        return Wings.none(picture)
    x, y, start = _moments(picture, signal, usable)
    found = start if before is None or before.parameters is None else before.parameters
    error = np.hypot(picture.error, SHAPE_ERROR * _disk(found, x, y)[0])
    for _ in range(ROUNDS):  # the errors follow the model
        root = 1 / error[usable]

        def residuals(p, root=root):
            off = (picture.value - p[0] - _disk(p, x, y)[0])[usable] * root
            return np.concatenate([off, (p[2:] - start[2:]) / PRIOR])

        def jacobian(p, root=root):
            slopes = np.vstack([np.ones(x.size), _disk(p, x, y)[1]])[:, usable] * root
            return np.concatenate([-slopes.T, np.eye(5)[2:] / PRIOR])

        fit = least_squares(
            residuals, found, jacobian, loss="soft_l1", f_scale=3.0, ftol=1e-5, xtol=1e-5,
            bounds=LIMITS,
        )  # fmt: skip
        found = fit.x
        error = np.hypot(picture.error, SHAPE_ERROR * _disk(found, x, y)[0])
    model, slopes = _disk(found, x, y)
    covariance = np.linalg.pinv(fit.jac.T @ fit.jac)
    derivatives = np.vstack([np.zeros(x.size), slopes])  # the level is not the galaxy's
    return Wings(model, derivatives, covariance, float(found[0]), found)


def _disk(p, x, y):
    """Brightness of a disk at offsets from its middle, and its change with the parameters.

    Parameters
    ----------
    p : numpy.ndarray
        Level, ``ln A``, ``ln a``, ``ln d`` and ``b / a``.
    x, y : numpy.ndarray
        Shape ``(n,)``: offsets, arcsec.

    Returns
    -------
    numpy.ndarray, numpy.ndarray
        Shapes ``(n,)`` and ``(4, n)``: for ``p[1:]``.
    """
    u, v = np.exp(p[2]) * x, np.exp(p[3]) * y
    w = p[4] * u
    r = np.maximum(np.hypot(u, w + v), 1e-9)
    model = np.exp(p[1] - r)
    slopes = -model / r * np.stack([u**2 + (w + v) * w, (w + v) * v, (w + v) * u])
    return model, np.vstack([model, slopes])


def _moments(picture, signal, usable):
    """Offsets from the centroid, and first guess of the parameters from moments.

    The second moment of an exponential disk is three scale lengths squared along either axis.
    """
    bright = usable & (signal > 0.1 * np.max(signal[usable]))
    weight = np.where(bright, signal, 0)
    weight = weight / weight.sum()
    x = picture.across - weight @ picture.across
    y = picture.along - weight @ picture.along
    scales = [np.sqrt(max(weight @ u**2, 1e-3) / 2) for u in (x, y)]
    inverse = -np.log(np.clip(scales, 1.1 * SCALE_RANGE[0], 0.9 * SCALE_RANGE[1]))
    return x, y, np.array([0.0, np.log(np.max(signal[usable])), *inverse, 0.0])
