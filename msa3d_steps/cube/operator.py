"""What the exposures see of a cube, as a linear operator.

A detector pixel sees the mean of the scene over its footprint: the slit's width by the pixel's
height on the sky, times its bandpass. On a scene made of voxels that is ``d = A x`` with ``A_pj``
the overlap of footprint ``p`` with voxel ``j`` divided by the footprint. The overlaps are those of
the drizzle (`msa3d_steps.cube.overlap`): exact, and a product of a part along the rows of the
detector and a part on the sky. After the first part the samples are the rows of the cutouts, each
channel by itself (`observe`); both together are `pixel_operator`.
"""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from msa3d_steps.cube.pairs import find_pairs, gather
from msa3d_steps.cube.strips import Strip

__all__ = [
    "PixelOperator",
    "Pixels",
    "RowOperator",
    "Samples",
    "make_strips",
    "observe",
    "pixel_operator",
    "rebinning",
    "weights_and_errors",
]


@dataclass(frozen=True)
class Samples:
    """The rows of some cutouts on a block of channels; of shape ``(n_rows, n_wave)``.

    Parameters
    ----------
    values, variances : numpy.ndarray
        Surface brightness, MJy/sr, averaged over what the pixels of the row cover of the channel,
        and its variance; 0 where nothing is covered.
    weights : numpy.ndarray
        Weights of the pixels times the part of the channel that they cover, float32.
    bounds : numpy.ndarray
        Shape ``(2, n_rows, n_wave)``: ``y_slit`` of both ends of the row.
    strip : numpy.ndarray
        Shape ``(n_rows,)``: index of the cutout.
    row : numpy.ndarray
        Shape ``(n_rows,)``: row in the cutout.
    """

    values: np.ndarray
    variances: np.ndarray
    weights: np.ndarray
    bounds: np.ndarray
    strip: np.ndarray
    row: np.ndarray


@dataclass(frozen=True)
class RowOperator:
    """The operator from spaxels to rows of cutouts, for a block of channels.

    Channels do not mix. What is not 0 at any of the channels is a pair of a row and a spaxel.

    Parameters
    ----------
    row, column : numpy.ndarray
        Shape ``(n_pairs,)``: index of the row, and of the spaxel in `spaxels`.
    overlap : numpy.ndarray
        Shape ``(n_pairs, n_wave)``, float32: part of the spaxel that the row covers.
    size : numpy.ndarray
        Shape ``(n_rows, n_wave)``, float32: area of the row's footprint in spaxels.
    spaxels : numpy.ndarray
        Shape ``(n_spaxels,)``: flat indices, ``y * nx + x``, of the spaxels that are seen.
    """

    row: np.ndarray
    column: np.ndarray
    overlap: np.ndarray
    size: np.ndarray
    spaxels: np.ndarray

    @property
    def shape(self):
        """Number of rows and of spaxels."""
        return self.size.shape[0], self.spaxels.size

    def forward(self, scene):
        """Give the mean of a scene over each row, times the row's size in spaxels.

        Parameters
        ----------
        scene : numpy.ndarray
            Shape ``(n_spaxels, n_wave)``.

        Returns
        -------
        numpy.ndarray
            Shape ``(n_rows, n_wave)``.
        """
        result = np.zeros(self.size.shape)
        gather(self.row, self.column, self.overlap, scene, result)
        return result

    def adjoint(self, rows):
        """Share out rows among spaxels; the transpose of `forward`.

        Parameters
        ----------
        rows : numpy.ndarray
            Shape ``(n_rows, n_wave)``.

        Returns
        -------
        numpy.ndarray
            Shape ``(n_spaxels, n_wave)``.
        """
        result = np.zeros((self.spaxels.size, self.size.shape[1]))
        gather(self.column, self.row, self.overlap, rows, result)
        return result

    def matrix(self, channel, normalised=True):
        """Give the operator of one channel.

        Parameters
        ----------
        channel : int
            Index in the block.
        normalised : bool
            Whether rows are averages over their footprint (their sum is 1 where all of it lies in
            the cube) or overlaps, as parts of a spaxel.

        Returns
        -------
        scipy.sparse.csr_array
            Shape ``(n_rows, n_spaxels)``.
        """
        values = self.overlap[:, channel].astype(float)
        if normalised:
            values = values / self.size[self.row, channel]
        return sparse.csr_array((values, (self.row, self.column)), shape=self.shape)


def make_strips(cutouts, grid, options):
    """Lay cutouts on a grid.

    Parameters
    ----------
    cutouts : list of `~msa3d_steps.cube.sources.Cutout`
        The cutouts.
    grid : `~msa3d_steps.cube.grid.CubeGrid`
        The voxels.
    options : `~msa3d_steps.cube.combine.CombineOptions`
        Weights of the pixels, and the part of their footprint that sees.

    Returns
    -------
    list
        What `observe` and `pixel_operator` take; as many as cutouts.
    """
    return [Strip(cutout, grid, options) for cutout in cutouts]


def observe(strips, edges):
    """Rebin the rows of cutouts into channels, and find which spaxels they see.

    Parameters
    ----------
    strips : list
        The cutouts, of `make_strips`.
    edges : numpy.ndarray
        Shape ``(n_wave + 1,)``: limits of the channels, um.

    Returns
    -------
    Samples
        The rows that are seen at any of the channels.
    RowOperator
        The operator; ``forward`` of a scene divided by ``size`` is what `Samples.values` would be.
    """
    seen, pairs, sizes, n_rows = [], [], [], 0
    for i, strip in enumerate(strips):
        rebinned = strip.rebin(edges)
        if rebinned is None or not strip.spaxels.size:
            continue
        rows, bounds, touched = rebinned
        lit = np.flatnonzero(touched[:, 1] > touched[:, 0])
        _fill_bounds(bounds, touched, lit)
        rows, bounds = rows[:, lit], np.ascontiguousarray(bounds[:, lit])
        row, column, overlap = find_pairs(bounds, strip.sides, strip.n_sides)
        pairs.append((row + n_rows, strip.spaxels[column], overlap))
        area = abs(np.linalg.det(strip.matrix)) * strip.options.slit_frac
        sizes.append((area * (bounds[1] - bounds[0])).astype(np.float32))
        seen.append((rows, bounds, np.full(lit.size, i), lit))
        n_rows += lit.size
    if not n_rows:
        return None, None
    rows, bounds, strip, row = (
        np.concatenate([s[j] for s in seen], axis=axis) for j, axis in enumerate((1, 1, 0, 0))
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.where(rows[1] > 0, rows[0] / rows[1], 0)
        variances = np.where(rows[1] > 0, rows[2] / rows[1] ** 2, 0)
    samples = Samples(values, variances, rows[3], bounds, strip, row)
    spaxels, column = np.unique(np.concatenate([p[1] for p in pairs]), return_inverse=True)
    row, overlap = (np.concatenate([p[j] for p in pairs]) for j in (0, 2))
    return samples, RowOperator(row, column, overlap, np.concatenate(sizes), spaxels)


def _fill_bounds(bounds, touched, lit):
    """Go on with the ends of a row where it has no pixel, so that each channel has a footprint."""
    for row in lit:
        first, last = touched[row]
        bounds[:, row, :first] = bounds[:, row, first : first + 1]
        bounds[:, row, last:] = bounds[:, row, last - 1 : last]


@dataclass(frozen=True)
class PixelOperator:
    """The operator from voxels to detector pixels.

    Parameters
    ----------
    overlap : scipy.sparse.csr_array
        Shape ``(n_pixels, n_wave * n_spaxels)``: part of the voxel that the pixel's footprint
        covers. Voxel ``(k, j)`` has the column ``k * n_spaxels + j``.
    size : numpy.ndarray
        Shape ``(n_pixels,)``: sum of the overlaps over all voxels there could be, i.e. the
        footprint's size in voxels.
    spaxels : numpy.ndarray
        Shape ``(n_spaxels,)``: flat indices, ``y * nx + x``, of the spaxels that are seen.
    cutout, y, x : numpy.ndarray
        Shape ``(n_pixels,)``: index of the cutout, and the pixel in it.
    """

    overlap: sparse.csr_array
    size: np.ndarray
    spaxels: np.ndarray
    cutout: np.ndarray
    y: np.ndarray
    x: np.ndarray

    @property
    def matrix(self):
        """The operator ``A``: means over footprints, as a `scipy.sparse.csr_array`."""
        return sparse.csr_array(sparse.diags_array(1 / self.size) @ self.overlap)


def pixel_operator(strips, edges):
    """Give the operator from the voxels of some channels to detector pixels.

    Parameters
    ----------
    strips : list
        The cutouts, of `make_strips`.
    edges : numpy.ndarray
        Shape ``(n_wave + 1,)``: limits of the channels, um.

    Returns
    -------
    PixelOperator
        The usable pixels that fall on these channels; None where there are none.
    """
    samples, rows = observe(strips, edges)
    if samples is None:
        return None
    n_wave, n_spaxels = edges.size - 1, rows.spaxels.size
    rebin, pixels = rebinning(strips, samples, edges)
    channels = np.arange(n_wave)
    sample = (rows.row[:, None] * n_wave + channels).ravel()
    voxel = (rows.column[:, None] + channels * n_spaxels).ravel()
    drop = sparse.csr_array(
        (rows.overlap.ravel().astype(float), (sample, voxel)),
        shape=(rows.size.size, n_wave * n_spaxels),
    )
    drop.eliminate_zeros()
    # the whole bandpass in channels, and the row's height where the pixel is
    size = pixels.bandpass * rows.size.ravel()[pixels.sample]
    return PixelOperator(rebin @ drop, size, rows.spaxels, pixels.cutout, pixels.y, pixels.x)


@dataclass(frozen=True)
class Pixels:
    """The pixels that fall on some channels; of shape ``(n_pixels,)``.

    Parameters
    ----------
    cutout, y, x : numpy.ndarray
        Index of the cutout, and the pixel in it.
    bandpass : numpy.ndarray
        Width along the dispersion, in channels.
    sample : numpy.ndarray
        A sample (row and channel) that the pixel falls on.
    """

    cutout: np.ndarray
    y: np.ndarray
    x: np.ndarray
    bandpass: np.ndarray
    sample: np.ndarray


def rebinning(strips, samples, edges):
    """Give the parts of channels that pixels cover.

    Parameters
    ----------
    strips : list
        The cutouts, of `make_strips`.
    samples : Samples
        Their rows on these channels, of `observe`.
    edges : numpy.ndarray
        Shape ``(n_wave + 1,)``: limits of the channels, um.

    Returns
    -------
    matrix : scipy.sparse.csr_array
        Shape ``(n_pixels, n_rows * n_wave)``; row ``i`` and channel ``k`` are ``i * n_wave + k``.
    pixels : Pixels
        The usable pixels.
    """
    n_wave = edges.size - 1
    first = np.searchsorted(samples.strip, np.arange(len(strips) + 1))
    parts, places, n_pixels = [], [], 0
    for i, strip in enumerate(strips):
        lit = samples.row[first[i] : first[i + 1]]
        if not lit.size:
            continue
        row, x, bandpass, pixel, channel, part = _parts(strip, lit, edges)
        sample = (row[pixel] + first[i]) * n_wave + channel
        parts.append((pixel + n_pixels, sample, part))
        start = np.searchsorted(pixel, np.arange(row.size))
        places.append((np.full(row.size, i), lit[row], x, bandpass, sample[start]))
        n_pixels += row.size
    pixel, sample, part = (np.concatenate([p[j] for p in parts]) for j in range(3))
    shape = n_pixels, first[-1] * n_wave
    matrix = sparse.csr_array((part, (pixel, sample)), shape=shape)
    return matrix, Pixels(*(np.concatenate([p[j] for p in places]) for j in range(5)))


def _parts(strip, lit, edges):
    """Find the overlaps of the pixels of a cutout with channels.

    Returns
    -------
    row, column, bandpass : numpy.ndarray
        Shape ``(n_pixels,)``: row in `lit` and column of the detector, and the width of the pixel
        along the dispersion in channels.
    pixel, channel, part : numpy.ndarray
        Shape ``(n,)``: a pixel, in order, a channel that it overlaps with, and the part of the
        channel that it covers.
    """
    columns, (first, last) = strip.columns_of(edges), strip.footprint.columns
    start, stop = max(columns[0] - 1, first), min(columns[-1] + 1, last) + 1
    lam = strip.footprint.wavelength.at_edges(lit.astype(float), start, stop)
    ends = np.sort([lam[:, :-1], lam[:, 1:]], axis=0)
    usable = np.isfinite(strip.cutout.data[lit, start:stop])
    row, column = np.nonzero(usable & (ends[1] > edges[0]) & (ends[0] < edges[-1]))
    low, high = ends[:, row, column]
    widths = np.diff(edges)
    middle = np.clip(np.searchsorted(edges, 0.5 * (low + high)) - 1, 0, widths.size - 1)
    first = np.clip(np.searchsorted(edges, low, side="right") - 1, 0, None)
    last = np.searchsorted(edges, high, side="left")
    number = np.minimum(last, widths.size) - first
    pixel = np.repeat(np.arange(row.size), number)
    channel = first[pixel] + np.arange(pixel.size) - np.repeat(np.cumsum(number) - number, number)
    part = np.minimum(high[pixel], edges[channel + 1]) - np.maximum(low[pixel], edges[channel])
    part /= widths[channel]
    return row, start + column, (high - low) / widths[middle], pixel, channel, part


def weights_and_errors(strips, pixels):
    """Give the weights of pixels and the standard deviations of their values.

    Parameters
    ----------
    strips : list
        The cutouts, of `make_strips`.
    pixels : Pixels or PixelOperator
        The pixels.

    Returns
    -------
    weights, errors : numpy.ndarray
        Shape ``(n_pixels,)``; errors in MJy/sr.
    """
    weights, errors = np.zeros(pixels.y.size), np.zeros(pixels.y.size)
    for i in np.unique(pixels.cutout):
        own = pixels.cutout == i
        x = pixels.x[own]
        _, variance, weight = strips[i].pixels(slice(x.min(), x.max() + 1))
        where = pixels.y[own], x - x.min()
        weights[own], errors[own] = weight[where], np.sqrt(variance[where])
    return weights, errors
