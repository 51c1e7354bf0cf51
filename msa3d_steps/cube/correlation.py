"""How the errors of voxels add up.

A detector pixel reaches into several voxels, so their errors are correlated and the error of a sum
is not the sum in quadrature. A voxel of the drizzle is ``sum_p c_jp d_p``, whence the covariance of
two is ``sum_p c_jp c_ip var_p``: known, since the coefficients are (Law et al. 2023, AJ 166, 45,
measure the same with simulations). From them come the covariance of a slice (`covariance_of`)
and the mean ratio for square apertures (`correlation_table`).

The median of samples is their mean and something that is uncorrelated with any mean. The first is
as above; the variance of the second is what ERR^2 has more, and its correlation between two voxels
is taken as the fifth power of that of the first: for 3 to 7 normal samples the correlation of
medians then is right to 0.02.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from msa3d_steps.errors import InputError

__all__ = [
    "APERTURES",
    "CHANNELS",
    "Correlation",
    "Covariance",
    "correlate",
    "correlation_table",
    "covariance_of",
    "sum_factor",
]

APERTURES = (1, 2, 3, 4, 5, 6, 7)
"""Sides of square apertures, spaxels."""

CHANNELS = (1, 2, 3, 5, 10)
"""Numbers of channels that are summed; of more the ratio is within 1% of that of the last."""

WINDOWS = 4
"""Places in wavelength where apertures are looked at."""

POSITIONS = 150
"""Most apertures of one size that are looked at in one of these places."""

BOX = 40
"""Side of the part of the field, spaxels, that is looked at in one of these places."""

POWER = 5
"""Power of the correlation that the part of medians has that is not their mean."""


@dataclass(frozen=True)
class Correlation:
    """How the errors of a cube's voxels add up.

    Parameters
    ----------
    table : list of tuple
        What `correlation_table` gives.
    covariances : list of Covariance
        The channels that were asked for.
    """

    table: list
    covariances: list


@dataclass(frozen=True)
class Covariance:
    """Covariance of the spaxels of one channel.

    Parameters
    ----------
    channel : int
        The channel, 0-based.
    row, column : numpy.ndarray
        Shape ``(n,)``, int32: flat indices ``y * nx + x`` of two spaxels, ``row <= column``.
    value : numpy.ndarray
        Shape ``(n,)``, float32: their covariance, (MJy/sr)^2.
    """

    channel: int
    row: np.ndarray
    column: np.ndarray
    value: np.ndarray


def correlate(layout, err):
    """Tell how the errors of voxels add up, in general and for the channels that were asked for.

    Parameters
    ----------
    layout : `~msa3d_steps.cube.layout.Layout`
        The cutouts on the grid.
    err : numpy.ndarray
        Shape ``(n_wave, ny, nx)``: errors of the voxels, MJy/sr.

    Returns
    -------
    Correlation
        The table and the covariances.

    Raises
    ------
    InputError
        Where a wavelength that was asked for is not in the cube.
    """
    edges, wanted = layout.grid.edges, layout.options.covariance
    channels = []
    if wanted == ():
        seen = np.flatnonzero(np.isfinite(err).any(axis=(1, 2)))
        channels.append(int(seen[np.argmin(np.abs(seen - err.shape[0] // 2))]))
    for wavelength in wanted or ():
        if not edges[0] <= wavelength < edges[-1]:
            raise InputError(
                f"covariance_wave is {wavelength} um; the cube reaches from {edges[0]:.4f} to "
                f"{edges[-1]:.4f} um"
            )
        channels.append(int(np.searchsorted(edges, wavelength, side="right")) - 1)
    covariances = [covariance_of(layout, k, err[k]) for k in sorted(set(channels))]
    return Correlation(correlation_table(layout, err), covariances)


def _split(matrix, err):
    """Split errors into that of a mean, scaled down where it is too large, and what is beyond it.

    The latter is None where no voxel has it, which is so but for medians.
    """
    linear, variance = _sum_of_squares(matrix), np.nan_to_num(err.astype(float)) ** 2
    if not (np.abs(variance - linear) > 0.01 * linear).any():
        return matrix, None
    scale = np.sqrt(np.divide(variance, linear, out=np.ones_like(linear), where=linear > 0))
    scaled = sparse.csr_array(sparse.diags_array(scale.clip(max=1)) @ matrix)
    return scaled, np.sqrt((variance - linear).clip(min=0))


def _sum_of_squares(matrix):
    """Sum the squares of each row of a csr_array."""
    squares = sparse.csr_array((matrix.data**2, matrix.indices, matrix.indptr), matrix.shape)
    return squares.sum(axis=1)


def _covariances(matrix, excess):
    """Give the covariance of means, and what is beyond it or None; csr_arrays of one structure."""
    product = sparse.csr_array(matrix @ matrix.T)
    if excess is None:
        return product, None
    column = product.indices
    row = np.repeat(np.arange(product.shape[0]), np.diff(product.indptr))
    sigma = np.sqrt(product.diagonal())
    scale = sigma[row] * sigma[column]
    correlation = np.divide(product.data, scale, out=np.zeros_like(scale), where=scale > 0)
    values = correlation**POWER * excess[row] * excess[column]
    return product, sparse.csr_array((values, column, product.indptr), product.shape)


def covariance_of(layout, channel, err):
    """Give the covariance of the spaxels of a channel.

    Parameters
    ----------
    layout : `~msa3d_steps.cube.layout.Layout`
        The cutouts on the grid.
    channel : int
        The channel.
    err : numpy.ndarray
        Shape ``(ny, nx)``: errors of its spaxels, MJy/sr.

    Returns
    -------
    Covariance
        What is not 0 of the upper triangle.
    """
    matrix, spaxels = layout.noise_matrix(slice(channel, channel + 1))
    if matrix is None:
        none = np.zeros(0, np.int32)
        return Covariance(channel, none, none, np.zeros(0, np.float32))
    covariance, beyond = _covariances(*_split(matrix, err.ravel()[spaxels]))
    upper = sparse.triu(covariance if beyond is None else covariance + beyond).tocoo()
    row, column = (spaxels[i].astype(np.int32) for i in upper.coords)
    return Covariance(channel, row, column, upper.data.astype(np.float32))


def sum_factor(table, n_spaxels, n_channels=1):
    """Give what the error of a sum is over the sum of ERR in quadrature.

    Parameters
    ----------
    table : numpy.ndarray
        The table CORRELATION of a cube.
    n_spaxels : float
        Number of spaxels of an aperture that is about as wide as high.
    n_channels : float
        Number of channels that are summed.

    Returns
    -------
    float
        The factor, interpolated in the side of a square of as many spaxels and in the logarithm of
        the number of channels; beyond the largest of the table it is that of the largest.
    """
    numbers = np.unique(table["channels"])
    factors = []
    for number in numbers:
        rows = table[table["channels"] == number]
        factors.append(np.interp(np.sqrt(n_spaxels), rows["spaxels"], rows["factor"]))
    return float(np.interp(np.log(n_channels), np.log(numbers), factors))


def correlation_table(layout, err):
    """Compare errors of sums over square apertures with sums in quadrature.

    Parameters
    ----------
    layout : `~msa3d_steps.cube.layout.Layout`
        The cutouts on the grid.
    err : numpy.ndarray
        Shape ``(n_wave, ny, nx)``: errors of the voxels, MJy/sr.

    Returns
    -------
    list of tuple
        Side of the aperture (spaxels), number of channels, the error of the sum over the sum of ERR
        in quadrature (root of the mean square over apertures), its standard deviation from aperture
        to aperture, and the number of apertures. Sizes that fit nowhere are left out.
    """
    ratios = {}
    seen = np.flatnonzero(np.isfinite(err).any(axis=(1, 2)))
    width = min(max(CHANNELS), seen.size)
    rng = np.random.default_rng(0)
    windows = min(WINDOWS, seen.size // width)
    for window in range(windows):
        middle = seen[int((window + 0.5) * seen.size / windows)]
        first = int(np.clip(middle - width // 2, 0, err.shape[0] - width))
        _look(layout, slice(first, first + width), err, rng, ratios)
    return [
        (side, number, float(np.sqrt(np.mean(r))), float(np.std(np.sqrt(r))), len(r))
        for (side, number), r in sorted(ratios.items())
    ]


def _look(layout, block, err, rng, ratios):
    """Add the squares of the ratios of a block of channels."""
    matrix, spaxels = layout.noise_matrix(block)
    if matrix is None:
        return
    grid = layout.grid
    here = _box(spaxels, grid, rng)
    n_wave, voxels = block.stop - block.start, np.arange(matrix.shape[0]).reshape(-1, spaxels.size)
    matrix, spaxels = matrix[voxels[:, here].ravel()], spaxels[here]
    own = err[block].reshape(n_wave, -1)[:, spaxels].astype(float)
    matrix, excess = _split(matrix, own.ravel())
    rest = None if excess is None else _covariances(matrix, excess)[1]
    slot = np.full(grid.ny * grid.nx, -1)
    slot[spaxels] = np.arange(spaxels.size)
    for number in (n for n in CHANNELS if n <= own.shape[0]):
        quadrature = (own[:number] ** 2).sum(axis=0)  # NaN where a channel is missing
        whole = np.zeros((grid.ny, grid.nx), bool)
        whole.ravel()[spaxels] = quadrature > 0
        if not whole.any():
            continue
        join = sparse.hstack([sparse.eye_array(spaxels.size)] * number).tocsr()
        added = join @ matrix[: number * spaxels.size]
        inner = None if rest is None else rest[: join.shape[1], : join.shape[1]]
        for side in APERTURES:
            members = _squares(whole, side, slot, rng)
            if not len(members):
                continue
            row = np.repeat(np.arange(len(members)), side**2)
            shape = len(members), spaxels.size
            choose = sparse.csr_array((np.ones(row.size), (row, members.ravel())), shape=shape)
            variance = _sum_of_squares(choose @ added)
            if rest is not None:
                part = choose @ join
                variance = variance + (part @ inner).multiply(part).sum(axis=1)
            found = variance / quadrature[members].sum(axis=1)
            ratios.setdefault((side, number), []).extend(found.tolist())


def _box(spaxels, grid, rng):
    """Choose a part of the field: indices of spaxels."""
    if grid.ny <= BOX and grid.nx <= BOX:
        return np.arange(spaxels.size)
    y, x = np.divmod(spaxels, grid.nx)
    middle = rng.integers(spaxels.size)
    first = [
        np.clip(a[middle] - BOX // 2, 0, max(n - BOX, 0)) for a, n in ((y, grid.ny), (x, grid.nx))
    ]
    inside = (y >= first[0]) & (y < first[0] + BOX) & (x >= first[1]) & (x < first[1] + BOX)
    return np.flatnonzero(inside)


def _squares(whole, side, slot, rng):
    """Slots of the spaxels of some squares that lie in a mask; shape ``(n, side^2)``."""
    if side > min(whole.shape):
        return []
    windows = np.lib.stride_tricks.sliding_window_view(whole, (side, side))
    y, x = np.nonzero(windows.all(axis=(2, 3)))
    chosen = rng.choice(y.size, min(y.size, POSITIONS), replace=False)  # not in step with slits
    dy, dx = np.mgrid[:side, :side]
    flat = (y[chosen, None] + dy.ravel()) * whole.shape[1] + x[chosen, None] + dx.ravel()
    return slot[flat]
