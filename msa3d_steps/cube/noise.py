"""What the noise of each pixel adds to each voxel of a drizzled cube."""

import numpy as np
from scipy import sparse

from msa3d_steps.cube.operator import pixel_operator, weights_and_errors

__all__ = ["drizzle_noise"]


def drizzle_noise(layout, block):
    """Give the square root of the covariance of voxels: what the noise of each pixel adds to each.

    Parameters
    ----------
    layout : `~msa3d_steps.cube.layout.Layout`
        The cutouts on the grid.
    block : slice
        The channels.

    Returns
    -------
    matrix : scipy.sparse.csr_array or None
        Shape ``(n_channels * n_spaxels, n_pixels)``, MJy/sr: ``c_jp sigma_p``, and voxel ``j`` is
        ``k * n_spaxels + i`` for spaxel ``i``; None where no pixel falls on these channels.
    spaxels : numpy.ndarray
        Shape ``(n_spaxels,)``: flat indices of the spaxels.
    """
    operator = pixel_operator(layout.strips, layout.grid.edges[block.start : block.stop + 1])
    if operator is None:
        return None, None
    overlap = operator.overlap.tocoo()
    pixel, voxel = overlap.coords
    n_spaxels = operator.spaxels.size
    weights, sigmas = weights_and_errors(layout.strips, operator)
    level, of_cutout = np.zeros(pixel.size), operator.cutout[pixel]
    for i, levels in enumerate(layout.levels(block)):
        if levels is None:
            continue
        members = of_cutout == i
        level[members] = levels[operator.y[pixel[members]], voxel[members] // n_spaxels]
    values = overlap.data * level * weights[pixel]
    total = np.bincount(voxel, values, minlength=overlap.shape[1])
    used = values > 0
    pixel, voxel, values = pixel[used], voxel[used], values[used]
    values *= sigmas[pixel] / total[voxel]
    matrix = sparse.csr_array((values, (voxel, pixel)), shape=overlap.shape[::-1])
    return matrix, operator.spaxels
