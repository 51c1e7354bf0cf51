import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage, stats
from stdatamodels.jwst.datamodels.dqflags import pixel as dqflags

from msa3d_steps.errors import InputError
from msa3d_steps.simulate.detector.cosmic_rays import (
    AREA,
    DEPTH,
    PIXEL,
    Tracks,
    deposit,
    draw_snowballs,
    draw_tracks,
)
from msa3d_steps.simulate.detector.exposing import BORDER, SHAPE, NoiseModel, expose
from msa3d_steps.simulate.detector.noise import draw_counts, draw_flicker, ramp_read_noise

TIME = 1021.0
LEVELS = (0.0, 0.01, 1.0, 50.0)
"""DN/s in four bands of 512 rows."""
CLEAN = NoiseModel(cosmic_ray_rate=0, hot_fraction=0, dead_fraction=0)


@pytest.fixture(scope="module")
def light():
    return np.repeat(np.array(LEVELS, np.float32), 512)[:, None] * np.ones(SHAPE[1], np.float32)


@pytest.fixture(scope="module")
def exposure(light):
    return expose(light, TIME, "NRS2", seed=3, exposure_number=5)


@pytest.fixture(scope="module")
def dark():
    return np.zeros(SHAPE, np.float32)


def usable(exposure):
    return ((exposure.dq & dqflags["DO_NOT_USE"]) == 0) & ~exposure.cosmic_rays


def deviations(exposure):
    return (exposure.data - exposure.noise_free) / exposure.err


def test_arrays_are_those_of_a_rate_file(exposure, light):
    for name in ("data", "err", "var_poisson", "var_rnoise", "noise_free"):
        values = getattr(exposure, name)
        assert values.shape == SHAPE
        assert values.dtype == np.float32
    assert exposure.dq.dtype == np.uint32
    assert exposure.cosmic_rays.dtype == bool
    np.testing.assert_array_equal(exposure.noise_free, light)
    rejected = (exposure.dq & dqflags["DO_NOT_USE"]) != 0
    for name in ("data", "err", "var_poisson", "var_rnoise"):
        np.testing.assert_array_equal(np.isnan(getattr(exposure, name)), rejected)
    variance = exposure.var_poisson + exposure.var_rnoise
    np.testing.assert_allclose(exposure.err**2, variance, rtol=1e-6)


def test_noise_is_as_wide_as_err_at_every_level(exposure):
    """A million pixels a level: the width is known to 0.1 %."""
    good = usable(exposure)
    z = deviations(exposure)
    assert z[good].std() == pytest.approx(1, abs=0.003)
    for band in range(4):
        rows = np.s_[512 * band : 512 * (band + 1)]
        assert z[rows][good[rows]].std() == pytest.approx(1, abs=0.005), LEVELS[band]


def test_mean_is_not_biased(exposure):
    good = usable(exposure)
    z = deviations(exposure)
    for band in range(4):
        rows = np.s_[512 * band : 512 * (band + 1)]
        values = z[rows][good[rows]]
        assert abs(values.mean()) * np.sqrt(values.size) < 4, LEVELS[band]


def test_variances_are_those_of_the_ramp_fit(exposure):
    """rate / (gain t), the dark current's counts included, and read noise / (gain t)."""
    gain, dark = 1.1, 0.008
    good = usable(exposure)
    for band, level in enumerate(LEVELS):
        rows = np.s_[512 * band : 512 * (band + 1)]
        expected = (level + dark / gain) / (gain * TIME)
        np.testing.assert_allclose(exposure.var_poisson[rows][good[rows]], expected, rtol=1e-5)
    np.testing.assert_allclose(exposure.var_rnoise[good], (4.0 / gain / TIME) ** 2, rtol=1e-6)


def test_light_comes_in_whole_electrons(dark):
    """Without dark current and read noise, half an electron is none in 60.7 % of the pixels."""
    model = replace(CLEAN, read_noise=0.0, dark_current=(0.0, 0.0))
    exposure = expose(dark + 0.005, 100.0, "NRS1", model)
    counts = exposure.data[usable(exposure)] * 100
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-4)
    assert (np.rint(counts) == 0).mean() == pytest.approx(np.exp(-0.5), abs=0.001)


@pytest.mark.parametrize("mean", [0.0, 0.3, 8.0, 200.0])
def test_counts_from_the_table_are_poisson(mean):
    expected = np.full(1_000_000, mean, np.float32)
    expected[::2] += 1000
    counts = draw_counts(np.random.default_rng(1), expected)[1::2]
    found = np.bincount(counts.astype(int))
    values = np.arange(found.size)
    model = stats.poisson.pmf(values, mean) * counts.size
    often = model > 20
    chi2 = ((found - model)[often] ** 2 / model[often]).sum()
    assert chi2 < often.sum() + 5 * np.sqrt(2 * often.sum())
    assert counts.mean() == pytest.approx(mean, abs=4 * np.sqrt(max(mean, 1e-9) / counts.size))


def test_same_seed_gives_the_same_bits(exposure, light):
    again = expose(light, TIME, "NRS2", seed=3, exposure_number=5)
    for name in ("data", "err", "var_poisson", "var_rnoise", "dq", "cosmic_rays"):
        np.testing.assert_array_equal(getattr(again, name), getattr(exposure, name))


@pytest.mark.parametrize("other", [("NRS2", 3, 6), ("NRS2", 4, 5), ("NRS1", 3, 5)])
def test_other_exposures_have_other_noise(exposure, light, other):
    detector, seed, number = other
    second = expose(light, TIME, detector, seed=seed, exposure_number=number)
    both = usable(exposure) & usable(second)
    correlation = np.corrcoef(deviations(exposure)[both], deviations(second)[both])[0, 1]
    assert abs(correlation) < 0.003
    hit = exposure.cosmic_rays & second.cosmic_rays
    chance = exposure.cosmic_rays.sum() * second.cosmic_rays.mean()
    assert hit.sum() < chance + 6 * np.sqrt(chance) + 20


def test_cosmic_ray_mask_is_exactly_what_changed(exposure, light):
    without = expose(light, TIME, "NRS2", NoiseModel(cosmic_ray_rate=0), seed=3, exposure_number=5)
    assert not without.cosmic_rays.any()
    changed = (exposure.data != without.data) & np.isfinite(exposure.data)
    np.testing.assert_array_equal(exposure.cosmic_rays, changed)
    assert 5000 < changed.sum() < 20000
    assert (exposure.data[changed] > without.data[changed]).all()
    np.testing.assert_array_equal(exposure.err, without.err)


def test_cosmic_rays_come_at_the_stated_rate(dark):
    """3 per cm^2 and second on 13.6 cm^2 in 20 s: 815, counted as connected groups of pixels."""
    exposure = expose(
        dark, 20.0, "NRS1", replace(CLEAN, cosmic_ray_rate=3.0, cosmic_ray_survival=1)
    )
    _, found = ndimage.label(exposure.cosmic_rays, np.ones((3, 3)))
    expected = 3.0 * AREA * 20
    assert expected == pytest.approx(815, abs=1)
    assert found == pytest.approx(expected, abs=4 * np.sqrt(expected))


def test_cosmic_rays_that_the_jump_step_finds_are_flagged(exposure, dark):
    """98 % of 3 per cm^2 and second in 1021 s flag seven pixels each: 6.8 % of the detector."""
    flagged = (exposure.dq & dqflags["JUMP_DET"]) != 0
    assert flagged.mean() == pytest.approx(0.068, abs=0.005)
    assert (flagged & exposure.cosmic_rays).sum() < 0.1 * exposure.cosmic_rays.sum()
    survivors = replace(CLEAN, cosmic_ray_rate=3.0, cosmic_ray_survival=1)
    assert not (expose(dark, 20.0, "NRS1", survivors).dq & dqflags["JUMP_DET"]).any()


def test_typical_hit_is_the_measured_one():
    """5200 electrons in 7.1 pixels (Rauscher & Fixsen 2025)."""
    tracks = draw_tracks(np.random.default_rng(2), 2000, SHAPE)
    assert np.median(tracks.charge) == pytest.approx(5200, rel=0.05)
    assert (deposit(tracks, SHAPE) > 20).sum() / 2000 == pytest.approx(7.1, abs=0.5)


def test_track_lengths_are_those_of_rays_from_all_directions():
    tracks = draw_tracks(np.random.default_rng(3), 20000, SHAPE)
    layer = DEPTH / PIXEL

    def shorter(length):
        return 1 - 1 / (1 + (length / layer) ** 2)

    assert stats.kstest(tracks.length, shorter).pvalue > 0.001
    assert stats.kstest(tracks.angle, "uniform", (0, 2 * np.pi)).pvalue > 0.001
    assert (tracks.length > 3).mean() == pytest.approx(0.0085, abs=0.002)
    longest = tracks[tracks.length > 1]
    assert np.corrcoef(np.log(longest.length), np.log(longest.charge))[0, 1] > 0.7


def test_long_track_is_a_line_of_its_length_and_angle():
    track = Tracks(*(np.array([v]) for v in (30.0, 20.0, 40.0, np.pi / 6, 1e6)))
    image = deposit(track, (100, 120)).astype(float)
    assert image.sum() == pytest.approx(1e6, rel=1e-3)
    y, x = np.indices(image.shape)
    mean_x, mean_y = (image * x).sum() / image.sum(), (image * y).sum() / image.sum()
    assert mean_x == pytest.approx(30 + 20 * np.cos(np.pi / 6), abs=0.1)
    assert mean_y == pytest.approx(20 + 20 * np.sin(np.pi / 6), abs=0.1)
    covariance = np.cov(np.stack([x.ravel(), y.ravel()]), aweights=image.ravel(), ddof=0)
    width, length = np.linalg.eigvalsh(covariance)
    assert np.sqrt(12 * length) == pytest.approx(40, abs=0.5)
    assert np.sqrt(width) < 0.6


def test_tracks_over_the_edge_stay_out():
    tracks = Tracks(*(np.array([v, v]) for v in (0.0, 5.0, 60.0, np.pi, 1e5)))
    image = deposit(tracks, (10, 50))
    assert image[:, 25:].sum() == 0
    assert 0 < image.sum() < 1e4


def test_snowballs_are_round_and_hundreds_of_pixels(dark):
    ball = draw_snowballs(np.random.default_rng(4), 1, (400, 400))
    y, x = np.nonzero(ball > 20)
    assert 200 < y.size < 5000
    assert np.std(y) / np.std(x) == pytest.approx(1, abs=0.2)
    model = replace(CLEAN, snowball_rate=0.05, cosmic_ray_survival=0.5)
    exposure = expose(dark, TIME, "NRS1", model)
    without = expose(dark, TIME, "NRS1", CLEAN)
    changed = (exposure.data != without.data) & np.isfinite(exposure.data)
    np.testing.assert_array_equal(exposure.cosmic_rays, changed)
    assert changed.sum() > 2000


def test_bad_pixels_belong_to_the_detector(exposure, dark):
    bad = dqflags["HOT"] | dqflags["DEAD"] | dqflags["REFERENCE_PIXEL"] | dqflags["DO_NOT_USE"]
    other = expose(dark, 100.0, "NRS2", seed=77)
    np.testing.assert_array_equal(other.dq & bad, exposure.dq & bad)
    assert ((expose(dark, 100.0, "NRS1").dq & bad) != (other.dq & bad)).sum() > 1000
    inside = np.s_[BORDER:-BORDER, BORDER:-BORDER]
    n = 2040**2
    for flag, share in (("HOT", 0.0008), ("DEAD", 0.0014)):
        marked = (exposure.dq & dqflags[flag]) != 0
        assert (
            marked.sum()
            == marked[inside].sum()
            == pytest.approx(share * n, abs=4 * (share * n) ** 0.5)
        )
        assert ((exposure.dq[marked] & dqflags["DO_NOT_USE"]) != 0).all()


def test_reference_pixels_are_a_frame_of_four(exposure):
    reference = exposure.dq == (dqflags["REFERENCE_PIXEL"] | dqflags["DO_NOT_USE"])
    assert reference.sum() == 2048**2 - 2040**2
    assert not reference[4:-4, 4:-4].any()


def test_hot_pixels_that_are_kept_are_bright_and_noisy_as_stated(dark):
    exposure = expose(dark, TIME, "NRS1", replace(CLEAN, hot_fraction=0.001, mask_hot=False))
    hot = (exposure.dq & dqflags["HOT"]) != 0
    good = usable(exposure)
    assert good[hot].all()
    assert exposure.data[hot].min() > 0.25
    assert np.median(exposure.data[hot]) == pytest.approx(10**0.5, rel=0.1)
    excess = (exposure.var_poisson[hot] - exposure.var_poisson[good].min()) * TIME
    z = (exposure.data[hot] - excess) / exposure.err[hot]
    assert z.std() == pytest.approx(1, abs=4 / np.sqrt(2 * hot.sum()))


def test_warm_pixels_have_no_flag(dark):
    exposure = expose(dark, TIME, "NRS1", replace(CLEAN, warm_fraction=0.001))
    warm = usable(exposure) & (exposure.var_poisson > 2 * np.nanmin(exposure.var_poisson))
    assert warm.sum() == pytest.approx(0.001 * 2040**2, rel=0.07)
    assert (exposure.dq[warm] == 0).all()
    assert np.median(exposure.data[warm]) == pytest.approx(0.1 * 10**0.25, rel=0.2)


def test_flicker_has_its_amplitude_and_correlation():
    """1/f noise between one frame and the sampling limit: 0.880 at one pixel, 0.421 at one line."""
    frames = [draw_flicker(np.random.default_rng(seed), "NRS1") for seed in range(8)]
    variance = np.mean([np.var(f) for f in frames])
    assert variance == pytest.approx(1, abs=0.1)  # one frame alone scatters by 9 %
    along_y = np.mean([(f[1:512] * f[:511]).mean() for f in frames]) / variance
    along_x = np.mean([(f[:, 1:] * f[:, :-1]).mean() for f in frames]) / variance
    assert along_y == pytest.approx(0.880, abs=0.02)
    assert along_x == pytest.approx(0.421, abs=0.05)


def test_flicker_has_power_proportional_to_inverse_frequency():
    series = draw_flicker(np.random.default_rng(9), "NRS1")[:512].T.ravel().astype(float)
    power = np.abs(np.fft.rfft(series))[1:] ** 2
    frequency = np.arange(1, power.size + 1)
    bins = np.geomspace(10, power.size, 25)
    number = np.digitize(frequency, bins)
    means = [
        (np.log(frequency[number == i]).mean(), np.log(power[number == i].mean()))
        for i in range(1, 25)
    ]
    slope = np.polyfit(*np.transpose(means), 1)[0]
    assert slope == pytest.approx(-1, abs=0.03)


def test_flicker_is_common_to_the_outputs_as_they_are_read():
    first = draw_flicker(np.random.default_rng(5), "NRS1")
    np.testing.assert_array_equal(first[:512], first[512:1024][::-1])
    np.testing.assert_array_equal(first[:512], first[1024:1536])
    second = draw_flicker(np.random.default_rng(5), "NRS2")
    np.testing.assert_array_equal(second, first[::-1, ::-1])


def test_flicker_comes_on_top_of_the_stated_noise(dark):
    with_flicker = expose(dark, TIME, "NRS1", replace(CLEAN, flicker=3.0))
    without = expose(dark, TIME, "NRS1", CLEAN)
    good = usable(without)
    added = (with_flicker.data - without.data)[good]
    assert added.std() * TIME == pytest.approx(3.0, rel=0.15)
    np.testing.assert_array_equal(with_flicker.err, without.err)


def test_quiet_model_has_the_light_and_an_honest_err(exposure, light):
    quiet = expose(light, TIME, "NRS2", NoiseModel().quiet())
    inside = np.s_[BORDER:-BORDER, BORDER:-BORDER]
    np.testing.assert_array_equal(quiet.data[inside], light[inside])
    assert (quiet.dq[inside] == 0).all()
    assert not quiet.cosmic_rays.any()
    good = usable(exposure)
    np.testing.assert_array_equal(quiet.err[good], exposure.err[good])


def test_scaled_model_scales_noise_and_err(light):
    exposure = expose(light, TIME, "NRS1", CLEAN.scaled(0.1))
    full = expose(light, TIME, "NRS1", CLEAN)
    good = usable(exposure)
    np.testing.assert_allclose(exposure.err[good], 0.1 * full.err[good], rtol=1e-5)
    assert deviations(exposure)[good].std() == pytest.approx(1, abs=0.003)


def test_read_noise_of_a_ramp():
    """4.0 electrons for 14 groups of 5 frames; many groups average as 12 / n."""
    assert ramp_read_noise(14) == pytest.approx(4.0, abs=0.02)
    assert ramp_read_noise(2, 1, frame_noise=1.0) == pytest.approx(np.sqrt(2))
    assert ramp_read_noise(1000, 1, frame_noise=1.0) == pytest.approx(np.sqrt(0.012), rel=0.002)
    assert ramp_read_noise(14, n_integrations=4) == pytest.approx(2 * ramp_read_noise(14))
    with pytest.raises(InputError, match="at least 2 groups"):
        ramp_read_noise(1)


def test_exposure_fits_in_little_memory(light):
    expose(light, TIME, "NRS1")
    tracemalloc.start()
    expose(light, TIME, "NRS1")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300e6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"detector": "NRS3"}, "no detector 'NRS3'"),
        ({"rate": np.zeros((10, 10))}, r"it must be \(2048, 2048\)"),
        ({"rate": np.full(SHAPE, np.nan)}, "not finite"),
        ({"exposure_time": 0.0}, "above zero"),
    ],
)
def test_impossible_exposures_are_refused(dark, changes, message):
    arguments = {"rate": dark, "exposure_time": TIME, "detector": "NRS1"} | changes
    with pytest.raises(InputError, match=message):
        expose(**arguments)


@pytest.mark.parametrize(
    "changes", [{"gain": (1.0,)}, {"gain": (0.0, 1.0)}, {"flicker": -1}, {"hot_fraction": 1.5}]
)
def test_impossible_models_are_refused(changes):
    with pytest.raises(InputError):
        NoiseModel(**changes)


def test_input_is_not_changed(dark):
    before = dark.copy()
    exposure = expose(dark, TIME, "NRS1")
    np.testing.assert_array_equal(dark, before)
    assert exposure.noise_free is not dark
