"""The prior of the inverse solution: neighbouring spaxels are alike."""

import numpy as np
from scipy import sparse
from scipy.ndimage import binary_dilation

__all__ = ["grow", "roughness"]


def roughness(spaxels, nx, scale, chosen=None):
    """Give the matrix of the sum of squared gradients over the sides between spaxels.

    Parameters
    ----------
    spaxels : numpy.ndarray
        Shape ``(n,)``: flat indices of the spaxels, increasing.
    nx : int
        Number of spaxels in x.
    scale : float
        Size of a spaxel, arcsec.
    chosen : numpy.ndarray, optional
        Boolean, shape ``(n,)``: the spaxels whose sides count; all by default.

    Returns
    -------
    scipy.sparse.csr_array
        Shape ``(n, n)``, in arcsec^-2: ``x @ R @ x`` is the sum of ``((x_i - x_j) / scale)^2`` over
        neighbours; ``R`` times a constant is 0.
    """
    ends = []
    for move in (1, nx):
        place = np.searchsorted(spaxels, spaxels + move).clip(max=spaxels.size - 1)
        there = spaxels[place] == spaxels + move
        if move == 1:
            there &= (spaxels + 1) % nx != 0
        if chosen is not None:
            there &= chosen | chosen[place]
        ends.append(np.stack([np.flatnonzero(there), place[there]]))
    i, j = np.concatenate(ends, axis=1)
    side = np.arange(i.size)
    values = np.concatenate([np.ones(i.size), -np.ones(i.size)]) / scale
    gradient = sparse.csr_array(
        (values, (np.concatenate([side, side]), np.concatenate([i, j]))),
        shape=(i.size, spaxels.size),
    )
    return sparse.csr_array(gradient.T @ gradient)


def grow(spaxels, nx, chosen, number):
    """Choose also the spaxels near chosen ones.

    Parameters
    ----------
    spaxels : numpy.ndarray
        Shape ``(n,)``: flat indices of the spaxels, increasing.
    nx : int
        Number of spaxels in x.
    chosen : numpy.ndarray
        Boolean, shape ``(n,)``.
    number : int
        How many sides away a spaxel may be.

    Returns
    -------
    numpy.ndarray
        Boolean, shape ``(n,)``.
    """
    first = spaxels[0] // nx
    image = np.zeros((spaxels[-1] // nx - first + 1, nx), bool)
    image.ravel()[spaxels[chosen] - first * nx] = True
    if number > 0:
        image = binary_dilation(image, iterations=number)
    return image.ravel()[spaxels - first * nx]
