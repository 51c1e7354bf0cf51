"""The inverse solution against known truth: what it resolves, what it measures, and its errors."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import scene
from astropy.io import fits
from noise import Scatter, dark
from noise import with_noise as add_noise
from scene import Blob, as_model, observe, pattern, sample, slit, synthetic_template

from msa3d_steps import MSA3DCubeStep
from msa3d_steps.cube.combine import CombineOptions, combine
from msa3d_steps.cube.correlation import correlation_table
from msa3d_steps.cube.grid import GridOptions, make_grid
from msa3d_steps.cube.inverse import leastsquares
from msa3d_steps.cube.inverse.noise import Solution
from msa3d_steps.cube.inverse.resolution import response_widths
from msa3d_steps.cube.inverse.solve import Scene, invert
from msa3d_steps.cube.layout import Layout
from msa3d_steps.cube.operator import make_strips, pixel_operator, rebinning
from msa3d_steps.cube.operator import observe as observe_rows
from msa3d_steps.cube.pattern import find_pattern
from msa3d_steps.cube.sources import cutout_from_slit
from msa3d_steps.cube.tangent import to_plane
from msa3d_steps.errors import InputError

HALF = pattern(13, 3, 0.1, 0.035)
WIDE = pattern(17, 3, 0.1, 0.035)
FULL = pattern(7, 3, 0.2, 0.035)
INNER = slice(6, 16)  # channels that all rows have
POINT = 0.03  # arcsec, standard deviation: FWHM 0.07", JWST's at 1.5 to 2 um


@pytest.fixture(scope="module")
def template():
    return synthetic_template(shape=(22, 24))


@pytest.fixture(scope="module")
def sampling(template):
    """Quadrature that is fine enough for points of light."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene, "N_ALONG", 8)
        patch.setattr(scene, "N_WAVE", 2)
        return sample(template.wcs, template.shape)


def points(template):
    """Three points of light at different places within slits and pixels; total flux 3."""
    to_sky = template.wcs.get_transform("slit_frame", "world")
    places = [(0.05, -1.25), (-0.28, 0.05), (0.16, 1.36)]  # slit units: 0.65" apart along the slit
    sky = [to_sky(x, y, 1e-6)[:2] for x, y in places]
    return [Blob(1.0, float(a), float(d), POINT) for a, d in sky]


def expose(template, sampling, offsets, blobs):
    """Noise-free cutouts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scene, "N_ACROSS", 16)
        cutouts = []
        for i, (across, along) in enumerate(offsets, 1):
            wcs, pointing = template.at(across, along)
            plain = slit(template, wcs, pointing, observe(blobs, wcs, sampling), i)
            cutouts.append(cutout_from_slit(plain, plain.meta, plain.meta.filename))
    return cutouts


@pytest.fixture(scope="module")
def half(template, sampling):
    return expose(template, sampling, HALF, points(template))


@pytest.fixture(scope="module")
def wide(template, sampling):
    return expose(template, sampling, WIDE, points(template))


@pytest.fixture(scope="module")
def full(template, sampling):
    return expose(template, sampling, FULL, points(template))


@pytest.fixture(scope="module")
def galaxy(template, sampling):
    return expose(template, sampling, HALF, [Blob(1.0, *template.source, 0.15)])


def with_noise(cutouts, error, seed=1, spread=1.0, masked=0.0):
    """The same cutouts without and with noise that differs from pixel to pixel."""
    rng = np.random.default_rng(seed)
    clean, noisy = [], []
    for c in cutouts:
        sigma = error * spread ** rng.uniform(-1, 1, c.data.shape)
        data = np.where(rng.random(c.data.shape) < masked, np.nan, c.data).astype(np.float32)
        c = replace(c, data=data, variance=(sigma**2).astype(np.float32))
        clean.append(c)
        noise = sigma * rng.standard_normal(sigma.shape)
        noisy.append(replace(c, data=(data + noise).astype(np.float32)))
    return clean, noisy


def build(cutouts, scale=0.1, smoothing=None, **options):
    """Drizzle and inverse solution: grid, both, sharpness."""
    grid_options = GridOptions(scalexy=scale, **options.pop("grid", {}))
    grid = make_grid([c.footprint for c in cutouts], grid_options, False)
    options = CombineOptions(smoothing=smoothing, **options)
    drizzled = combine(Layout(cutouts, find_pattern(cutouts), grid, options))
    voxels, sharpness, _ = invert(cutouts, grid, options, drizzled)
    return grid, drizzled, voxels, sharpness


def error_for(cutouts, snr):
    """Error of a pixel with which the brightest voxel of the drizzled cube has a S/N."""
    grid = make_grid([c.footprint for c in cutouts], GridOptions(scalexy=0.1), False)
    cutouts, _ = with_noise(cutouts, 1.0)
    found = combine(Layout(cutouts, find_pattern(cutouts), grid, CombineOptions()))
    data, err = found.data[INNER], found.err[INNER]
    return float(np.nanmax(data) / np.nanmedian(err)) / snr


def flux(voxels, grid):
    return np.nansum(voxels.data[INNER], axis=(1, 2)).mean() * grid.scale**2


def widths(voxels, grid, cutouts, blobs):
    """FWHM across and along the slit of points of light, the mean of all."""
    image = voxels.data[INNER].mean(axis=0)
    seen = np.isfinite(image)
    y, x = np.mgrid[: grid.ny, : grid.nx]
    along = grid.from_slit(cutouts[0].footprint)[1][:, 1]
    along /= np.hypot(*along)
    across = np.array([along[1], -along[0]])
    found = []
    for blob in blobs:
        sky = np.array(to_plane(blob.ra, blob.dec, grid.ra_center, grid.dec_center))
        place = grid.axes.T @ sky / grid.scale + np.array([grid.nx - 1, grid.ny - 1]) / 2
        distance = grid.scale * np.stack([x - place[0], y - place[1]])
        offsets = np.tensordot(np.stack([across, along]), distance, axes=1)
        near = seen & (np.hypot(*offsets) < 0.32)
        found.append(response_widths(image[near], offsets[:, near]))
    return np.mean(found, axis=0)


@pytest.mark.parametrize("options", [CombineOptions(), CombineOptions("ivm", 0.8, 0.7)])
def test_weights_of_the_operator_are_those_of_the_drizzle(half, options):
    """Overlaps times weights of pixels, summed over pixels, are WMAP to 1e-5 of its largest."""
    cutouts, _ = with_noise(half[::3], 0.01, masked=0.05)
    grid = make_grid([c.footprint for c in cutouts], GridOptions(scalexy=0.07), False)
    drizzled = combine(Layout(cutouts, find_pattern(cutouts), grid, options)).weight[8:14]
    operator = pixel_operator(make_strips(cutouts, grid, options), grid.edges[8:15])
    weights = np.ones(operator.size.size)
    if options.weighting == "ivm":
        for i, cutout in enumerate(cutouts):
            own = operator.cutout == i
            weights[own] = 1 / cutout.read_variance[operator.y[own], operator.x[own]]
    sums = (operator.overlap.T @ weights).reshape(6, -1)
    wanted = drizzled.reshape(6, -1)
    np.testing.assert_allclose(sums, wanted[:, operator.spaxels], atol=1e-5 * wanted.max())
    assert sums.sum() == pytest.approx(wanted.sum(), rel=1e-5)


def test_operator_sees_what_the_pixels_see(galaxy, template):
    """A of the true voxels is the data to 0.3% of the peak; of 1 it is 1."""
    grid = make_grid([c.footprint for c in galaxy], GridOptions(scalexy=0.02), False)
    operator = pixel_operator(make_strips(galaxy[18:21], grid, CombineOptions()), grid.edges)
    blob = Blob(1.0, *template.source, 0.15)
    place = np.array(to_plane(blob.ra, blob.dec, grid.ra_center, grid.dec_center))
    y, x = np.divmod(operator.spaxels, grid.nx)
    middle = np.array([grid.nx - 1, grid.ny - 1])[:, None] / 2
    xi, eta = grid.axes @ ((np.stack([x, y]) - middle) * grid.scale) - place[:, None]
    image = np.exp(-0.5 * (xi**2 + eta**2) / blob.sigma**2) / (2 * np.pi * blob.sigma**2)
    matrix = operator.matrix
    whole = np.asarray(matrix.sum(axis=1)).ravel()
    inside = whole > 0.999  # pixels beyond the first and last channel are seen in part
    assert inside.mean() > 0.9
    assert np.abs(whole[inside] - 1).max() < 1e-5
    seen = (matrix @ np.tile(image, grid.n_wave))[inside]
    data = np.stack([c.data for c in galaxy[18:21]])[operator.cutout, operator.y, operator.x]
    assert np.abs(seen - data[inside]).max() < 0.003 * data.max()


def test_adjoint_is_the_transpose(half):
    """<A x, y> = <x, A' y> to rounding."""
    grid = make_grid([c.footprint for c in half], GridOptions(), False)
    _, operator = observe_rows(make_strips(half[:5], grid, CombineOptions()), grid.edges[5:12])
    rng = np.random.default_rng(2)
    x, y = rng.random((operator.shape[1], 6)), rng.random((operator.shape[0], 6))
    left, right = (operator.forward(x) * y).sum(), (x * operator.adjoint(y)).sum()
    assert left == pytest.approx(right, rel=1e-12)
    one = operator.matrix(3, normalised=False) @ x[:, 3]
    np.testing.assert_allclose(one, operator.forward(x)[:, 3], rtol=1e-12)


@pytest.mark.parametrize("system", ["skyalign", "msaalign"])
def test_half_slit_steps_sharpen(wide, template, system, caplog):
    """S/N 50 at the peak of the drizzled cube: at least 25% narrower across, flux within 0.5%."""
    clean, noisy = with_noise(wide, error_for(wide, 50))
    with caplog.at_level(logging.INFO, "msa3d_steps"):
        grid, drizzled, voxels, sharpness = build(noisy, grid={"coord_system": system})
    blobs = points(template)
    before, after = (widths(v, grid, wide, blobs)[0] for v in (drizzled, voxels))
    assert after < 0.75 * before
    assert sharpness.gained
    assert sharpness.gain > 0.25
    assert sharpness.across == pytest.approx(after, rel=0.15)
    assert sharpness.drizzle_across == pytest.approx(before, rel=0.15)
    _, _, expected, _ = build(clean, smoothing=sharpness.smoothing, grid={"coord_system": system})
    assert abs(flux(expected, grid) / 3 - 1) < 0.005
    assert f"Gains {100 * sharpness.gain:.0f}%" in caplog.text


@pytest.mark.parametrize("grid", [{}, {"coord_system": "msaalign"}])
def test_full_slit_steps_gain_nothing(full, grid, caplog):
    """S/N 200, steps of a slit: nothing is gained, and a warning says so and what to do."""
    _, noisy = with_noise(full, error_for(full, 200))
    _, drizzled, voxels, sharpness = build(noisy, grid=grid)
    assert not sharpness.gained
    assert sharpness.pieces == pytest.approx(1, abs=0.05)
    assert sharpness.across > 0.9 * 0.1958
    assert "Nothing is gained" in caplog.text
    assert "method=drizzle" in caplog.text
    np.testing.assert_array_equal(np.isfinite(voxels.data), np.isfinite(drizzled.data))


def test_faint_sources_gain_nothing(half, caplog):
    """S/N 5, steps of half a slit: the cube is no sharper than a drizzled one, and says so."""
    _, noisy = with_noise(half, error_for(half, 5))
    *_, sharpness = build(noisy)
    assert not sharpness.gained
    assert sharpness.pieces == pytest.approx(0.5, abs=0.05)
    assert "too faint" in caplog.text


@pytest.mark.parametrize(("scale", "seeds"), [(0.07, (3,)), (0.1, (3, 4)), (0.2, (3, 4, 5, 6))])
def test_errors_describe_the_scatter(half, scale, seeds):
    """(noisy - clean) / ERR has width 1 within 5%, noise differing from pixel to pixel by 4."""
    pulls = []
    for seed in seeds:
        clean, noisy = with_noise(half, 0.02, seed, spread=2)
        (_, _, a, _), (_, _, b, _) = (build(c, scale, 0.015) for c in (clean, noisy))
        np.testing.assert_array_equal(a.err, b.err)
        pulls.append(((b.data - a.data) / a.err)[np.isfinite(a.data)])
    pulls = np.concatenate(pulls)
    assert pulls.std() == pytest.approx(1, abs=0.05)


def test_errors_with_missing_pixels(half):
    """10% of the pixels masked at random: width 1 within 5%."""
    clean, noisy = with_noise(half, 0.02, 5, masked=0.1)
    (_, _, a, _), (_, _, b, _) = (build(c, 0.1, 0.015) for c in (clean, noisy))
    pull = ((b.data - a.data) / a.err)[np.isfinite(a.data)]
    assert pull.std() == pytest.approx(1, abs=0.05)


def test_solution_is_that_of_the_normal_equations(half):
    """Conjugate gradients in blocks give what a dense solution of one channel gives, to 1e-4."""
    cutouts, _ = with_noise(half, 0.02, 6, masked=0.05)
    grid, _, voxels, _ = build(cutouts, smoothing=0.015)
    samples, operator = observe_rows(
        make_strips(cutouts, grid, CombineOptions()), grid.edges[10:12]
    )
    system = leastsquares.system_of(samples, operator, grid.nx, grid.scale)
    a, w = system.matrix.toarray(), system.weights[:, 0]
    y, x = np.divmod(operator.spaxels, grid.nx)
    beside = (np.abs(x[:, None] - x) + np.abs(y[:, None] - y)) == 1
    rough = (np.diag(beside.sum(axis=1)) - beside) / grid.scale**2
    rough = 0.015**2 * rough + system.rim
    wanted = np.linalg.solve(a.T @ (w[:, None] * a) + rough, a.T @ (w * samples.values[:, 0]))
    found = voxels.data[10].ravel()[operator.spaxels]
    seen = np.isfinite(found)
    assert np.abs(found - wanted)[seen].max() < 1e-4 * wanted.max()


def test_uniform_scene_is_uniform(half):
    """A sky of 1 is 1 in each voxel, also of a cube that is smaller than the field."""
    rng = np.random.default_rng(3)
    flat = [
        replace(c, data=np.where(np.isfinite(c.data) & (rng.random(c.data.shape) > 0.1), 1, np.nan))
        for c in half
    ]
    for grid in ({}, {"nspax_x": 7, "nspax_y": 9, "coord_system": "msaalign"}):
        _, _, voxels, _ = build(flat, smoothing=0.02, grid=grid)
        assert np.nanmin(voxels.data) == pytest.approx(1, abs=1e-4)
        assert np.nanmax(voxels.data) == pytest.approx(1, abs=1e-4)


def test_small_cube_is_the_middle_of_the_large_one(galaxy):
    """Light from beyond the cube does not disturb it: 1% of the peak."""
    whole, _, large, _ = build(galaxy, smoothing=0.015, grid={"coord_system": "msaalign"})
    center = {"ra_center": whole.ra_center, "dec_center": whole.dec_center}
    small = {"nspax_x": 5, "nspax_y": 5, "coord_system": "msaalign", **center}
    grid, _, voxels, _ = build(galaxy, smoothing=0.015, grid=small)
    y, x = (whole.ny - grid.ny) // 2, (whole.nx - grid.nx) // 2
    part = large.data[INNER, y : y + 5, x : x + 5]
    assert np.abs(voxels.data[INNER] - part).max() < 0.01 * part.max()


def lose(cutouts):
    """The middle step loses two of its three exposures."""
    return cutouts[:18] + cutouts[20:]


def test_missing_exposures(galaxy, monkeypatch):
    """Flux within 0.5% where exposures are missing, even if much smoothed; else not."""
    grid, _, voxels, _ = build(lose(galaxy), smoothing=0.06)
    assert abs(flux(voxels, grid) - 1) < 0.005
    monkeypatch.setattr(leastsquares, "LEVELLINGS", 0)
    grid, _, voxels, _ = build(lose(galaxy), smoothing=0.06)
    assert abs(flux(voxels, grid) - 1) > 0.01


def test_data_choose_the_smoothing(half, galaxy):
    """Fainter means smoother, and a galaxy may be smoother than points of light."""
    lengths = []
    for cutouts, snr in ((half, 200), (half, 20), (galaxy, 20), (galaxy, 5)):
        _, noisy = with_noise(cutouts, error_for(cutouts, snr))
        lengths.append(build(noisy)[3].smoothing)
    assert lengths == sorted(lengths)
    assert lengths[-1] > 3 * lengths[0]
    assert 0.009 < lengths[0] < lengths[-1] < 0.2


def test_threads_change_nothing(half, monkeypatch):
    monkeypatch.setattr("msa3d_steps.cube.inverse.solve.BLOCK", 8)
    one, two = (build(half, smoothing=0.02, threads=n)[2] for n in (1, 2))
    for name in ("data", "err", "weight", "time", "exposures"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_too_many_spaxels_are_refused(half, monkeypatch):
    monkeypatch.setattr("msa3d_steps.cube.inverse.solve.MAX_SPAXELS", 100)
    with pytest.raises(InputError, match="larger scalexy"):
        build(half)


@pytest.fixture(scope="module")
def models(template, sampling):
    """Five exposures as models."""
    blobs = points(template)
    slits = []
    for i, (across, along) in enumerate(pattern(5, 1, 0.1), 1):
        wcs, pointing = template.at(across, along)
        slits.append(slit(template, wcs, pointing, observe(blobs, wcs, sampling), i))
    return [as_model(s) for s in slits]


def test_step_writes_the_resolution(models, folder):
    """The file tells method, smoothing and resolution; other methods have none of it."""
    (cube,) = MSA3DCubeStep.call(models, method="inverse", smoothing=0.02)
    found = cube.meta.msa3d
    assert found.method == "inverse"
    assert found.smoothing == 0.02
    assert found.sharper
    assert found.fwhm_across < 0.8 * found.drizzle_fwhm_across
    assert 0.5 < found.noise_ratio < 5
    cube.save("x_s3d.fits")
    (plain,) = MSA3DCubeStep.call(models)
    assert plain.meta.msa3d.fwhm_across is None
    assert fits.getheader("x_s3d.fits")["FWHMACR"] == pytest.approx(found.fwhm_across)
    np.testing.assert_array_equal(np.isfinite(cube.data), np.isfinite(plain.data))
    np.testing.assert_array_equal(cube.weightmap, plain.weightmap)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"weighting": "median"}, "weighting=median"),
        ({"slit_frac": 0.5}, "slit_frac"),
    ],
)
def test_step_refuses_what_only_drizzle_has(models, wrong, message):
    with pytest.raises(InputError, match=message):
        MSA3DCubeStep.call(models, method="inverse", **wrong)


def test_noise_of_sums(half):
    """Noise of pixels through the noise matrix is what it makes of a cube, channel by channel.

    So the errors of sums over spaxels and channels follow from the matrix; its rows have ERR.
    """
    clean, noisy = with_noise([replace(c, data=0 * c.data) for c in half], 0.02, 8, spread=2)
    grid, _, voxels, _ = build(noisy, smoothing=0.015)
    options, block = CombineOptions(smoothing=0.015), slice(8, 13)
    scene_of_half = Scene.of(clean, grid, options)
    matrix, spaxels = Solution(grid, options, scene_of_half, 0.015).noise_matrix(block)
    samples, _ = observe_rows(scene_of_half.strips, grid.edges[8:14])
    _, pixels = rebinning(scene_of_half.strips, samples, grid.edges[8:14])
    values, variances = (
        np.stack([getattr(c, name) for c in noisy])[pixels.cutout, pixels.y, pixels.x]
        for name in ("data", "variance")
    )
    wanted, err = (a[block].reshape(5, -1)[:, spaxels] for a in (voxels.data, voxels.err))
    seen = np.isfinite(wanted)
    found = (matrix @ (values / np.sqrt(variances))).reshape(5, -1)
    assert (found - wanted)[seen].std() < 0.02 * wanted[seen].std()
    predicted = np.sqrt(matrix.power(2).sum(axis=1)).reshape(5, -1)
    np.testing.assert_allclose(predicted[seen] / err[seen], 1, atol=0.1)


def test_errors_of_sums(half, smoothing=0.02):
    """Sums of up to 5 x 5 spaxels and 10 channels of 12 cubes of noise: within 8%."""
    rng = np.random.default_rng(3)
    base = dark(half, rng)
    grid, _, voxels, _ = build(base, smoothing=smoothing)
    options = CombineOptions(smoothing=smoothing)
    solution = Solution(grid, options, Scene.of(base, grid, options), smoothing)
    factors = {(a, b): factor for a, b, factor, _, _ in correlation_table(solution, voxels.err)}
    assert factors[2, 10] > 1.4
    scatter = Scatter(voxels.err, factors, (1, 2, 3, 5), (1, 10))
    for _ in range(12):
        scatter.add(build(add_noise(base, rng), smoothing=smoothing)[2].data)
    for size, ratio in scatter.ratios().items():
        assert ratio == pytest.approx(1, abs=0.08), size
