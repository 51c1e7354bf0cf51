"""The exposures of a source without their wavelengths: what registration works on.

A pixel is ``b(lam) + s(lam) p(place)``: a spectrum that every place has, one of the source, and the
source's brightness. The rows of a cutout are averaged over wavelength with the weights
``s / variance`` that are best for such a source (Horne 1986, PASP 98, 609, with the roles of the
axes swapped): continuum and emission lines count by their signal to noise. The weights depend on
wavelength alone and are the same for all exposures, so a source whose colour changes from place to
place looks the same to all of them, too. Wavelengths are cut into few bands, each with an image of
its own, and each band into pieces along which the trace stays within a part of a pixel.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import ndimage

from msa3d_steps.cube.footprint import axes_of_slit

__all__ = ["Frame", "Profile", "collapse", "frame_of"]

DRIFT = 0.25
"""Largest drift of the trace within a piece of the wavelengths, pixels."""

MERGE = 0.25
"""Size of the cells within which pixels of one band are averaged, pixels."""

LEAST_SHARE = 0.6
"""Least share of the weight of a row in a piece that its usable pixels must have."""

CELL = 0.1
"""Size of the cells of the first, coarse picture of a source, arcsec."""

FEWEST = 8
"""Fewest pixels of a cell of it."""

FAINT = 0.03
"""Brightness beyond which a place belongs to the source, in parts of the brightest place."""

MARGIN = 0.35
"""Room around it, arcsec."""

SMOOTH = 101
"""Channels over which the continuum of a source is smooth."""

LINE = 4.0
"""Standard deviations above the continuum at which a channel has a line."""


@dataclass(frozen=True)
class Frame:
    """Axes across and along the slits on the sky, in which a source is seen.

    Parameters
    ----------
    ra, dec : float
        Origin, degrees.
    axes : numpy.ndarray
        Shape ``(2, 2)``: unit vectors (xi, eta) across and along the slits, as rows.
    """

    ra: float
    dec: float
    axes: np.ndarray


@dataclass(frozen=True)
class Profile:
    """A cutout, averaged over wavelength in pieces.

    Parameters
    ----------
    exposure : int
        Number of its exposure.
    across, width : float
        Middle and width of the slit in the direction across, arcsec.
    band : numpy.ndarray
        Shape ``(n,)``: band of each value.
    low, high : numpy.ndarray
        Shape ``(n,)``: ends of its pixel along the slit, arcsec.
    value, variance : numpy.ndarray
        Shape ``(n,)``: brightness in units of the source's spectrum, and its variance.
    """

    exposure: int
    across: float
    width: float
    band: np.ndarray
    low: np.ndarray
    high: np.ndarray
    value: np.ndarray
    variance: np.ndarray


def frame_of(cutouts):
    """Choose the axes for cutouts whose slits have one direction.

    Parameters
    ----------
    cutouts : list of ~msa3d_steps.cube.sources.Cutout
        The cutouts.

    Returns
    -------
    Frame
        With the middle of the first cutout as the origin.
    """
    center = cutouts[0].footprint.center
    matrices = [c.footprint.to_plane(*center)[1] for c in cutouts]
    return Frame(*center, axes_of_slit(np.mean(matrices, axis=0)))


@dataclass(frozen=True)
class _Pixels:
    """The pixels of a cutout, and where they are."""

    exposure: int
    across: float
    width: float
    edges: np.ndarray  # (ny + 1, nx): along the slit, arcsec
    lam: np.ndarray  # (ny, nx), um
    data: np.ndarray
    variance: np.ndarray
    usable: np.ndarray

    @property
    def middles(self):
        return 0.5 * (self.edges[1:] + self.edges[:-1])


def _pixels_of(cutout, exposure, frame):
    footprint, span = cutout.footprint, cutout.footprint.span
    offset, matrix = footprint.to_plane(frame.ra, frame.dec)
    across, start = frame.axes @ offset
    width, scale = abs(frame.axes[0] @ matrix[:, 0]), frame.axes[1] @ matrix[:, 1]
    columns, rows = footprint.middles
    edges = start + scale * footprint.along(columns, np.append(rows, rows.size) - 0.5)
    data, variance = cutout.data[:, span], cutout.variance[:, span]
    usable = np.isfinite(data) & (variance > 0) & np.isfinite(variance)
    return _Pixels(
        exposure, float(across), float(width), edges, footprint.wavelength(columns, rows),
        np.where(usable, data, 0), np.where(usable, variance, 1), usable,
    )  # fmt: skip


def collapse(cutouts, exposures, frame, n_bands):
    """Average the cutouts of a source over wavelength.

    Parameters
    ----------
    cutouts : list of ~msa3d_steps.cube.sources.Cutout
        Cutouts whose slits have one direction.
    exposures : sequence of int
        Number of the exposure of each.
    frame : Frame
        Axes of the source.
    n_bands : int
        Number of bands that the source's signal to noise is shared out among.

    Returns
    -------
    profiles : list of Profile
        One for each cutout that sees the place of the source.
    waves : list of float
        Mean wavelength of each band, um; empty where no source is seen.
    """
    pixels = [_pixels_of(c, e, frame) for c, e in zip(cutouts, exposures, strict=True)]
    spectrum = _Spectrum(pixels)
    reach = spectrum.reach
    if reach is None:
        return [], []
    limits, waves = spectrum.bands(n_bands)
    profiles = [_profile(p, spectrum, limits, reach) for p in pixels]
    return [p for p in profiles if p is not None], waves


class _Spectrum:
    """Spectrum and weights of a source, on channels as wide as pixels, and where it is bright."""

    def __init__(self, pixels):
        self.channels = _channels(pixels)
        self.n = self.channels.size
        places = [self._place(p) for p in pixels]
        picture, noise, cells = _picture(pixels)
        self.reach = None
        if not np.isfinite(picture).any():
            return
        contrast = picture - np.nanquantile(picture, 0.2)
        bright = contrast > np.maximum(FAINT * np.nanmax(contrast), 4 * noise)
        if not bright.any():
            return
        rows = np.flatnonzero(bright.any(axis=0))
        self.reach = cells[rows[0]] - MARGIN, cells[rows[-1] + 1] + MARGIN
        contrast = np.where(bright, contrast, 0) / np.nanmax(contrast)
        self._fit(pixels, places, contrast, cells)

    def _place(self, pixels):
        """Nearest channel of each pixel."""
        between = 0.5 * (self.channels[1:] + self.channels[:-1])
        return np.searchsorted(between, pixels.lam)

    def _fit(self, pixels, places, contrast, cells):
        """Fit the spectra of sky and source, channel by channel."""
        sums = np.zeros((6, self.n))
        for number, (p, channel) in enumerate(zip(pixels, places, strict=True)):
            cell = np.clip(np.searchsorted(cells, p.middles) - 1, 0, cells.size - 2)
            profile = contrast[number][cell]
            inside = p.usable & np.isfinite(profile)
            channel, profile = channel[inside], profile[inside]
            data, variance = p.data[inside], p.variance[inside]
            terms = (np.ones_like(profile), profile, profile**2, data, data * profile, variance)
            for total, term in zip(sums, terms, strict=True):
                total += np.bincount(channel, term, self.n)
        one, p1, p2, d, dp, variance = sums
        with np.errstate(divide="ignore", invalid="ignore"):
            determinant = one * p2 - p1**2
            source = np.where(determinant > 0, (one * dp - p1 * d) / determinant, 0)
            error2 = np.where(determinant > 0, variance / determinant, np.inf)
            noise = np.where(one > 0, variance / one, np.inf)
        source = _without_noise(source, error2, one > 0)
        self.source = np.maximum(np.nan_to_num(source), 0)
        self.weight = self.source / noise
        self.weight[~np.isfinite(self.weight)] = 0

    def bands(self, number):
        """Limits of bands of equal information, um, and their mean wavelengths."""
        information = np.cumsum(self.weight * self.source)
        if not information[-1] > 0:
            return np.array([self.channels[0], self.channels[-1]]), []
        parts = np.arange(1, number) / number * information[-1]
        inner = self.channels[np.searchsorted(information, parts)]
        limits = np.concatenate([[-np.inf], inner, [np.inf]])
        share = self.weight * self.source
        waves = []
        for low, high in pairwise(limits):
            inside = (self.channels >= low) & (self.channels < high)
            total = share[inside].sum()
            waves.append(float((share * self.channels)[inside].sum() / total) if total > 0 else 0)
        return limits, waves

    def at(self, pixels):
        """Weight and source's brightness at the pixels of a cutout."""
        channel = self._place(pixels)
        return self.weight[channel], self.source[channel]


def _without_noise(source, error2, valid):
    """Take the smooth continuum for the spectrum of a source but for its lines."""
    if not valid.any():
        return source
    smooth = np.zeros_like(source)
    smooth[valid] = ndimage.median_filter(source[valid], SMOOTH, mode="nearest")
    smooth[valid] = ndimage.uniform_filter1d(smooth[valid], SMOOTH // 2, mode="nearest")
    line = valid & (source - smooth > LINE * np.sqrt(error2))
    return np.where(ndimage.binary_dilation(line, iterations=2) & valid, source, smooth)


def _channels(pixels):
    """Wavelengths of channels as wide as pixels that the middle rows of the cutouts have."""
    lines = [np.sort(p.lam[p.lam.shape[0] // 2]) for p in pixels]
    lines.sort(key=lambda line: (line[0], -line.size))
    channels = lines[0]
    for line in lines[1:]:
        step = channels[-1] - channels[-2]
        channels = np.concatenate([channels, line[line > channels[-1] + 0.5 * step]])
    return channels


def _picture(pixels):
    """Mean brightness of each cutout in cells along the slit, its error, and the cells."""
    low = min(p.edges.min() for p in pixels)
    high = max(p.edges.max() for p in pixels)
    cells = low + CELL * np.arange(int((high - low) / CELL) + 2)
    picture = np.full((len(pixels), cells.size - 1), np.nan)
    noise = np.full(picture.shape, np.inf)
    typical = np.concatenate([p.variance[p.usable][::7] for p in pixels])
    largest = 10 * np.median(typical)  # pixels that are good for nothing
    for number, p in enumerate(pixels):
        usable = p.usable & (p.variance < largest)
        cell = np.searchsorted(cells, p.middles[usable]) - 1
        count = np.bincount(cell, minlength=cells.size - 1)
        total = np.bincount(cell, p.data[usable], cells.size - 1)
        variance = np.bincount(cell, p.variance[usable], cells.size - 1)
        enough = count >= FEWEST
        picture[number, enough] = total[enough] / count[enough]
        noise[number, enough] = np.sqrt(variance[enough]) / count[enough]
    return picture, noise, cells


def _profile(pixels, spectrum, limits, reach):
    """Average the rows of a cutout in pieces of the wavelengths."""
    weight, source = spectrum.at(pixels)
    middle = weight.shape[0] // 2
    starts = _starts(pixels, limits)
    share = (weight * source)[middle]
    total = np.add.reduceat(share, starts)
    kept = total > 1e-9 * max(total.max(), 1e-300)
    if not total.max() > 0:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        edges = np.add.reduceat(pixels.edges * share, starts, axis=1) / total
        used = np.where(pixels.usable, weight, 0)
        norm = np.add.reduceat(used * source, starts, axis=1)
        whole = np.add.reduceat(weight * source, starts, axis=1)
        value = np.add.reduceat(used * pixels.data, starts, axis=1) / norm
        variance = np.add.reduceat(used**2 * pixels.variance, starts, axis=1) / norm**2
    low, high = np.minimum(edges[1:], edges[:-1]), np.maximum(edges[1:], edges[:-1])
    good = kept & (norm > LEAST_SHARE * whole) & (low > reach[0]) & (high < reach[1])
    good &= np.isfinite(value) & np.isfinite(variance) & (variance > 0)
    if not good.any():
        return None
    band = np.searchsorted(limits, pixels.lam[middle, starts], side="right") - 1
    band = np.broadcast_to(band, good.shape)[good]
    return _merged(pixels, band, *(a[good] for a in (low, high, value, variance, whole)))


def _merged(pixels, band, low, high, value, variance, share):
    """Average the values of a band whose pixels lie at nearly the same place along the slit."""
    cell = np.floor(0.5 * (low + high) / (MERGE * np.median(high - low))).astype(int)
    cell -= cell.min()
    _, group = np.unique(band * (cell.max() + 1) + cell, return_inverse=True)
    total = np.bincount(group, share)

    def mean(values):
        return np.bincount(group, share * values) / total

    return Profile(
        pixels.exposure, pixels.across, pixels.width, np.rint(mean(band)).astype(int),
        mean(low), mean(high), mean(value), np.bincount(group, share**2 * variance) / total**2,
    )  # fmt: skip


def _starts(pixels, limits):
    """First columns of pieces: cut where a band ends and where the trace has drifted too far."""
    ny, nx = pixels.lam.shape
    line = pixels.edges[ny // 2]
    height = np.median(np.abs(np.diff(pixels.edges[:, nx // 2])))
    # the length of the trace in pixels along the slit, up and down alike
    drift = np.concatenate([[0], np.cumsum(np.abs(np.diff(line)))]) / (DRIFT * height)
    band = np.searchsorted(limits, pixels.lam[ny // 2], side="right")
    changes = (np.diff(np.floor(drift)) > 0) | (np.diff(band) != 0)
    return np.concatenate([[0], np.flatnonzero(changes) + 1])
