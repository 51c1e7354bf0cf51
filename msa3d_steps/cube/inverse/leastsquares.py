"""Regularised least squares for the scene behind rows of cutouts, channel by channel.

Sought is the scene that minimises::

    sum_i w_i (d_i - (A x)_i)^2  +  smoothing^2 sum |grad x|^2

with the rows ``d``, their weights ``w``, levelled so that each spaxel counts 1, and the operator
``A`` of `msa3d_steps.cube.operator`. The gradient is taken between neighbouring spaxels, per
arcsec; there is none across the border of the field, so that a uniform scene costs nothing and the
prior neither makes nor loses light. It acts on the sky alone: channels do not mix.

The estimate ``x = N^-1 A^T w d`` with ``N = A^T w A + smoothing^2 R`` is linear in the data, which
gives its errors and its resolution.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.linalg import LinAlgError
from scipy.linalg.lapack import dpotrf, dpotri

from msa3d_steps.cube.inverse.prior import grow, roughness
from msa3d_steps.cube.operator import RowOperator, Samples

__all__ = ["Inverse", "System", "system_of"]

LEVELLINGS = 3
"""Times that the weights are divided by their density."""

LEAST_DENSITY = 0.3
"""Least density that weights are divided by, over its median; borders are seen in part only."""

LEAST_SIGHT = 0.999
"""Rows of which less lies in the field are left out."""

FULL_DENSITY = 0.8
"""Density, over its median, below which spaxels are seen in part."""

RIM = 0.12
"""Length, arcsec, over which the rim of the field is smoothed: what is seen in part only would ring
otherwise, and ring into the field."""

RIDGE = 1e-8
"""Added to the diagonal, over its mean, for spaxels that no row holds."""

TOLERANCE = 1e-12
"""Square of the error that conjugate gradients leave, over that of the solution."""

ROUNDS = 100
"""Most rounds of conjugate gradients."""

LEAST_PRECISION = 0.3
"""Least precision of a voxel at a channel, over that at others."""

MOST_MISSING = 0.4
"""Channels of which more is missing than this are solved by themselves."""


@dataclass(frozen=True)
class System:
    """The least squares problem of a block of channels.

    Parameters
    ----------
    samples : Samples
        The rows.
    operator : RowOperator
        What they see.
    weights : numpy.ndarray
        Shape ``(n_rows, n_wave)``: levelled weights ``w``; 0 for rows that are left out.
    rough : scipy.sparse.csr_array
        Shape ``(n_spaxels, n_spaxels)``: ``R``, in arcsec^-2.
    rim : scipy.sparse.csr_array
        What is added to the matrix at the rim of the field, which is seen in part.
    """

    samples: Samples
    operator: RowOperator
    weights: np.ndarray
    rough: sparse.csr_array
    rim: sparse.csr_array

    @cached_property
    def factors(self):
        """What `RowOperator.forward` is multiplied by in ``A^T w A``."""
        return self.weights / self.operator.size**2

    @cached_property
    def target(self):
        """``A^T w d``, of shape ``(n_spaxels, n_wave)``."""
        return self.operator.adjoint(self.weights / self.operator.size * self.samples.values)

    @property
    def middle(self):
        """Index of the channel in the middle of the block."""
        return self.weights.shape[1] // 2

    @cached_property
    def matrix(self):
        """``A`` of the middle channel."""
        return self.operator.matrix(self.middle)

    @cached_property
    def usual_weights(self):
        """Median of the weights over the channels that have data, of shape ``(n_rows,)``."""
        return _usual(self.weights)

    @cached_property
    def presence(self):
        """What is there of each row, relative to what is usual; shape ``(n_rows, n_wave)``.

        Less than 1 where pixels are missing.
        """
        usual = _usual(self.samples.weights)[:, None]
        there = (usual > 0) & (self.weights > 0)
        return np.divide(self.samples.weights, usual, out=np.zeros(self.weights.shape), where=there)

    @property
    def odd_channels(self):
        """Channels of which much is missing that others have, as at the end of a detector."""
        usual = self.usual_weights[:, None]
        there = np.minimum(self.presence, 1) * usual
        lost = 1 - there.sum(axis=0) / usual.sum()
        more = np.where(usual > 0, 0, self.weights).sum(axis=0) / usual.sum()
        return np.flatnonzero(np.maximum(lost, more) > MOST_MISSING)

    def part(self, channels):
        """Give the problem of some of the channels.

        Parameters
        ----------
        channels : numpy.ndarray
            Their indices in the block.

        Returns
        -------
        System
            The problem; weights are not levelled again.
        """
        s, o = self.samples, self.operator
        samples = replace(
            s,
            values=s.values[:, channels],
            variances=s.variances[:, channels],
            weights=s.weights[:, channels],
            bounds=s.bounds[:, :, channels],
        )
        operator = replace(
            o, overlap=np.ascontiguousarray(o.overlap[:, channels]), size=o.size[:, channels]
        )
        return System(samples, operator, self.weights[:, channels], self.rough, self.rim)

    @cached_property
    def normal(self):
        """``A^T w A`` of the middle channel with the usual weights."""
        a = self.matrix
        return sparse.csr_array(a.T @ sparse.diags_array(self.usual_weights) @ a)

    def penalty(self, smoothing):
        """Give the matrix of the prior.

        Parameters
        ----------
        smoothing : float
            Its length, arcsec.

        Returns
        -------
        scipy.sparse.csr_array
            Shape ``(n_spaxels, n_spaxels)``.
        """
        return sparse.csr_array(smoothing**2 * self.rough + self.rim)

    def solve(self, smoothing, inverse):
        """Find the scene by conjugate gradients.

        Parameters
        ----------
        smoothing : float
            Length of the prior, arcsec.
        inverse : Inverse
            That of the block, which stands near to that of each channel.

        Returns
        -------
        numpy.ndarray
            Shape ``(n_spaxels, n_wave)``, MJy/sr.
        """
        penalty = self.penalty(smoothing)

        def normal(x):
            return self.operator.adjoint(self.factors * self.operator.forward(x)) + penalty @ x

        x = inverse.precondition(self.target)
        residual = self.target - normal(x)
        direction = step = inverse.precondition(residual)
        energy = (residual * step).sum(axis=0)
        enough = TOLERANCE * np.maximum((self.target * x).sum(axis=0), np.finfo(float).tiny)
        for _ in range(ROUNDS):
            active = energy > enough
            if not active.any():
                break
            image = normal(direction)
            curvature = (direction * image).sum(axis=0)
            rate = np.where(active & (curvature > 0), energy, 0) / np.where(
                curvature > 0, curvature, 1
            )
            x += rate * direction
            residual -= rate * image
            step = inverse.precondition(residual)
            before, energy = energy, (residual * step).sum(axis=0)
            direction = step + np.where(active, energy / np.where(active, before, 1), 0) * direction
        return x


@dataclass(frozen=True)
class Inverse:
    """The inverse of ``N`` for a block of channels: that of its middle and its usual weights.

    Parameters
    ----------
    system : System
        The block.
    smoothing : float
        Length of the prior, arcsec.
    dense : numpy.ndarray
        Shape ``(n_spaxels, n_spaxels)``.
    """

    system: System
    smoothing: float
    dense: np.ndarray

    @classmethod
    def of(cls, system, smoothing):
        """Invert by Cholesky's method."""
        normal = (system.normal + system.penalty(smoothing)).toarray()
        diagonal = np.einsum("ii->i", normal)
        diagonal += RIDGE * diagonal.mean()
        factor, info = dpotrf(normal.T, lower=1, overwrite_a=1)
        if info == 0:
            dense, info = dpotri(factor, lower=1, overwrite_c=1)
        if info != 0:
            raise LinAlgError("the matrix of the least squares problem is not positive")
        dense = np.tril(dense)
        dense += np.tril(dense, -1).T
        return cls(system, smoothing, dense)

    @cached_property
    def single(self):
        """The inverse in single precision, good enough for a preconditioner."""
        return self.dense.astype(np.float32)

    def precondition(self, residual):
        """Multiply by the inverse, roughly.

        Parameters
        ----------
        residual : numpy.ndarray
            Shape ``(n_spaxels, n_wave)``.

        Returns
        -------
        numpy.ndarray
            The same shape.
        """
        return (self.single @ residual.astype(np.float32)).astype(float)

    def estimator(self, average):
        """Give the linear estimator of output spaxels, with the usual weights.

        Parameters
        ----------
        average : scipy.sparse.csr_array
            Shape ``(n_out, n_spaxels)``: averages of spaxels that make output spaxels.

        Returns
        -------
        numpy.ndarray
            Shape ``(n_out, n_rows)``: what rows are multiplied by.
        """
        weighted = sparse.csr_array(
            sparse.diags_array(self.system.usual_weights) @ self.system.matrix
        )
        return np.ascontiguousarray((weighted @ (self.dense @ average.T)).T)

    def variance(self, average):
        """Give the variance of output spaxels.

        Where rows are missing at a channel, the others stand in for them. To a few percent that
        lowers the precision by the part that the missing ones have in the sum of the squared
        coefficients; where hardly any row is left, the prior keeps it from falling further.

        Parameters
        ----------
        average : scipy.sparse.csr_array
            As for `estimator`.

        Returns
        -------
        numpy.ndarray
            Shape ``(n_out, n_wave)``, (MJy/sr)^2.
        """
        squares = np.square(self.estimator(average))
        there = self.system.presence
        left = squares @ there
        whole = squares.sum(axis=1)[:, None]
        mean = squares @ (there**2 * self.system.samples.variances)
        mean = np.divide(mean, left, out=np.zeros_like(left), where=left > 0)
        return whole * mean / np.maximum(left / whole, LEAST_PRECISION)

    @property
    def freedom(self):
        """Trace of ``A N^-1 A^T w``: the number of parameters that the data determine."""
        return float(self.system.normal.multiply(self.dense).sum())


def system_of(samples, operator, nx, scale, rim=1):
    """Set up the least squares problem of a block of channels.

    Parameters
    ----------
    samples, operator : Samples, RowOperator
        What `~msa3d_steps.cube.operator.observe` gave.
    nx : int
        Number of spaxels in x.
    scale : float
        Size of a spaxel, arcsec.
    rim : int
        How far the rim goes on beyond the spaxels that are seen in part, spaxels.

    Returns
    -------
    System
        The problem, with levelled weights.
    """
    sight = operator.forward(np.ones((operator.spaxels.size, operator.size.shape[1])))
    inside = sight > LEAST_SIGHT * operator.size
    weights = _level(operator, np.where(inside, samples.weights, 0).astype(float))
    density = operator.adjoint(_usual(weights)[:, None] / operator.size)[:, weights.shape[1] // 2]
    seen_in_part = grow(operator.spaxels, nx, density < FULL_DENSITY, rim)
    rough = roughness(operator.spaxels, nx, scale)
    rim = RIM**2 * roughness(operator.spaxels, nx, scale, seen_in_part)
    return System(samples, operator, weights, rough, rim)


def _level(operator, weights):
    """Divide weights by their density on the sky, so that each spaxel counts 1.

    Otherwise the prior would shift light from where exposures are few to where they are many.
    """
    for _ in range(LEVELLINGS):
        density = operator.adjoint(weights / operator.size)
        usual = _median_of_positive(density)
        relative = np.maximum(density / usual, LEAST_DENSITY)
        weights = weights / usual * (operator.forward(1 / relative) / operator.size)
    return weights / _median_of_positive(operator.adjoint(weights / operator.size))


def _usual(weights):
    """Median over the channels that have any weight, of shape ``(n_rows,)``."""
    lit = weights.any(axis=0)
    return np.median(weights[:, lit], axis=1) if lit.any() else weights[:, 0]


def _median_of_positive(density):
    """Median over the spaxels that are seen, for each channel; 1 where there are none."""
    found = np.ones(density.shape[1])
    for k, column in enumerate(density.T):
        seen = column[column > 0]
        if seen.size:
            found[k] = np.median(seen)
    return found
