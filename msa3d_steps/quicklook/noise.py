"""How the errors of neighbouring channels of a cube go together.

A detector pixel reaches into several channels, so that the error of a line's moments is not that of
independent channels. The table CORRELATION of a cube says what the error of a sum of `n` channels
of a spaxel is over the sum in quadrature, ``f(n)``; for channels of about the same error

``f(n)^2 = 1 + 2 sum_{k<n} (1 - k/n) rho_k``

with the correlation ``rho_k`` of channels that are `k` apart. Boxes dropped onto boxes have
triangular correlations, so ``rho_k = sum_L w_L max(0, 1 - k/L)`` is fitted, with weights `w` that
are not negative and add up to 1: that is a correlation (it is positive definite) whatever the
weights (Polya's criterion).
"""

import numpy as np
from scipy.optimize import nnls

from msa3d_steps.cube.correlation import CHANNELS
from msa3d_steps.cube.correlation import sum_factor as factor_of_table

__all__ = ["channel_correlation", "filter_factor", "linear_variance", "sum_factor"]

REACH = 2 * max(CHANNELS)
"""Longest base of a triangle, channels."""

NEGLIGIBLE = 5e-3
"""Correlations that are smaller are left out."""


def channel_correlation(table):
    """Give the correlation of channels of a spaxel from a table CORRELATION.

    Parameters
    ----------
    table : numpy.ndarray or None
        The table; without one channels are taken as independent.

    Returns
    -------
    numpy.ndarray
        Correlation of channels that are 0, 1, 2 ... apart; shape ``(n,)``, the first is 1.
    """
    rows = None if table is None else table[table["spaxels"] == 1]
    if rows is None or len(rows) < 2:
        return np.ones(1)
    bases = np.arange(1, REACH + 1)
    triangles = np.clip(1 - np.arange(REACH) / bases[:, None], 0, None)
    sums = np.stack([_sum_variance(triangles.T, int(n)) for n in rows["channels"]])
    certain = 100.0  # the weights add up to 1
    design = np.vstack([sums, np.full(REACH, certain)])
    weights, _ = nnls(design, np.append(np.asarray(rows["factor"], float) ** 2, certain))
    correlation = (weights / weights.sum()) @ triangles
    return correlation[: np.flatnonzero(correlation > NEGLIGIBLE)[-1] + 1]


def _sum_variance(correlation, n):
    """Give the variance of a mean of `n` channels, times `n`; correlations along the first axis."""
    k = np.arange(1, min(n, len(correlation)))
    return correlation[0] + 2 * np.tensordot(1 - k / n, correlation[k], axes=1)


def sum_factor(table, n_spaxels, n_channels=1):
    """Give what the error of a sum is over the sum of ERR in quadrature.

    Parameters
    ----------
    table : numpy.ndarray or None
        The table CORRELATION; without one, 1 is given.
    n_spaxels, n_channels : float
        As in `msa3d_steps.cube.correlation.sum_factor`.

    Returns
    -------
    float
        The factor.
    """
    return 1.0 if table is None else factor_of_table(table, n_spaxels, n_channels)


def filter_factor(kernel, correlation):
    """Give what the error of a weighted sum of channels is over that of independent channels.

    Parameters
    ----------
    kernel : numpy.ndarray
        Weights, shape ``(n,)``.
    correlation : numpy.ndarray
        Of channels, from `channel_correlation`.

    Returns
    -------
    float
        The factor.
    """
    return float(np.sqrt(linear_variance(kernel, correlation) / (kernel**2).sum()))


def linear_variance(scaled, correlation):
    """Give the variance of a weighted sum over channels.

    Parameters
    ----------
    scaled : numpy.ndarray
        Weight times error of each channel, channels along the first axis.
    correlation : numpy.ndarray
        Of channels, from `channel_correlation`.

    Returns
    -------
    numpy.ndarray
        ``sum_ij rho_|i-j| a_i a_j``, of the shape of a channel.
    """
    total = np.einsum("i...,i...->...", scaled, scaled)
    for k, value in enumerate(correlation[1 : len(scaled)], 1):
        total = total + 2 * value * np.einsum("i...,i...->...", scaled[k:], scaled[:-k])
    return total
