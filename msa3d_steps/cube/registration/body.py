"""The body of a source: concentric elliptical Gaussians, as slits see them.

A multi-Gaussian expansion (Emsellem, Monnet & Bacon 1994, A&A 285, 723) of one centre, one
flattening and given widths, each made rounder by the point spread function. Its mean over the
footprint of a pixel is an integral of error functions across the slit, done by Gauss-Legendre.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import erf

__all__ = ["PARAMETERS", "Body", "Boxes", "see"]

WIDTHS = (0.0, 0.05, 0.075, 0.11, 0.17, 0.26, 0.4)
"""Standard deviations of the Gaussians without the point spread function, arcsec."""

NODES = 10
"""Nodes of the quadrature across a slit."""

MOST_FLATTENED = 0.85

MOST_SCALED = 0.5

PARAMETERS = 5
"""Number of the parameters of a body: x, y, plus, cross, scale."""


@dataclass(frozen=True)
class Boxes:
    """Rectangles on the sky that values are means over, each of shape ``(n,)``, arcsec.

    Parameters
    ----------
    left, right : numpy.ndarray
        Ends across the slit.
    low, high : numpy.ndarray
        Ends along it.
    """

    left: np.ndarray
    right: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def moved(self, across, along):
        """Give the boxes after a move, arcsec; numbers or one for each."""
        return Boxes(self.left + across, self.right + across, self.low + along, self.high + along)


@dataclass(frozen=True)
class Body:
    """Centre and shape.

    Parameters
    ----------
    psf : float
        Standard deviation of the point spread function, arcsec.
    x, y : float
        Centre, arcsec.
    plus, cross : float
        Flattening: covariances are those of a disc times
        ``[[1 + plus, cross], [cross, 1 - plus]]``.
    scale : float
        Logarithm of what all widths are multiplied by.
    """

    psf: float
    x: float
    y: float
    plus: float = 0.0
    cross: float = 0.0
    scale: float = 0.0

    def changed(self, change):
        """Give the body after a change of its parameters, at most a reasonable one."""
        most = np.array([0.05, 0.05, 0.2, 0.2, 0.1])
        x, y, plus, cross, scale = np.clip(change, -most, most)
        plus, cross = self.plus + plus, self.cross + cross
        much = np.hypot(plus, cross) / MOST_FLATTENED
        if much > 1:
            plus, cross = plus / much, cross / much
        scale = float(np.clip(self.scale + scale, -MOST_SCALED, MOST_SCALED))
        return replace(self, x=self.x + x, y=self.y + y, plus=plus, cross=cross, scale=scale)


def see(body, boxes):
    """Give the mean of each Gaussian, of unit flux, over boxes.

    Parameters
    ----------
    body : Body
        The body.
    boxes : Boxes
        The boxes.

    Returns
    -------
    numpy.ndarray
        Shape ``(n, n_gaussians)``, 1 / arcsec^2.
    """
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    middle, half = 0.5 * (boxes.right + boxes.left), 0.5 * (boxes.right - boxes.left)
    x = middle[:, None] + half[:, None] * nodes - body.x
    seen = np.empty((boxes.low.size, len(WIDTHS)))
    for number, width in enumerate(np.exp(body.scale) * np.array(WIDTHS)):
        xx = body.psf**2 + width**2 * (1 + body.plus)
        yy = body.psf**2 + width**2 * (1 - body.plus)
        xy = width**2 * body.cross
        tilt, deviation = xy / xx, np.sqrt(2 * (yy - xy**2 / xx))
        y = body.y + tilt * x
        rows = erf((boxes.high[:, None] - y) / deviation) - erf(
            (boxes.low[:, None] - y) / deviation
        )
        profile = np.exp(-0.5 * x**2 / xx) / np.sqrt(2 * np.pi * xx)
        seen[:, number] = (profile * rows) @ weights
    return 0.25 * seen / (boxes.high - boxes.low)[:, None]
