"""All pixels of a source, gathered by place on the sky and by wavelength.

A place is as wide as a slit and as high as a detector pixel, so that the pixels of all dithers and
of overlapping steps come together in it: a quick cube that the emptiness of the sky is judged by.
Cosmic rays are still in the data; a pixel that is far from the median of those that see the same
place at the same wavelength is left out, with its neighbours on the detector: what a ray leaves in
them is too faint to be noticed, but moves the mean.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.ndimage import binary_dilation, median_filter

from msa3d_steps.cube.footprint import OPEN_WIDTH, axes_of_slit
from msa3d_steps.cube.sources import SHUTTER_DISTANCE
from msa3d_steps.cube.surface import Dispersion

__all__ = ["COLUMNS", "Places", "channel_edges", "gather"]

COLUMNS = 4
"""Width of a channel, detector pixels."""

MARGIN = 0.5
"""Pixels whose middle is closer than this to the end of the slitlet, in pixels, are not used."""

DARK = 0.5
"""Shutters at either end that jwst cuts out too, and that are dark; spectra that are rectified, or
do not name their shutters, do not tell where they are."""

PITCH = 0.53
"""Distance of two shutters along the slit, arcsec (JDox, "NIRSpec Micro-Shutter Assembly")."""

CLIP = 5.0
"""Pixels farther than this from the median of their place and channel, in sigmas, are left out with
their neighbours on the detector. Less would move the mean: Poisson noise is skewed."""

LEAST = 4
"""Number of pixels that a median is trusted of."""


@dataclass(frozen=True)
class Places:
    """Mean brightness of places on the sky in channels of wavelength.

    Parameters
    ----------
    across, along : numpy.ndarray
        Shape ``(n_places,)``: middles of the places, arcsec, on axes across and along the slits.
    index : numpy.ndarray
        Shape ``(n_places, 2)``: the same as whole numbers of places.
    value, variance : numpy.ndarray
        Shape ``(n_places, n_channels)``: mean, MJy/sr, and its variance; value 0 and variance
        infinite where there is no pixel.
    expected : numpy.ndarray
        Same shape: variance as it is expected from the read noise; it knows nothing of the data,
        so that weights made of it do not pull a mean towards pixels that came out low.
    wavelength : numpy.ndarray
        Same shape: mean wavelength of the pixels, um.
    number : numpy.ndarray
        Same shape: number of pixels.
    """

    across: np.ndarray
    along: np.ndarray
    index: np.ndarray
    value: np.ndarray
    variance: np.ndarray
    expected: np.ndarray
    wavelength: np.ndarray
    number: np.ndarray


@dataclass(frozen=True)
class _Pixels:
    """Pixels of cutouts, each array of shape ``(n,)``."""

    across: np.ndarray
    along: np.ndarray
    wavelength: np.ndarray
    value: np.ndarray
    variance: np.ndarray
    expected: np.ndarray


def channel_edges(footprints):
    """Choose channels that are some detector pixels wide everywhere.

    Parameters
    ----------
    footprints : list of ~msa3d_steps.cube.footprint.Footprint
        The cutouts.

    Returns
    -------
    numpy.ndarray
        Shape ``(n_channels + 1,)``: limits, um. Where two cutouts overlap in wavelength, the one
        that begins first gives them; a gap between detectors is one channel.
    """
    ranges = []
    for footprint in footprints:
        first, last = footprint.columns
        columns = np.append(np.arange(first, last + 1, COLUMNS), last + 1) - 0.5
        rows = np.array([-0.5, 0.5 * (footprint.shape[0] - 1), footprint.shape[0] - 0.5])
        lam = np.sort(footprint.wavelength(columns, rows), axis=1)
        ranges.append(np.concatenate([[lam[:, 0].min()], lam[1, 1:-1], [lam[:, -1].max()]]))
    ranges.sort(key=lambda edges: edges[0])
    edges = ranges[0]
    for more in ranges[1:]:
        edges = np.concatenate([edges, more[more > edges[-1] + 0.5 * (edges[-1] - edges[-2])]])
    edges[-1] = max(e[-1] for e in ranges)
    return edges


def gather(cutouts, edges):
    """Bring the pixels of cutouts together by place and channel.

    Parameters
    ----------
    cutouts : list of ~msa3d_steps.cube.sources.Cutout
        The cutouts of one source.
    edges : numpy.ndarray
        Shape ``(n_channels + 1,)``: limits of the channels, um.

    Returns
    -------
    Places
        Those that any pixel falls on.
    """
    footprint = cutouts[0].footprint
    center, height = footprint.center, footprint.pixel_height
    axes = axes_of_slit(footprint.to_plane(*center)[1])
    found = [_pixels(cutout, center, axes) for cutout in cutouts]
    pixels = _Pixels(
        *(np.concatenate([getattr(p, n) for p, _ in found]) for n in _Pixels.__annotations__)
    )
    place = [
        np.floor((u - np.median(u)) / size + 0.5).astype(np.int64)
        for u, size in ((pixels.across, OPEN_WIDTH), (pixels.along, height))
    ]
    channel = np.searchsorted(edges, pixels.wavelength, side="right") - 1
    inside = (channel >= 0) & (channel < edges.size - 1)
    place = np.stack(place, axis=1)
    width = np.ptp(place[:, 1]) + 1 if len(place) else 1
    key = (place - place.min(axis=0, initial=0)) @ [width, 1]
    _, which, number = np.unique(key, return_index=True, return_inverse=True)
    shape = which.size, edges.size - 1
    values = pixels.value
    group = np.where(inside, number * shape[1] + channel, which.size * shape[1])
    near = _near_median(group, values, pixels.expected)
    good = inside & _without_neighbours(near, [used for _, used in found])
    group = group[good]

    def total(values):
        return np.bincount(group, values[good], shape[0] * shape[1]).reshape(shape)

    weight = 1 / pixels.expected
    weights, seen = total(weight), total(np.ones(values.size))
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(seen, total(weight * values) / weights, 0.0)
        variance = np.where(seen, total(weight**2 * pixels.variance) / weights**2, np.inf)
        wavelength = np.where(
            seen, total(weight * pixels.wavelength) / weights, 0.5 * (edges[1:] + edges[:-1])
        )
        expected = 1 / weights
    origin = [np.median(pixels.across), np.median(pixels.along)]
    across, along = (place[which] * [OPEN_WIDTH, height] + origin).T
    return Places(across, along, place[which], value, variance, expected, wavelength, seen)


def _pixels(cutout, center, axes):
    """Find the pixels of a cutout that can be used, where they lie, and which they are."""
    footprint = cutout.footprint
    part = (slice(None), footprint.span)
    variance = cutout.variance[part].astype(float)
    expected = _expected(cutout, part)
    y_slit = footprint.along(*footprint.middles)
    low, high = footprint.limits
    margin = _margin(cutout)
    with np.errstate(invalid="ignore"):
        good = np.isfinite(cutout.data[part]) & (variance > 0) & (expected > 0)
        good &= np.isfinite(variance) & np.isfinite(expected)
        good &= (y_slit > low + margin) & (y_slit < high - margin)
    offset, matrix = footprint.to_plane(*center)
    place = axes @ (offset[:, None] + matrix[:, 1:] * y_slit[good])
    wavelength = footprint.wavelength(*footprint.middles)[good]
    value = cutout.data[part][good].astype(float)
    return _Pixels(*place, wavelength, value, variance[good], expected[good]), good


def _margin(cutout):
    """Part of the ends of a slitlet that is not used, in units of ``y_slit``."""
    footprint = cutout.footprint
    margin = MARGIN * footprint.row_height
    if isinstance(footprint.wavelength, Dispersion):  # ``y_slit`` is in arcsec
        return margin + DARK * PITCH
    return margin + (0 if "x" in cutout.shutter_state else DARK * SHUTTER_DISTANCE)


def _expected(cutout, part):
    """Variance of pixels that does not follow the noise of their values.

    The Poisson part of a variance comes from the value itself: pixels that came out low would get
    too much weight. Instead it is the read variance scaled up by the row's median ratio or, where
    no read variance is known, the running median of the variance along the row.
    """
    variance = cutout.variance[part].astype(float)
    if cutout.read_variance is None:
        filled = np.where(np.isfinite(variance), variance, np.nanmedian(variance))
        return median_filter(filled, (1, 31), mode="nearest")
    read = cutout.read_variance[part].astype(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.ma.masked_invalid(np.where(read > 0, variance / read, np.nan))
    return read * np.ma.median(ratio, axis=1).filled(1.0)[:, None]


def _near_median(group, values, expected):
    """Tell which values are not far from the median of their group."""
    order = np.argsort(group, kind="stable")
    near = np.empty(group.size, bool)
    near[order] = _near(group[order], values[order], expected[order])
    return near


def _without_neighbours(near, used):
    """Leave out the neighbours of pixels that are left out, too.

    Parameters
    ----------
    near : numpy.ndarray
        Boolean, shape ``(n,)``: pixels that are kept, of all cutouts.
    used : list of numpy.ndarray
        Boolean, shapes ``(ny, nx)``: which pixels of each cutout they are.

    Returns
    -------
    numpy.ndarray
        Boolean, shape ``(n,)``.
    """
    kept, start = np.empty_like(near), 0
    for mask in used:
        part = slice(start, start + int(mask.sum()))
        far = np.zeros(mask.shape, bool)
        far[mask] = ~near[part]
        kept[part] = ~binary_dilation(far)[mask]
        start = part.stop
    return kept


@njit(cache=True, nogil=True)
def _near(group, values, expected):
    """Do the same for sorted groups, compiled."""
    near = np.ones(group.size, np.bool_)
    start = 0
    while start < group.size:
        stop = start
        while stop < group.size and group[stop] == group[start]:
            stop += 1
        if stop - start >= LEAST:
            median = np.median(values[start:stop])
            for i in range(start, stop):
                near[i] = abs(values[i] - median) <= CLIP * np.sqrt(expected[i])
        start = stop
    return near
