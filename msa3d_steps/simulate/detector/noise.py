"""Random numbers that follow what NIRSpec's detectors do: counts, reading, 1/f drift."""

import numpy as np
from scipy.fft import irfft
from scipy.stats import poisson

from msa3d_steps.errors import InputError

__all__ = ["SHAPE", "draw_counts", "draw_flicker", "ramp_read_noise"]

SHAPE = (2048, 2048)
"""Pixels of a detector, with the frame of reference pixels."""

_OUTPUTS = 4


def ramp_read_noise(n_groups, n_frames=5, n_integrations=1, frame_noise=10.4):
    """Noise that reading leaves in the counts of a fitted ramp.

    ``sqrt(12 (n - 1) / (m n (n + 1)))`` times the noise of a frame, for n groups of m averaged
    frames (Rauscher et al. 2007, PASP 119, 768, eq. 1), times the root of the number of
    integrations. The default frame noise gives 4.0 electrons for 14 groups of 5 frames, 1021 s: the
    white noise per integration that Rauscher (2015, PASP 127, 1144) gives for NIRSpec, and near
    what VAR_RNOISE of real exposures of that length says (medians of 3.5 to 3.9).

    Parameters
    ----------
    n_groups : int
        Groups in an integration, at least 2.
    n_frames : int
        Frames averaged into a group; 5 for NRSIRS2, 1 for NRSIRS2RAPID.
    n_integrations : int
        Integrations in the exposure.
    frame_noise : float
        Electrons rms of one frame.

    Returns
    -------
    float
        Electrons rms of the fitted slope times the exposure time.
    """
    if n_groups < 2 or n_frames < 1 or n_integrations < 1:
        raise InputError("a ramp needs at least 2 groups of 1 frame, and 1 integration")
    n, m = n_groups, n_frames
    return frame_noise * float(np.sqrt(n_integrations * 12 * (n - 1) / (m * n * (n + 1))))


def draw_counts(rng, expected):
    """Draw Poisson counts; the most frequent expectation, an unlit pixel's, is drawn from a table.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of random numbers.
    expected : array
        Expected counts, of any shape.

    Returns
    -------
    array
        Counts, float32, of the same shape.
    """
    floor = expected.min()
    unlit = expected == floor
    n_unlit = int(unlit.sum())
    if n_unlit < 0.1 * expected.size or floor > 1000:
        return rng.poisson(expected).astype(np.float32)
    counts = np.empty(expected.shape, np.float32)
    counts[unlit] = _counts_of_one_mean(rng, float(floor), n_unlit)
    counts[~unlit] = rng.poisson(expected[~unlit])
    return counts


def draw_flicker(rng, detector):
    """Draw 1/f noise as the four outputs of a detector share it.

    A time series with power proportional to 1 / frequency, from one frame to the sampling limit,
    laid out as the outputs are read (Rauscher 2015, PASP 127, 1144): 512 pixels along the fast
    axis, which in DMS orientation is y, line after line along x, every other output in the opposite
    direction; hence stripes along y. Pauses at the ends of lines are left out.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of random numbers.
    detector : str
        ``"NRS1"`` or ``"NRS2"``.

    Returns
    -------
    array
        Noise with an expected variance of 1, ``(2048, 2048)``, float32.
    """
    lines, samples = SHAPE[0], SHAPE[1] // _OUTPUTS
    n = lines * samples
    frequency = np.arange(n // 2 + 1, dtype=np.float32)
    frequency[0] = np.inf
    waves = rng.standard_normal((n // 2 + 1, 2), np.float32).view(np.complex64)[:, 0]
    waves /= np.sqrt(frequency)
    power = 4 * (1 / frequency[1:].astype(float)).sum() / n**2
    series = irfft(waves, n).reshape(lines, samples) / np.float32(np.sqrt(power))
    frame = np.concatenate([series[:, :: (-1) ** i] for i in range(_OUTPUTS)], axis=1)
    return frame.T if detector == "NRS1" else frame.T[::-1, ::-1]


def _counts_of_one_mean(rng, mean, n):
    """Draw Poisson counts of one expectation by the inverse of the cumulative distribution.

    16 random bits decide, except in the few cells of the table in which the count changes.
    """
    cells = 1 << 16
    cumulative = poisson.cdf(np.arange(int(mean + 20 * np.sqrt(mean) + 30)), mean)
    edges = np.arange(cells + 1) / cells
    table = np.searchsorted(cumulative, edges, side="right")
    unsure = table[:-1] != table[1:]
    cell = rng.integers(0, cells, n, np.uint16)
    counts = table[:-1].astype(np.float32)[cell]
    again = np.flatnonzero(unsure[cell])
    exact = (cell[again] + rng.random(len(again))) / cells
    counts[again] = np.searchsorted(cumulative, exact, side="right")
    return counts
