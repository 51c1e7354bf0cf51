"""The compiled part of the search for outliers, against dense algebra of numpy."""

import numpy as np
import pytest
from scipy.interpolate import BSpline

from msa3d_steps.outlier.profiles import (
    INTERPOLATION,
    fit_channels,
    local_levels,
    place_pixels,
    sort_samples,
)

KNOT, N_KNOTS, N_CHANNELS = 0.5, 18, 4


@pytest.fixture
def samples():
    """Samples of four channels with a prior that differs from knot to knot."""
    random = np.random.default_rng(1)
    n = 200
    channel = np.sort(random.integers(0, N_CHANNELS, n))
    y = random.uniform(0, (N_KNOTS - 4) * KNOT, n)
    value = np.exp(-0.5 * ((y - 3.3) / 0.8) ** 2) * (5 + channel) + random.normal(0, 0.1, n)
    masked = random.random(n) < 0.1
    value[masked] += 30
    return {
        "start": np.searchsorted(channel, np.arange(N_CHANNELS + 1)),
        "y": y,
        "offset": random.uniform(-0.5, 0.5, n),
        "value": value,
        "variance": random.uniform(0.005, 0.02, n),
        "masked": masked,
        "prior": random.uniform(0.3, 2.0, (N_CHANNELS, N_KNOTS - 2)),
    }


def fit(samples, before=None, slack=0.0, mismatch=0.0):
    """Call the compiled fit; gives what it fills."""
    size, n = (N_CHANNELS, N_KNOTS), samples["y"].size
    filled = {"result": np.zeros(size)}
    filled |= {name: np.zeros(n) for name in ("slopes", "steep", "expected", "deviation")}
    before = np.zeros(size) if before is None else before
    fit_channels(
        *(samples[k] for k in ("start", "y", "offset", "value", "variance", "masked", "prior")),
        KNOT, before, slack, mismatch, *filled.values(),
    )  # fmt: skip
    return filled


def basis(y, order=0):
    """Values of all B-splines at places (or their derivatives), by scipy."""
    knots = (np.arange(N_KNOTS + 4) - 3) * KNOT
    spline = BSpline(knots, np.eye(N_KNOTS), 3)
    return spline(y, nu=order)


def dense(y, value, variance, prior):
    """Coefficients and their covariance of a fit with a prior of the second differences."""
    design = basis(y)
    bends = np.diff(np.eye(N_KNOTS), 2, axis=0) / prior[:, None]
    covariance = np.linalg.inv(design.T @ (design / variance[:, None]) + bends.T @ bends)
    return covariance @ (design.T @ (value / variance)), covariance


def brute_force(samples, value, variance):
    """Expectation and deviation of each sample by fits without it."""
    expected, deviation = np.zeros(value.size), np.zeros(value.size)
    for c in range(N_CHANNELS):
        own = np.arange(samples["start"][c], samples["start"][c + 1])
        fitted = own[~samples["masked"][own]]
        for i in own:
            others = fitted[fitted != i]
            found, covariance = dense(
                samples["y"][others], value[others], variance[others], samples["prior"][c]
            )
            at = basis(samples["y"][[i]])[0]
            expected[i] = at @ found
            deviation[i] = np.sqrt(variance[i] + at @ covariance @ at)
    return expected, deviation


def assert_leaves_one_out(samples, found, value, variance):
    """What is found is what fits without the sample give; NaN where that is 20 times worse."""
    expected, deviation = brute_force(samples, value, variance)
    masked = samples["masked"]
    said = masked | (deviation**2 < 20 * variance)
    assert masked.sum() > 10
    assert (said & ~masked).sum() > 150
    np.testing.assert_array_equal(np.isfinite(found["expected"]), said)
    np.testing.assert_array_equal(np.isfinite(found["deviation"]), said)
    # what is expected is said of the sample where it is, not of its channel
    expected += samples["value"] - value
    np.testing.assert_allclose(found["expected"][said], expected[said], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found["deviation"][said], deviation[said], rtol=1e-8)


def test_leave_one_out(samples):
    """Expectation and deviation are those of a fit without the sample, masked or not."""
    found = fit(samples)
    assert_leaves_one_out(samples, found, samples["value"], samples["variance"])
    for c in range(N_CHANNELS):
        own = slice(*samples["start"][c : c + 2])
        slope = basis(samples["y"][own], 1) @ found["result"][c]
        np.testing.assert_allclose(found["slopes"][own], slope, rtol=1e-8, atol=1e-8)


def lagrange(places, values):
    """Polynomials through rows of values at some places."""
    return [np.poly1d(np.polyfit(places, row, len(places) - 1)) for row in values]


def test_leave_one_out_with_tolerances(samples):
    """The last profiles bring samples to their channel; what is steep or bright may be off."""
    random = np.random.default_rng(2)
    before = random.uniform(0, 5, (N_CHANNELS, N_KNOTS))
    slack, mismatch = 0.1, 0.03
    found = fit(samples, before, slack, mismatch)
    moved, variance = samples["value"].copy(), samples["variance"].copy()
    for c in range(N_CHANNELS):
        own = slice(*samples["start"][c : c + 2])
        near = np.clip(np.arange(c - 2, c + 3), 0, N_CHANNELS - 1)
        profiles = basis(samples["y"][own]) @ before[near].T
        _, left, here, right, _ = profiles.T
        offset = samples["offset"][own]
        quartic = lagrange(range(-2, 3), profiles)
        moved[own] -= [f(u) - f(0) for f, u in zip(quartic, offset, strict=True)]
        bend = right - 2 * here + left
        along = basis(samples["y"][own], 1) @ before[c]
        steep = np.hypot(along, (right - left) / 2 + offset * bend)
        np.testing.assert_allclose(found["steep"][own], steep, rtol=1e-8)
        variance[own] += (slack * steep) ** 2 + (mismatch * here) ** 2
        bent = np.abs(right - left) / 2 + np.abs(offset * bend) / 2
        variance[own] += (INTERPOLATION * offset * bent) ** 2
    assert_leaves_one_out(samples, found, moved, variance)


def test_too_few_samples(samples):
    """One sample that is fitted says nothing of the others of its channel."""
    first, last = samples["start"][1:3]
    samples["masked"][first + 1 : last] = True
    samples["masked"][first] = False
    found = fit(samples)
    assert np.isnan(found["expected"][first:last]).all()
    assert np.isnan(found["deviation"][first:last]).all()
    assert np.isfinite(found["expected"][:first]).mean() > 0.9


@pytest.mark.parametrize("order", [1, -1])
def test_place_pixels(order):
    """Nearest channel and distance from it, of wavelengths that rise or fall along a row."""
    random = np.random.default_rng(3)
    channels = 1.0 + np.cumsum(random.uniform(0.8e-3, 1.2e-3, 50))
    lam = np.sort(random.uniform(channels[0] - 3e-3, channels[-1] + 3e-3, (5, 80)), axis=1)
    nearest, offset = np.zeros(lam.shape, np.int32), np.zeros(lam.shape, np.float32)
    place_pixels(lam[:, ::order], channels, nearest, offset)
    nearest, offset = nearest[:, ::order], offset[:, ::order]
    place = np.interp(lam, channels, np.arange(50.0))
    place += np.minimum((lam - channels[0]) / (channels[1] - channels[0]), 0)
    place += np.maximum((lam - channels[-1]) / (channels[-1] - channels[-2]), 0)
    inside = (place > -1) & (place < 50)
    assert 10 < (~inside).sum() < 100
    np.testing.assert_array_equal(nearest[~inside], -1)
    np.testing.assert_array_equal(nearest[inside], np.clip(np.rint(place), 0, 49)[inside])
    np.testing.assert_allclose((nearest + offset)[inside], place[inside], atol=1e-5)


def test_sort_samples():
    channel = np.random.default_rng(4).integers(0, 7, 60).astype(np.int32)
    channel[channel == 3] = 2  # none is in it
    start, order = sort_samples(channel, 7)
    np.testing.assert_array_equal(order, np.argsort(channel, kind="stable"))
    np.testing.assert_array_equal(start, np.searchsorted(np.sort(channel), np.arange(8)))


def test_local_levels():
    """Lower medians, and the largest, of cells with two samples or more."""
    random = np.random.default_rng(5)
    n, n_channels, n_cells = 150, 5, 9
    channel = np.sort(random.integers(0, n_channels, n))
    y, value, variance = random.uniform(0, n_cells, n), random.normal(0, 1, n), random.random(n)
    start = np.searchsorted(channel, np.arange(n_channels + 1))
    level, highest, noise = np.full((3, n_channels, n_cells), np.nan, np.float32)
    local_levels(start, y, value, variance, n_cells, level, highest, noise)
    counts = set()
    for c in range(n_channels):
        for cell in range(n_cells):
            own = (channel == c) & (y.astype(int) == cell)
            counts.add(min(own.sum(), 4))
            wanted = [np.nan] * 3
            if own.sum() > 1:
                wanted = (
                    np.quantile(value[own], 0.5, method="lower"),
                    value[own].max(),
                    np.sqrt(np.quantile(variance[own], 0.5, method="lower")),
                )
            found = level[c, cell], highest[c, cell], noise[c, cell]
            np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert counts == {0, 1, 2, 3, 4}
