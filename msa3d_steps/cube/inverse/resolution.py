"""How sharp a cube is: the response of a linear combination to a point of light.

A point of light is put at places that sample spaxels, slits and dithers; each row whose footprint
holds it sees it. What the estimator makes of that, averaged over the places, is the response of
the cube, and its width across and along the slit is what stands here. The telescope's own point
spread function comes on top. Steps and dithers enter as they were made.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

__all__ = ["Sharpness", "piece_width", "point_rows", "response_widths", "sample_places"]

PLACES = 400
"""Number of places of the point of light."""

REACH = 0.4
"""How far from the point the response is followed, arcsec."""

START = 0.08
"""Standard deviation of the response to begin with, arcsec."""

FWHM = np.sqrt(8 * np.log(2))
"""Full width at half maximum of a Gaussian over its standard deviation."""

ENOUGH = 0.05
"""Least gain in resolution that is called one."""


MOST_DRIFT = 0.1
"""Slits are parallel if they drift apart by less than this over their height, in slit widths."""

LARGEST_PIECE = 0.75
"""Pieces of the field have to be narrower than this, in slit widths, for anything to be gained."""


@dataclass(frozen=True)
class Sharpness:
    """What the inverse solution gains over drizzle.

    Parameters
    ----------
    smoothing : float
        Length of the prior, arcsec.
    across, along : float
        Width (FWHM), arcsec, of the response to a point of light across and along the slit.
    drizzle_across, drizzle_along : float
        The same of the plain drizzle.
    pieces : float
        Width of the pieces into which the edges of all slits cut the field (see `piece_width`), in
        slit widths.
    noise : float
        Median over the voxels of the error over that of the drizzle; all without the rim.
    """

    smoothing: float
    across: float
    along: float
    drizzle_across: float
    drizzle_along: float
    pieces: float
    noise: float

    @property
    def gain(self):
        """By which part of its width the response is narrower across the slit."""
        return 1 - self.across / self.drizzle_across

    @property
    def overlapping(self):
        """Whether slits of different positions tell apart what lies within a slit."""
        return self.pieces < LARGEST_PIECE

    @property
    def gained(self):
        """Whether resolution is gained across the slit.

        Without overlapping slits it is not, even if the response is narrower than that of a drizzle
        whose spaxels straddle slits; smaller spaxels would gain that, too.
        """
        return bool(self.overlapping and self.gain >= ENOUGH)


def piece_width(strips):
    """Give the width of the pieces into which the edges of slits cut the field.

    What lies within a piece is not told apart. With steps of a slit the pieces are as wide as the
    slit, with steps of half a slit half as wide.

    Parameters
    ----------
    strips : list
        The cutouts on the grid, of `~msa3d_steps.cube.operator.make_strips`.

    Returns
    -------
    float
        Width of the piece that a place in the field lies in, averaged over places, in slit widths;
        the least of all directions that the slits have.
    """
    found, left = [], list(strips)
    while left:
        to_slit, origin = np.linalg.inv(left[0].matrix), left[0].offset
        drift = [abs((to_slit @ s.matrix)[0, 1]) * np.ptp(s.footprint.limits) for s in left]
        middles = np.array([(to_slit @ (s.offset - origin))[0] for s in left])
        parallel = np.array(drift) < MOST_DRIFT
        edges = np.sort(np.concatenate([middles[parallel] - 0.5, middles[parallel] + 0.5]))
        sizes = np.diff(edges)
        found.append(float(np.sum(sizes**2) / np.sum(sizes)))
        left = [s for s, same in zip(left, parallel, strict=True) if not same]
    return min(found)


def sample_places(spaxels, nx):
    """Choose places of the point of light.

    Parameters
    ----------
    spaxels : numpy.ndarray
        Shape ``(n,)``: flat indices of the spaxels where they may be.
    nx : int
        Number of spaxels in x.

    Returns
    -------
    numpy.ndarray
        Shape ``(PLACES, 2)``: x and y in spaxels; integers are spaxel middles. The same each time.
    """
    rng = np.random.default_rng(20)
    y, x = np.divmod(rng.choice(spaxels, PLACES), nx)
    return np.stack([x, y], axis=1) + rng.uniform(-0.5, 0.5, (PLACES, 2))


def point_rows(system, strips, places):
    """Give what rows of cutouts see of points of light in the middle channel of a block.

    Parameters
    ----------
    system : `~msa3d_steps.cube.inverse.leastsquares.System`
        The block.
    strips : list
        The cutouts on the grid, of `~msa3d_steps.cube.operator.make_strips`.
    places : numpy.ndarray
        Shape ``(n, 2)``: x and y in spaxels.

    Returns
    -------
    numpy.ndarray
        Shape ``(n_rows, n)``: brightness for a flux of one spaxel of brightness 1.
    """
    samples, size = system.samples, system.operator.size[:, system.middle]
    bounds = samples.bounds[:, :, system.middle]
    seen = np.zeros((size.size, len(places)))
    for i in np.unique(samples.strip):
        strip, rows = strips[i], np.flatnonzero(samples.strip == i)
        x, y = np.linalg.inv(strip.matrix) @ (places - strip.offset).T
        inside = np.abs(x) < 0.5 * strip.options.slit_frac
        held = (y >= bounds[0, rows, None]) & (y < bounds[1, rows, None])
        seen[rows] = (held & inside) / size[rows, None]
    return seen


def response_widths(images, offsets):
    """Measure the width of the mean response to points of light: that of a Gaussian fitted to it.

    Parameters
    ----------
    images : numpy.ndarray
        Any shape: brightness of spaxels.
    offsets : numpy.ndarray
        Shape ``(2, ...)``: their distance from the point across and along the slit, arcsec.

    Returns
    -------
    tuple of float
        FWHM across and along the slit, arcsec.
    """
    near = (np.abs(offsets) < REACH).all(axis=0)
    values, squares = images[near], offsets[:, near] ** 2
    peak = values.max()

    def misfit(parameters):
        height, *widths = parameters
        model = height * np.exp(-0.5 * (squares / np.square(widths)[:, None]).sum(axis=0))
        return (model - values) / peak

    start = [0.5 * peak, START, START]
    fit = least_squares(misfit, start, x_scale=start, method="lm")
    return tuple(float(FWHM * abs(sigma)) for sigma in fit.x[1:])
