"""The sky of scenes whose sky is known.

The galaxy's mean continuum, where it is brighter than a tenth of its peak, is 0.5 MJy/sr.
"""

from dataclasses import replace

import numpy as np
import pytest
from scene import Blob, pattern
from skies import LIMITS, Scene, galaxy, power_law

from msa3d_steps.background.sourcefree import measure_sky
from msa3d_steps.errors import InputError

CONTINUUM = 0.5


@pytest.fixture(scope="module")
def scene():
    return Scene(galaxy(), pattern(3, 3))


@pytest.fixture(scope="module")
def blank():
    return Scene([], pattern(1, 3))


def off(found, sky):
    """Found - true, in units of the stated uncertainty."""
    return (found.brightness - sky(found.wavelength)) / found.uncertainty


def test_continuum_of_the_galaxy(scene):
    """What the levels of the tests are in units of."""
    rows = np.concatenate([np.ma.masked_invalid(c[:, 50:100]).mean(axis=1) for c in scene.light])
    assert rows[rows > 0.1 * rows.max()].mean() == pytest.approx(CONTINUUM, rel=0.1)


@pytest.mark.parametrize(("level", "slope"), [(0.1, -1.0), (1.0, 3.0), (10.0, -3.0)])
def test_stated_uncertainty(scene, level, slope):
    """The mean square pull is 1: 24 realisations of about 6 free values tell it to 0.12."""
    random = np.random.default_rng(2)
    sky = power_law(level * CONTINUUM, slope)
    pulls = np.array([off(measure_sky(scene.observe(sky, random)), sky) for _ in range(24)])
    assert np.mean(pulls**2) == pytest.approx(1, abs=0.3)
    assert abs(pulls.mean()) < 0.35
    assert np.mean(pulls**2, axis=0).max() < 2.5  # at no wavelength much worse


def test_without_noise(scene):
    """0.04% of the galaxy's continuum: nothing of it is taken for sky."""
    sky = power_law(CONTINUUM, 2.0)
    found = measure_sky(scene.observe(sky))
    np.testing.assert_allclose(found.brightness, sky(found.wavelength), atol=4e-4 * CONTINUUM)


def test_weights_do_not_follow_the_noise(blank):
    """Poisson noise alone, stated from the noisy values: those that came out low state less.

    Weights of the inverse stated variance would be off by 0.01 MJy/sr, 6 sigma.
    """
    random = np.random.default_rng(4)
    sky = power_law(5.0, 0.0)
    found = [measure_sky([], [blank.observe(sky, random)]) for _ in range(12)]
    pulls = np.array([off(f, sky) for f in found])
    assert abs(pulls.mean()) < 0.4
    weighted = []
    for cutout in blank.observe(sky, random):
        data, weight = cutout.data.astype(float), 1 / cutout.variance.astype(float)
        weighted.append(np.nansum(data * weight) / np.nansum(weight * np.isfinite(data)))
    assert (np.mean(weighted) - 5.0) / found[0].uncertainty.mean() < -3


def test_cosmic_rays(scene):
    """1% of the pixels hit, most of them hard: the sky moves by less than its uncertainty."""
    random = np.random.default_rng(6)
    sky = power_law(CONTINUUM, 1.0)
    clean = scene.observe(sky, random)
    hit = []
    for cutout in clean:
        rays = random.random(cutout.data.shape) < 0.01
        amplitude = random.exponential(5.0, cutout.data.shape)
        hit.append(replace(cutout, data=cutout.data + np.float32(rays * amplitude)))
    before, after = measure_sky(clean), measure_sky(hit)
    moved = after(before.wavelength) - before.brightness
    assert np.abs(moved).max() < before.uncertainty.mean()
    assert np.mean([np.nanmean(h.data - c.data) for h, c in zip(hit, clean, strict=True)]) > 0.03


@pytest.mark.parametrize(
    "companion",
    [Blob(1e-3, 0.1, 0.75, 0.08, line=1.18, width=8e-4), Blob(0.02, 0.1, 0.75, 0.08)],
    ids=["line", "continuum"],
)
def test_companion(companion):
    """What shines at the end of the slitlets, if only in a line, is not taken for sky."""
    random = np.random.default_rng(8)
    sky = power_law(CONTINUUM, 1.0)
    scene, alone = (Scene(blobs, pattern(3, 3)) for blobs in ([*galaxy(), companion], [companion]))
    found = [measure_sky(scene.observe(sky, random)) for _ in range(12)]
    near = np.abs(found[0].wavelength - 1.18) < 0.01
    pulls = np.array([off(f, sky)[near] for f in found])
    assert abs(pulls.mean()) < 0.6  # 12 realisations tell it to 0.3
    mean = np.nanmean([light[:, 275:290] for light in alone.light])
    assert mean > 5 * found[0].uncertainty[near].mean()  # what it adds to the mean of the slitlets


def test_dark_ends(scene):
    """Where the shutters are not known, the dark rows beyond them are no sky."""
    random = np.random.default_rng(9)
    sky = power_law(CONTINUUM, 1.0)
    dark = []
    for cutout in scene.observe(sky, random):
        ny, nx = cutout.data.shape
        y_slit = cutout.footprint.along(np.arange(nx), np.arange(ny))
        noise = np.float32(0.1 * random.standard_normal((ny, nx)))
        ends = np.isfinite(cutout.data) & (np.abs(y_slit) > LIMITS[1] - 0.55)
        assert ends.sum() > 0.15 * np.isfinite(cutout.data).sum()
        data = np.where(ends, noise, cutout.data)
        dark.append(replace(cutout, data=data, shutter_state=""))
    found = measure_sky(dark)
    assert np.abs(off(found, sky)).max() < 3.5


def test_without_read_variance(scene):
    """Where only ERR is known, weights come from its running median."""
    random = np.random.default_rng(10)
    sky = power_law(CONTINUUM, -1.0)
    cutouts = [replace(c, read_variance=None) for c in scene.observe(sky, random)]
    assert np.abs(off(measure_sky(cutouts), sky)).max() < 3.5


def test_galaxy_that_fills_the_slitlets(blank):
    """No guess: an error with the mend, unless background slits show the sky."""
    random = np.random.default_rng(11)
    large = Scene(galaxy(sigma=0.7, flux=3.0), pattern(3, 2))
    sky = power_law(CONTINUUM, 1.0)
    cutouts = large.observe(sky, random)
    with pytest.raises(InputError, match=r"galaxy fills them.*background slitlets.*method=model"):
        measure_sky(cutouts)
    found = measure_sky(cutouts, [blank.observe(sky, random)])
    assert np.abs(off(found, sky)).max() < 3.5


def test_background_slits_make_it_better(scene, blank):
    random = np.random.default_rng(12)
    sky = power_law(CONTINUUM, 1.0)
    cutouts, more = scene.observe(sky, random), blank.observe(sky, random)
    alone, both = measure_sky(cutouts), measure_sky(cutouts, [more])
    assert both.uncertainty.mean() < 0.9 * alone.uncertainty.mean()
    assert np.abs(off(both, sky)).max() < 3.5


def test_most_lost(scene):
    """What may be lost of the galaxy decides how far out the sky is measured."""
    random = np.random.default_rng(13)
    cutouts = scene.observe(power_law(CONTINUUM, 1.0), random)
    strict, free = (measure_sky(cutouts, most_lost=p) for p in (1e-4, 0.05))
    assert strict.number.sum() < free.number.sum()
    with pytest.raises(InputError, match="galaxy fills them"):
        measure_sky(cutouts, most_lost=1e-12)
