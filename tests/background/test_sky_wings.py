"""Wings of a disk that is known."""

import numpy as np
import pytest

from msa3d_steps.background.wings import Picture, fit_wings

ACROSS, ALONG = (a.ravel() for a in np.meshgrid(0.2 * np.arange(-3, 4), 0.1 * np.arange(-14, 15)))
ERROR, LEVEL = 0.003, 0.01


def disk(scale=0.25, axis_ratio=0.6, angle=50.0, peak=1.0):
    """An inclined exponential disk; arcsec, degrees from the slit."""
    s, c = np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))
    major, minor = ACROSS * s + ALONG * c, ACROSS * c - ALONG * s
    return peak * np.exp(-np.hypot(major, minor / axis_ratio) / scale)


def picture(light, seed):
    noise = ERROR * np.random.default_rng(seed).standard_normal(light.size)
    return Picture(ACROSS, ALONG, LEVEL + light + noise, np.full(light.size, ERROR))


EVERYWHERE = np.ones(ACROSS.size, bool)


@pytest.mark.parametrize(("scale", "angle"), [(0.15, 50.0), (0.25, 0.0), (0.25, 90.0)])
def test_wings(scale, angle):
    """Their mean, where they are fainter than 2% of the middle, is known as well as stated."""
    light = disk(scale, angle=angle)
    far = (light < 0.02).astype(float)
    wanted = light @ far / far.sum()
    fits = [fit_wings(picture(light, seed), EVERYWHERE) for seed in range(20)]
    off = np.array([(fit.mean(far)[0] - wanted) / np.sqrt(fit.mean(far)[1]) for fit in fits])
    assert np.mean(off**2) < 1.5
    assert np.mean([fit.mean(far)[0] for fit in fits]) == pytest.approx(wanted, rel=0.1)
    assert np.mean([fit.level for fit in fits]) == pytest.approx(LEVEL, abs=ERROR / 2)


def test_bulge_and_companion_do_not_spread():
    """A core ten times as bright and a knot of light elsewhere leave the wings as they are."""
    light = disk(0.2)
    far = ((light < 0.02) & (light > 1e-3)).astype(float)
    more = light + 10 * np.exp(-0.5 * (ACROSS**2 + ALONG**2) / 0.05**2)
    more += 0.3 * ((np.abs(ACROSS - 0.4) < 0.1) & (np.abs(ALONG - 1.2) < 0.1))
    found, _ = fit_wings(picture(more, 3), EVERYWHERE).mean(far)
    assert found == pytest.approx(light @ far / far.sum(), rel=0.5)


def test_nothing_there():
    fit = fit_wings(picture(np.zeros(ACROSS.size), 4), EVERYWHERE)
    assert not fit.brightness.any()
    few = np.zeros(ACROSS.size, bool)
    few[:5] = True
    assert not fit_wings(picture(disk(), 5), few).brightness.any()
