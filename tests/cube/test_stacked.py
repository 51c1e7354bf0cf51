"""Medians and clipped means: exact where nothing is wrong, and right where samples are spoilt."""

from dataclasses import replace

import numpy as np
import pytest
from noise import dark, with_noise
from scene import Blob, pattern, survey

from msa3d_steps.cube import combine as combine_module
from msa3d_steps.cube import stacked
from msa3d_steps.cube.combine import CombineOptions, combine
from msa3d_steps.cube.grid import GridOptions, make_grid
from msa3d_steps.cube.layout import Layout
from msa3d_steps.cube.pattern import find_pattern
from msa3d_steps.cube.sources import cutout_from_slit
from msa3d_steps.cube.stacked import MEDIAN_VARIANCE, make_stack
from msa3d_steps.cube.tangent import to_plane

LINE = 1.1  # um


@pytest.fixture(scope="module")
def blobs(synthetic):
    template, _ = synthetic
    return (
        Blob(1.0, *template.source, 0.18, slope=0.1),
        Blob(0.05, *template.source, 0.15, LINE, 0.004),
    )


@pytest.fixture(scope="module")
def clean(synthetic, blobs):
    """Five steps of seven dithers, with noise: S/N 20 at the peak of the line."""
    template, sampling = synthetic
    slits = survey(template, pattern(5, 7), blobs, sampling=sampling)
    cutouts = [cutout_from_slit(s, s.meta, s.meta.filename) for s in slits]
    peak = max(np.nanmax(c.data) for c in cutouts)
    made = []
    for c in cutouts:
        variance = (0.015 * peak) ** 2 + np.nan_to_num(c.data).clip(0) * peak * 0.05**2
        made.append(replace(c, variance=variance.astype(np.float32), read_variance=None))
    return with_noise(made, np.random.default_rng(7))


def build(cutouts, weighting, scale=0.1, **options):
    grid = make_grid([c.footprint for c in cutouts], GridOptions(scalexy=scale), False)
    layout = Layout(cutouts, find_pattern(cutouts), grid, CombineOptions(weighting, **options))
    return grid, combine(layout)


def line_flux(grid, voxels, blob):
    """Sum over the line within 0.5" of the source."""
    y, x = np.mgrid[: grid.ny, : grid.nx]
    middle = grid.axes.T @ to_plane(blob.ra, blob.dec, grid.ra_center, grid.dec_center) / grid.scale
    away = np.hypot(x - (grid.nx - 1) / 2 - middle[0], y - (grid.ny - 1) / 2 - middle[1])
    channels = np.abs(grid.centers - LINE) < 0.012
    return np.nansum(voxels.data[channels][:, away * grid.scale < 0.5])


def test_variance_of_medians():
    """The table, against simulations; 0.2% is three standard deviations."""
    rng = np.random.default_rng(1)
    for n in range(1, MEDIAN_VARIANCE.size):
        medians = np.median(rng.standard_normal((n, 400_000)), axis=0)
        assert medians.var() * n == pytest.approx(MEDIAN_VARIANCE[n], rel=0.008)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8])
def test_median_of_equal_weights(n):
    values = np.random.default_rng(n).standard_normal(n)
    assert stacked._weighted_median(values.copy(), np.full(n, 0.3), n) == pytest.approx(
        np.median(values)
    )


def test_median_follows_weights():
    """A sample with more than half of the weight decides, two are averaged by their weights."""
    assert stacked._weighted_median(np.array([1.0, 9.0]), np.array([3.0, 1.0]), 2) == 3.0
    heavy = stacked._weighted_median(np.array([5.0, 1.0, 90.0]), np.array([98.0, 1.0, 1.0]), 3)
    assert heavy == pytest.approx(5, abs=0.1)


@pytest.mark.parametrize("n", [3, 5, 7])
def test_variance_of_weighted_medians(n):
    """Weights that differ tenfold: the standard deviation is right to 10%, in the mean to 2.5%."""
    rng = np.random.default_rng(n)
    ratios = []
    for _ in range(20):
        weights, sigma = rng.uniform(0.1, 1, n), rng.uniform(0.8, 1.3, n)
        values = sigma[:, None] * rng.standard_normal((n, 20_000))
        rows = np.zeros((6, n, values.shape[1]))
        rows[0], rows[1] = weights[:, None] * values, weights[:, None]
        rows[2] = (weights * sigma)[:, None] ** 2
        sums = np.zeros((6, 1, values.shape[1]))
        stacked.median_of_steps(
            rows, np.array([0, n]), np.zeros(n, int), np.arange(n), MEDIAN_VARIANCE, sums
        )
        predicted = np.sqrt(sums[2, 0, 0]) / sums[1, 0, 0]
        ratios.append((sums[0, 0] / sums[1, 0]).std() / predicted)
    assert np.abs(np.array(ratios) - 1).max() < 0.1
    assert np.mean(ratios) == pytest.approx(1, abs=0.025)


def test_rows_of_the_stack():
    """Each spaxel of each cutout has a row of its own, sorted by spaxel and step."""
    nx = 4
    members = [np.array([1, 2, 5, 6]), np.array([2, 3, 6, 7]), np.array([1, 2, 3])]
    spaxels = np.unique(np.concatenate(members))
    stack = make_stack(members, np.array([1, 0, 1]), np.arange(3), spaxels, nx)
    assert sorted(np.concatenate(stack.slots).tolist()) == list(range(11))
    for cutout, (own, slots) in enumerate(zip(members, stack.slots, strict=True)):
        for spaxel, slot in zip(own, slots, strict=True):
            place = np.searchsorted(spaxels, spaxel)
            assert stack.first[place] <= slot < stack.first[place + 1]
            assert stack.cutout[slot] == cutout
            for i, move in enumerate((-1, 1, -nx, nx)):
                beside = stack.rows_beside[slot, i]
                there = spaxel + move in own and (
                    abs(move) == nx or spaxel // nx == (spaxel + move) // nx
                )
                assert (beside >= 0) == there
                if there:
                    assert stack.cutout[beside] == cutout
                    assert beside == slots[own.tolist().index(spaxel + move)]
    for first, last in zip(stack.first[:-1], stack.first[1:], strict=True):
        assert (np.diff(stack.step[first:last]) >= 0).all()
    assert stack.beside[spaxels.tolist().index(3)].tolist() == [1, -1, -1, 5]  # no way round to 4


@pytest.mark.parametrize("weighting", ["median", "clipped"])
@pytest.mark.parametrize("scale", [0.05, 0.2])
def test_uniform_scene_is_uniform(clean, weighting, scale):
    rng = np.random.default_rng(3)
    flat = [
        replace(c, data=np.where(rng.random(c.data.shape) > 0.1, c.data * 0 + 1, np.nan))
        for c in clean
    ]
    _, voxels = build(flat, weighting, scale)
    assert np.nanmin(voxels.data) == pytest.approx(1, abs=2e-6)
    assert np.nanmax(voxels.data) == pytest.approx(1, abs=2e-6)


@pytest.mark.parametrize("scale", [0.05, 0.1, 0.2])
def test_errors_of_medians(clean, scale):
    """Scatter over ERR is 1 within 2%."""
    rng = np.random.default_rng(5)
    noise = dark(clean, rng)
    _, voxels = build(with_noise(noise, rng), "median", scale)
    pull = (voxels.data / voxels.err)[np.isfinite(voxels.data)]
    assert pull.std() == pytest.approx(1, abs=0.02)
    assert abs(pull.mean()) < 0.05


def test_price_of_medians(clean):
    """Where pixels have one error and seven exposures see a voxel, it is 15 to 21% of noise.

    It is 21% for samples of one error; here some are a single pixel and others two halves.
    """
    same = [replace(c, variance=np.ones_like(c.data)) for c in clean]
    (_, voxels), (_, plain) = (build(same, weighting) for weighting in ("median", "drizzle"))
    seven = (voxels.exposures == 7) & (voxels.time > 0.999 * 7 * same[0].exposure_time)
    assert seven.sum() > 1000
    assert 1.15 < np.median(voxels.err[seven] / plain.err[seven]) < np.sqrt(MEDIAN_VARIANCE[7])


def test_nothing_is_clipped_of_clean_exposures(clean):
    """Of 2e5 samples with noise at most 0.02% go, and line fluxes stay within 0.05%."""
    grid, plain = build(clean, "drizzle")
    _, clipped = build(clean, "clipped")
    assert clipped.samples[0].sum() > 2e5
    assert clipped.samples[1].sum() < 2e-4 * clipped.samples[0].sum()
    blob = Blob(1, *grid_middle(grid), 0.1)
    assert line_flux(grid, clipped, blob) == pytest.approx(line_flux(grid, plain, blob), rel=5e-4)
    _, never = build(clean, "clipped", clip_snr=1e9)
    for name in ("data", "err", "weight", "time", "exposures"):
        one, other = getattr(never, name), getattr(plain, name)
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-6 * np.nanmax(np.abs(other)))


def grid_middle(grid):
    return grid.ra_center, grid.dec_center


def spoil_samples(monkeypatch, part, snr):
    """Add to a part of the contributions of cutouts to voxels."""
    dropped = Layout._dropped

    def spoilt(self, block, size):
        rows = dropped(self, block, size)
        hit = np.random.default_rng(block.start).random(rows.shape[1:]) < part
        hit &= rows[1] > 0
        rows[0] += np.where(hit, snr * np.sqrt(rows[2]), 0)
        return rows

    monkeypatch.setattr(Layout, "_dropped", spoilt)


@pytest.mark.parametrize(
    ("weighting", "scale", "bound"),
    [
        ("clipped", 0.05, 0.003), ("clipped", 0.1, 0.003), ("clipped", 0.2, 0.003),
        ("median", 0.05, 0.01), ("median", 0.1, 0.01), ("median", 0.2, 0.01),
    ],
)  # fmt: skip
def test_spoilt_samples(clean, blobs, monkeypatch, weighting, scale, bound):
    """1% of the contributions are off by 50 sigma: the mean is off by 9%."""
    grid, good = build(clean, weighting, scale)
    spoil_samples(monkeypatch, 0.01, 50)
    _, spoilt = build(clean, weighting, scale)
    change = line_flux(grid, spoilt, blobs[1]) / line_flux(grid, good, blobs[1]) - 1
    assert abs(change) < bound


@pytest.mark.parametrize(
    ("weighting", "bound"), [("drizzle", 0.12), ("median", 0.01), ("clipped", 0.008)]
)
def test_spoilt_pixels(clean, blobs, weighting, bound):
    """1% of the pixels are off by 50 sigma, each in several voxels (the mean is 9% off)."""
    rng = np.random.default_rng(9)
    hit = [
        replace(
            c,
            data=c.data
            + (50 * np.sqrt(c.variance) * (rng.random(c.data.shape) < 0.01)).astype("f4"),
        )
        for c in clean
    ]
    grid, good = build(clean, weighting)
    _, spoilt = build(hit, weighting)
    change = line_flux(grid, spoilt, blobs[1]) / line_flux(grid, good, blobs[1]) - 1
    assert abs(change) < bound
    assert (weighting == "drizzle") == (change > 0.05)
    if weighting == "clipped":
        assert (spoilt.samples[1] > 0.01 * spoilt.samples[0]).all()


@pytest.mark.parametrize("weighting", ["drizzle", "median", "clipped"])
def test_an_exposure_counts_once(clean, weighting):
    """NEXP counts exposures, however many detectors or slitlets of one see a voxel."""
    other = [replace(c, detector="NRS2") for c in clean]
    _, once = build(clean, weighting)
    _, twice = build(clean[:20] + other + clean[20:], weighting)
    seen = np.isfinite(once.data)
    assert once.exposures.max() == 14
    different = once.exposures[seen] != twice.exposures[seen]
    assert different.mean() < (2e-3 if weighting == "clipped" else 1e-9)


@pytest.mark.parametrize("weighting", ["median", "clipped"])
def test_blocks_do_not_matter(clean, weighting, monkeypatch):
    """The same cube from one block or many, one thread or two."""
    spoil = [
        replace(c, data=np.where(np.random.default_rng(i).random(c.data.shape) < 0.02, 5, c.data))
        for i, c in enumerate(clean)
    ]
    _, one = build(spoil, weighting)
    monkeypatch.setattr(combine_module, "BLOCK_BYTES", 1.0)
    _, many = build(spoil, weighting, threads=2)
    for name in ("data", "err", "weight", "time", "exposures"):
        np.testing.assert_array_equal(getattr(one, name), getattr(many, name))
    if weighting == "clipped":
        np.testing.assert_array_equal(one.samples, many.samples)
