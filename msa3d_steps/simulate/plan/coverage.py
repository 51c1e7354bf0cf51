"""What the open shutters of a slit-stepping pattern cover of the sky.

Maps are exact averages over their cells; areas are exact sums of rectangles.
"""

from dataclasses import dataclass

import numpy as np

from msa3d_steps.simulate.plan.slitlets import CHUNK, covered_share

__all__ = ["Cells", "Maps", "arrange", "core_of", "gap_widths"]

MAX_CELLS = 2_000_000
"""Cells that an arrangement of rectangles may have; edges are rounded until it has no more."""

SEEN = 0.01
"""Share of a cell along either axis that must be covered for the cell to count as seen."""


@dataclass(frozen=True)
class Maps:
    """Maps of the coverage, all of shape ``(ny, nx)``.

    Attributes
    ----------
    x, y : ndarray
        Limits of the cells across and along the slits, arcsec, shapes ``(nx + 1,)``, ``(ny + 1,)``.
    time : ndarray
        Effective exposure time, averaged over a cell: exposure times of the open shutters, s.
    shadowed_time : ndarray
        The same, weighted by the light that the shadows of the bars leave, s.
    exposures, dithers : ndarray
        Exposures, and distinct dithers, in which open shutters covered a part of the cell.
    """

    x: np.ndarray
    y: np.ndarray
    time: np.ndarray
    shadowed_time: np.ndarray
    exposures: np.ndarray
    dithers: np.ndarray

    @classmethod
    def of(cls, slitlets, x, y, lam):
        """Make the maps of a pattern.

        Parameters
        ----------
        slitlets : Slitlets
            The pattern.
        x, y : ndarray
            Limits of the cells, arcsec.
        lam : float
            Wavelength of the bars' shadows, um.

        Returns
        -------
        Maps
            The maps.
        """
        time, shadowed = np.zeros((2, y.size - 1, x.size - 1))
        for first in range(0, slitlets.across.size, CHUNK):
            part = slice(first, first + CHUNK)
            across = covered_share(x, slitlets.across[part], slitlets.shutter.width)
            time += slitlets.open_share(y, part).T @ across
            shadowed += slitlets.shadowed_share(y, part, lam).T @ across
        exposures, dithers = _counts(slitlets, x, y)
        t = slitlets.exposure_time
        return cls(x, y, t * time, t * shadowed, exposures, dithers)

    def inside(self, limits, whole=True):
        """Tell which cells are inside a rectangle.

        Parameters
        ----------
        limits : tuple of float
            Limits across, limits along, arcsec.
        whole : bool
            Whether the whole cell must be inside, or its middle only.

        Returns
        -------
        ndarray
            bool, shape ``(ny, nx)``.
        """
        masks = []
        for edges, low, high in ((self.y, *limits[2:]), (self.x, *limits[:2])):
            first, last = edges[:-1], edges[1:]
            if not whole:
                first = last = 0.5 * (first + last)
            masks.append((first > low - 1e-6) & (last < high + 1e-6))
        return masks[0][:, None] & masks[1]


def _counts(slitlets, x, y):
    """Exposures and distinct dithers that see cells, with these limits, each ``(ny, nx)``."""
    exposures, dithers = np.zeros((2, y.size - 1, x.size - 1), np.int32)
    for dither in np.unique(slitlets.dither):
        own = np.flatnonzero(slitlets.dither == dither)
        seen = np.zeros(exposures.shape, np.float32)
        for part in np.array_split(own, -(-own.size // CHUNK)):
            across = covered_share(x, slitlets.across[part], slitlets.shutter.width)
            along = slitlets.open_share(y, part)
            seen += (along > SEEN).T.astype(np.float32) @ (across > SEEN).astype(np.float32)
        exposures += seen.astype(np.int32)
        dithers += seen > 0
    return exposures, dithers


@dataclass(frozen=True)
class Cells:
    """The cells that the edges of all shutters cut the field into, seen as a whole or not at all.

    Attributes
    ----------
    x, y : ndarray
        Limits of the cells across and along the slits, arcsec, shapes ``(nx + 1,)``, ``(ny + 1,)``.
    counts : ndarray
        Exposures that see a cell through open shutters, shape ``(ny, nx)``.
    without_bars : ndarray
        The same if there were no bars between the shutters.
    """

    x: np.ndarray
    y: np.ndarray
    counts: np.ndarray
    without_bars: np.ndarray

    def areas(self, limits=(-np.inf, np.inf, -np.inf, np.inf)):
        """Area of each cell inside a rectangle (its limits, arcsec), arcsec2, ``(ny, nx)``."""
        width = np.diff(np.clip(self.x, *limits[:2]))
        height = np.diff(np.clip(self.y, *limits[2:]))
        return height[:, None] * width


def arrange(slitlets):
    """Cut the field along all edges of open shutters and count the exposures of each cell.

    Counts are sums of steps at the corners of rectangles. Where jitter makes too many edges, they
    are rounded, to some milliarcseconds for hundreds of exposures.

    Parameters
    ----------
    slitlets : Slitlets
        The pattern.

    Returns
    -------
    Cells
        The cells.
    """
    shut, whole = slitlets.rectangles(), slitlets.rectangles(bars=False)
    quantum = 1e-6
    while True:
        places = np.round(shut / quantum).astype(np.int64)
        x, y = np.unique(places[:2]), np.unique(places[2:])
        if x.size * y.size <= MAX_CELLS:
            break
        quantum *= 2
    counts = _count(places, x, y)
    without_bars = _count(np.round(whole / quantum).astype(np.int64), x, y)
    return Cells(x * quantum, y * quantum, counts, without_bars)


def _count(rectangles, x, y):
    """Count the rectangles over each cell."""
    left, right = np.searchsorted(x, rectangles[:2])
    bottom, top = np.searchsorted(y, rectangles[2:])
    steps = np.zeros((y.size + 1, x.size + 1), np.int32)
    for rows, columns, sign in (
        (bottom, left, 1), (bottom, right, -1), (top, left, -1), (top, right, 1),
    ):  # fmt: skip
        np.add.at(steps, (rows, columns), sign)
    return steps.cumsum(axis=0).cumsum(axis=1)[: y.size - 1, : x.size - 1]


def gap_widths(unseen, edges):
    """Widths of the gaps along the last axis; what is open to the border is no gap.

    Parameters
    ----------
    unseen : ndarray
        bool, shape ``(m, n)``.
    edges : ndarray
        Limits of the cells along the last axis, arcsec, shape ``(n + 1,)``.

    Returns
    -------
    ndarray
        Width of each gap, arcsec, one for each row that it is in.
    """
    last_seen = np.maximum.accumulate(np.where(unseen, -np.inf, edges[1:]), axis=1)
    ends = unseen[:, :-1] & ~unseen[:, 1:]
    widths = (edges[1:-1] - last_seen[:, :-1])[ends]
    return widths[np.isfinite(widths)]


def core_of(positions, jitter, size):
    """Find where a row of boxes covers fully: more of them at its ends would change nothing.

    Where all boxes overlap and share more than that, it is what they share.

    Parameters
    ----------
    positions : ndarray
        Middles of the boxes as they were commanded, arcsec.
    jitter : float
        Largest distance of a box from there, arcsec.
    size : float
        Of the boxes, arcsec.

    Returns
    -------
    tuple of float
        Limits, arcsec.
    """
    places = np.unique(np.round(positions, 9))
    first, last = float(places[0]), float(places[-1])
    distance = (last - first) / max(places.size - 1, 1)
    shared = size - (last - first)
    trim = max(size - distance, 0) if places.size > 1 else 0.0
    inner = last - first + size - 2 * trim
    low, high = first - size / 2 + trim, last + size / 2 - trim
    if shared > inner:
        low, high = last - size / 2, first + size / 2
    return (low + jitter, high - jitter) if high - low > 4 * jitter else (low, high)
