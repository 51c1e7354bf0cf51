"""The yardstick: cubes the way jwst's unfinished MSA draft builds them, one cutout at a time.

Every cutout's gwcs is evaluated at every pixel (centre, both edges of the bandpass, four corners on
the sky), and the pixels are handed to the C kernel of jwst's ``cube_build``. WCS and kernel are
timed apart. Nothing here is used by the package.
"""

from dataclasses import dataclass, fields
from time import perf_counter

import numpy as np
from jwst.cube_build.coord import radec2std, std2radec
from jwst.cube_build.cube_match_sky_driz import cube_wrapper_driz
from stdatamodels.jwst.datamodels import dqflags

__all__ = ["DrizzleGrid", "PixelCorners", "cube_grid", "drizzle_slit_by_slit", "pixel_corners"]

NIRSPEC = 1  # cube_wrapper_driz: 0 is MIRI, 1 is NIRSpec
OVERLAP_PARTIAL, OVERLAP_FULL = 4, 2  # jwst's intermediate flags of the kernel's DQ plane
HALF_PIXEL, HALF_BANDPASS, HALF_SLIT = 0.49, 0.4999, 0.5
NO_DEBUG_VOXEL = -1
UNUSABLE = dqflags.pixel["DO_NOT_USE"] | dqflags.pixel["NON_SCIENCE"]


@dataclass(frozen=True)
class DrizzleGrid:
    """The cube's voxels, as the kernel wants them.

    Attributes
    ----------
    crval : tuple of float
        Right ascension and declination of the tangent point, deg.
    x, y : ndarray
        Centres of the spaxels on the tangent plane, arcsec, shapes ``(nx,)`` and ``(ny,)``.
        The first axis runs against right ascension, as in `jwst.cube_build.coord.radec2std`.
    wave : ndarray
        Centres of the planes, um, shape ``(nz,)``.
    width : ndarray
        Width of the planes, um, shape ``(nz,)``: the distance to the next plane, as in jwst.
    scale : float
        Side of a spaxel, arcsec.
    width_mean : float
        Width of a plane that the DQ plane of the kernel uses, um.
    linear : bool
        Whether the wavelength grid is linear.
    rot_angle : float or None
        Rotation of the cube on the sky, deg.
    """

    crval: tuple
    x: np.ndarray
    y: np.ndarray
    wave: np.ndarray
    width: np.ndarray
    scale: float
    width_mean: float
    linear: bool
    rot_angle: float | None

    @property
    def shape(self):
        """Shape of the cube, ``(nz, ny, nx)``."""
        return self.wave.size, self.y.size, self.x.size

    def project(self, ra, dec):
        """Project sky coordinates (deg) to the tangent plane (arcsec)."""
        return radec2std(*self.crval, ra, dec, self.rot_angle)


@dataclass(frozen=True)
class PixelCorners:
    """Where the usable pixels of one cutout lie; all arrays have shape ``(n,)``.

    Attributes
    ----------
    x, y : ndarray
        Column and row in the cutout.
    ra, dec, wave : ndarray
        Centre of the pixel, deg, deg and um.
    bandpass : ndarray
        Width of the pixel in wavelength, um.
    corner_ra, corner_dec : tuple of ndarray
        The four corners in order around the footprint, deg.
    """

    x: np.ndarray
    y: np.ndarray
    ra: np.ndarray
    dec: np.ndarray
    wave: np.ndarray
    bandpass: np.ndarray
    corner_ra: tuple
    corner_dec: tuple

    def take(self, keep):
        """Return the pixels where ``keep`` is true."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return PixelCorners(
            **{k: tuple(a[keep] for a in v) if isinstance(v, tuple) else v[keep]
               for k, v in parts.items()}
        )  # fmt: skip


def cube_grid(models, scale_arcsec, wave_step=None, margin=2):
    """Find a grid that holds all cutouts, centred on them as jwst's cubes are.

    Parameters
    ----------
    models : list of SlitModel
        The cutouts of one source.
    scale_arcsec : float
        Side of a spaxel, arcsec.
    wave_step : float or None
        Width of a plane, um; by default the median of the first model's pixels.
    margin : int
        Spaxels to leave free on every side.

    Returns
    -------
    dict
        ``crval``, ``naxis``, ``scale_arcsec`` and ``wave_centres``, to be given to
        `drizzle_slit_by_slit`.
    """
    corners = np.concatenate([_slit_corners(model) for model in models], axis=1)
    origin = corners[:, 0]
    offsets = np.array(radec2std(*origin, *corners))
    middle = (offsets.min(axis=1) + offsets.max(axis=1)) / 2
    crval = tuple(float(c[0]) for c in std2radec(*origin, *(m[None] for m in middle)))
    reach = np.abs(radec2std(*crval, *corners)).max(axis=1)
    naxis = tuple(int(n) for n in 2 * (np.ceil(reach / scale_arcsec) + margin) + 1)
    low = min(np.nanmin(model.wavelength) for model in models)
    high = max(np.nanmax(model.wavelength) for model in models)
    if wave_step is None:
        wave_step = float(np.nanmedian(np.abs(np.diff(models[0].wavelength, axis=1))))
    centres = low + wave_step * (np.arange(int(np.ceil((high - low) / wave_step))) + 0.5)
    return {
        "crval": crval, "naxis": naxis, "scale_arcsec": scale_arcsec, "wave_centres": centres
    }  # fmt: skip


def _slit_corners(model):
    """Return the four corners of the open slit on the sky, deg, shape ``(2, 4)``."""
    x_slit = np.array([-HALF_SLIT, HALF_SLIT, HALF_SLIT, -HALF_SLIT])
    y_slit = np.repeat([model.slit_ymin, model.slit_ymax], 2).astype(float)
    to_world = model.meta.wcs.get_transform("slit_frame", "world")
    return np.array(to_world(x_slit, y_slit, np.full(4, 2e-6))[:2])


def pixel_corners(model):
    """Evaluate the gwcs of a cutout at its usable pixels, as jwst's IFU code does.

    Pixels that are not finite or flagged are left out before the evaluation, those with a corner
    or an edge outside the slit (NaN) after it.

    Parameters
    ----------
    model : SlitModel
        A cutout whose WCS has the frames ``detector``, ``slit_frame`` and ``world``.

    Returns
    -------
    PixelCorners
        The usable pixels.
    """
    wcs = model.meta.wcs
    to_slit = wcs.get_transform("detector", "slit_frame")
    to_world = wcs.get_transform("slit_frame", "world")
    good = np.isfinite(model.data) & ((model.dq & UNUSABLE) == 0)
    y, x = (index.astype(float) for index in np.nonzero(good))

    ra, dec, wave = wcs(x, y)
    bandpass = np.abs(wcs(x - HALF_BANDPASS, y)[2] - wcs(x + HALF_BANDPASS, y)[2])
    bottom, top = to_slit(x, y - HALF_PIXEL), to_slit(x, y + HALF_PIXEL)
    corners = [
        to_world(x_slit + side, y_slit, lam)
        for (x_slit, y_slit, lam), side in (
            (bottom, -HALF_SLIT), (bottom, HALF_SLIT), (top, HALF_SLIT), (top, -HALF_SLIT)
        )
    ]  # fmt: skip
    corner_ra, corner_dec, _ = zip(*corners, strict=True)
    pixels = PixelCorners(x, y, ra, dec, wave, bandpass, corner_ra, corner_dec)
    return pixels.take(np.isfinite(sum(corner_ra) + wave + bandpass))


def drizzle_slit_by_slit(
    models,
    crval,
    naxis,
    scale_arcsec,
    wave_centres,
    cdelt3_mean=None,
    rot_angle=None,
    flag_dq_plane=True,
):
    """Build a cube cutout by cutout: gwcs at every pixel, then jwst's C kernel.

    Parameters
    ----------
    models : iterable of SlitModel
        The cutouts of one source.
    crval : tuple of float
        Right ascension and declination of the cube's centre, deg.
    naxis : tuple of int
        Size of the cube on the sky, ``(nx, ny)``.
    scale_arcsec : float
        Side of a spaxel, arcsec.
    wave_centres : ndarray
        Wavelengths of the cube's planes, um, shape ``(nz,)``.
    cdelt3_mean : float or None
        Width of a plane that the kernel's DQ plane uses, um; by default the mean, as in jwst.
    rot_angle : float or None
        Rotation of the cube on the sky, deg.
    flag_dq_plane : bool
        Let the kernel make its DQ plane, as jwst does by default.

    Returns
    -------
    dict
        ``flux``, ``err``, ``weight``, ``count`` and ``dq``, shape ``(nz, ny, nx)``, the first two
        NaN where the weight is 0; ``seconds``, a dict with the time of ``wcs``, ``project``,
        ``kernel``, ``accumulate`` and ``normalise``; ``cutouts``; ``pixels_total``, all pixels of
        all cutouts; ``pixels``, those that the kernel got.
    """
    grid = _grid(crval, naxis, scale_arcsec, wave_centres, cdelt3_mean, rot_angle)
    size = int(np.prod(grid.shape))
    sums = [np.zeros(size) for _ in range(4)] + [np.zeros(size, dtype=np.uint32)]
    result = {"cutouts": 0, "pixels": 0, "pixels_total": 0}
    seconds = dict.fromkeys(("wcs", "project", "kernel", "accumulate", "normalise"), 0.0)
    for model in models:
        ticks = [perf_counter()]
        pixels = _near(pixel_corners(model), grid)
        ticks.append(perf_counter())
        arguments = _kernel_arguments(model, pixels, grid, flag_dq_plane)
        ticks.append(perf_counter())
        planes = cube_wrapper_driz(*arguments)
        ticks.append(perf_counter())
        _accumulate(sums, planes)
        ticks.append(perf_counter())
        for name, spent in zip(seconds, np.diff(ticks), strict=False):
            seconds[name] += float(spent)
        result["cutouts"] += 1
        result["pixels"] += pixels.wave.size
        result["pixels_total"] += model.data.size
    start = perf_counter()
    result |= _normalise(sums, grid.shape)
    seconds["normalise"] = perf_counter() - start
    return result | {"seconds": seconds}


def _grid(crval, naxis, scale_arcsec, wave_centres, cdelt3_mean, rot_angle):
    """Set the voxels up as `IFUCubeData.set_geometry` does."""
    wave = np.ascontiguousarray(wave_centres, dtype=float)
    width = np.diff(wave, append=2 * wave[-1] - wave[-2])
    x, y = (scale_arcsec * (np.arange(n) - (n - 1) / 2) for n in naxis)
    mean = float(np.nanmean(width)) if cdelt3_mean is None else float(cdelt3_mean)
    linear = bool(np.allclose(width, width[0], rtol=1e-6))
    return DrizzleGrid(tuple(crval), x, y, wave, width, scale_arcsec, mean, linear, rot_angle)


def _near(pixels, grid):
    """Keep the pixels within reach of the grid's wavelengths, as jwst's preselection does."""
    margin = grid.width[[0, -1]] + (pixels.bandpass.max(initial=0) if grid.linear else 0)
    low, high = grid.wave[0] - margin[0], grid.wave[-1] + margin[1]
    return pixels.take((pixels.wave >= low) & (pixels.wave <= high))


def _kernel_arguments(model, pixels, grid, flag_dq_plane):
    """Line up the 33 arguments of `cube_wrapper_driz`.

    Two guards: the kernel's DQ routine writes out of bounds when a pixel lies outside the cube on
    the sky, so that it is only called when none does; and the kernel reads as many bandpasses as
    there are planes, so that they are padded.
    """
    index = pixels.y.astype(int), pixels.x.astype(int)
    flux, err = (np.asarray(a[index], dtype=float) for a in (model.data, model.err))
    xi, eta = grid.project(pixels.ra, pixels.dec)
    corners = [
        coordinate
        for ra, dec in zip(pixels.corner_ra, pixels.corner_dec, strict=True)
        for coordinate in grid.project(ra, dec)
    ]
    bandpass = np.pad(pixels.bandpass, (0, max(grid.wave.size - xi.size, 1)))
    inside = xi.size and _within(xi, grid.x) and _within(eta, grid.y)
    return (
        NIRSPEC, int(flag_dq_plane and inside), 0, 0, OVERLAP_PARTIAL, OVERLAP_FULL,
        grid.x, grid.y, grid.wave, xi, eta, pixels.wave, flux, err, np.ones(xi.size), *corners,
        bandpass, grid.width, grid.scale, grid.scale, grid.width_mean, int(grid.linear),
        pixels.x, pixels.y, NO_DEBUG_VOXEL,
    )  # fmt: skip


def _within(coordinate, centres):
    """Tell whether all coordinates lie between the first and last centre of an axis."""
    return centres[0] <= coordinate.min() and coordinate.max() <= centres[-1]


def _accumulate(sums, planes):
    """Add the kernel's flux, weight, variance and count, and join its DQ, in place."""
    for total, plane in zip(sums[:4], planes[:4], strict=True):
        total += plane
    sums[4] |= planes[4].astype(np.uint32)


def _normalise(sums, shape):
    """Divide the sums by the weight; NaN where there is none."""
    flux, weight, variance, count, dq = (a.reshape(shape) for a in sums)
    with np.errstate(divide="ignore", invalid="ignore"):
        flux = np.where(count > 0, flux / weight, np.nan)
        err = np.where(count > 0, np.sqrt(variance) / weight, np.nan)
    return {"flux": flux, "err": err, "weight": weight, "count": count, "dq": dq}
