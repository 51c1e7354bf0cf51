"""What the noise of each pixel adds to each voxel of an inverse solution.

A voxel is a linear combination of rows of cutouts, whose samples are weighted means of pixels. The
combination is that which the errors are made of (`~msa3d_steps.cube.inverse.leastsquares.Inverse`).
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits

from msa3d_steps.cube.inverse.leastsquares import Inverse
from msa3d_steps.cube.operator import rebinning, weights_and_errors

__all__ = ["Solution"]

LEAST = 3e-3
"""Coefficients below this, over the largest of a voxel, are left out."""


@dataclass(frozen=True)
class Solution:
    """A scene with the prior that it is solved with.

    It stands in for a `~msa3d_steps.cube.layout.Layout` where the noise of voxels is asked for.

    Parameters
    ----------
    grid : `~msa3d_steps.cube.grid.CubeGrid`
        Grid of the cube.
    options : `~msa3d_steps.cube.combine.CombineOptions`
        What was asked for.
    scene : `~msa3d_steps.cube.inverse.solve.Scene`
        What is solved for.
    smoothing : float
        Length of the prior, arcsec.
    """

    grid: object
    options: object
    scene: object
    smoothing: float

    def noise_matrix(self, block):
        """Give the square root of the covariance of voxels.

        Parameters
        ----------
        block : slice
            The channels.

        Returns
        -------
        matrix : scipy.sparse.csr_array or None
            Shape ``(n_channels * n_spaxels, n_pixels)``, MJy/sr, float32: what one standard
            deviation of a pixel adds to voxel ``k * n_spaxels + i`` for spaxel ``i``; None where
            no pixel falls on these channels.
        spaxels : numpy.ndarray
            Shape ``(n_spaxels,)``: flat indices of the spaxels.
        """
        system = self.scene.block(block)
        if system is None:
            return None, None
        spaxels, average = self.scene.to_output(system.operator.spaxels)
        with threadpool_limits(1, user_api="blas"):
            coefficients = Inverse.of(system, self.smoothing).estimator(average)
        squares, there = np.square(coefficients), system.presence
        left = squares @ there
        grown = np.divide(
            squares.sum(axis=1)[:, None], left, out=np.zeros_like(left), where=left > 0
        )
        coefficients[np.abs(coefficients) < LEAST * np.abs(coefficients).max(axis=1)[:, None]] = 0
        coefficients = sparse.csr_array(coefficients.astype(np.float32))
        rows = self._rows(system, block)
        parts = []
        for k in range(there.shape[1]):
            scaled = sparse.diags_array(grown[:, k]) @ coefficients
            parts.append(scaled @ sparse.diags_array(there[:, k]) @ rows[k :: there.shape[1]])
        return sparse.csr_array(sparse.vstack(parts, format="csr", dtype=np.float32)), spaxels

    def _rows(self, system, block):
        """Give what the noise of pixels adds to samples; row ``i * n_wave + k`` for channel k."""
        strips = self.scene.strips
        edges = self.scene.grid.edges[block.start : block.stop + 1]
        matrix, pixels = rebinning(strips, system.samples, edges)
        weights, sigmas = weights_and_errors(strips, pixels)
        shares = sparse.csr_array(matrix.T @ sparse.diags_array(weights))
        total = shares.sum(axis=1)
        scale = np.divide(1, total, out=np.zeros_like(total), where=total > 0)
        return sparse.csr_array(sparse.diags_array(scale) @ shares @ sparse.diags_array(sigmas))
