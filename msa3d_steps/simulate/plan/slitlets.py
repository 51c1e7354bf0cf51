"""The slitlets of a slit-stepping pattern as straight rows of rectangles on the sky.

All positions are in the frame of the slits, arcsec: across them and along them, from the middle of
the slitlet where the telescope looks at the middle of the pattern.
"""

from dataclasses import dataclass

import numpy as np
from scipy.integrate import cumulative_trapezoid

from msa3d_steps.simulate.optics.elements import SHUTTERS, fore, load_coefficients, ote, quadrant
from msa3d_steps.simulate.references.calibration import bar_shadow

__all__ = ["CHUNK", "ShutterSize", "Slitlets", "covered_share"]

CHUNK = 2048
"""Exposures that are worked on together, to save memory."""


@dataclass(frozen=True)
class ShutterSize:
    """A shutter of the MSA on the sky.

    Attributes
    ----------
    width : float
        Open width, across the slit, arcsec.
    height : float
        Open height, along the slit, arcsec.
    pitch : float
        Distance of neighbouring shutters along the slit, arcsec.
    """

    width: float
    height: float
    pitch: float

    @property
    def bar(self):
        """Height of the bar between two shutters, arcsec."""
        return self.pitch - self.height

    @classmethod
    def from_optics(cls):
        """Project a shutter through fore optics and telescope onto the sky.

        It is the middle one of the quadrant whose coefficients are real. Distortion changes sizes
        by up to 1% across the slits and 2% along them from place to place in the MSA.

        Returns
        -------
        ShutterSize
            Its size.
        """
        coefficients = load_coefficients()
        record = coefficients["msa"]
        middle = np.array(SHUTTERS) / 2 * record["pitch"]
        (width, height), pitch = record["size"], record["pitch"][1]
        ends = np.array([(-width, 0), (width, 0), (0, -height), (0, height), (0, -pitch)])
        ends = middle + np.concatenate([ends, [(0, pitch)]]) / 2
        x, y = quadrant(coefficients, record["quadrant"])(*ends.T)
        field = fore(coefficients)(x, y, np.full(len(ends), 2e-6))
        v2, v3 = ote(coefficients)(*field[:2])
        sizes = np.hypot(v2[1::2] - v2[::2], v3[1::2] - v3[::2])
        return cls(*map(float, sizes))


@dataclass(frozen=True)
class Slitlets:
    """Where a slitlet was in each exposure.

    Attributes
    ----------
    shutter : ShutterSize
        Its shutters.
    n_shutters : int
        How many of them are open.
    across, along : ndarray
        Position of its middle in each exposure, arcsec, shape ``(n_exposures,)``.
    dither : ndarray
        Number of the dither that each exposure belongs to, shape ``(n_exposures,)``.
    exposure_time : float
        Of an exposure, s.
    """

    shutter: ShutterSize
    n_shutters: int
    across: np.ndarray
    along: np.ndarray
    dither: np.ndarray
    exposure_time: float

    @property
    def height(self):
        """From the first to the last open edge of the slitlet, arcsec."""
        return self.shutter.pitch * (self.n_shutters - 1) + self.shutter.height

    @property
    def state(self):
        """The slitlet in the characters of jwst, e.g. ``"1x1"``."""
        source = (self.n_shutters - 1) // 2
        return "1" * source + "x" + "1" * (self.n_shutters - 1 - source)

    @property
    def shutter_middles(self):
        """Middles of the open shutters from that of the slitlet, arcsec, ``(n_shutters,)``."""
        return self.shutter.pitch * (np.arange(self.n_shutters) - (self.n_shutters - 1) / 2)

    def field(self):
        """Smallest rectangle that holds all slitlets.

        Returns
        -------
        tuple of float
            Limits across, limits along, arcsec.
        """
        half_width, half_height = self.shutter.width / 2, self.height / 2
        return (
            float(self.across.min() - half_width), float(self.across.max() + half_width),
            float(self.along.min() - half_height), float(self.along.max() + half_height),
        )  # fmt: skip

    def open_area(self):
        """Sky that an exposure sees, arcsec2."""
        return self.n_shutters * self.shutter.width * self.shutter.height

    def rectangles(self, bars=True):
        """Give the open rectangles of all exposures.

        Parameters
        ----------
        bars : bool
            Whether the bars between shutters are there; if not, a slitlet is one rectangle.

        Returns
        -------
        ndarray
            Limits across, limits along, arcsec, shape ``(4, n)``.
        """
        middles = self.shutter_middles if bars else np.zeros(1)
        half_height = (self.shutter.height if bars else self.height) / 2
        along = (self.along[:, None] + middles).ravel()
        across = np.repeat(self.across, len(middles))
        half_width = self.shutter.width / 2
        return np.stack(
            [across - half_width, across + half_width, along - half_height, along + half_height]
        )

    def open_share(self, edges, exposures):
        """Give the share of cells along the slit that open shutters cover.

        Parameters
        ----------
        edges : ndarray
            Limits of the cells along the slit, arcsec, shape ``(n + 1,)``.
        exposures : slice or ndarray
            Which exposures.

        Returns
        -------
        ndarray
            Shape ``(n_exposures, n)``.
        """
        along, height = self.along[exposures], self.shutter.height
        return sum(covered_share(edges, along + middle, height) for middle in self.shutter_middles)

    def shadow(self, lam):
        """Sample the light that the bars leave of a uniform source.

        Parameters
        ----------
        lam : float
            Wavelength, um.

        Returns
        -------
        place, light : ndarray
            Place from the middle of the slitlet, arcsec, from one outer edge to the other, and the
            share of the light.
        """
        place = np.linspace(-self.height / 2, self.height / 2, 200 * self.n_shutters + 1)
        source = self.shutter_middles[(self.n_shutters - 1) // 2]
        in_pitches = (place - source) / self.shutter.pitch
        return place, bar_shadow(in_pitches, np.full_like(place, lam), self.state)

    def shadowed_share(self, edges, exposures, lam):
        """Average the bar shadow over cells along the slit; nothing is seen beyond the slitlet.

        Parameters
        ----------
        edges : ndarray
            Limits of the cells along the slit, arcsec, shape ``(n + 1,)``.
        exposures : slice
            Which exposures.
        lam : float
            Wavelength, um.

        Returns
        -------
        ndarray
            Shape ``(n_exposures, n)``.
        """
        place, light = self.shadow(lam)
        total = cumulative_trapezoid(light, place, initial=0)
        reached = np.interp(edges - self.along[exposures, None], place, total)
        return np.diff(reached) / np.diff(edges)

    def time_at(self, x, y, lam=None):
        """Sum the exposure times of points.

        Parameters
        ----------
        x, y : ndarray
            Positions across and along, arcsec, shapes ``(nx,)``, ``(ny,)``.
        lam : float or None
            Wavelength, um, at which times are weighted by the bars' shadows. If not given, they
            are summed as if there were no bars.

        Returns
        -------
        ndarray
            Times of the grid of points, s, shape ``(ny, nx)``; zero outside all slitlets.
        """
        place, light = self.shadow(lam) if lam else (np.array([-1, 1]) * self.height / 2, [1, 1])
        total = np.zeros((y.size, x.size))
        for first in range(0, self.across.size, CHUNK):
            part = slice(first, first + CHUNK)
            across = np.abs(x - self.across[part, None]) < self.shutter.width / 2
            along = np.interp(y - self.along[part, None], place, light, left=0, right=0)
            total += along.T @ across.astype(float)
        return self.exposure_time * total


def covered_share(edges, middles, size):
    """Give the share of cells that boxes cover.

    Parameters
    ----------
    edges : ndarray
        Limits of the cells, arcsec, shape ``(n_cells + 1,)``.
    middles : ndarray
        Middles of the boxes, arcsec, shape ``(n_boxes,)``.
    size : float
        Of the boxes, arcsec.

    Returns
    -------
    ndarray
        Shape ``(n_boxes, n_cells)``.
    """
    low, high = np.reshape(middles, (-1, 1)) - size / 2, np.reshape(middles, (-1, 1)) + size / 2
    covered = np.minimum(edges[1:], high) - np.maximum(edges[:-1], low)
    return np.maximum(covered, 0) / np.diff(edges)
