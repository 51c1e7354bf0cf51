"""How much smoothness the least squares need: chosen by the data.

Generalised cross-validation asks how well each row is predicted by the others (Golub, Heath &
Wahba 1979, Technometrics 21, 215). It needs no errors, only weights. In small samples it smooths
too little now and then; counting each degree of freedom 1.4 times mends that (Kim & Gu 2004,
J. R. Stat. Soc. B 66, 337).
"""

import logging

import numpy as np

from msa3d_steps.cube.inverse.leastsquares import Inverse

__all__ = ["LENGTHS", "brightest_channels", "choose_smoothing", "cross_validation"]

log = logging.getLogger(__name__)

LENGTHS = np.geomspace(0.07, 0.3, 6)
"""Lengths that are tried, in slit widths. Below the first hardly any resolution is gained, for more
noise and ringing; with the last the response is about as wide as that of drizzle."""

COST = 1.4
"""How often a degree of freedom is counted."""

CHANNELS = 5
"""Number of channels that vote."""

APART = 4
"""Least distance of these channels."""


def brightest_channels(data, err):
    """Find the channels in which the source stands out most.

    Parameters
    ----------
    data, err : numpy.ndarray
        Shape ``(n_wave, ny, nx)``: a cube and its errors; NaN without coverage.

    Returns
    -------
    list of int
        At most `CHANNELS` channels, the brightest first. What is bright in a single channel, as
        cosmic rays are, does not count.
    """
    n_wave = data.shape[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        pull = np.where(np.isfinite(data) & (err > 0), data / err, 0)
    signal = np.square(np.clip(pull, 0, None)).reshape(n_wave, -1).sum(axis=1)
    seen = np.isfinite(data).reshape(n_wave, -1).sum(axis=1)
    padded = np.pad(signal, 1, mode="edge")
    signal = np.median([padded[:-2], padded[1:-1], padded[2:]], axis=0)
    signal[seen < 0.9 * seen.max()] = -1  # channels at the detector's ends are seen in part
    found = []
    for k in np.argsort(-signal, kind="stable"):
        if signal[k] >= 0 and all(abs(k - other) >= APART for other in found):
            found.append(int(k))
        if len(found) == CHANNELS:
            break
    return found


def cross_validation(system, smoothing):
    """Give the score of a smoothing length: about the mean square error of predictions.

    Parameters
    ----------
    system : `~msa3d_steps.cube.inverse.leastsquares.System`
        A block of one channel.
    smoothing : float
        The length, arcsec.

    Returns
    -------
    float
        The score; less is better.
    """
    inverse = Inverse.of(system, smoothing)
    used = system.usual_weights > 0
    number = int(used.sum())
    scene = inverse.dense @ system.target
    left = system.samples.values[:, 0] - system.matrix @ scene[:, 0]
    residual = float((system.usual_weights * left**2)[used].sum()) / number
    return residual / max(1 - COST * inverse.freedom / number, 1e-3) ** 2


def choose_smoothing(systems, width):
    """Choose the smoothing length: the median of what is best for some channels.

    Parameters
    ----------
    systems : iterable of `~msa3d_steps.cube.inverse.leastsquares.System`
        Blocks of one channel.
    width : float
        Width of the slit, arcsec.

    Returns
    -------
    float
        The length, arcsec.
    """
    best = [_minimum([cross_validation(s, c * width) for c in LENGTHS]) for s in systems]
    log.debug("Smoothing lengths of the channels, in slit widths: %s", np.round(best, 3))
    return float(np.median(best)) * width


def _minimum(scores):
    """Lowest point of scores at `LENGTHS`, by the parabola through the least and its neighbours."""
    x, i = np.log(LENGTHS), int(np.argmin(scores))
    if i in (0, len(scores) - 1):
        return float(LENGTHS[i])
    before, here, after = np.log(scores[i - 1 : i + 2])
    shift = 0.5 * (before - after) / (before - 2 * here + after)
    return float(np.exp(x[i] + shift * (x[1] - x[0])))
