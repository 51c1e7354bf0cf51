"""The voxels: a tangent-plane sky grid and a list of wavelength channels."""

import logging
from dataclasses import dataclass

import numpy as np

from msa3d_steps.cube.pattern import groups_of_angle
from msa3d_steps.cube.tangent import from_plane, to_plane
from msa3d_steps.errors import InputError

__all__ = ["CubeGrid", "GridOptions", "make_grid"]

log = logging.getLogger(__name__)

MAX_VOXELS = 2**29
"""A cube larger than this (2 GiB for each plane) is taken for a mistake."""

MAX_CHANNELS = 2**20
"""More channels than this are taken for a mistake."""

SAMPLES = 4
"""Spaxels for the height of a pixel where voxels are samples between pixels."""

MAX_DISTANCE = 1800.0
"""A middle farther from the data than this, arcsec, is taken for a mistake."""


@dataclass(frozen=True)
class GridOptions:
    """What a user may ask of the grid; None stands for what fits the data.

    Parameters
    ----------
    scalexy : float, optional
        Size of a spaxel, arcsec.
    scalew : float, optional
        Size of a channel, um.
    wavemin, wavemax : float, optional
        Wavelength range, um.
    linear_wave : bool, optional
        Whether all channels have the same size.
    coord_system : {'skyalign', 'msaalign'}
        North up, or y along the slits; of several position angles along the one that most cutouts
        have.
    cube_pa : float, optional
        Position angle of the y axis, degrees east of north.
    ra_center, dec_center : float, optional
        Centre of the cube, degrees.
    nspax_x, nspax_y : int, optional
        Number of spaxels.
    sampled : bool
        Whether voxels are samples between the middles of pixels. Then there are four spaxels to a
        pixel, and channels go from the first middle on by the smallest distance of two.
    """

    scalexy: float | None = None
    scalew: float | None = None
    wavemin: float | None = None
    wavemax: float | None = None
    linear_wave: bool | None = None
    coord_system: str = "skyalign"
    cube_pa: float | None = None
    ra_center: float | None = None
    dec_center: float | None = None
    nspax_x: int | None = None
    nspax_y: int | None = None
    sampled: bool = False


@dataclass(frozen=True)
class CubeGrid:
    """The voxels of a cube.

    Parameters
    ----------
    ra_center, dec_center : float
        Sky position of the middle of the cube, degrees.
    position_angle : float
        Of the y axis, degrees east of north; the x axis is 90 degrees clockwise from it.
    scale : float
        Size of a spaxel, arcsec.
    nx, ny : int
        Number of spaxels.
    edges : numpy.ndarray
        Shape ``(n_wave + 1,)``: limits of the channels, um.
    centers : numpy.ndarray
        Shape ``(n_wave,)``: middles of the channels, um.
    linear : bool
        Whether all channels have the same size.
    """

    ra_center: float
    dec_center: float
    position_angle: float
    scale: float
    nx: int
    ny: int
    edges: np.ndarray
    centers: np.ndarray
    linear: bool

    @property
    def n_wave(self):
        """Number of channels."""
        return self.centers.size

    @property
    def shape(self):
        """Shape ``(n_wave, ny, nx)`` of the cube."""
        return self.n_wave, self.ny, self.nx

    @property
    def axes(self):
        """Unit vectors of the x and y axes in (xi, eta), as the columns of a ``(2, 2)`` array."""
        return axes_of(self.position_angle)

    def from_slit(self, footprint):
        """Give the affine map from a slit to spaxel coordinates.

        Parameters
        ----------
        footprint : `~msa3d_steps.cube.footprint.Footprint`
            The slit.

        Returns
        -------
        offset : numpy.ndarray
            Shape ``(2,)``: 0-based x and y of the slit's origin; integers are spaxel middles.
        matrix : numpy.ndarray
            Shape ``(2, 2)``: spaxels for one unit of ``x_slit`` (first column) and ``y_slit``.
        """
        offset, matrix = footprint.to_plane(self.ra_center, self.dec_center)
        to_spaxels = self.axes.T / self.scale
        middle = np.array([self.nx - 1, self.ny - 1]) / 2
        return to_spaxels @ offset + middle, to_spaxels @ matrix


def axes_of(position_angle):
    """Give the unit vectors in (xi, eta) of the axes of a cube, right-handed on the sky.

    Parameters
    ----------
    position_angle : float
        Of the y axis, degrees east of north.

    Returns
    -------
    numpy.ndarray
        Shape ``(2, 2)``: the x axis in the first column, the y axis in the second. It is the PC
        matrix of the FITS WCS.
    """
    s, c = np.sin(np.deg2rad(position_angle)), np.cos(np.deg2rad(position_angle))
    return np.array([[-c, s], [s, c]])


def make_grid(footprints, options, native_wave):
    """Choose the voxels for a set of cutouts.

    Parameters
    ----------
    footprints : list of `~msa3d_steps.cube.footprint.Footprint`
        The cutouts.
    options : GridOptions
        What the user asks for.
    native_wave : bool
        Whether channels follow the dispersion of the data where the user does not say.

    Returns
    -------
    CubeGrid
        The voxels; they cover all cutouts where the user does not say otherwise.

    Raises
    ------
    InputError
        Where the options leave no voxel, or far too many.
    """
    ra0, dec0 = footprints[0].center
    _check_middle(options, ra0, dec0)
    affine = [f.to_plane(ra0, dec0) for f in footprints]
    angle = _position_angle(affine, options)
    scale = options.scalexy or _native_scale(footprints, options)
    axes = axes_of(angle)
    corners = np.concatenate(
        [f.corners(*a) @ axes for f, a in zip(footprints, affine, strict=True)]
    )
    center, size = _extent(corners, scale, options, ra0, dec0, axes)
    ra_center, dec_center = from_plane(*(axes @ center), ra0, dec0)
    if options.ra_center is not None:
        ra_center = options.ra_center
    if options.dec_center is not None:
        dec_center = options.dec_center
    edges, centers, linear = _channels(footprints, options, native_wave)
    n_voxels = size[0] * size[1] * centers.size
    if n_voxels > MAX_VOXELS:
        raise InputError(
            f"the cube would have {size[0]} x {size[1]} x {centers.size} voxels; "
            "choose larger scalexy or scalew, a smaller range, or fewer exposures"
        )
    return CubeGrid(
        float(ra_center), float(dec_center), angle, scale, size[0], size[1], edges, centers, linear
    )


def _check_middle(options, ra0, dec0):
    """Refuse a middle of the cube that has nothing to do with the data."""
    if options.ra_center is None or options.dec_center is None:
        return
    ra, dec = np.deg2rad([options.ra_center, options.dec_center])
    a0, d0 = np.deg2rad([ra0, dec0])
    cosine = np.sin(dec) * np.sin(d0) + np.cos(dec) * np.cos(d0) * np.cos(ra - a0)
    if abs(options.dec_center) > 90 or np.arccos(min(cosine, 1)) > np.deg2rad(MAX_DISTANCE / 3600):
        raise InputError(
            f"ra_center {options.ra_center}, dec_center {options.dec_center} is far from the data, "
            f"which are at {ra0:.5f}, {dec0:+.5f} degrees"
        )


def _native_scale(footprints, options):
    height = float(np.median([f.pixel_height for f in footprints]))
    return height / SAMPLES if options.sampled else round(height, 2)


def _position_angle(affine, options):
    if options.cube_pa is not None:
        return float(options.cube_pa)
    if options.coord_system != "msaalign":
        return 0.0
    angles = np.array([np.rad2deg(np.arctan2(m[0, 1], m[1, 1])) for _, m in affine])
    group = groups_of_angle(angles, np.arange(angles.size))
    numbers = np.bincount(group)
    # the first slit tells the direction of y; the mean is taken about it
    means = [
        own[0] + ((own - own[0] + 90) % 180 - 90).mean()
        for own in (angles[group == i] for i in range(numbers.size))
    ]
    taken = int(np.argmax(numbers))
    if numbers.size > 1:
        found = ", ".join(f"{a:.1f} ({n})" for a, n in zip(means, numbers, strict=True))
        log.warning(
            "the slits lie at several position angles, degrees (number of cutouts): %s; y is along "
            "those at %.1f, cube_pa chooses another", found, means[taken],
        )  # fmt: skip
    return float(means[taken])


def _extent(corners, scale, options, ra0, dec0, axes):
    """Middle of the field on the axes of the cube, arcsec, and the number of spaxels (odd)."""
    center = 0.5 * (corners.min(axis=0) + corners.max(axis=0))
    if options.ra_center is not None or options.dec_center is not None:
        ra, dec = from_plane(*(axes @ center), ra0, dec0)
        ra = ra if options.ra_center is None else options.ra_center
        dec = dec if options.dec_center is None else options.dec_center
        center = np.array(to_plane(ra, dec, ra0, dec0)) @ axes
    reach = np.abs(corners - center).max(axis=0)
    size = 2 * np.ceil(reach / scale - 0.5 - 1e-6).astype(int).clip(min=0) + 1
    asked = (options.nspax_x, options.nspax_y)
    return center, tuple(int(a or n) for a, n in zip(asked, size, strict=True))


def _channels(footprints, options, native_wave):
    """Limits and middles of the channels, um, and whether they are all of one size."""
    ranges = [_bandpass(f) for f in footprints]
    reach = np.array([f.wavelengths_of_rows()[1] for f in footprints])
    low = reach[:, 0].min() if options.wavemin is None else options.wavemin
    high = reach[:, 1].max() if options.wavemax is None else options.wavemax
    if not high > low or low >= reach[:, 1].max() or high <= reach[:, 0].min():
        raise InputError(
            f"no wavelength is left between {low:.4f} and {high:.4f} um; the data reach from "
            f"{reach[:, 0].min():.4f} to {reach[:, 1].max():.4f} um"
        )
    if options.linear_wave is False and options.scalew is not None:
        raise InputError("scalew makes channels of one size; leave out linear_wave or scalew")
    linear = options.linear_wave
    if linear is None:
        linear = options.scalew is not None or not native_wave
    if linear:
        if options.sampled:
            size, low, high = _sampled_channels(footprints, options)
        else:
            size = options.scalew or float(np.median(np.concatenate([np.diff(r) for r in ranges])))
        number = max(_count_channels((high - low) / size), 1)
        centers = low + size * (np.arange(number) + 0.5)
        return low + size * np.arange(number + 1.0), centers, True
    edges = _native_edges(ranges, low, high)
    # the product holds middles in single precision; the channels are those that it tells
    centers = (0.5 * (edges[:-1] + edges[1:])).astype(np.float32).astype(float)
    return edges, centers, False


def _sampled_channels(footprints, options):
    """Size of the channels and limits of the first and last, um, from the middles of pixels."""
    middles = [np.sort(_middles(f), axis=1) for f in footprints]
    size = options.scalew or float(min(np.diff(m, axis=1).min() for m in middles))
    low = min(m.min() for m in middles) - 0.5 * size
    high = max(m.max() for m in middles) + 0.5 * size
    if options.wavemin is not None:
        low = options.wavemin
    if options.wavemax is not None:
        high = options.wavemax
    return size, low, high


def _middles(footprint):
    """Wavelengths of the middles of pixels in the lit rows of a cutout, um."""
    columns, rows = footprint.middles
    along = footprint.along(columns, rows)
    lit = ((along > footprint.limits[0]) & (along < footprint.limits[1])).any(axis=1)
    first, last = footprint.columns
    return footprint.wavelength.at_middles(rows[lit], first, last + 1)


def _bandpass(footprint):
    """Wavelengths of the pixel edges of a cutout along its middle row, um, increasing."""
    first, last = footprint.columns
    middle = np.array([(footprint.shape[0] - 1) / 2])
    return np.sort(footprint.wavelength(np.arange(first, last + 2) - 0.5, middle)[0])


def _native_edges(ranges, low, high):
    """Channel limits that follow the pixels of the data from one end to the other.

    The first cutout that reaches to a wavelength gives its channels there, so that the pixels of
    the other cutouts fall onto channels of their own size.
    """
    order = np.argsort([r[0] for r in ranges], kind="stable")
    edges = ranges[order[0]]
    for i in order[1:]:
        beyond = ranges[i][ranges[i] > edges[-1] + 0.5 * (edges[-1] - edges[-2])]
        if beyond.size:
            edges = np.concatenate([edges, _extend(edges, beyond[0], 1)[:-1], beyond])
    inside = edges[(edges > low) & (edges < high)]
    if inside.size < 2:
        return np.array([low, high])
    return np.concatenate([_extend(inside, low, -1), inside, _extend(inside, high, 1)])


def _count_channels(number):
    """Round up a number of channels, unless it is out of all reason."""
    if not number < MAX_CHANNELS:
        raise InputError(
            f"the cube would have {number:.3g} channels; choose a larger scalew or a smaller range"
        )
    return int(np.ceil(number - 1e-6))


def _extend(edges, limit, direction):
    """Go on with channels of the size of the outermost one until a limit is passed."""
    step = edges[1] - edges[0] if direction < 0 else edges[-1] - edges[-2]
    start = edges[0] if direction < 0 else edges[-1]
    number = _count_channels(abs(limit - start) / step)
    more = start + direction * step * np.arange(1, number + 1)
    return more[::direction]
