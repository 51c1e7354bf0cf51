"""Averages of many Gaussians over many boxes, compiled."""

import math

import numpy as np
from numba import njit

__all__ = ["REACH", "averages", "sum_of_averages"]

REACH = 6.5  # sigmas after which a Gaussian is over


def averages(centres, sigmas, boxes, half_width):
    """Average Gaussians of unit area over boxes on a regular grid.

    Parameters
    ----------
    centres, sigmas : ndarray
        Of the Gaussians, shape ``(n,)``.
    boxes : ndarray
        Middles of the boxes, evenly spaced, shape ``(m,)``.
    half_width : float
        Half the width of a box.

    Returns
    -------
    ndarray
        Shape ``(n, m)``, in 1 / unit of the coordinates.
    """
    one = np.ones((1, centres.size))
    return sum_of_averages(centres, sigmas[None], one, boxes, half_width)


def sum_of_averages(centres, sigmas, weights, boxes, half_width):
    """Average sums of concentric Gaussians over boxes on a regular grid.

    Parameters
    ----------
    centres : ndarray
        Shape ``(n,)``.
    sigmas, weights : ndarray
        Of the Gaussians of each sum, shape ``(k, n)``.
    boxes : ndarray
        Middles of the boxes, evenly spaced, shape ``(m,)``.
    half_width : float
        Half the width of a box.

    Returns
    -------
    ndarray
        Shape ``(n, m)``, in weight / unit of the coordinates.
    """
    step = (boxes[-1] - boxes[0]) / max(boxes.size - 1, 1)
    step = step if step > 0 else 1.0
    out = np.zeros((centres.size, boxes.size))
    _add(out, centres, sigmas, weights, float(boxes[0]), float(step), float(half_width))
    return out


@njit(cache=True, nogil=True)
def _add(out, centres, sigmas, weights, start, step, half_width):
    """Add the averages, as differences of error functions, where a Gaussian reaches."""
    n, m = out.shape
    for k in range(sigmas.shape[0]):
        for i in range(n):
            sigma = sigmas[k, i]
            reach = REACH * sigma + half_width
            first = max(0, math.ceil((centres[i] - reach - start) / step))
            last = min(m - 1, math.floor((centres[i] + reach - start) / step))
            scale = 1 / (math.sqrt(2.0) * sigma)
            factor = 0.25 * weights[k, i] / half_width
            for j in range(first, last + 1):
                offset = start + j * step - centres[i]
                high = math.erf((offset + half_width) * scale)
                low = math.erf((offset - half_width) * scale)
                out[i, j] += factor * (high - low)
