"""Where an image has what the exposures saw: one shift for all of them.

The image is brought onto axes along the slits, blurred by a Gaussian that makes it fit best (a
rough match of the point spread functions; one that is broader than the exposures' stays as it is),
and averaged over the footprints of the pixels. Scale and background are free in each band. The
shift with the least squares is looked for on a grid, then by Gauss-Newton steps.
"""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS, FITSFixedWarning
from scipy import ndimage
from scipy.interpolate import RectBivariateSpline

from msa3d_steps.cube.registration.body import Boxes
from msa3d_steps.cube.tangent import from_plane
from msa3d_steps.errors import InputError

__all__ = ["Image", "Shift", "align", "read_image"]

log = logging.getLogger(__name__)

REACH = 0.5
"""Largest shift that is looked for, arcsec."""

COARSE = 0.05
"""Steps of the search, arcsec."""

SAMPLE = 0.02
"""Samples of the image along the slits, arcsec."""

BLURS = 0.0, 0.03, 0.05, 0.08, 0.12
"""Gaussians (standard deviation, arcsec) that are tried."""

MOVE = 2e-3
"""Shift that derivatives are taken with, arcsec."""

LEAST_GAIN = 50.0
"""Least decrease of chi-square by the image, in units of the reduced one of the fit."""


@dataclass(frozen=True)
class Image:
    """An image with a WCS.

    Parameters
    ----------
    data : numpy.ndarray
        Shape ``(ny, nx)``, in any unit of surface brightness.
    wcs : ~astropy.wcs.WCS
        Its celestial WCS.
    file : str
        Its name.
    """

    data: np.ndarray
    wcs: WCS
    file: str


@dataclass(frozen=True)
class Shift:
    """What has to be added to the places of all exposures of a source.

    Parameters
    ----------
    across, along : float
        The shift, arcsec.
    covariance : numpy.ndarray
        Shape ``(2, 2)``, arcsec^2, scaled to the residuals of the fit.
    blur : float
        Gaussian that the image was blurred by, arcsec.
    """

    across: float
    along: float
    covariance: np.ndarray
    blur: float


def read_image(path):
    """Read an image: extension SCI, or else the first with two dimensions.

    Parameters
    ----------
    path : str or pathlib.Path
        A FITS file.

    Returns
    -------
    Image
        The image.

    Raises
    ------
    InputError
        Where there is no image with a celestial WCS.
    """
    path = Path(path).expanduser()
    try:
        with fits.open(path, memmap=False) as hdus, warnings.catch_warnings():
            warnings.simplefilter("ignore", FITSFixedWarning)
            planes = [h for h in hdus if h.is_image and h.header.get("NAXIS") == 2]
            planes.sort(key=lambda h: h.name != "SCI")
            if not planes:
                raise InputError("has no two-dimensional image; give the image of a field",
                                 str(path))  # fmt: skip
            plane = planes[0]
            wcs = WCS(plane.header, hdus)
            data = np.array(plane.data, float)
    except OSError as err:
        reason = err.strerror or str(err).splitlines()[0]
        raise InputError(f"cannot be read ({reason}); give a FITS image", str(path)) from err
    if not wcs.has_celestial:
        raise InputError("has no celestial WCS; give an image that has", str(path))
    return Image(data, wcs.celestial, str(path))


def align(image, profiles, offsets, frame):
    """Find the shift that brings a source to its place in an image.

    Parameters
    ----------
    image : Image
        The image.
    profiles : list of ~msa3d_steps.cube.registration.profiles.Profile
        What the exposures saw.
    offsets : numpy.ndarray
        Shape ``(n_exposures, 2)``: offsets of the exposures that are known already, arcsec.
    frame : ~msa3d_steps.cube.registration.profiles.Frame
        Axes of the source.

    Returns
    -------
    Shift or None
        None where the image does not show the source.
    """
    values = _Values(profiles, offsets)
    sampled = _sampled(image, values.boxes, frame)
    if sampled is None:
        return None
    best = None
    for blur in BLURS:
        found = _fit(values, _Integral(*sampled, blur), None if best is None else best[1])
        if best is None or found[0] < best[0]:
            best = (*found, blur)
    chi2, place, normal, blur = best
    reduced = max(chi2 / max(values.value.size - 4 * values.n_bands, 1), 1.0)
    if values.chi2_without() - chi2 < LEAST_GAIN * reduced or np.abs(place).max() >= REACH:
        return None
    return Shift(float(place[0]), float(place[1]), reduced * np.linalg.inv(normal), blur)


class _Values:
    """Values, weights and boxes of all profiles."""

    def __init__(self, profiles, offsets):
        sizes = [p.value.size for p in profiles]
        self.band = np.concatenate([p.band for p in profiles])
        self.value = np.concatenate([p.value for p in profiles])
        self.weight = 1 / np.concatenate([p.variance for p in profiles])
        low, high = (np.concatenate([getattr(p, n) for p in profiles]) for n in ("low", "high"))
        middle = np.repeat([p.across for p in profiles], sizes)
        half = np.repeat([0.5 * p.width for p in profiles], sizes)
        shift = offsets[np.repeat([p.exposure for p in profiles], sizes)].T
        self.boxes = Boxes(middle - half, middle + half, low, high).moved(*shift)
        self.bands = [np.flatnonzero(self.band == b) for b in np.unique(self.band)]
        self.n_bands = len(self.bands)

    def fit(self, columns):
        """Fit values by columns in each band; give residuals of value and further columns."""
        left = np.empty((self.value.size, columns.shape[1]))
        scale = np.empty(self.value.size)
        for own in self.bands:
            root = np.sqrt(self.weight[own])[:, None]
            design = np.column_stack([columns[own, 0], np.ones(own.size)]) * root
            rest = np.column_stack([self.value[own], columns[own, 1:]]) * root
            solution = np.linalg.lstsq(design, rest)[0]
            left[own] = rest - design @ solution
            scale[own] = solution[0, 0]
        return left, scale

    def chi2_without(self):
        """Chi-square of a constant in each band."""
        return sum(
            float(np.sum(w * (v - np.average(v, weights=w)) ** 2))
            for v, w in ((self.value[own], self.weight[own]) for own in self.bands)
        )


def _sampled(image, boxes, frame):
    """Bring the image onto the axes of a source: places across and along, and brightness."""
    margin = REACH + 0.5
    x = np.arange(boxes.left.min() - margin, boxes.right.max() + margin, SAMPLE)
    y = np.arange(boxes.low.min() - margin, boxes.high.max() + margin, SAMPLE)
    grid = np.stack(np.meshgrid(x, y, indexing="ij")).reshape(2, -1)
    ra, dec = from_plane(*(frame.axes.T @ grid), frame.ra, frame.dec)
    columns, rows = image.wcs.all_world2pix(ra, dec, 0)
    if not (np.isfinite(columns).all() and np.isfinite(rows).all()):
        return None
    ny, nx = image.data.shape
    first = [max(int(np.floor(a.min())) - 4, 0) for a in (rows, columns)]
    last = [min(int(np.ceil(a.max())) + 5, n) for a, n in ((rows, ny), (columns, nx))]
    part = image.data[first[0] : last[0], first[1] : last[1]]
    if min(part.shape) < 4:
        return None
    known = np.isfinite(part)
    if known.mean() < 0.5:
        return None
    # bad pixels are filled from around; missing ones at the border are empty
    near = ndimage.distance_transform_edt(~known, return_distances=False, return_indices=True)
    filled = np.where(known, part, part[tuple(near)])
    # the brightness of a pixel is the mean over it: of a spline through such values it is nearly so
    sampled = ndimage.map_coordinates(
        filled, [rows - first[0], columns - first[1]], order=3, mode="nearest"
    )
    return x, y, sampled.reshape(x.size, y.size)


class _Integral:
    """An image integrated twice, for means over boxes."""

    def __init__(self, x, y, data, blur):
        if blur:
            data = ndimage.gaussian_filter(data, blur / SAMPLE, mode="nearest")
        data = data - np.median(data)
        total = np.zeros((x.size + 1, y.size + 1))
        total[1:, 1:] = data.cumsum(axis=0).cumsum(axis=1) * SAMPLE**2
        edges = [np.append(a - 0.5 * SAMPLE, a[-1] + 0.5 * SAMPLE) for a in (x, y)]
        self._spline = RectBivariateSpline(*edges, total)

    def mean(self, boxes):
        """Mean over boxes."""
        at = self._spline.ev
        total = at(boxes.right, boxes.high) - at(boxes.left, boxes.high)
        total += at(boxes.left, boxes.low) - at(boxes.right, boxes.low)
        return total / ((boxes.right - boxes.left) * (boxes.high - boxes.low))


def _fit(values, integral, start):
    """Least chi-square, its place and its normal matrix."""

    def chi2(place):
        return float(np.sum(values.fit(integral.mean(values.boxes.moved(*place))[:, None])[0] ** 2))

    if start is None:
        steps = np.arange(-REACH, REACH + 0.5 * COARSE, COARSE)
        places = [np.array([a, b]) for a in steps for b in steps]
        start = min(places, key=chi2)
    place, least = start, chi2(start)
    for _ in range(15):
        here = integral.mean(values.boxes.moved(*place))
        slopes = [
            (integral.mean(values.boxes.moved(*(place + MOVE * unit))) - here) / MOVE
            for unit in np.eye(2)
        ]
        left, scale = values.fit(np.column_stack([here, *slopes]))
        moved = left[:, 1:] * scale[:, None]
        normal = moved.T @ moved
        change = np.linalg.solve(
            normal + 1e-12 * np.trace(normal) * np.eye(2), moved.T @ left[:, 0]
        )
        change *= min(1, COARSE / max(np.abs(change).max(), 1e-12))
        while np.abs(change).max() > 1e-5:
            there = chi2(place + change)
            if there < least:
                break
            change = change / 2
        else:
            break
        place, least = place + change, there
    return least, place, normal
