"""The spectrum of the sky from what is empty in slitlets."""

import logging
from dataclasses import dataclass

import numpy as np

from msa3d_steps.background.emptiness import find_emptiness
from msa3d_steps.background.places import channel_edges, gather
from msa3d_steps.background.smoothing import fit_curve
from msa3d_steps.background.spectrum import SkySpectrum
from msa3d_steps.errors import InputError

__all__ = ["measure_sky"]

log = logging.getLogger(__name__)

MOST_LOST = 0.005
"""Part of the galaxy's flux that may be taken for sky."""

LEAST_EMPTY = 6
"""Number of empty places that must be there."""

LEAST_CHANNELS = 8
"""Number of channels that must show the sky."""

FARTHEST = 0.05
"""The curve may be continued by this part of its length."""


@dataclass(frozen=True)
class _Channels:
    """The sky of one source by channel, each array of shape ``(n_channels,)``.

    Parameters
    ----------
    wavelength : numpy.ndarray
        Mean wavelength, um.
    value, variance, expected : numpy.ndarray
        Mean brightness, MJy/sr, its variance, and that for weights; infinite where nothing is.
    common : numpy.ndarray
        Error that all channels have in common, MJy/sr.
    number : numpy.ndarray
        Number of pixels.
    """

    wavelength: np.ndarray
    value: np.ndarray
    variance: np.ndarray
    expected: np.ndarray
    common: np.ndarray
    number: np.ndarray


def measure_sky(cutouts, blanks=(), distance=None, most_lost=MOST_LOST):
    """Measure the sky where a source does not shine, and in background slitlets.

    Parameters
    ----------
    cutouts : list of ~msa3d_steps.cube.sources.Cutout
        The cutouts of the source, of one disperser.
    blanks : list of list of ~msa3d_steps.cube.sources.Cutout
        The cutouts of each background source, of the same disperser.
    distance : float, optional
        Distance of the knots of the smooth curve, um; chosen by the data if not given.
    most_lost : float
        Part of the galaxy's flux that may be taken for sky. Its wings may make up as much of it in
        the empty places.

    Returns
    -------
    SkySpectrum
        The sky.

    Raises
    ------
    InputError
        Where nothing is empty.
    """
    edges = channel_edges([c.footprint for c in [*cutouts, *(c for b in blanks for c in b)]])
    groups = [(cutouts, most_lost), *((blank, None) for blank in blanks)]
    found = [_channels(group, edges, lost) for group, lost in groups if group]
    found = [channels for channels in found if channels is not None]
    if not found:
        raise InputError(
            "no part of its slitlets is empty: the galaxy fills them; take background slitlets "
            "(in the same exposures), or give the sky with method=model"
        )
    return _spectrum(found, edges, distance)


def _channels(cutouts, edges, most_lost):
    """Measure the sky of one source; None where it has no empty place."""
    places = gather(cutouts, edges)
    if not places.value.size:
        return None
    emptiness = find_emptiness(places, most_lost)
    log.debug("%d of %d places are empty", emptiness.empty, places.across.size)
    weight, total = emptiness.weight, emptiness.weight.sum(axis=0)
    lit = total > 0
    if emptiness.empty < LEAST_EMPTY or lit.sum() < LEAST_CHANNELS:
        return None
    # the sky is the mean of the empty places less its share of the galaxy's own spectrum
    share = weight / np.where(lit, total, 1)
    core = emptiness.core
    bright = core.sum(axis=0)
    core = core / np.where(bright > 0, bright, 1)
    part = np.where(bright > 0, emptiness.wings @ share, 0)
    mean = (share - part * core) / (1 - part)
    value = (mean * places.value).sum(axis=0)
    galaxy = (core * places.value).sum(axis=0) - np.where(bright > 0, value, 0)

    def spread(variances):
        variance = (mean**2 * np.where(weight + core > 0, variances, 0)).sum(axis=0)
        return np.where(lit, variance, np.inf)

    wavelength = (share * places.wavelength).sum(axis=0)
    number = np.where(weight > 0, places.number, 0).sum(axis=0)
    common = np.where(lit, emptiness.wings_error * part * galaxy, 0)
    return _Channels(
        wavelength, value, spread(places.variance), spread(places.expected), common, number
    )


def _spectrum(found, edges, distance):
    """Join the sources and lay a smooth curve through their channels."""
    precision = np.array([_trust(c) / c.expected for c in found])
    total = precision.sum(axis=0)
    lit = total > 0
    share = precision[:, lit] / total[lit]

    def mean(name, power=1):
        values = np.array([getattr(c, name)[lit] for c in found])
        return (share**power * np.where(share > 0, values, 0)).sum(axis=0)

    lam, value = mean("wavelength"), mean("value")
    if lam.size < LEAST_CHANNELS:
        raise InputError("too few wavelengths show the sky; use more exposures or method=model")
    common = share * [c.common[lit] for c in found]
    curve = fit_curve(lam, value, mean("variance", 2), mean("expected", 2), common, distance)
    grid = np.array([edges[0], *(0.5 * (edges[1:] + edges[:-1])), edges[-1]])
    _check_ends(lam[curve.used], edges)
    sky, error = curve(grid)
    number = np.pad(np.sum([c.number for c in found], axis=0).astype(int), 1)
    return SkySpectrum(grid, sky, error, number)


def _trust(channels):
    """Weight of a source against others: less where all its channels may be off together."""
    lit = np.isfinite(channels.expected)
    white = 1 / (1 / channels.expected[lit]).sum()
    return 1 / (1 + np.mean(channels.common[lit]) ** 2 / white)


def _check_ends(lam, edges):
    """Refuse to continue the curve far beyond the channels that show the sky."""
    length = FARTHEST * np.ptp(edges)
    for end, nearest in ((edges[0], lam[0]), (edges[-1], lam[-1])):
        if abs(end - nearest) > length:
            raise InputError(
                f"no part of its slitlets is empty between {min(end, nearest):.3f} and "
                f"{max(end, nearest):.3f} um; take background slitlets or method=model"
            )
