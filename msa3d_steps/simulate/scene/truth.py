"""What is true of a source, and what a perfect reduction of a survey would show of it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from scipy.interpolate import BarycentricInterpolator

from msa3d_steps.errors import InputError
from msa3d_steps.simulate.scene.boxes import REACH, averages
from msa3d_steps.simulate.scene.gaussians import box_average
from msa3d_steps.simulate.scene.render import FWHM, LSF_PIXELS, SlitPixels, chebyshev_nodes, observe
from msa3d_steps.simulate.scene.sources import SPEED_OF_LIGHT, PointSource, check_widths

__all__ = ["CubeGrid", "expected_cube", "read_grid", "truth_cube"]

AT_ONCE = 5_000_000  # numbers in the images of the clouds that are worked on together
POINTS = 150


@dataclass(frozen=True)
class CubeGrid:
    """Where the voxels of a cube are.

    Attributes
    ----------
    ra, dec : float
        Middle of the cube, deg.
    position_angle : float
        Of the y axis, deg east of north; x points to the west of it.
    scale : float
        Size of a spaxel, arcsec.
    nx, ny : int
        Number of spaxels.
    wavelengths, bandpass : ndarray
        Middles and widths of the channels, um, shape ``(n_wave,)``.
    """

    ra: float
    dec: float
    position_angle: float
    scale: float
    nx: int
    ny: int
    wavelengths: np.ndarray
    bandpass: np.ndarray

    def window(self, low, high):
        """Keep the channels between two wavelengths (um)."""
        keep = (self.wavelengths >= low) & (self.wavelengths <= high)
        return CubeGrid(
            self.ra, self.dec, self.position_angle, self.scale, self.nx, self.ny,
            self.wavelengths[keep], self.bandpass[keep],
        )  # fmt: skip

    def axes(self):
        """Offsets of the columns and rows from the middle, arcsec."""
        x = (np.arange(self.nx) - (self.nx - 1) / 2) * self.scale
        y = (np.arange(self.ny) - (self.ny - 1) / 2) * self.scale
        return x, y

    def coordinates(self, source, east, north):
        """Turn offsets from a source (arcsec) into offsets along the cube's axes."""
        origin_east, origin_north = source.offsets(self.ra, self.dec)
        angle = np.deg2rad(self.position_angle)
        east, north = east - origin_east, north - origin_north
        return (
            -east * np.cos(angle) + north * np.sin(angle),
            east * np.sin(angle) + north * np.cos(angle),
        )

    def to_sky(self, x, y):
        """Turn offsets along the cube's axes (arcsec) into offsets east and north."""
        angle = np.deg2rad(self.position_angle)
        return (
            -x * np.cos(angle) + y * np.sin(angle),
            x * np.sin(angle) + y * np.cos(angle),
        )


def read_grid(path):
    """Read the grid of a cube from its file.

    Parameters
    ----------
    path : str or Path
        A cube (s3d).

    Returns
    -------
    CubeGrid
        Its grid.

    Raises
    ------
    InputError
        If the file is not a cube with a WCS.
    """
    path = Path(path)
    try:
        with fits.open(path) as file:
            header = file["SCI"].header
            nz, ny, nx = file["SCI"].shape
            if "PS3_0" in header:  # a table, in single precision, may be there anyway
                wavelengths = np.asarray(file["WCS-TABLE"].data["wavelength"], float).ravel()
            else:
                steps = np.arange(nz) + 1 - header["CRPIX3"]
                wavelengths = header["CRVAL3"] + header["CDELT3"] * steps
        bandpass = np.gradient(wavelengths) if nz > 1 else np.array([header["CDELT3"]])
        celestial = WCS(header, naxis=2) if "PS3_0" not in header else _celestial(header)
        ra, dec = celestial.pixel_to_world_values((nx - 1) / 2, (ny - 1) / 2)
        matrix = celestial.pixel_scale_matrix
    except (OSError, KeyError, ValueError, TypeError) as err:
        raise InputError(f"not a cube with a WCS: {err}; give an s3d file", path.name) from err
    return CubeGrid(
        float(ra), float(dec), float(np.rad2deg(np.arctan2(matrix[0, 1], matrix[1, 1]))),
        float(np.hypot(matrix[0, 1], matrix[1, 1]) * 3600), nx, ny, wavelengths, bandpass,
    )  # fmt: skip


def _celestial(header):
    """Make the WCS of the sky alone where the wavelength axis is a table."""
    header = header.copy()
    for key in ("CTYPE3", "CUNIT3", "CRPIX3", "CRVAL3", "CDELT3", "PS3_0", "PS3_1", "PV3_1"):
        header.remove(key, ignore_missing=True)
    header["NAXIS"] = 2
    return WCS(header, naxis=2)


def truth_cube(scene, psf, grid, dispersion=None):
    """Average a scene, seen through the point spread function, over the voxels of a cube.

    No slit and no detector is in it. The averages over spaxels and channels are exact.

    Parameters
    ----------
    scene : Scene
        What shines; its background is in the cube.
    psf : Psf
        Point spread function.
    grid : CubeGrid
        The cube.
    dispersion : callable or None
        Wavelength per pixel (um) at a wavelength (um): adds the line spread function.

    Returns
    -------
    ndarray
        Surface brightness, MJy/sr, shape ``(n_wave, ny, nx)``, float64.
    """
    shape = (grid.wavelengths.size, grid.ny, grid.nx)
    cube = np.broadcast_to(scene.background(grid.wavelengths)[:, None, None], shape).copy()
    for source in scene.sources:
        clouds = source.clouds()
        check_widths(source, clouds, psf, blurred=dispersion is not None)
        x, y = grid.coordinates(source, clouds.east, clouds.north)
        _add_continuum(cube, source, psf, grid, (x, y, clouds.sigma, clouds.continuum))
        for line in source.lines:
            _add_line(cube, source, line, psf, grid, (x, y, clouds), dispersion)
    return cube


def _boxes(grid, x, y, sigma):
    """Averages of the clouds over columns and rows, 1/arcsec, shapes ``(n, nx)``, ``(n, ny)``."""
    columns, rows = grid.axes()
    half_width = grid.scale / 2
    return averages(x, sigma, columns, half_width), averages(y, sigma, rows, half_width)


def _add_continuum(cube, source, psf, grid, clouds):
    """Add a continuum to a cube."""
    x, y, sigma, light = clouds
    if not source.continuum:
        return
    node = chebyshev_nodes(grid.wavelengths.min(), grid.wavelengths.max())
    images = np.zeros((node.size, grid.ny, grid.nx))
    for image, lam in zip(images, node, strict=True):
        for weight, width in zip(*psf.components(lam), strict=True):
            columns, rows = _boxes(grid, x, y, np.hypot(sigma, width))
            image += weight * (rows * light[:, None]).T @ columns
    basis = BarycentricInterpolator(node, np.eye(node.size))(grid.wavelengths)
    spectrum = source.continuum_brightness(grid.wavelengths)
    cube += np.tensordot(spectrum[:, None] * basis, images, axes=1)


def _add_line(cube, source, line, psf, grid, clouds, dispersion):
    """Add an emission line to a cube."""
    x, y, clouds = clouds
    centre = source.observed(line)
    place = centre * (1 + clouds.velocity / SPEED_OF_LIGHT)
    sigma = centre * clouds.dispersion / SPEED_OF_LIGHT
    if dispersion is not None:
        sigma = np.hypot(sigma, LSF_PIXELS * float(dispersion(centre)) / FWHM)
    reach = REACH * sigma.max() + np.interp(centre, grid.wavelengths, grid.bandpass)
    lam = grid.wavelengths
    channels = np.flatnonzero((lam > place.min() - reach) & (lam < place.max() + reach))
    if not channels.size:
        return
    spectra = box_average(
        lam[channels] - place[:, None], grid.bandpass[channels] / 2, sigma[:, None]
    )
    light = clouds.line * source.line_brightness(line)
    weights, widths = psf.components(centre)
    for some in np.array_split(np.arange(x.size), np.ceil(x.size * grid.nx * grid.ny / AT_ONCE)):
        images = 0.0
        for weight, width in zip(weights, widths, strict=True):
            columns, rows = _boxes(grid, x[some], y[some], np.hypot(clouds.sigma[some], width))
            images = images + weight * rows[:, :, None] * columns[:, None, :]
        images = images.reshape(some.size, -1)
        cube[channels] += ((light[some, None] * spectra[some]).T @ images).reshape(
            channels.size, grid.ny, grid.nx
        )


def expected_cube(scene, psf, grid, slits, points=POINTS):
    """Make the cube that a perfect reduction of noise-free exposures would give.

    Each pixel shows the average of the scene over slit width, pixel height and bandpass; each
    point of the sky shows the average of the pixels that cover it. So the blur by the slit is in
    it, phase by phase, as the survey's own pattern gives it; the blur by a cube's channels is not.

    Parameters
    ----------
    scene : Scene
        What shines.
    psf : Psf
        Point spread function.
    grid : CubeGrid
        The cube; take few channels (`CubeGrid.window`).
    slits : list of tuple
        `SlitOnSky` and `SlitPixels` of the cutouts.
    points : int
        Points of a spaxel at which it is asked which pixels cover them; their number limits the
        precision where neighbouring slits differ much.

    Returns
    -------
    cube : ndarray
        Surface brightness, MJy/sr, NaN where no pixel is, shape ``(n_wave, ny, nx)``, float64.
    covered : ndarray
        Part of each voxel's spaxel that pixels cover, same shape.
    """
    east, north = grid.to_sky(*_points(grid, points))
    total = np.zeros((grid.wavelengths.size, *east.shape))
    count = np.zeros(total.shape, np.int16)
    for slit, pixels in slits:
        nominal = _at_wavelengths(pixels, grid.wavelengths)
        if nominal is None:
            continue
        shown = observe(scene, psf, slit, nominal)
        _drop(total, count, slit, nominal, shown, _offsets(grid, slit, east, north))
    covered = (count > 0).sum(axis=-1)
    mean = np.divide(total, count, out=np.zeros_like(total), where=count > 0).sum(axis=-1)
    cube = np.where(covered > 0, mean / np.maximum(covered, 1), np.nan)
    return cube, covered / points


def _points(grid, number):
    """Scatter points over the spaxels, offsets in x and y (arcsec), shape ``(ny, nx, number)``.

    The points of a spaxel are the R2 sequence of Roberts (2018), shifted at random from spaxel to
    spaxel, so that gaps of a few mas between slits are met as often as they should be.
    """
    x, y = grid.axes()
    steps = np.arange(number)[:, None] * np.array([0.7548776662466927, 0.5698402909980532])
    shifts = np.random.default_rng(0).random((grid.ny, grid.nx, 1, 2))
    parts = ((steps + shifts) % 1 - 0.5) * grid.scale
    return x[:, None] + parts[..., 0], y[:, None, None] + parts[..., 1]


def _offsets(grid, slit, east, north):
    """Offsets of points of a cube from a slit's origin: across and along it, arcsec."""
    middle = PointSource(0, grid.ra, grid.dec)
    return slit.coordinates(middle, east, north)


def _at_wavelengths(pixels, wavelengths):
    """Rows of a cutout at given wavelengths, in place of columns."""
    rows = np.flatnonzero(np.isfinite(pixels.lam).sum(axis=1) > 1)
    lam = np.full((pixels.lam.shape[0], wavelengths.size), np.nan)
    y_slit = lam.copy()
    for row in rows:
        columns = np.flatnonzero(np.isfinite(pixels.lam[row]))
        at = pixels.lam[row, columns]
        order = np.argsort(at)
        column = np.interp(wavelengths, at[order], columns[order], left=np.nan, right=np.nan)
        inside = np.flatnonzero(np.isfinite(column))
        low, high = np.floor(column[inside]).astype(int), np.ceil(column[inside]).astype(int)
        inside = inside[np.isin(low, columns) & np.isin(high, columns)]  # not across a gap
        lam[row, inside] = wavelengths[inside]
        y_slit[row, inside] = np.interp(
            wavelengths[inside], at[order], pixels.y_slit[row, columns[order]]
        )
    if not np.isfinite(lam).any():
        return None
    bandpass = np.broadcast_to(pixels.dispersion(wavelengths), lam.shape)
    return SlitPixels(lam, y_slit, bandpass, pixels.height)


def _drop(total, count, slit, nominal, shown, offsets):
    """Add the pixels of a cutout to the points that they cover."""
    across, along = offsets
    inside = np.abs(across) < slit.width / 2
    place = along[inside] / slit.scale
    for channel in range(total.shape[0]):
        y_slit = nominal.y_slit[:, channel]
        valid = np.flatnonzero(np.isfinite(y_slit))
        if valid.size < 2:
            continue
        slope, start = np.polyfit(valid, y_slit[valid], 1)
        row = np.rint((place - start) / slope).astype(int)
        known = (row >= valid[0]) & (row <= valid[-1])
        values = np.where(known, shown[np.clip(row, valid[0], valid[-1]), channel], 0.0)
        total[channel][inside] += values
        count[channel][inside] += known
