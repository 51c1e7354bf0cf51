"""The continuum under a line: a straight line through the channels beside it."""

from dataclasses import dataclass

import numpy as np

__all__ = ["Continuum", "Line", "subtract_continuum"]

FEWEST = 4
"""Channels beside a line that a spaxel must have, on both sides together."""

OUTLIER = 4.0
"""Channels beside a line that are off by more standard deviations are left out."""

ROUNDS = 3
"""Times that they are looked for."""


@dataclass(frozen=True)
class Continuum:
    """Straight lines, one for each spaxel.

    Attributes
    ----------
    level, slope : numpy.ndarray
        At velocity 0, MJy/sr, and its change per km/s, shape ``(ny, nx)``.
    beside : numpy.ndarray
        Channels that were fitted, bool, shape ``(n, ny, nx)``.
    moments : tuple of numpy.ndarray
        Their number and the sums of their velocities and squares of velocities, shape ``(ny, nx)``.
    velocity : numpy.ndarray
        Of the channels, km/s, shape ``(n, 1, 1)``.
    """

    level: np.ndarray
    slope: np.ndarray
    beside: np.ndarray
    moments: tuple
    velocity: np.ndarray

    def at(self, velocity):
        """Give the continuum at a velocity (km/s), MJy/sr."""
        return self.level + self.slope * velocity


@dataclass(frozen=True)
class Line:
    """Channels about a line without the continuum.

    Attributes
    ----------
    values, err : numpy.ndarray
        Surface brightness and ERR, MJy/sr, shape ``(n, ny, nx)``, 0 without data.
    known : numpy.ndarray
        Spaxels that have a continuum, bool, shape ``(ny, nx)``.
    continuum : Continuum
        What was subtracted.
    """

    values: np.ndarray
    err: np.ndarray
    known: np.ndarray
    continuum: Continuum

    def with_continuum(self, weights):
        """Turn weights of continuum-subtracted channels into weights of the cube's channels.

        The continuum is a sum of the channels beside, too; a sum over the line depends on these by

        ``- (sum_i a_i, sum_i a_i v_i) N^-1 (1, v_j)^T``

        with the normal matrix ``N`` of the straight line.

        Parameters
        ----------
        weights : numpy.ndarray
            ``a_i``, shape ``(n, ny, nx)``.

        Returns
        -------
        numpy.ndarray
            The same shape.
        """
        fit = self.continuum
        first, second = weights.sum(axis=0), (weights * fit.velocity).sum(axis=0)
        constant, slope = _solve(fit.moments, first, second)
        return weights - fit.beside * (constant + slope * fit.velocity)


def subtract_continuum(channels):
    """Fit a straight line to the channels beside a line and subtract it.

    All channels count alike, since ERR follows the noise of the data: weights by it would be larger
    where the noise happens to be low, and the continuum too low. Channels in which the whole field
    is off (other lines) are left out, then single ones of a spaxel.

    Parameters
    ----------
    channels : Channels
        About the line.

    Returns
    -------
    Line
        The channels without continuum, and the continuum.
    """
    velocity = channels.velocity[:, None, None]
    data, err = (np.where(channels.known, a, 0.0) for a in (channels.data, channels.err))
    beside = channels.known & channels.beside[:, None, None]
    beside &= ~_other_lines(channels)[:, None, None]
    for _ in range(ROUNDS):
        moments, level, slope = _fit(data, velocity, beside)
        rest = np.abs(data - (level + slope * velocity))
        off = beside & (rest > OUTLIER * np.maximum(err, _scatter(rest, beside)))
        if not off.any():
            break
        beside = beside & ~off
    moments, level, slope = _fit(data, velocity, beside)
    fit = Continuum(level, slope, beside, moments, velocity)
    number, first, second = moments
    known = (number >= FEWEST) & (number * second > first**2)
    values = np.where(channels.known, data - (level + slope * velocity), 0.0)
    return Line(values, err, known, fit)


def _fit(data, velocity, beside):
    """Fit straight lines: the moments of the channels, level and slope."""
    moments = tuple((beside * velocity**k).sum(axis=0, dtype=float) for k in range(3))
    chosen = np.where(beside, data, 0.0)
    return moments, *_solve(moments, chosen.sum(axis=0), (chosen * velocity).sum(axis=0))


def _solve(moments, first, second):
    """Solve ``N x = (first, second)``, with the normal matrix of a straight line."""
    number, sum_v, sum_v2 = moments
    determinant = number * sum_v2 - sum_v**2
    safe = np.where(determinant > 0, determinant, np.inf)
    return (sum_v2 * first - sum_v * second) / safe, (number * second - sum_v * first) / safe


def _scatter(rest, beside):
    """Give the standard deviation of residuals of each spaxel, from their median."""
    absolute = np.where(beside, rest, np.nan)
    absolute.sort(axis=0)  # NaN come last
    middle = np.clip((beside.sum(axis=0) - 1) // 2, 0, None)
    median = np.take_along_axis(absolute, middle[None], axis=0)[0]
    return 1.4826 * np.nan_to_num(median)


def _other_lines(channels):
    """Find channels in which the field as a whole stands out of a straight line."""
    known = channels.known & channels.beside[:, None, None]
    whole = known.any(axis=0) & (known.sum(axis=0) == known.sum(axis=0).max())
    off = np.zeros(len(known), bool)
    if not whole.any():
        return off
    spectrum = np.where(known[:, whole], channels.data[:, whole], 0.0).sum(axis=1)
    error = np.sqrt((np.where(known[:, whole], channels.err[:, whole], 0.0) ** 2).sum(axis=1))
    used = known[:, whole].any(axis=1)
    for _ in range(ROUNDS):
        if used.sum() < FEWEST:
            return off
        fit = np.polynomial.Polynomial.fit(channels.velocity[used], spectrum[used], 1)
        rest = np.abs(spectrum - fit(channels.velocity))
        scatter = 1.4826 * np.median(rest[used])
        bad = used & (rest > OUTLIER * np.maximum(scatter, error))
        if not bad.any():
            break
        off |= bad
        used &= ~bad
    return off
