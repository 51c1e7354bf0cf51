"""How well outliers are found, measured on two surveys that differ in the cosmic rays alone.

`outlier_cubes` says what it means for cubes.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from scipy.ndimage import binary_dilation, median_filter

from msa3d_steps.cube.correction import Correction, corrected_source
from msa3d_steps.cube.pattern import find_pattern
from msa3d_steps.errors import InputError
from msa3d_steps.simulate.scene.sources import SPEED_OF_LIGHT

__all__ = [
    "FlagScore",
    "KnownPixels",
    "know_pixels",
    "middle_dithers",
    "read_noise_free",
    "score_flags",
    "with_flags",
]

CONTINUUM = 201
"""Columns over which the median of a noise-free row is its continuum."""

SEARCH = 450.0
"""Distance from a line's systemic wavelength within which its peak is looked for, km/s."""

PEAK_SNR = 3.0
"""A line's peak in a row counts where it is above so many ERR."""

NEAR = 2
"""Columns on either side of a line's peak that are near it."""


@dataclass(frozen=True)
class KnownPixels:
    """What is true of the pixels of a cutout; all arrays ``(ny, nx)``.

    Attributes
    ----------
    used : ndarray
        bool; the pixels with data, which are all that count.
    hit : ndarray
        bool; those that a cosmic ray changed, by however little.
    amplitude : ndarray
        By how much, in units of the ERR of the exposure without cosmic rays; 0 elsewhere.
    near_line : ndarray
        bool; within 2 columns of the peak of an emission line, in rows in which the noise-free
        peak over the noise-free continuum is above 3 ERR.
    """

    used: np.ndarray
    hit: np.ndarray
    amplitude: np.ndarray
    near_line: np.ndarray

    def without_hits(self):
        """Say what is true of the same cutout without cosmic rays."""
        return replace(self, hit=np.zeros_like(self.hit), amplitude=np.zeros_like(self.amplitude))


@dataclass(frozen=True)
class FlagScore:
    """Numbers of pixels, over all cutouts of a source.

    Attributes
    ----------
    strong, strong_found : int
        Hit pixels above 10 sigma, and how many of them are flagged.
    clear, clear_found : int
        The same above 5 sigma.
    clean, clean_flagged : int
        Pixels without any hit, and how many of them are flagged.
    lone_flagged : int
        How many of these are farther than 1 pixel from any hit pixel, so that no growth of a hit
        explains them.
    line, line_flagged : int
        Pixels without a hit near the peak of an emission line, and how many are flagged.
    """

    strong: int
    strong_found: int
    clear: int
    clear_found: int
    clean: int
    clean_flagged: int
    lone_flagged: int
    line: int
    line_flagged: int

    def __add__(self, other):
        return FlagScore(*(a + b for a, b in zip(self.counts, other.counts, strict=True)))

    @property
    def counts(self):
        """All numbers in their order."""
        return tuple(vars(self).values())

    @property
    def found_above_10(self):
        """Share of the hit pixels above 10 sigma that are flagged."""
        return _share(self.strong_found, self.strong)

    @property
    def found_above_5(self):
        """Share of the hit pixels above 5 sigma that are flagged."""
        return _share(self.clear_found, self.clear)

    @property
    def false(self):
        """Share of the clean pixels that are flagged."""
        return _share(self.clean_flagged, self.clean)

    @property
    def false_alone(self):
        """Share of the clean pixels that are flagged with no hit beside them."""
        return _share(self.lone_flagged, self.clean)

    @property
    def false_near_lines(self):
        """Share of the clean pixels near the peak of a line that are flagged."""
        return _share(self.line_flagged, self.line)


def middle_dithers(source, number):
    """Keep some neighbouring dithers of each step, those in the middle.

    Parameters
    ----------
    source : Source
        The source.
    number : int
        How many dithers.

    Returns
    -------
    Source
        The source with fewer cutouts.
    """
    pattern = find_pattern(source.cutouts)
    first = (pattern.n_dithers - number) // 2
    keep = np.flatnonzero((pattern.dither >= first) & (pattern.dither < first + number))
    return replace(
        source,
        cutouts=[source.cutouts[i] for i in keep],
        headers=[source.headers[i] for i in keep],
    )


def with_flags(source, masks):
    """Leave flagged pixels out.

    Parameters
    ----------
    source : Source
        The source.
    masks : list of ndarray
        bool, ``(ny, nx)``, for each cutout.

    Returns
    -------
    Source
        The source whose flagged pixels are NaN.
    """
    corrections = [Correction(outliers=mask) for mask in masks]
    return corrected_source(source, corrections, "msa3d_outlier")


def read_noise_free(folder, cutout):
    """Read the noise-free brightness of a cutout and the mask of the cosmic rays.

    Parameters
    ----------
    folder : str or Path
        Folder of the survey.
    cutout : Cutout
        A cutout of one of its cal files.

    Returns
    -------
    noise_free : ndarray
        MJy/sr, ``(ny, nx)``.
    hit : ndarray
        bool, ``(ny, nx)``.

    Raises
    ------
    InputError
        If the survey has no such slit.
    """
    path = Path(folder) / "truth" / Path(cutout.file).name.replace("_cal.", "_truth.")
    with fits.open(path) as file:
        for hdu in file:
            if hdu.name == "NOISE_FREE" and hdu.header["SLTNAME"] == cutout.slit:
                noise_free = hdu.data.astype(np.float32)
                y, x = hdu.header["YSTART"] - 1, hdu.header["XSTART"] - 1
                ny, nx = noise_free.shape
                hit = file["COSMIC_RAYS"].data[y : y + ny, x : x + nx] > 0
                return noise_free, hit
    raise InputError("the truth has no such slit", path.name, cutout.slit)


def know_pixels(clean, hits, galaxy, noise_free, hit):
    """Say what is true of the pixels of a cutout.

    Parameters
    ----------
    clean, hits : Cutout
        The cutout without and with cosmic rays, with the same noise.
    galaxy : Galaxy or PointSource
        The source, whose emission lines count.
    noise_free : ndarray
        MJy/sr, ``(ny, nx)``.
    hit : ndarray
        bool, ``(ny, nx)``: the pixels that cosmic rays changed.

    Returns
    -------
    KnownPixels
        What is true.

    Raises
    ------
    InputError
        If the two are not the same cutout.
    """
    if (clean.file, clean.slit) != (hits.file, hits.slit):
        raise InputError(
            f"is not {hits.file}, slit {hits.slit}; make both surveys with the same options",
            clean.file,
            clean.slit,
        )
    used = np.isfinite(clean.data) & np.isfinite(hits.data)
    err = np.sqrt(clean.variance)
    amplitude = np.where(used & hit, (hits.data - clean.data) / err, 0.0)
    return KnownPixels(used, used & hit, amplitude, _near_lines(clean, galaxy, noise_free, err))


def _near_lines(cutout, galaxy, noise_free, err):
    """Find the pixels near the peaks of emission lines, row by row."""
    ny, nx = noise_free.shape
    wavelength = cutout.footprint.wavelength(np.arange(float(nx)), np.arange(float(ny)))
    filled = np.where(np.isfinite(noise_free), noise_free, 0)
    emission = filled - median_filter(filled, size=(1, CONTINUUM), mode="nearest")
    noise = np.where(np.isfinite(cutout.data), err, np.inf)
    first, last = cutout.footprint.columns
    near = np.zeros(noise_free.shape, bool)
    rows, columns = np.arange(ny), np.arange(nx)
    for line in galaxy.lines:
        velocity = (wavelength / galaxy.observed(line) - 1) * SPEED_OF_LIGHT
        window = (np.abs(velocity) < SEARCH) & (columns >= first) & (columns <= last)
        peak = np.where(window, emission, -np.inf).argmax(axis=1)
        inner = np.clip(peak, 1, nx - 2)
        height = emission[rows, inner]
        # the flank of a neighbour is no peak
        is_peak = (height > emission[rows, inner - 1]) & (height > emission[rows, inner + 1])
        is_peak &= window[rows, inner] & (height > PEAK_SNR * noise[rows, inner])
        near |= is_peak[:, None] & (np.abs(columns - inner[:, None]) <= NEAR)
    return near


def score_flags(known, masks):
    """Count what is found and what is flagged in vain.

    Parameters
    ----------
    known : list of KnownPixels
        What is true, for each cutout.
    masks : list of ndarray
        bool, ``(ny, nx)``: what is flagged, for each cutout.

    Returns
    -------
    FlagScore
        The numbers.
    """
    return sum(
        (_score_cutout(k, mask) for k, mask in zip(known, masks, strict=True)),
        FlagScore(*[0] * 9),
    )


def _score_cutout(known, mask):
    strong, clear = known.amplitude > 10, known.amplitude > 5
    clean = known.used & ~known.hit
    near = clean & known.near_line
    lone = clean & ~binary_dilation(known.hit, np.ones((3, 3), bool))
    numbers = (strong, strong & mask, clear, clear & mask, clean, clean & mask, lone & mask,
               near, near & mask)  # fmt: skip
    return FlagScore(*(int(pixels.sum()) for pixels in numbers))


def _share(part, whole):
    return part / whole if whole else float("nan")
