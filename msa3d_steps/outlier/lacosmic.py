"""Outliers of a single exposure: L.A.Cosmic (van Dokkum 2001, PASP 113, 1420) by astroscrappy.

A cosmic ray has sharper edges than light that came through the optics. What astroscrappy does is
kept; what it is given makes three differences to a plain call.

Noise: the image is divided by its own ERR. In the ramp fit of jwst ERR follows the median rate of
the groups, so that a cosmic ray that survived hardly changes it, and it need not be smoothed, as
astroscrappy does to a variance, which makes narrow lines seem too significant.

Pixels without data: astroscrappy grows a mask by one pixel, and leaves the edges of an image out of
its median filters. Here gaps are filled and edges mirrored instead, so that each pixel with data is
judged: 12% of the hit pixels of a simulated survey lie beside a gap or at the edge of the slit.

Lines: a narrow line of a compact source looks like a cosmic ray to the Laplacian. A group of
flagged pixels is let go where profiles of unresolved lines explain it: those that fit below the
data along the dispersion (a morphological opening). A cosmic ray is narrower, unless it runs along
the dispersion. One that falls on a line and is not brighter than it is mostly missed.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from astroscrappy import detect_cosmics
from scipy.ndimage import binary_dilation, label, uniform_filter
from threadpoolctl import ThreadpoolController

__all__ = ["LacosmicOptions", "find_outliers_alone"]

CONTINUUM = 64
"""Columns whose median is a node of the continuum of a row."""

MARGIN = 5
"""Pixels that are mirrored at the edges: the largest median filter leaves out 4."""

EXPLAINED = 0.75
"""Part of the flux of a group of flagged pixels that lines explain where it is let go."""

SLACK = 0.5
"""How far profiles may rise above the data, in ERR, since noise digs into lines."""

REACH = 2
"""Columns on either side of the middle of a line's profile."""

BESIDE = np.ones((3, 3), bool)

PHASES = (-0.5, -0.25, 0.0, 0.25)
"""Places of the middle of a profile within a pixel; 0.5 is -0.5 of the next."""

SIGMA_IN_FWHM = np.sqrt(8 * np.log(2))

_threads = ThreadpoolController()


@dataclass(frozen=True)
class LacosmicOptions:
    """How outliers are told from light.

    Parameters
    ----------
    sigclip : float
        Least Laplacian of an outlier, in units of its noise.
    sigfrac : float
        Part of `sigclip` that is enough for a pixel that touches an outlier.
    objlim : float
        Least contrast of the Laplacian with the fine structure of the image.
    niter : int
        Number of iterations.
    line_width : float
        FWHM of the narrowest line along the dispersion, pixels; 0 protects no lines. A wide
        source that fills the slit has 2.2 in NIRSpec; a smaller number protects the lines of point
        sources and finds fewer of the cosmic rays that run along the dispersion.
    read_noise : float, optional
        If given, data are handed to astroscrappy as they are, as if they were electrons with this
        read noise; ERR and continuum are not used.
    """

    sigclip: float = 4.5
    sigfrac: float = 0.3
    objlim: float = 5.0
    niter: int = 4
    line_width: float = 2.0
    read_noise: float | None = None

    @classmethod
    def published(cls):
        """Make the settings of Barisic et al. (2024), which are meant for blocks of s2d spectra."""
        return cls(sigclip=0.6, sigfrac=0.001, niter=3, line_width=0.0, read_noise=6.5)


def find_outliers_alone(cutout, options=None):
    """Find outliers in one cutout.

    Parameters
    ----------
    cutout : ~msa3d_steps.cube.sources.Cutout
        The cutout; it is not changed.
    options : LacosmicOptions, optional
        How; the defaults if not given.

    Returns
    -------
    numpy.ndarray
        Boolean, shape ``(ny, nx)``: the outliers among the pixels with data.
    """
    options = options or LacosmicOptions()
    used = np.isfinite(cutout.data)
    if options.read_noise is None:
        used &= np.isfinite(cutout.variance) & (cutout.variance > 0)
    if not used.any():
        return used
    rows, columns = (np.flatnonzero(used.any(axis=axis)) for axis in (1, 0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    found = np.zeros_like(used)
    found[box] = _find(cutout.data[box], cutout.variance[box], used[box], options)
    return found


def _find(data, variance, used, options):
    """Find outliers in an image whose outermost rows and columns have data."""
    data = np.where(used, data, 0).astype(np.float32)
    if options.read_noise is not None:
        image, noise = _filled(data, used).T, {"readnoise": options.read_noise}
        found = _detect(image, options, noise).T & used
        err = np.ones_like(data)
    else:
        data = np.where(used, data - _continuum(data, used), 0)
        err = np.sqrt(np.where(used, variance, 1))
        image = _filled(data / err, used)
        noise = {"invar": np.ones_like(image), "satlevel": np.inf, "cleantype": "medmask"}
        found = _detect(image, options, noise) & used
    if options.line_width > 0 and found.any():
        found &= ~_explained(data, err, used, found, options.line_width)
    return found


def _detect(image, options, noise):
    """Run L.A.Cosmic on an image without gaps, edges included."""
    padded = {
        key: np.pad(value, MARGIN, mode="symmetric") if np.ndim(value) else value
        for key, value in {"indat": image, **noise}.items()
    }
    # few pixels: more threads wait for each other longer than they work
    with _threads.limit(limits=1, user_api="openmp"):
        mask, _ = detect_cosmics(
            sigclip=options.sigclip, sigfrac=options.sigfrac, objlim=options.objlim,
            niter=options.niter, **padded,
        )  # fmt: skip
    return mask[MARGIN:-MARGIN, MARGIN:-MARGIN]


def _filled(image, used):
    """Fill pixels without data with the mean of their neighbours; 0 where none has data."""
    weight = uniform_filter(used.astype(np.float32), 3, mode="constant")
    total = uniform_filter(np.where(used, image, 0).astype(np.float32), 3, mode="constant")
    around = np.where(weight > 0.05, total / np.maximum(weight, 0.05), 0)  # one of 9 is 0.11
    return np.where(used, image, around).astype(np.float32)


def _continuum(data, used):
    """Interpolate between the medians of blocks of each row; lines and outliers are not in it."""
    ny, nx = data.shape
    number = max(round(nx / CONTINUUM), 1)
    edges = np.linspace(0, nx, number + 1).astype(int)
    nodes, known = np.zeros((ny, number), np.float32), np.zeros((ny, number), np.float32)
    values = np.where(used, data, np.inf)
    for block, (start, stop) in enumerate(pairwise(edges)):
        n = used[:, start:stop].sum(axis=1)
        order = np.sort(values[:, start:stop], axis=1)
        middle = np.maximum(np.stack([(n - 1) // 2, n // 2], axis=1), 0)
        pair = np.take_along_axis(order, middle, axis=1)
        known[:, block] = n > 0
        nodes[:, block] = np.where(n > 0, pair.mean(axis=1), 0)
    columns, centers = np.arange(nx), 0.5 * (edges[:-1] + edges[1:] - 1)
    hats = np.stack([np.interp(columns, centers, row) for row in np.eye(number)])
    weight = known @ hats.astype(np.float32)
    return np.divide(nodes @ hats, weight, out=np.zeros_like(data), where=weight > 0)


def _explained(data, err, used, found, width):
    """Mark flagged pixels that lines explain: whole groups, and what lies off the rest of a group.

    Around a cosmic ray on a line only the pixels that touch an unexplained one stay flagged.
    """
    lines = _below(np.where(used, data + SLACK * err, np.inf), width) - SLACK * err
    shown = np.maximum(data, 0) / err
    in_lines = np.clip(lines / err, 0, shown)
    groups, number = label(found, BESIDE)
    group = groups[found]
    total = np.bincount(group, shown[found], number + 1)
    let_go = np.bincount(group, in_lines[found], number + 1) > EXPLAINED * total
    strange = found & (in_lines <= EXPLAINED * shown)
    return found & (let_go[groups] | ~binary_dilation(strange, BESIDE))


def _below(data, width):
    """Take the largest values of all line profiles that fit below the data, row by row.

    Parameters
    ----------
    data : ndarray
        Shape ``(ny, nx)``; infinite where there is none.
    width : float
        FWHM of a Gaussian, pixels.

    Returns
    -------
    ndarray
        Shape ``(ny, nx)``.
    """
    nx = data.shape[1]
    padded = np.pad(data, ((0, 0), (2 * REACH, 2 * REACH)), constant_values=np.inf)
    seen = np.isfinite(padded[:, REACH:-REACH])
    distance, places = np.arange(-REACH, REACH + 1), range(2 * REACH + 1)
    best = np.full(data.shape, -np.inf)
    for phase in PHASES:
        profile = np.exp(-0.5 * (SIGMA_IN_FWHM * (distance - phase) / width) ** 2)
        height = np.min([padded[:, i : i + seen.shape[1]] / profile[i] for i in places], axis=0)
        height[~np.isfinite(height)] = -np.inf
        # far out on a flank whose peak is in a gap nothing tells light from a cosmic ray
        far = np.where(seen, height, -np.inf)
        for i in places[1:-1]:
            part = height if abs(distance[i] - phase) < 0.8 else far
            start = 2 * REACH - i
            np.maximum(best, part[:, start : start + nx] * profile[i], out=best)
    return best
