"""Where the slitlets of a source show nothing but sky."""

import logging
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import median_filter, uniform_filter

from msa3d_steps.background.wings import Picture, Wings, fit_wings

__all__ = ["Emptiness", "find_emptiness"]

log = logging.getLogger(__name__)

ITERATIONS = 4
"""Rounds of sky, picture and wings."""

DARKEST = 0.3
"""The sky is first taken from this part of the places."""

TRUST = 0.5
"""This part of the fitted wings is taken for real, and may be wrong by as much: most disks end or
get steeper far out, some get flatter (Pohlen & Trujillo 2006, A&A 454, 759)."""

STRICTER = 2.0 ** np.arange(10)
"""Times that the error of the wings is overrated, in turn, until they are faint enough."""

EMPTY = 0.1
"""Places that have this part of the weight that they had without wings count as empty."""

CORE = 0.3
"""Places brighter than this part of the brightest one show the galaxy's own spectrum."""

OTHERS = 5.0
"""Places and channels that differ from sky and wings by this many sigmas show something else."""

LINE = 4.0
"""Channels in which the galaxy differs from its continuum by this many sigmas have a line."""

LINE_WIDTH = 600.0
"""A line may be shifted elsewhere in the galaxy, or be wider, by this, km/s."""

CONTINUUM = 61
"""Channels that the continuum about a line is the median of."""

SPEED_OF_LIGHT = 299792.458  # km/s


@dataclass(frozen=True)
class Emptiness:
    """What the sky can be measured from.

    Parameters
    ----------
    weight : numpy.ndarray
        Shape ``(n_places, n_channels)``: weight of each mean in that of the sky.
    core : numpy.ndarray
        Shape ``(n_places, n_channels)``: weight in that of the galaxy's spectrum.
    wings : numpy.ndarray
        Shape ``(n_places,)``: brightness of the wings as part of that of the galaxy's spectrum.
    wings_error : float
        Error of their mean in the sky, as part of it.
    empty : int
        Number of empty places.
    """

    weight: np.ndarray
    core: np.ndarray
    wings: np.ndarray
    wings_error: float
    empty: int


def find_emptiness(places, most_lost=None):
    """Find out where there is nothing but sky.

    In turn, the sky of each channel is the mean of what seems empty; the picture is the mean over
    the channels of what is left; wings are fitted to it. What shines elsewhere, in the continuum
    or in a line, is left out, and so are the channels of the galaxy's lines.

    Parameters
    ----------
    places : ~msa3d_steps.background.places.Places
        Mean brightness by place and channel.
    most_lost : float, optional
        Part of the galaxy's flux that may be taken for sky; None where there is no galaxy
        (background slitlets).

    Returns
    -------
    Emptiness
        The weights.
    """
    seen = places.number > 0
    weight = np.where(seen, 1 / places.expected, 0.0)
    blank = most_lost is None
    dark = np.ones(len(weight), bool) if blank else _darkest(places, weight)
    sky_weight = weight * dark[:, None]
    lines = np.zeros(weight.shape[1], bool)
    glow, wings = np.zeros(seen.shape, bool), None
    for _ in range(ITERATIONS):
        rest = np.where(seen, places.value - _sky(places, sky_weight), 0.0)
        picture = _picture(places, rest, weight * ~lines * ~glow)
        known = np.isfinite(picture.error)
        wings = Wings.none(picture) if blank else fit_wings(picture, known, wings)
        others = _others(places.index, picture, wings) | ~known
        share = _faint_shares(picture, wings, ~others, most_lost)
        core = _core(picture, wings, known)
        lines = _lines(places, rest, weight * core[:, None])
        glow = _glow(places, rest, wings, core, weight)
        sky_weight = weight * share[:, None] * ~glow * ~lines
        glow &= (wings.brightness < picture.error)[:, None]  # the galaxy is no companion
    relative, error = _relative(picture, wings, sky_weight, core, weight)
    return Emptiness(
        sky_weight, weight * core[:, None], relative, error, int((share > EMPTY).sum())
    )


def _mean(weights, values):
    """Weighted mean of each channel; 0 where there is no weight."""
    total = weights.sum(axis=0)
    return np.where(total > 0, (weights * values).sum(axis=0) / np.where(total > 0, total, 1), 0)


def _sky(places, weight):
    """Mean of the sky of each channel, at the wavelengths of all places and channels."""
    lit = weight.sum(axis=0) > 0
    if not lit.any():
        return np.zeros(weight.shape)
    lam, sky = (_mean(weight, v)[lit] for v in (places.wavelength, places.value))
    return np.interp(places.wavelength, lam, sky)


def _darkest(places, weight):
    """Tell which places are darkest, for a beginning."""
    with np.errstate(invalid="ignore"):
        value = np.where(weight > 0, places.value, np.nan)
    well = (weight > 0).mean(axis=1) > 0.3 * (weight > 0).mean(axis=1).max()
    middle = np.ma.median(np.ma.masked_invalid(value[well]), axis=0).filled(0)
    offset = np.ma.median(np.ma.masked_invalid(value - middle), axis=1).filled(np.inf)
    offset[~well] = np.inf
    return offset <= np.quantile(offset[well], DARKEST)


def _picture(places, rest, weight):
    """Collapse what is left over the sky."""
    total = weight.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.where(total > 0, (weight * rest).sum(axis=1) / total, 0.0)
        variance = np.where(weight > 0, places.variance, 0.0)
        error = np.where(total > 0, np.sqrt((weight**2 * variance).sum(axis=1)) / total, np.inf)
    return Picture(places.across, places.along, value, error)


def _faint_shares(picture, wings, usable, most_lost):
    """Weight places so that no more of the galaxy than is allowed is taken for sky.

    The more the wings are mistrusted, the farther out is the sky measured. All weights are 0 where
    that does not help.
    """
    if not wings.brightness.any():
        return _shares(picture, np.zeros(usable.size), usable)
    known = np.isfinite(picture.error)
    flux = np.where(known, picture.value - wings.level, 0).sum()
    for stricter in STRICTER:
        shares = _shares(picture, stricter * TRUST * wings.brightness, usable)
        weight = np.where(shares > 0, shares / picture.error**2, 0)
        if not weight.any():
            break
        lost = TRUST * (weight @ wings.brightness) / weight.sum() * known.sum()
        if lost < most_lost * flux:
            return shares
    return np.zeros(usable.size)


def _shares(picture, error, usable):
    """Weight places so that noise and wings together do least harm to the mean of the sky.

    The least variance of a weighted mean (Aitken 1936) with the covariance ``diag(noise^2 + t^2) +
    t t^T``, where ``t`` is the error of the wings: it is partly one for all places. Places that
    would get a negative weight get none.

    Parameters
    ----------
    picture : Picture
        The picture.
    error : numpy.ndarray
        Shape ``(n_places,)``: error of the wings, MJy/sr.
    usable : numpy.ndarray
        Boolean, shape ``(n_places,)``: places that may get weight.

    Returns
    -------
    numpy.ndarray
        Shape ``(n_places,)``: weights in units of those of the noise alone, at most about 1.
    """
    shares = np.zeros(error.size)
    used = np.flatnonzero(usable)
    while used.size:
        own, noise = error[used], picture.error[used] ** 2
        inverse = 1 / (noise + own**2)
        excess = (own * inverse).sum() / (1 + (own**2 * inverse).sum())
        weight = inverse * (1 - own * excess)
        if (weight >= 0).all():
            shares[used] = weight * noise
            break
        used = used[weight > 0]
    return shares


def _others(index, picture, wings):
    """Tell where something shines that is neither sky nor galaxy, or where a place is at fault.

    Looked at are places alone and with their neighbours.
    """
    error = np.hypot(picture.error, TRUST * wings.brightness)
    off = np.where(np.isfinite(error), picture.value - wings.level - wings.brightness, 0.0)
    return _significant(index, off[:, None], error[:, None], (0, 1))[:, 0]


def _glow(places, rest, wings, core, weight):
    """Tell at which places and channels something shines: a line of a companion, a cosmic ray."""
    galaxy = _mean(weight * core[:, None], rest)
    level = np.average(galaxy, weights=(weight * core[:, None]).sum(axis=0)) if core.any() else 0
    shape = wings.brightness[:, None] * (galaxy / level if level > 0 else 0.0)
    with np.errstate(invalid="ignore"):
        error = np.sqrt(places.expected + (TRUST * shape) ** 2)
    return _significant(places.index, np.where(weight > 0, rest - shape, 0), error, (0, 1, 2))


def _significant(index, values, errors, reaches):
    """Find what is significant alone or in the mean of its neighbours, with these neighbours.

    Parameters
    ----------
    index : numpy.ndarray
        Shape ``(n_places, 2)``: places as whole numbers.
    values, errors : numpy.ndarray
        Shape ``(n_places, n_channels)``; errors infinite where there are no data.
    reaches : tuple of int
        How many neighbours on either side are averaged, in turn.

    Returns
    -------
    numpy.ndarray
        Boolean, shape ``(n_places, n_channels)``.
    """
    place = tuple((index - index.min(axis=0)).T)
    grid = (*(np.ptp(index, axis=0) + 1), values.shape[1])
    precision, signal = np.zeros(grid), np.zeros(grid)
    with np.errstate(divide="ignore"):
        inverse = np.where(np.isfinite(errors), 1 / errors**2, 0.0)
    precision[place], signal[place] = inverse, inverse * values
    found = np.zeros(grid, bool)
    for reach in reaches:
        size = [2 * min(reach, 1) + 1, 2 * reach + 1, 2 * reach + 1 if grid[2] > 1 else 1]
        near = [uniform_filter(a, size, mode="constant") for a in (signal, precision)]
        count = np.prod(size)
        with np.errstate(divide="ignore", invalid="ignore"):
            pull = np.where(near[1] > 0, near[0] / np.sqrt(near[1]), 0.0) * np.sqrt(count)
        hit = np.abs(pull) > OTHERS
        found |= uniform_filter(hit.astype(float), size, mode="constant") > 0.5 / count
    return found[place]


def _core(picture, wings, known):
    """Tell where the galaxy is bright enough to show its spectrum."""
    if not wings.brightness.any():
        return np.zeros(known.size, bool)
    signal = np.where(known, picture.value - wings.level, 0)
    return signal > CORE * signal.max()


def _lines(places, rest, weight):
    """Tell which channels have a line of the galaxy, with what may be shifted out of them."""
    total = weight.sum(axis=0)
    lit = np.flatnonzero(total > 0)
    lines = np.zeros(total.size, bool)
    if lit.size < 5:
        return lines
    spectrum = _mean(weight, rest)[lit]
    variance = np.where(weight[:, lit] > 0, places.variance[:, lit], 0.0)
    error = np.sqrt((weight[:, lit] ** 2 * variance).sum(axis=0)) / total[lit]
    off = _without_continuum(spectrum)
    scatter = 1.4826 * np.median(np.abs(off))
    found = np.abs(off) > LINE * np.maximum(error, scatter)
    lam = _mean(weight, places.wavelength)[lit]
    if not found.any():
        return lines
    distance = np.abs(np.log(lam[:, None] / lam[found])).min(axis=1)
    width = max(LINE_WIDTH / SPEED_OF_LIGHT, 2.0 * np.median(np.diff(np.log(lam))))
    lines[lit] = distance < width
    return lines


def _without_continuum(spectrum):
    """Subtract a running median; a cubic first, which takes the slope out of its ends."""
    size = min(CONTINUUM, spectrum.size)
    x = np.linspace(-1, 1, spectrum.size)
    smooth = np.polynomial.Polynomial.fit(x, median_filter(spectrum, size, mode="nearest"), 3)
    spectrum = spectrum - smooth(x)
    return spectrum - median_filter(spectrum, size, mode="nearest")


def _relative(picture, wings, sky_weight, core, weight):
    """Wings as part of the mean of the galaxy's spectrum, and the relative error of their mean."""
    none = np.zeros(core.size), 0.0
    if not core.any() or not sky_weight.any():
        return none
    galaxy = np.average(picture.value - wings.level, weights=(weight * core[:, None]).sum(axis=1))
    mean, variance = wings.mean(sky_weight.sum(axis=1))
    if not galaxy > 0 or not mean > 0:
        return none
    return TRUST * wings.brightness / galaxy, float(np.hypot(1.0, np.sqrt(variance) / mean))
