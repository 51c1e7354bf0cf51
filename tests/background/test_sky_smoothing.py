"""The smooth curve: its stated errors are those that it makes."""

import numpy as np
import pytest

from msa3d_steps.background.smoothing import fit_curve

LAM = np.linspace(1.0, 1.8, 400)
SIGMA = 0.02 * (1 + 0.5 * np.sin(7 * LAM))  # of a channel


def slope(lam):
    return 0.5 * (lam / 1.3) ** -2


def bump(lam):
    return slope(lam) + 0.1 * np.exp(-0.5 * ((lam - 1.5) / 0.03) ** 2)


def pulls(truth, n, common=None, distance=None):
    """(curve - truth) / stated error at all channels, of n realisations."""
    random = np.random.default_rng(3)
    none = np.zeros((1, LAM.size))
    found = []
    for _ in range(n):
        value = truth(LAM) + SIGMA * random.standard_normal(LAM.size)
        if common is not None:
            value += common * random.standard_normal()
        errors = none if common is None else common[None]
        curve = fit_curve(LAM, value, SIGMA**2, SIGMA**2, errors, distance)
        sky, error = curve(LAM)
        found.append((sky - truth(LAM)) / error)
    return np.array(found)


@pytest.mark.parametrize("truth", [slope, bump])
def test_stated_errors(truth):
    """The mean square pull is 1 within 10% everywhere along the curve, its mean 0."""
    pull = pulls(truth, 300)
    assert np.mean(pull**2) == pytest.approx(1, abs=0.1)
    by_part = np.mean(pull**2, axis=0).reshape(8, -1).mean(axis=1)
    np.testing.assert_allclose(by_part, 1, atol=0.3)  # 300 realisations: 0.08 each
    assert abs(pull.mean()) < 0.08


def test_errors_that_all_channels_share():
    """An error of 0.01 at all wavelengths alike is not smoothed away."""
    common = np.full(LAM.size, 0.01)
    pull = pulls(slope, 300, common)
    assert np.mean(pull**2) == pytest.approx(1, abs=0.15)
    assert np.mean(pulls(slope, 1, common) ** 2) != np.mean(pulls(slope, 1) ** 2)
    none = np.zeros((1, LAM.size))
    _, with_it = fit_curve(LAM, slope(LAM), SIGMA**2, SIGMA**2, common[None])(LAM)
    _, without = fit_curve(LAM, slope(LAM), SIGMA**2, SIGMA**2, none)(LAM)
    np.testing.assert_allclose(with_it**2 - without**2, 1e-4, rtol=1e-3)


def test_the_data_choose_the_knots():
    """A slope needs few knots, a bump of 0.07 um (FWHM) many; a wide distance misses it."""
    none = np.zeros((1, LAM.size))
    simple, rich = (fit_curve(LAM, t(LAM), SIGMA**2, SIGMA**2, none) for t in (slope, bump))
    assert simple.coefficients.size < 8 < rich.coefficients.size
    wide = fit_curve(LAM, bump(LAM), SIGMA**2, SIGMA**2, none, distance=0.4)
    assert np.abs(rich(LAM)[0] - bump(LAM)).max() < 0.005
    assert np.abs(wide(LAM)[0] - bump(LAM)).max() > 0.03


def test_channels_that_are_far_off_do_not_count():
    value = slope(LAM)
    value[[50, 51, 200]] += 1.0
    value[300] -= 1.0
    curve = fit_curve(LAM, value, SIGMA**2, SIGMA**2, np.zeros((1, LAM.size)))
    assert set(np.flatnonzero(~curve.used)) == {50, 51, 200, 300}
    found, error = curve(LAM)
    assert np.abs((found - slope(LAM)) / error).max() < 0.5


def test_scatter_that_the_errors_do_not_know_of():
    """Scatter of twice the stated errors doubles the error of the curve."""
    random = np.random.default_rng(5)
    none = np.zeros((1, LAM.size))
    value = slope(LAM) + 2 * SIGMA * random.standard_normal(LAM.size)
    _, error = fit_curve(LAM, value, SIGMA**2, SIGMA**2, none, distance=0.4)(LAM)
    _, calm = fit_curve(LAM, slope(LAM), SIGMA**2, SIGMA**2, none, distance=0.4)(LAM)
    np.testing.assert_allclose(error / calm, 2, rtol=0.1)
