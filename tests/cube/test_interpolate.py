"""Voxels interpolated between pixels: exact where the scene is linear, with true errors."""

from dataclasses import replace

import numpy as np
import pytest
from scene import pattern, slit, synthetic_template

from msa3d_steps.cube.combine import CombineOptions, combine
from msa3d_steps.cube.grid import GridOptions, make_grid
from msa3d_steps.cube.layout import Layout
from msa3d_steps.cube.pattern import find_pattern
from msa3d_steps.cube.sources import cutout_from_slit
from msa3d_steps.cube.tangent import from_plane, to_plane

ANGLE = -37.0  # position angle of the slits, degrees
GRID = GridOptions(coord_system="msaalign", linear_wave=True, sampled=True)


def linear_scene(ra, dec, lam):
    """Brightness that is linear along the slits and in wavelength; 0.8 per arcsec, 30 per um."""
    xi, eta = to_plane(ra, dec, 150.1, 2.2)
    s, c = np.sin(np.deg2rad(ANGLE)), np.cos(np.deg2rad(ANGLE))
    return 10 + 0.8 * (xi * s + eta * c) + 30 * (lam - 1.05)


def cutouts_of(dispersion):
    """Exposures of 2 steps x 3 dithers whose traces are tilted and curved."""
    start = 1.0 if dispersion > 0 else 1.1
    template = synthetic_template(shape=(20, 44), start=start, dispersion=dispersion, angle=-ANGLE)
    y, x = np.mgrid[:20, :44].astype(float)
    made = []
    for number, (across, along) in enumerate(pattern(2, 3), 1):
        wcs, pointing = template.at(across, along)
        data = linear_scene(*wcs(x, y))
        plain = slit(template, wcs, pointing, data, number, time=100.0 * number)
        made.append(cutout_from_slit(plain, plain.meta, plain.meta.filename))
    return made


def layout_of(cutouts, weighting="drizzle", grid=GRID):
    grid = make_grid([c.footprint for c in cutouts], grid, native_wave=False)
    options = CombineOptions(weighting, method="linear")
    return Layout(cutouts, find_pattern(cutouts), grid, options)


def truth(grid):
    """The scene at the middles of the voxels."""
    y, x = np.mgrid[: grid.ny, : grid.nx]
    offset = np.stack([x - (grid.nx - 1) / 2, y - (grid.ny - 1) / 2]).reshape(2, -1) * grid.scale
    ra, dec = from_plane(*(grid.axes @ offset), grid.ra_center, grid.dec_center)
    values = linear_scene(ra, dec, grid.centers[:, None])
    return values.reshape(grid.shape)


@pytest.fixture(scope="module")
def cutouts():
    return cutouts_of(2.4e-3)


@pytest.mark.parametrize("dispersion", [2.4e-3, -2.4e-3])
@pytest.mark.parametrize("weighting", ["drizzle", "median"])
def test_linear_scenes_are_exact(dispersion, weighting):
    """To 2e-5 of the brightness, whichever way the wavelength goes; pixels differ by 0.7%."""
    layout = layout_of(cutouts_of(dispersion), weighting)
    voxels = combine(layout)
    error = voxels.data - truth(layout.grid)
    assert np.nanmax(np.abs(error)) < 2e-4
    assert np.isfinite(voxels.data).mean() > 0.7
    # none is missing between the middles of the outermost pixels, nor between two slits
    assert np.isfinite(voxels.data[3:-3, 12:-12]).all()


def test_masked_pixels_make_no_sample(cutouts):
    """The others give the value; a pixel takes part in its voxels up to one pixel away."""
    clean = combine(layout_of(cutouts))
    data = cutouts[2].data.copy()
    data[9, 20] = np.nan
    masked = [*cutouts[:2], replace(cutouts[2], data=data), *cutouts[3:]]
    layout = layout_of(masked)
    voxels = combine(layout)
    fewer = clean.exposures - voxels.exposures
    assert set(np.unique(fewer)) == {0, 1}
    # 1 pixel to either side in wavelength (2 channels) and along the slit (8 rows), 8 or 9 columns
    assert fewer.sum() == pytest.approx(2 * 8 * 8.5, rel=0.15)
    assert np.nanmax(np.abs(voxels.data - truth(layout.grid))) < 2e-4


def test_rectified_wavelengths_are_those_of_the_middles():
    """The wavelength of a rectified pixel is its own, also where the dispersion changes."""
    from msa3d_steps.cube.surface import Dispersion

    middles = 1 + 0.1 * np.linspace(0, 1, 12) ** 2
    dispersion = Dispersion(middles, (0, 11))
    np.testing.assert_array_equal(dispersion.at_middles(np.arange(2), 3, 7)[1], middles[3:7])
    edges = dispersion.edges
    np.testing.assert_allclose(edges[1:-1], 0.5 * (middles[1:] + middles[:-1]))
    assert edges[0] == pytest.approx(1.5 * middles[0] - 0.5 * middles[1])
    assert edges[-1] == pytest.approx(1.5 * middles[-1] - 0.5 * middles[-2])


def noisy(cutouts, seed=3):
    """The same with noise only, whose size differs from pixel to pixel; a few are masked."""
    rng = np.random.default_rng(seed)
    made = []
    for cutout in cutouts:
        sigma = rng.uniform(0.5, 2, cutout.data.shape)
        data = sigma.copy()  # one standard deviation everywhere
        data[rng.random(data.shape) < 0.05] = np.nan
        variance = (sigma**2).astype(np.float32)
        read = (variance * rng.uniform(0.2, 0.8, data.shape)).astype(np.float32)
        made.append(
            replace(cutout, data=data.astype(np.float32), variance=variance, read_variance=read)
        )
    return made


@pytest.mark.parametrize("weighting", ["drizzle", "exptime"])
def test_noise_matrix_is_what_the_kernels_do(cutouts, weighting):
    """Its rows add up to voxels of pixels of one sigma each, their squares to ERR^2: to 1e-5."""
    layout = layout_of(noisy(cutouts), weighting)
    voxels = combine(layout)
    matrix, spaxels = layout.noise_matrix(slice(5, 12))
    data, err = (
        plane[5:12].reshape(7, -1)[:, spaxels].ravel() for plane in (voxels.data, voxels.err)
    )
    seen = np.isfinite(data)
    assert seen.mean() > 0.7
    squares = (matrix * matrix).sum(axis=1)
    np.testing.assert_allclose(matrix.sum(axis=1)[seen], data[seen], rtol=1e-5)
    np.testing.assert_allclose(squares[seen], err[seen] ** 2, rtol=1e-5)
    assert (squares[~seen] == 0).all()


def test_inverse_variance_weights_are_interpolated(cutouts):
    """With ivm a sample has the interpolated weight of its pixels; ERR^2 is its variance."""
    layout = layout_of(noisy(cutouts), "ivm")
    voxels = combine(layout)
    matrix, spaxels = layout.noise_matrix(slice(5, 12))
    err = voxels.err[5:12].reshape(7, -1)[:, spaxels].ravel()
    seen = np.isfinite(err)
    np.testing.assert_allclose((matrix * matrix).sum(axis=1)[seen], err[seen] ** 2, rtol=1e-5)
    assert np.nanmedian(voxels.weight[voxels.weight > 0]) > 0.5


def test_samples_are_counted(cutouts):
    """A voxel has as many exposures as slits over it, and their time."""
    layout = layout_of(cutouts)
    voxels = combine(layout)
    times = np.array([100.0, 200, 300, 400, 500, 600])
    step = layout.grid.nx // 4  # in the middle of a slit, and so between the slits
    seen = voxels.exposures[:, :, step] == 3
    assert seen.mean() > 0.7
    assert set(np.unique(voxels.time[:, :, step][seen])) <= {times[:3].sum(), times[3:].sum()}
    np.testing.assert_array_equal(voxels.weight[:, :, step], voxels.exposures[:, :, step])
    between = layout.grid.nx // 2
    seen = voxels.exposures[:, :, between] == 6
    assert seen.mean() > 0.7
    whole = voxels.weight[:, :, between][seen]  # of 0.0261" each slit has half but for 0.0021"
    np.testing.assert_allclose(whole, 6 * (0.5 - 0.0021 / 0.0261), rtol=0.01)
