"""Steps and dithers from offsets alone: shuffled, jittered, with holes and repeats."""

import numpy as np
import pytest
from scene import pattern, survey, synthetic_template

from msa3d_steps.cube.pattern import cluster_dithers, cluster_steps, find_pattern
from msa3d_steps.cube.sources import cutout_from_slit

WIDTH = 0.1958


def offsets(steps, n_dithers, dither, jitter=0.0, missing=0, visits=1, seed=0):
    """Shuffled offsets with their true step, dither and visit."""
    rng = np.random.default_rng(seed)
    rows = [
        (x + jitter * rng.standard_normal(), j * dither + jitter * rng.standard_normal(), i, j, v)
        for v in range(visits)
        for i, x in enumerate(steps)
        for j in range(n_dithers)
    ]
    rows = [rows[i] for i in rng.permutation(len(rows))[missing:]]
    x, y, step, dither, visit = map(np.array, zip(*rows, strict=True))
    return x, y, np.unique(step, return_inverse=True)[1], dither, visit.astype(str)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("steps", "n_dithers", "dither", "options"),
    [
        pytest.param(0.2 * np.arange(9), 7, 0.075, {}, id="GO-2136 as commanded"),
        pytest.param(0.2 * np.arange(9), 7, 0.075, {"jitter": 0.01}, id="10 mas of jitter"),
        pytest.param(0.2 * np.arange(9), 7, 0.075, {"jitter": 0.01, "missing": 10}, id="holes"),
        pytest.param(0.2 * np.arange(9), 7, 0.075, {"missing": 25}, id="many holes"),
        pytest.param(
            0.2 * np.arange(9), 7, 0.075, {"jitter": 0.01, "visits": 3, "missing": 20}, id="visits"
        ),
        pytest.param(0.1 * np.arange(18), 3, 0.2, {"jitter": 0.01}, id="half-slit steps"),
        pytest.param(0.05 * np.arange(36), 2, 0.2, {"jitter": 0.003}, id="quarter-slit steps"),
        pytest.param(0.27 * np.arange(5), 4, 0.15, {"jitter": 0.02}, id="steps with gaps"),
        pytest.param(np.array([0.0, 0.2, 0.47, 0.66, 0.95]), 3, 0.2, {"jitter": 0.01}, id="uneven"),
        pytest.param(np.array([0.0]), 3, 0.53, {"jitter": 0.02}, id="nods only"),
        pytest.param(0.2 * np.arange(3), 1, 0.0, {"jitter": 0.005}, id="no dithers"),
        pytest.param(0.2 * np.arange(2), 2, 0.3, {"jitter": 0.01}, id="two by two"),
    ],
)
def test_steps_and_dithers(steps, n_dithers, dither, options, seed):
    x, y, step, true_dither, visit = offsets(steps, n_dithers, dither, seed=seed, **options)
    found = cluster_steps(x, WIDTH)
    np.testing.assert_array_equal(found, step)
    labels = cluster_dithers(y, found, visit, 0.026)
    np.testing.assert_array_equal(labels, np.unique(true_dither, return_inverse=True)[1])


@pytest.mark.parametrize("seed", range(5))
def test_steps_stand_up_to_30_mas_of_jitter(seed):
    x, _, step, _, _ = offsets(0.2 * np.arange(9), 7, 0.075, jitter=0.03, seed=seed)
    assert cluster_steps(x, WIDTH).max() == 8
    assert (cluster_steps(x, WIDTH) == step).mean() > 0.98


def test_one_exposure():
    assert cluster_steps(np.array([0.0]), WIDTH).tolist() == [0]


def cutouts_of(template, places, *, first=1, sampling=None):
    slits = survey(template, places, [], sampling=sampling, first=first)
    for slit in slits:
        slit.data = np.where(slit.dq > 0, np.nan, 1).astype(np.float32)
    return [cutout_from_slit(s, s.meta, s.meta.filename) for s in slits]


def test_pattern_of_cutouts(synthetic):
    """Both detectors of an exposure share its step, and file order plays no part."""
    template, sampling = synthetic
    places = [pattern(3, 2)[i] for i in (4, 0, 5, 2, 1, 3)]
    cutouts = cutouts_of(template, places, sampling=sampling)
    other = synthetic_template("NRS2", start=1.3)
    cutouts += cutouts_of(other, places)
    found = find_pattern(cutouts)
    assert (found.n_steps, found.n_dithers) == (3, 2)
    np.testing.assert_array_equal(found.step[:6], found.step[6:])
    np.testing.assert_array_equal(found.dither[:6], found.dither[6:])
    true = np.array(places)
    for values, offset in ((found.across[:6], true[:, 0]), (found.along[:6], true[:, 1])):
        slope = np.polyfit(offset, values, 1)[0]  # the direction of counting is free
        np.testing.assert_allclose(values, slope * (offset - np.median(offset)), atol=2e-4)
        assert abs(slope) == pytest.approx(1, abs=1e-3)
    assert found.step_size == pytest.approx(0.2, abs=2e-4)
    assert found.dither_size == pytest.approx(0.075, abs=2e-4)


def test_visits_turned_against_each_other(synthetic):
    """Slits of another position angle make steps of their own."""
    template, sampling = synthetic
    cutouts = cutouts_of(template, pattern(2, 1), sampling=sampling)
    cutouts += cutouts_of(synthetic_template(angle=57.0), pattern(2, 1), first=3)
    found = find_pattern(cutouts)
    first, second = set(found.turned[:2].tolist()), set(found.turned[2:].tolist())
    assert len(first) == len(second) == 1
    assert first != second
    assert len(set(found.step.tolist())) == 4


def test_real_nods(real_models):
    """Three nods by a shutter (0.529 arcsec) are one step and three dithers."""
    cutouts = [cutout_from_slit(m, m.meta, m.meta.filename) for m in real_models]
    found = find_pattern(cutouts)
    assert (found.n_steps, found.n_dithers) == (1, 3)
    assert found.dither_size == pytest.approx(0.529, abs=0.003)
    assert found.dither.tolist() == [1, 2, 0]
